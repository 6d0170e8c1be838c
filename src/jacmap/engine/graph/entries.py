"""A sparsity pattern's entries, counted in the ways that several forms ask for."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse

from .matching import maximum_matching

# Beyond these a matching (a maximum flow) takes more than a few seconds.
_MATCHING_LIMIT = 5_000_000  # nonzeros
_MATCHING_LINES = 500_000  # rows and columns


class Entries:
    """A canonical pattern with the views of it that several forms share."""

    def __init__(self, csr: Any) -> None:
        self.csr = csr
        self.m, self.n = csr.shape
        self.nnz = int(csr.nnz)

    @cached_property
    def rows(self) -> np.ndarray:
        return np.repeat(np.arange(self.m, dtype=self.csr.indices.dtype), self.row_counts)

    @property
    def columns(self) -> np.ndarray:
        return self.csr.indices

    @cached_property
    def row_counts(self) -> np.ndarray:
        return np.diff(self.csr.indptr)

    @cached_property
    def column_counts(self) -> np.ndarray:
        return np.bincount(self.columns, minlength=self.n)

    @cached_property
    def occupied(self) -> int:
        """The size of the matrix without its empty rows and columns."""
        return int(np.count_nonzero(self.row_counts)) * int(np.count_nonzero(self.column_counts))

    @cached_property
    def diagonal_counts(self) -> np.ndarray:
        """The number of entries on each diagonal; index d holds column - row = d - (m - 1)."""
        return np.bincount(self.columns - self.rows + (self.m - 1), minlength=self.m + self.n - 1)

    @cached_property
    def offsets(self) -> np.ndarray:
        """The diagonals that hold entries, as sorted values of column - row."""
        return np.flatnonzero(self.diagonal_counts) - (self.m - 1)

    @property
    def bandwidths(self) -> tuple[int, int]:
        return max(0, -int(self.offsets[0])), max(0, int(self.offsets[-1]))

    @cached_property
    def matching(self) -> np.ndarray | None:
        """A maximum matching (m,), or None where finding it would take too long."""
        if self.m == self.n and self.diagonal_counts[self.m - 1] == self.n:
            return np.arange(self.n)
        if self.nnz > _MATCHING_LIMIT or self.m + self.n > _MATCHING_LINES:
            return None
        return maximum_matching(self.csr)

    @cached_property
    def structural_rank(self) -> int | None:
        if self.nnz == 0:
            return 0
        if self.diagonal_counts.max() == min(self.m, self.n):
            return min(self.m, self.n)
        return None if self.matching is None else int(np.count_nonzero(self.matching >= 0))


def canonical(pattern: Any) -> Any:
    """A boolean CSR array with sorted, unique, true entries; the caller's own arrays are never changed."""
    if not sparse.issparse(pattern):
        raise TypeError(
            f"pattern: got {type(pattern).__name__}, expected a SciPy sparse matrix or array; "
            "convert a dense one with scipy.sparse.csr_array(pattern)"
        )
    if pattern.ndim != 2:
        raise ValueError(f"pattern: got {pattern.ndim} dimension(s), expected 2 (m×n); reshape it to outputs × inputs")
    csr = sparse.csr_array(pattern).astype(bool, copy=False)
    if not csr.has_canonical_format or not csr.data.all():
        csr = csr.copy()
        csr.sum_duplicates()
        csr.eliminate_zeros()
    return csr
