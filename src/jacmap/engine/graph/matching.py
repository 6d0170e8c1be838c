"""Maximum matchings: as many entries as can be in distinct rows and columns."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph


def maximum_matching(pattern: Any) -> np.ndarray:
    """The column matched to each row in a maximum matching, -1 for none: shape (m,).

    `pattern` is a CSR array with sorted, unique, true entries. A greedy start (rarest lines first, after Karp
    and Sipser 1981) is completed by a maximum flow through what it leaves (Dinic 1970, O(nnz √n) here).
    SciPy's own `maximum_bipartite_matching` takes time without useful bound on permuted block triangular
    patterns.
    """
    rows, columns = _rows(pattern), pattern.indices
    match, owner = _greedy_matching(pattern.shape, rows, columns)
    free_rows = np.flatnonzero((match < 0) & (np.diff(pattern.indptr) > 0))
    free_columns = np.flatnonzero(owner < 0)
    if not len(free_rows) or not len(free_columns):
        return match

    # The residual network: unmatched entries lead from a row to a column, matched ones back.
    m, n = pattern.shape
    source, sink = m + n, m + n + 1
    unmatched = match[rows] != columns
    matched_rows = np.flatnonzero(match >= 0)
    tails = [np.full(len(free_rows), source), rows[unmatched], m + match[matched_rows], m + free_columns]
    heads = [free_rows, m + columns[unmatched], matched_rows, np.full(len(free_columns), sink)]
    ends = np.concatenate(tails).astype(np.int32), np.concatenate(heads).astype(np.int32)
    network = sparse.csr_array((np.ones(len(ends[0]), np.int32), ends), shape=(sink + 1, sink + 1))
    flow = csgraph.maximum_flow(network, source, sink).flow.tocoo()
    taken = (flow.data > 0) & (flow.row < m) & (flow.col >= m)
    match[flow.row[taken]] = flow.col[taken] - m
    return match


def _greedy_matching(shape: tuple[int, int], rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    m, n = shape
    match, owner = np.full(m, -1), np.full(n, -1)
    for exact in (True, True, False, False):
        live = (match[rows] < 0) & (owner[columns] < 0)
        rows, columns = rows[live], columns[live]
        if not len(rows):
            break
        # Each row picks its rarest column, then each column the rarest of the rows that picked it. In the
        # later rounds degrees count by powers of two, so that the rows of a nearly full pattern pick
        # different columns.
        starts = np.flatnonzero(np.diff(rows, prepend=-1))
        degree = np.bincount(columns, minlength=n)
        degree = degree if exact else np.frexp(degree)[1].astype(np.int64)
        rarity = degree[columns] * n + (columns - rows) % n
        picking = rows[starts]
        picked = (np.minimum.reduceat(rarity, starts) + picking) % n
        order = np.lexsort((np.bincount(rows, minlength=m)[picking], picked))
        order = order[np.diff(picked[order], prepend=-1) != 0]
        match[picking[order]] = picked[order]
        owner[picked[order]] = picking[order]
    return match, owner


def _rows(csr: Any) -> np.ndarray:
    return np.repeat(np.arange(csr.shape[0], dtype=csr.indices.dtype), np.diff(csr.indptr))
