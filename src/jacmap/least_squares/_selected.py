"""Entries of the inverse of a sparse positive definite matrix from its LDLᵀ factors, without the inverse."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csc_array, csr_array
from scipy.sparse.linalg import splu

CHUNK = 2**26  # bytes of columns solved for at once


class Cholesky:
    """SuperLU in symmetric mode, without pivoting; LinAlgError where H is not positive definite."""

    def __init__(self, H: csr_array):
        options = {"SymmetricMode": True}
        try:
            self.lu = splu(csc_array(H), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)
        except RuntimeError as error:  # exactly singular
            raise np.linalg.LinAlgError(str(error)) from None
        self.pivots = self.lu.U.diagonal()
        symmetric = np.array_equal(self.lu.perm_r, self.lu.perm_c)
        if not symmetric or not self.pivots.min() > 0:
            raise np.linalg.LinAlgError("not positive definite")

    def solve(self, b: np.ndarray) -> np.ndarray:
        return self.lu.solve(b)

    def block(self, chosen: np.ndarray) -> np.ndarray:
        """(k, k): columns solved for, a chunk at a time."""
        n = len(self.pivots)
        found, step = np.empty((len(chosen),) * 2), max(1, CHUNK // (8 * n))
        for k in range(0, len(chosen), step):
            some = chosen[k : k + step]
            units = np.zeros((n, len(some)))
            units[some, np.arange(len(some))] = 1
            found[:, k : k + step] = self.lu.solve(units)[chosen]
        return found

    def diagonal(self) -> np.ndarray:
        """(n,): the inverse on L's pattern alone, from the last column to the first.

        Takahashi, Fagan, Chen (1973, "Formation of a sparse bus impedance matrix"): with H = L D Lᵀ the inverse Z has
        Z[s, j] = −Z[s, s] L[s, j] and Z[j, j] = 1/d_j − L[s, j]ᵀ Z[s, j], s the rows below j in which L is nonzero;
        fill puts Z[s, s] on L's pattern. An entry that exact cancellation took from the pattern sends all to `block`.
        """
        L = csc_array(self.lu.L)
        L.sort_indices()
        n, indptr, indices = L.shape[0], L.indptr.astype(np.int64), L.indices.astype(np.int64)
        keys = np.repeat(np.arange(n), np.diff(indptr)) * n + indices
        Z = np.zeros(len(keys))
        rows, known = np.zeros(0, np.int64), np.zeros((0, 0))  # Z[rows, rows], from the column before
        for j in range(n - 1, -1, -1):
            begin, end = indptr[j], indptr[j + 1]  # the diagonal comes first
            s, column = indices[begin + 1 : end], L.data[begin + 1 : end]
            here = np.searchsorted(rows, s)
            if s.size <= rows.size and (rows[np.minimum(here, rows.size - 1)] == s).all():
                inner = known[here[:, None], here]
            else:
                low = np.minimum.outer(s, s) * n + np.maximum.outer(s, s)
                at = np.searchsorted(keys, low)
                if not np.array_equal(keys[at], low):
                    return self._by_columns()
                inner = Z[at]
            below = -(inner @ column)
            Z[begin + 1 : end] = below
            Z[begin] = 1 / self.pivots[j] - column @ below
            rows, known = indices[begin:end], np.empty((end - begin,) * 2)
            known[0, 0], known[0, 1:], known[1:, 0], known[1:, 1:] = Z[begin], below, below, inner
        place = self.lu.perm_c
        return Z[indptr[:-1]][place]

    def _by_columns(self) -> np.ndarray:
        n = len(self.pivots)
        found, step = np.empty(n), max(1, CHUNK // (8 * n))
        for k in range(0, n, step):
            some = np.arange(k, min(k + step, n))
            units = np.zeros((n, len(some)))
            units[some, some - k] = 1
            found[some] = self.lu.solve(units)[some, some - k]
        return found
