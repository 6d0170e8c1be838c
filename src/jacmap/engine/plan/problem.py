"""The conflict problem of a colouring: which columns may not share a colour.

Everything here is about the *columns* of one pattern; rows are coloured by handing in the transpose.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse import csr_array

# Largest conflict graph worth building, in products of two entries of one row.
GRAPH_PRODUCTS = 12_000_000


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
