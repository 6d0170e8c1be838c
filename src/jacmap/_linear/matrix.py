"""J's numbers at a point, on the host and in double precision: entries, dense array, blocks, norms, products."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse

from .._lanczos import Products
from .form import Form, Group


class Matrix:
    """J at a concrete point. `data` is (nnz,), the entries row by row, or (m, n) where the form is full."""

    def __init__(self, form: Form, data: np.ndarray):
        self.form, self.shape = form, form.shape
        self.data = np.asarray(data, np.complex128 if np.iscomplexobj(data) else np.float64)

    @cached_property
    def csr(self) -> Any:
        """J as a SciPy CSR array."""
        assert not self.form.full
        return sparse.csr_array((self.data, self.form.csr.indices, self.form.csr.indptr), shape=self.shape)

    @cached_property
    def stored(self) -> Any:
        """J as it is cheapest to multiply with: CSR, or dense where it is full."""
        return self.data if self.form.full else self.csr

    @cached_property
    def dense(self) -> np.ndarray:
        """J as an array (m, n)."""
        return self.data if self.form.full else self.csr.toarray()

    def blocks(self, group: Group) -> np.ndarray:
        """(count, p, q): the independent blocks of one shape."""
        flat = np.zeros(int(np.prod(group.shape)), self.data.dtype)
        flat[group.at] = self.data[group.entries]
        return flat.reshape(group.shape)

    def __matmul__(self, v: np.ndarray) -> np.ndarray:
        return self.stored @ v

    def adjoint(self, u: np.ndarray) -> np.ndarray:
        """Jᴴ u."""
        return self._adjoint @ u

    @cached_property
    def _adjoint(self) -> Any:
        return self.data.conj().T if self.form.full else self.csr.conj().T.tocsr()

    @property
    def products(self) -> Products:
        """J v and Jᴴ u, for iterations."""
        return Products(self.shape, self.data.dtype, self.__matmul__, self.adjoint)

    # -- norms ---------------------------------------------------------------------------------------------
    def norm(self, order: Any) -> float:
        """The 1-, inf- or Frobenius norm."""
        if order == "fro":
            scale = self.largest
            return scale * float(np.linalg.norm(self.data / scale)) if scale else 0.0
        return float(self.sums(0 if order == 1 else 1).max(initial=0.0))

    @cached_property
    def largest(self) -> float:
        """The largest entry in size."""
        return float(np.abs(self.data).max(initial=0.0))

    def sums(self, axis: int) -> np.ndarray:
        """Σ|J_ij| down the columns (axis 0) or along the rows (axis 1)."""
        if self.form.full:
            return np.abs(self.data).sum(axis)
        lines = self.form.columns if axis == 0 else self.form.rows
        return np.bincount(lines, np.abs(self.data), minlength=self.shape[1 - axis])

    def peaks(self, axis: int) -> np.ndarray:
        """The largest |entry| of each column (axis 0) or row (axis 1)."""
        sizes = np.abs(self.data)
        if self.form.full:
            return sizes.max(axis, initial=0.0)
        peaks = np.zeros(self.shape[1 - axis])
        np.maximum.at(peaks, self.form.columns if axis == 0 else self.form.rows, sizes)
        return peaks

    def with_rows_scaled(self, scale: np.ndarray) -> Matrix:
        """diag(scale) J."""
        return Matrix(self.form, self.data * (scale[:, None] if self.form.full else scale[self.form.rows]))

    def equilibrated(self) -> tuple[np.ndarray, np.ndarray, float]:
        """(r, c, ‖S‖₁) of S = diag(1/r) J diag(1/c): the largest entry of each row, then of each column, becomes 1."""
        rows = self.peaks(1)
        scaled = self.with_rows_scaled(1.0 / rows)
        columns = scaled.peaks(0)
        return rows, columns, float((scaled.sums(0) / columns).max(initial=0.0))
