"""The smallest singular values of a large matrix, by Lanczos iterations with its inverse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse import linalg as sparse_linalg

from .._errors import ConvergenceError
from .factors import ExactlySingular
from .matrix import Matrix
from .solve import Solver

# An inverse is regularised by this share of ‖J‖: about √eps, so that its square is seen beside JᴴJ.
REGULARISED = 1e-7


class SmallEnd:
    """Products with (JᴴJ)⁻¹, or (JJᴴ)⁻¹ where that is smaller, by sparse factors of J or of the normal equations.

    `exact` is False where the normal equations had to be regularised: values below REGULARISED·‖J‖ are then found by
    what J does to the vectors, not from the inverse.
    """

    def __init__(self, matrix: Matrix, solver: Solver | None):
        self.matrix = matrix
        m, n = matrix.shape
        self.tall, self.size, self.exact = m >= n, min(m, n), solver is not None
        self._apply = self._by_gram() if solver is None else self._by_solver(solver)

    @staticmethod
    def _by_solver(solver: Solver) -> Callable[[np.ndarray], np.ndarray]:
        return lambda v: solver.raw(solver.raw(v, True))

    def _by_gram(self) -> Callable[[np.ndarray], np.ndarray]:
        lu, _ = gram_factors(self.matrix, REGULARISED * self.matrix.norm("fro"))
        dtype = self.matrix.data.dtype
        return lambda v: lu.solve(np.asfortranarray(v, dtype))

    def image(self, v: np.ndarray) -> np.ndarray:
        """J v, or Jᴴ v on the other side."""
        return self.matrix @ v if self.tall else self.matrix.adjoint(v)

    def least(self, name: str) -> float:
        """The smallest singular value."""
        start = np.random.default_rng(0).standard_normal(self.size).astype(self.matrix.data.dtype)
        operator = sparse_linalg.LinearOperator(
            (self.size, self.size),
            matvec=lambda v: self._apply(v.reshape(-1, 1))[:, 0],
            matmat=self._apply,
            dtype=self.matrix.data.dtype,
        )
        try:
            vectors = sparse_linalg.eigsh(operator, k=1 if self.exact else 4, which="LM", v0=start)[1]
        except sparse_linalg.ArpackNoConvergence as error:
            raise ConvergenceError(
                f"{name}: the smallest singular value was not found: many lie close to it; give more memory= for a "
                "dense SVD"
            ) from error
        return float(np.linalg.svd(self.image(vectors), compute_uv=False)[-1])

    def count_below(self, tolerance: float) -> int:
        """How many singular values are at most `tolerance`, by inverse iteration on a block of vectors."""
        rng, count = np.random.default_rng(0), 8
        while True:
            count = min(count, self.size)
            vectors = rng.standard_normal((self.size, count)).astype(self.matrix.data.dtype)
            for _ in range(4):
                vectors = np.linalg.qr(self._apply(vectors))[0]
            below = int((np.linalg.svd(self.image(vectors), compute_uv=False) <= tolerance).sum())
            if below < count or count == self.size:
                return below
            count *= 4


def small_end(matrix: Matrix, route: str, eps: float) -> SmallEnd:
    """By the factors of J where it is square and has some, else by those of the normal equations."""
    if matrix.shape[0] == matrix.shape[1]:
        try:
            return SmallEnd(matrix, Solver("", matrix, route, eps))
        except ArithmeticError:
            pass
    return SmallEnd(matrix, None)


def gram_factors(matrix: Matrix, shift: float) -> tuple[Any, Any]:
    """Sparse factors of G = JᴴJ + shift² I (JJᴴ for a wide J), and G; it is definite: no row exchanges are needed."""
    csr = matrix.csr
    gram = csr.conj().T @ csr if matrix.shape[0] >= matrix.shape[1] else csr @ csr.conj().T
    gram = (gram + shift**2 * sparse.eye_array(gram.shape[0], dtype=gram.dtype)).tocsc()
    try:
        options = {"SymmetricMode": True}
        return sparse_linalg.splu(gram, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options), gram
    except RuntimeError as error:
        raise ExactlySingular("a pivot of its normal equations is zero") from error
