"""How columns get their colours: the conflict problem, lattice colourings, the greedy pass and its orders.

Everything here colours the *columns* of one pattern; rows are coloured by handing in the transpose.
Work is counted in entries visited, never in seconds, so that the same pattern always gets the same colours.

Sources: Curtis, Powell, Reid (1974), the idea of compressing by columns; Gebremedhin, Manne, Pothen (2005),
"What color is your Jacobian?", partial colourings and orders; Goldfarb, Toint (1984), stencils as lattices;
Matula, Beck (1983), smallest last; Brelaz (1979), DSATUR; Culberson (1992), iterated greedy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain as concatenated
from itertools import combinations, product

import numpy as np
from scipy.sparse import csr_array

# A greedy pass over this many entries takes milliseconds: below it, try the greedy orders before lattices.
SMALL = 100_000
# Entry visits that effort=1 may spend on improving a first colouring (about half a second of Python).
VISITS = 3_000_000
# Largest conflict graph worth building, in products of two entries of one row.
GRAPH_PRODUCTS = 12_000_000
# Pairs of columns that a lattice is first fitted to; the rest is checked afterwards.
LATTICE_PAIRS = 30_000
# Most linear forms to go through for one number of colours and one grid.
LATTICE_FORMS = 30_000
# Longest row that a lattice beyond "modulo k" is tried for: the widest stencils have some 125 points.
LATTICE_ROW = 256
# Moduli tried on a stencil, counted from the lower bound; stencils that need more are better coloured greedily.
MODULI = 48


@dataclass(frozen=True, eq=False)
class Problem:
    """Colour `n` columns so that each wanted entry is the only nonzero of its colour in its row.

    The entries are those of a CSR pattern with sorted columns. Only rows and columns with a wanted entry
    are left in it, because no other column needs a seed. `wanted` says which entries are wanted, None that
    all are.
    """

    n: int
    indptr: np.ndarray
    indices: np.ndarray
    wanted: np.ndarray | None

    @cached_property
    def lengths(self) -> np.ndarray:
        return np.diff(self.indptr)

    @cached_property
    def rows(self) -> np.ndarray:
        return np.repeat(np.arange(len(self.indptr) - 1, dtype=np.int64), self.lengths)

    @cached_property
    def wanted_lengths(self) -> np.ndarray:
        if self.wanted is None:
            return self.lengths
        return np.bincount(self.rows[self.wanted], minlength=len(self.lengths))

    def lower_bound(self) -> int:
        """The wanted columns of a row need one colour each, and its other columns at least one more.

        So do the columns wanted in some full row, taken together: each conflicts with every other column.
        """
        wanted = self.wanted_lengths
        by_row = int((wanted + (self.lengths > wanted)).max(initial=0))
        in_full = (self.lengths == self.n)[self.rows]
        if self.wanted is None or not in_full.any():
            return by_row
        alone = len(np.unique(self.indices[in_full & self.wanted]))
        return max(by_row, alone + (self.n > alone))

    def conflicts(self) -> float:
        """How many pairs (wanted entry, entry of the same row) there are: as long is a list of conflicts."""
        return float(self.lengths.astype(float) @ self.wanted_lengths)

    def pick_rows(self, rows: np.ndarray) -> Problem:
        """The same columns, constrained by some of the rows only."""
        lengths = self.lengths[rows]
        indptr = np.concatenate([[0], np.cumsum(lengths)])
        at = np.arange(indptr[-1]) + np.repeat(self.indptr[rows] - indptr[:-1], lengths)
        return Problem(self.n, indptr, self.indices[at], None if self.wanted is None else self.wanted[at])

    def clashes(self, colours: np.ndarray, count: int) -> np.ndarray:
        """Numbers of the rows, ascending, in which a wanted entry is not alone in its colour."""
        rows = self.rows
        key = rows * count + colours[self.indices]
        if len(self.lengths) * count <= 16 * len(key) + 1_000_000:
            shared = np.bincount(key)[key] > 1
        else:
            _, inverse, counts = np.unique(key, return_inverse=True, return_counts=True)
            shared = counts[inverse] > 1
        if self.wanted is not None:
            shared &= self.wanted
        return np.unique(rows[shared])


def reduce(marked: csr_array) -> tuple[Problem, np.ndarray]:
    """The problem of a CSR whose stored values say which entries are wanted, and the columns it numbers."""
    n = marked.shape[1]
    indptr, indices, wanted = marked.indptr, marked.indices, marked.data
    seeded = np.zeros(n, bool)
    if wanted.all():
        seeded[indices] = True
        wanted = None
    else:
        rows = np.repeat(np.arange(marked.shape[0]), np.diff(indptr))
        asked = np.zeros(marked.shape[0], bool)
        asked[rows[wanted]] = True
        seeded[indices[wanted]] = True
        kept = asked[rows] & seeded[indices]
        lengths = np.bincount(rows[kept], minlength=len(asked))[asked]
        indptr = np.concatenate([[0], np.cumsum(lengths)])
        indices, wanted = indices[kept], wanted[kept]
        wanted = None if wanted.all() else wanted
    columns = np.flatnonzero(seeded)
    if len(columns) < n:
        indices = (np.cumsum(seeded) - 1)[indices]
    return Problem(len(columns), indptr, indices, wanted), columns


@dataclass
class Best:
    """The best colouring seen so far, and when to stop looking."""

    lower: int
    colours: np.ndarray
    count: int
    order: str

    def offer(self, order: str, colours: np.ndarray | None) -> None:
        if colours is None:
            return
        used = np.bincount(colours) > 0
        if (count := int(used.sum())) < self.count:
            # A lattice may leave a residue unused.
            self.colours, self.count, self.order = (np.cumsum(used) - 1)[colours], count, order

    def proven(self) -> bool:
        return self.count <= self.lower


def colour(problem: Problem, effort: float) -> Best:
    """Few colours for the columns of a problem, by ever more expensive means until a lower bound is met."""
    n = problem.n
    best = Best(problem.lower_bound(), np.arange(n), n, "one per colour")
    if not best.proven() and all_conflict(problem):
        best.lower = n
    if best.proven():
        return best
    large = len(problem.indices) > SMALL
    if large:
        best.offer(*lattice(problem, best.lower, min(best.count, best.lower + max(4, best.lower // 2))))
        if best.proven():
            return best
    greedy = Greedy(distinct_rows(problem))
    best.offer("natural", greedy(range(n), best.count))
    if not large and not best.proven():
        best.offer(*lattice(problem, best.lower, min(best.count, best.lower + max(4, best.lower // 2))))
    if best.proven():
        return best

    visits = VISITS * effort
    graph = conflict_graph(problem, GRAPH_PRODUCTS * effort)
    if graph is not None:
        best.lower = max(best.lower, clique(graph))
    for order, columns in _orders(problem, graph, visits, greedy.visits):
        if best.proven():
            return best
        best.offer(order, greedy(columns.tolist(), best.count))
    rounds = int(min(visits // greedy.visits, 60 * effort))
    if not best.proven() and rounds:
        iterate(greedy, best, rounds)
    return best


# --- lattices: colour = a linear form of the column's grid coordinates, modulo k ------------------


def lattice(problem: Problem, fewest: int, too_many: int) -> tuple[str, np.ndarray | None]:
    """A colouring "modulo k" with the least k in [fewest, too_many), over column numbers or grid coordinates.

    A grid is recognised by its strides: differences of two columns of one row that divide `n`. A lattice is
    fitted to a sample of the rows; where it then fails on the whole pattern, some failing rows join the
    sample.
    """
    column = np.arange(problem.n)
    sample = problem.pick_rows(_spread(problem))
    grids: list[Grid] | None = None
    # Rows that are not copies of one another seldom fit a lattice: there a few moduli are tried, not all.
    stencil = _repeats(sample)
    tries = MODULI if stencil else 4
    for k in range(max(fewest, 1), min(too_many, fewest + tries)):
        colours = column % k
        if not len(sample.clashes(colours, k)) and not len(problem.clashes(colours, k)):
            return f"modulo {k}", colours
        grids = (_grids(sample) if stencil else []) if grids is None else grids
        for grid in grids:
            for colours, form in grid.forms(k):
                failing = problem.clashes(colours, k)
                if not len(failing):
                    return f"lattice {form} modulo {k} over strides {grid.strides}", colours
                grid.learn(_pairs(problem.pick_rows(failing[:: max(1, len(failing) // 8)])))
    return "", None


class Grid:
    """Column numbers as coordinates in a mixed-radix grid, and the coordinate differences that conflict."""

    def __init__(self, strides: tuple[int, ...], n: int, pairs: tuple[np.ndarray, np.ndarray]):
        self.strides = strides
        self.sizes = [upper // lower for lower, upper in zip(strides, (*strides[1:], n), strict=True)]
        self.n = n
        self.steps = np.empty((0, len(strides)), np.int64)
        self.learn(pairs)

    def coordinates(self, columns: np.ndarray) -> np.ndarray:
        digits = zip(self.strides, self.sizes, strict=True)
        return np.stack([columns // stride % size for stride, size in digits], axis=1)

    def learn(self, pairs: tuple[np.ndarray, np.ndarray]) -> None:
        steps = np.concatenate([self.steps, self.coordinates(pairs[1]) - self.coordinates(pairs[0])])
        # One number per step vector: sorting numbers is ten times faster than np.unique over rows.
        key = np.ravel_multi_index(tuple((steps + self.sizes).T), [2 * size for size in self.sizes])
        self.steps = steps[np.unique(key, return_index=True)[1]]

    def forms(self, k: int) -> Iterator[tuple[np.ndarray, tuple[int, ...]]]:
        """Linear forms modulo k that send no known step to 0; `learn` may be called between two of them."""
        # Multiplying a form by a unit modulo k only renames colours, so the first coefficient may divide k.
        divisors = [d for d in range(1, k + 1) if k % d == 0]
        others = len(self.strides) - 1
        if len(divisors) * k**others > LATTICE_FORMS:
            return
        forms = np.array(list(product(divisors, *[range(k)] * others)))
        known = 0
        for _ in range(12):
            for step in self.steps if known < len(self.steps) else ():
                forms = forms[forms @ step % k != 0]
            if not len(forms):
                return
            known = len(self.steps)
            form = forms[0]
            yield self.coordinates(np.arange(self.n)) @ form % k, tuple(form.tolist())
            forms = forms[1:]


def _spread(problem: Problem) -> np.ndarray:
    """Rows spread evenly over the pattern, both ends included, with about LATTICE_PAIRS pairs of columns."""
    rows = np.flatnonzero(problem.lengths > 1)
    mean_pairs = float((problem.lengths[rows].astype(float) ** 2).mean()) / 2
    count = int(min(len(rows), max(2, LATTICE_PAIRS / max(mean_pairs, 1))))
    return rows[np.unique(np.linspace(0, len(rows) - 1, count).astype(np.int64))]


def _grids(sample: Problem) -> list[Grid]:
    """The grids that the columns may be points of, with the conflicts of the sample; none if no stencil."""
    if sample.lengths.max() > LATTICE_ROW:
        return []
    pairs = _pairs(sample)
    chains = _stride_chains(sample.n, pairs, len(sample.lengths))
    return [Grid(strides, sample.n, pairs) for strides in chains]


def _repeats(sample: Problem) -> bool:
    """Most rows are shifted copies of other rows, as they are in a stencil."""
    starts = sample.indptr[:-1]
    shifted = sample.indices - np.repeat(sample.indices[starts], sample.lengths)
    hashes = np.random.default_rng(0).integers(2**63, size=sample.n, dtype=np.uint64)
    return 2 * len(np.unique(np.add.reduceat(hashes[shifted], starts))) <= len(starts)


def _pairs(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """All pairs (a < b) of columns that may not share a colour, repeated for each row that says so."""
    left = np.repeat(problem.indptr[1:], problem.lengths) - np.arange(len(problem.indices))
    at = np.arange(len(problem.indices))
    first, second = [], []
    for shift in range(1, int(problem.lengths.max(initial=0))):
        at = at[left[at] > shift]
        bound = at if problem.wanted is None else at[problem.wanted[at] | problem.wanted[at + shift]]
        first.append(problem.indices[bound])
        second.append(problem.indices[bound + shift])
    none = np.empty(0, np.int64)
    return np.concatenate([none, *first]), np.concatenate([none, *second])


def _stride_chains(n: int, pairs: tuple[np.ndarray, np.ndarray], rows: int) -> list[tuple[int, ...]]:
    """Nested strides of grids that `rows` rows with these pairs may come from; none where few steps recur."""
    steps, seen = np.unique(pairs[1] - pairs[0], return_counts=True)
    if len(steps) > 400:
        return []
    recurs = (steps > 1) & (n % np.maximum(steps, 1) == 0) & (3 * seen >= rows)
    frequent = steps[recurs][np.argsort(-seen[recurs], kind="stable")][:6]
    strides = sorted(int(step) for step in frequent)
    chains = concatenated(combinations(strides, 1), combinations(strides, 2), combinations(strides, 3))
    nested = [c for c in chains if all(b % a == 0 for a, b in zip(c, c[1:], strict=False))]
    return [(1, *c) for c in nested[:24]]


# --- the greedy pass and its orders ---------------------------------------------------------------


class Greedy:
    """The greedy pass: each column in turn gets the lowest colour that no conflicting column has.

    A row carries two sets of colours, as bits of one Python integer each: those of all its seeded columns,
    and those of its wanted ones. A column may not take a colour of the first where it is wanted, nor of the
    second where it is not. So a pass visits every entry twice, and conflicts are never listed.
    """

    def __init__(self, problem: Problem):
        m = len(problem.lengths)
        wanted = np.ones(len(problem.indices), bool) if problem.wanted is None else problem.wanted
        by_column = csr_array((wanted, problem.indices, problem.indptr), shape=(m, problem.n)).tocsc()
        rows, starts = by_column.indices, by_column.indptr
        if problem.wanted is None:
            self.slots = m
            self.reads = self.writes = _slices(rows, starts)
        else:
            wanted = by_column.data
            self.slots = 2 * m
            self.reads = _slices(np.where(wanted, rows, rows + m), starts)
            twice = np.repeat(np.arange(len(rows)), 1 + wanted)
            again = np.concatenate([[False], twice[1:] == twice[:-1]])
            ends = np.concatenate([[0], np.cumsum(1 + wanted)])
            self.writes = _slices(rows[twice] + m * again, ends[starts])
        self.visits = 2 * len(rows)

    def __call__(self, order: Iterable[int], too_many: int) -> np.ndarray | None:
        """Colours (n,) of a pass in this order, or None as soon as it needs `too_many` colours."""
        reads, writes = self.reads, self.writes
        masks = [0] * self.slots
        colours = [-1] * len(reads)
        for j in order:
            taken = 0
            for slot in reads[j]:
                taken |= masks[slot]
            bit = ~taken & (taken + 1)
            for slot in writes[j]:
                masks[slot] |= bit
            colours[j] = c = bit.bit_length() - 1
            if c >= too_many:
                return None
        return np.array(colours)


def _slices(values: np.ndarray, starts: np.ndarray) -> list[list[int]]:
    flat, ends = values.tolist(), starts.tolist()
    return [flat[a:b] for a, b in zip(ends, ends[1:], strict=False)]


def _orders(
    problem: Problem, graph: csr_array | None, visits: float, one_pass: int
) -> Iterator[tuple[str, np.ndarray]]:
    """The orders that `visits` can pay for, cheapest first; the first one at most doubles the time so far."""
    if visits:
        yield "largest first", np.argsort(-degrees(problem, graph), kind="stable")
    if graph is None:
        return
    # A step of the two dynamic orders costs a dozen numpy calls, a scan over n, and the neighbours.
    dynamic = 80 * problem.n + problem.n**2 // 300 + graph.nnz // 10
    if dynamic + one_pass <= visits:
        yield "smallest last", smallest_last(graph)
        yield "dsatur", dsatur(graph)


def degrees(problem: Problem, graph: csr_array | None) -> np.ndarray:
    """How many columns each column conflicts with; counted once per shared row where there is no graph."""
    if graph is not None:
        return np.diff(graph.indptr)
    return np.bincount(problem.indices, weights=problem.lengths[problem.rows] - 1, minlength=problem.n)


def smallest_last(graph: csr_array) -> np.ndarray:
    """Take away the vertex with the fewest neighbours left, again and again; colour in the reverse order."""
    n = graph.shape[0]
    degree = np.diff(graph.indptr).astype(np.int64)
    order = np.empty(n, np.int64)
    for place in range(n - 1, -1, -1):
        v = int(degree.argmin())
        order[place] = v
        degree[graph.indices[graph.indptr[v] : graph.indptr[v + 1]]] -= 1
        degree[v] = 2**62
    return order


def dsatur(graph: csr_array) -> np.ndarray:
    """Next comes the column whose neighbours already have the most different colours, ties by degree."""
    n = graph.shape[0]
    degree = np.diff(graph.indptr)
    saturated = int(degree.max()) + 1
    priority = degree.astype(np.int64)
    seen = np.zeros((n, 64), bool)
    order = np.empty(n, np.int64)
    for place in range(n):
        v = int(priority.argmax())
        order[place] = v
        c = int(seen[v].argmin())
        if seen[v, c]:
            c = seen.shape[1]
            seen = np.concatenate([seen, np.zeros_like(seen)], axis=1)
        neighbours = graph.indices[graph.indptr[v] : graph.indptr[v + 1]]
        fresh = neighbours[~seen[neighbours, c]]
        seen[fresh, c] = True
        priority[fresh] += saturated
        priority[v] = -(2**62)
    return order


def iterate(greedy: Greedy, best: Best, rounds: int) -> None:
    """Greedy again, whole colour classes at a time in another order: never more colours, sometimes fewer."""
    rng = np.random.default_rng(0)
    colours, start = best.colours, best.order
    improved = 0
    for turn in range(rounds):
        sizes = np.bincount(colours)
        match turn % 4:
            case 0 | 2:
                place = np.arange(len(sizes))[::-1]
            case 1:
                place = np.argsort(np.argsort(-sizes, kind="stable"))
            case _:
                place = rng.permutation(len(sizes))
        again = greedy(np.argsort(place[colours], kind="stable").tolist(), len(sizes))
        assert again is not None
        colours, before = again, best.count
        best.offer(f"iterated greedy from {start}", colours)
        improved = turn if best.count < before else improved
        if best.proven() or turn - improved > rounds / 3:
            return


# --- what conflicts with what ---------------------------------------------------------------------


def conflict_graph(problem: Problem, products: float) -> csr_array | None:
    """Which columns may not share a colour (n×n, each with itself too), or None where that is too much."""
    if problem.conflicts() > products:
        return None
    shape = (len(problem.lengths), problem.n)
    pattern = csr_array((np.ones(len(problem.indices), bool), problem.indices, problem.indptr), shape=shape)
    if problem.wanted is None:
        return (pattern.T.tocsr() @ pattern).tocsr()
    wanted = csr_array((problem.wanted.copy(), problem.indices.copy(), problem.indptr.copy()), shape=shape)
    wanted.eliminate_zeros()
    graph = wanted.T.tocsr() @ pattern
    return (graph + graph.T).tocsr()


def clique(graph: csr_array) -> int:
    """The size of a set of columns that all conflict, found greedily: no colouring can have fewer colours."""
    degree = np.diff(graph.indptr)
    largest = 0
    for start in np.argsort(-degree, kind="stable")[:16].tolist():
        near = np.zeros(graph.shape[0], bool)
        candidates = np.array([start])
        size = 0
        while len(candidates):
            v = candidates[0]
            neighbours = graph.indices[graph.indptr[v] : graph.indptr[v + 1]]
            if size == 0:
                candidates = neighbours[np.argsort(-degree[neighbours], kind="stable")]
            near[neighbours] = True
            candidates = candidates[near[candidates] & (candidates != v)]
            near[neighbours] = False
            size += 1
        largest = max(largest, size)
    return largest


def all_conflict(problem: Problem) -> bool:
    """True only if all columns conflict with each other; looked at where rows are long enough.

    Such a pattern has one colour per column, and the greedy pass would be at its slowest to find that out.
    """
    n = problem.n
    if n > 4096 or problem.conflicts() < n * n / 2:
        return False
    if problem.wanted is not None:
        graph = conflict_graph(problem, GRAPH_PRODUCTS)
        return graph is not None and graph.nnz == n * n
    together = np.eye(n, dtype=bool)
    apart = n * n - n
    for rows in np.array_split(np.argsort(-problem.lengths, kind="stable"), -(-len(problem.lengths) // 256)):
        some = problem.pick_rows(rows)
        pattern = np.zeros((len(rows), n), np.float32)
        pattern[some.rows, some.indices] = 1
        together |= pattern.T @ pattern > 0
        before, apart = apart, int(n * n - np.count_nonzero(together))
        if not apart or apart > before / 4:
            break
    return not apart


def distinct_rows(problem: Problem) -> Problem:
    """The problem without repeated rows, which add nothing: a dense block is one row seen many times."""
    rng = np.random.default_rng(0)
    hashes = rng.integers(2**63, size=(2, problem.n), dtype=np.uint64)
    flags = np.ones(len(problem.indices), bool) if problem.wanted is None else problem.wanted
    filled = np.flatnonzero(problem.lengths)
    summed = np.add.reduceat(hashes[flags.astype(np.int8), problem.indices], problem.indptr[:-1][filled])
    _, first, inverse = np.unique(summed, return_index=True, return_inverse=True)
    if len(first) > 0.7 * len(problem.lengths):
        return problem
    kept = problem.pick_rows(filled[first])
    # Equal sums are not yet equal rows.
    seen, again = problem.pick_rows(filled), kept.pick_rows(inverse)
    same = np.array_equal(seen.indptr, again.indptr) and np.array_equal(seen.indices, again.indices)
    if same and seen.wanted is not None and again.wanted is not None:
        same = np.array_equal(seen.wanted, again.wanted)
    return kept if same else problem
