"""Factorisations of a square J on the host, one class per structure; each solves with J and with Jᴴ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from scipy.linalg import get_lapack_funcs
from scipy.sparse import linalg as sparse_linalg

from .matrix import Matrix

# A triangle with more of its entries than this is solved as a dense array.
DENSE_TRIANGLE = 0.1
# Diagonal pivots are kept while they are at least this share of the largest entry in their column.
PIVOT = 0.1


class ExactlySingular(ArithmeticError):
    """A pivot is exactly zero; the text says where."""


class Factor(Protocol):
    """J, factorised."""

    def solve(self, b: np.ndarray, adjoint: bool = False) -> np.ndarray:
        """J⁻¹ b, or J⁻ᴴ b; b is (n, k)."""


class Diagonal:
    """One entry in each row and column, in any order."""

    def __init__(self, matrix: Matrix):
        form = matrix.form
        self.rows, self.columns, self.entries = form.rows, form.columns, matrix.data[:, None]
        _check_pivots(matrix.data, form.rows, form.columns)

    def solve(self, b: np.ndarray, adjoint: bool = False) -> np.ndarray:
        x = np.empty(b.shape, np.result_type(b, self.entries))
        if adjoint:
            x[self.rows] = b[self.columns] / self.entries.conj()
        else:
            x[self.columns] = b[self.rows] / self.entries
        return x


class _Permuted:
    """J[row_order][:, column_order] has the form that is factorised."""

    rows: np.ndarray
    columns: np.ndarray

    def solve(self, b: np.ndarray, adjoint: bool = False) -> np.ndarray:
        inner, outer = (self.columns, self.rows) if adjoint else (self.rows, self.columns)
        solved = self.inside(np.asfortranarray(b[inner]), adjoint)
        x = np.empty(solved.shape, solved.dtype)
        x[outer] = solved
        return x

    def inside(self, b: np.ndarray, adjoint: bool) -> np.ndarray:
        raise NotImplementedError


class Triangular(_Permuted):
    """Substitution: by LAPACK where the triangle is well filled, by SuperLU where it is sparse."""

    def __init__(self, matrix: Matrix):
        form = matrix.form
        self.rows, self.columns = form.orders
        self.lower = form.triangle == "lower"
        triangle: Any = matrix.csr[self.rows][:, self.columns]
        _check_pivots(triangle.diagonal(), self.rows, self.columns)
        n = form.shape[0]
        self.dense = form.nnz > DENSE_TRIANGLE * n * n
        self.triangle: Any = np.asfortranarray(triangle.toarray()) if self.dense else triangle.tocsc()

    def inside(self, b: np.ndarray, adjoint: bool) -> np.ndarray:
        if self.dense:
            (trtrs,) = get_lapack_funcs(("trtrs",), (self.triangle, b))
            return trtrs(self.triangle, b, lower=self.lower, trans=2 if adjoint else 0)[0]
        if adjoint:
            flipped = self.triangle.conj().T.tocsc()
            return sparse_linalg.spsolve_triangular(flipped, b, lower=not self.lower)
        return sparse_linalg.spsolve_triangular(self.triangle, b, lower=self.lower)


class Banded(_Permuted):
    """LAPACK's LU with row exchanges in band storage."""

    def __init__(self, matrix: Matrix):
        lower, upper, self.rows, self.columns = matrix.form.band
        form, n = matrix.form, matrix.shape[0]
        place = np.argsort(self.rows), np.argsort(self.columns)
        i, j = place[0][form.rows], place[1][form.columns]
        band = np.zeros((2 * lower + upper + 1, n), matrix.data.dtype, order="F")
        band[lower + upper + i - j, j] = matrix.data
        factorise, self._substitute = get_lapack_funcs(("gbtrf", "gbtrs"), (band,))
        self.lower, self.upper = lower, upper
        self.lu, self.pivots, info = factorise(band, lower, upper, overwrite_ab=True)
        _check_info(info)

    def inside(self, b: np.ndarray, adjoint: bool) -> np.ndarray:
        b = b.astype(np.result_type(b, self.lu), copy=False)
        return self._substitute(self.lu, self.lower, self.upper, b, self.pivots, trans=2 if adjoint else 0)[0]


