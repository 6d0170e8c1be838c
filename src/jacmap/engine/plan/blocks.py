"""The block triangular form of a square pattern: rows and columns reordered so that the determinant is a product.

A perfect matching of rows to columns and the strongly connected components of what it leaves (Duff and Reid 1978) give
the finest such form; with a single row and column in each block the matrix is triangular in some order.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse import csr_array, csr_matrix
from scipy.sparse.csgraph import connected_components

from ..graph.matching import maximum_matching


@dataclass(frozen=True, eq=False)
class Blocks:
    """`rows`, `columns`: the order block by block; `sizes`: of the blocks; `sign`: of the two orders together."""

    rows: np.ndarray
    columns: np.ndarray
    sizes: np.ndarray
    sign: int

    @cached_property
    def starts(self) -> np.ndarray:
        return np.concatenate([[0], np.cumsum(self.sizes)])

    def of_size(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns, each (count, size), of the blocks of one size."""
        at = self.starts[:-1][self.sizes == size][:, None] + np.arange(size)
        return self.rows[at], self.columns[at]

    def by_size(self) -> dict[int, int]:
        """How many blocks there are of each size."""
        sizes, counts = np.unique(self.sizes, return_counts=True)
        return dict(zip(sizes.tolist(), counts.tolist(), strict=True))

    def ascending(self) -> Blocks:
        """The same blocks with rows and columns in ascending order in each, so that equal blocks look alike."""
        label = np.repeat(np.arange(self.sizes.size), self.sizes)
        rows, columns = (index[np.lexsort((index, label))] for index in (self.rows, self.columns))
        match = np.empty(rows.size, int)
        match[rows] = columns
        return Blocks(rows, columns, self.sizes, parity(match))

    def wanted(self, pattern: csr_array) -> csr_array:
        """The entries of the pattern that lie in the blocks."""
        label = np.repeat(np.arange(self.sizes.size), self.sizes)
        of_row, of_column = np.empty(label.size, int), np.empty(label.size, int)
        of_row[self.rows], of_column[self.columns] = label, label
        row = np.repeat(np.arange(pattern.shape[0]), np.diff(pattern.indptr))
        keep = of_row[row] == of_column[pattern.indices]
        pointers = np.concatenate([[0], np.cumsum(np.bincount(row[keep], minlength=pattern.shape[0]))])
        return csr_array((np.ones(keep.sum(), bool), pattern.indices[keep], pointers), shape=pattern.shape)


def block_triangular(pattern: csr_array) -> Blocks | None:
    """The finest block triangular form; None when no perfect matching exists: the determinant is zero at any point."""
    n = pattern.shape[0]
    lone = np.arange(n)
    if pattern.nnz == n and (np.diff(pattern.indptr) == 1).all():
        match = pattern.indices.astype(int)
        if np.bincount(match, minlength=n).max(initial=0) > 1:
            return None
        return Blocks(lone, match, np.ones(n, int), parity(match))
    match = maximum_matching(pattern)
    if (match < 0).any():
        return None
    # Column match[i] becomes vertex i: the matched entries are the diagonal, components of the rest the blocks.
    owner = np.empty(n, int)
    owner[match] = lone
    square = csr_matrix((pattern.data, owner[pattern.indices], pattern.indptr), shape=(n, n))
    count, label = connected_components(square, directed=True, connection="strong")
    rows = np.argsort(label, kind="stable")
    # Reordering rows and columns alike changes no sign; only the matching does.
    return Blocks(rows, match[rows], np.bincount(label, minlength=count), parity(match))


def order_of(csr: csr_array) -> str:
    """In which order a matrix with blocks of size 1 is triangular; empty where it is diagonal but for the order."""
    rows = np.repeat(np.arange(csr.shape[0]), np.diff(csr.indptr))
    return "" if csr.nnz == csr.shape[0] else "in order" if (csr.indices <= rows).all() else "after permutation"


def parity(permutation: np.ndarray) -> int:
    """The sign of a permutation."""
    n = permutation.size
    if n == 0 or (permutation == np.arange(n)).all():
        return 1
    cycles, _ = connected_components(
        csr_matrix((np.ones(n, bool), (np.arange(n), permutation)), shape=(n, n)), directed=False
    )
    return -1 if (n - cycles) % 2 else 1
