"""How columns get their colours: lattices, the greedy pass and its orders, one after the other until a bound is met.

Work is counted in entries visited, never in seconds, so that the same pattern always gets the same colours.

Sources: Curtis, Powell, Reid (1974), the idea of compressing by columns; Gebremedhin, Manne, Pothen (2005),
"What color is your Jacobian?", partial colourings and orders; Goldfarb, Toint (1984), stencils as lattices;
Matula, Beck (1983), smallest last; Brelaz (1979), DSATUR; Culberson (1992), iterated greedy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from .lattices import lattice
from .problem import GRAPH_PRODUCTS, Problem, all_conflict, clique, conflict_graph, distinct_rows

# A greedy pass over this many entries takes milliseconds: below it, try the greedy orders before lattices.
SMALL = 100_000
# Entry visits that effort=1 may spend on improving a first colouring (about half a second of Python).
VISITS = 3_000_000


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