class Blocks:
    """Independent blocks, those of one size in one batch."""

    def __init__(self, matrix: Matrix):
        self.parts = [(group, matrix.blocks(group)) for group in matrix.form.groups]
        for group, blocks in self.parts:
            sizes = np.linalg.slogdet(blocks)[0]
            if not sizes.all():
                first = int(np.flatnonzero(sizes == 0)[0])
                raise ExactlySingular(
                    f"the block of outputs {few(group.rows[first])} by inputs {few(group.columns[first])} is singular"
                )

    def solve(self, b: np.ndarray, adjoint: bool = False) -> np.ndarray:
        x = np.empty(b.shape, np.result_type(b, *(blocks for _, blocks in self.parts)))
        for group, blocks in self.parts:
            if adjoint:
                x[group.rows] = np.linalg.solve(blocks.conj().swapaxes(1, 2), b[group.columns])
            else:
                x[group.columns] = np.linalg.solve(blocks, b[group.rows])
        return x


class SparseLU:
    """SuperLU."""

    def __init__(self, matrix: Matrix):
        self.lu, self.dtype = sparse_lu(matrix.csr), matrix.data.dtype

    def solve(self, b: np.ndarray, adjoint: bool = False) -> np.ndarray:
        return self.lu.solve(np.asfortranarray(b, self.dtype), "H" if adjoint else "N")


class DenseLU:
    """LAPACK's LU with row exchanges."""

    def __init__(self, matrix: Matrix):
        factorise, self._substitute = get_lapack_funcs(("getrf", "getrs"), (matrix.dense,))
        self.lu, self.pivots, info = factorise(matrix.dense)
        _check_info(info)

    def solve(self, b: np.ndarray, adjoint: bool = False) -> np.ndarray:
        b = b.astype(np.result_type(b, self.lu), copy=False)
        return self._substitute(self.lu, self.pivots, b, trans=2 if adjoint else 0)[0]


FACTORS: dict[str, Callable[[Matrix], Factor]] = {
    "division by the diagonal": Diagonal,
    "triangular substitution": Triangular,
    "banded LU": Banded,
    "LU of the blocks": Blocks,
    "sparse LU": SparseLU,
    "dense LU": DenseLU,
}


def sparse_lu(csr: Any) -> Any:
    """The factors by SuperLU; ExactlySingular where a pivot is zero.

    Minimum degree on J + Jᵀ gives the sparser factors, but only where the diagonal can stay the pivots: with row
    exchanges they would fill. The column ordering bounds the fill whatever is exchanged.
    """
    csc = csr.tocsc()
    diagonal, largest = np.abs(csc.diagonal()), abs(csc).max(axis=0).toarray().ravel()
    options: dict[str, Any] = {"permc_spec": "COLAMD"}
    if (diagonal >= PIVOT * largest).all() and largest.all():
        options = {"permc_spec": "MMD_AT_PLUS_A", "diag_pivot_thresh": PIVOT}
    try:
        return sparse_linalg.splu(csc, **options)
    except RuntimeError as error:
        raise ExactlySingular("a pivot of its sparse LU is zero") from error


def few(indices: np.ndarray) -> str:
    """ "3, 4, 5, ... (12 in all)": the first of some indices."""
    shown = ", ".join(str(int(k)) for k in indices[:4])
    return shown if indices.size <= 4 else f"{shown}, ... ({indices.size} in all)"


def _check_pivots(pivots: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> None:
    zero = np.flatnonzero(pivots == 0)
    if zero.size:
        k = zero[0]
        many = f" (and {zero.size - 1} more)" if zero.size > 1 else ""
        raise ExactlySingular(f"the derivative of output {rows[k]} by input {columns[k]} is zero{many}")


def _check_info(info: int) -> None:
    if info > 0:
        raise ExactlySingular(f"pivot {info - 1} of its LU is zero")
