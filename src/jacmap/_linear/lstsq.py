"""min ‖J x − b‖ with the least ‖x‖, on the host: any shape, any rank."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import linalg
from scipy.sparse import linalg as sparse_linalg

from .._errors import ConvergenceError, SingularError
from .._lanczos import Products
from .condition import inverse_norm
from .factors import ExactlySingular
from .matrix import Matrix
from .small_end import gram_factors
from .solve import Solver

# LSMR has arrived when ‖Jᴴ r‖ ≤ TOLERANCE ‖J‖ ‖r‖, or the residual itself is as small as that.
TOLERANCE = 1e-13
# The share of 1/eps up to which a condition number shows full rank beyond doubt, and the normal equations settle.
CERTAIN = 1e-4
STEPS = 20  # iterations of LSMR per singular value; without rounding one would do
REFINEMENTS = 10

Found = tuple[np.ndarray, float]  # x (n, k) and the condition number of what was solved, as far as it is known


def of_dense(matrix: Matrix, b: np.ndarray, cutoff: float) -> Found:
    """LAPACK's xGELSD; singular values up to cutoff·s_max count as zero."""
    x, _, rank, s = linalg.lstsq(matrix.dense, b, cond=cutoff, check_finite=False)
    return x, float(s[0] / s[rank - 1]) if rank else 1.0


def of_blocks(matrix: Matrix, b: np.ndarray, cutoff: float) -> Found:
    """By the SVD of each block; the cut-off is one for all of them, so that the rank is that of J."""
    found = [(group, *np.linalg.svd(matrix.blocks(group), full_matrices=False)) for group in matrix.form.groups]
    values = np.concatenate([np.zeros(0), *(s.ravel() for _, _, s, _ in found)])
    largest = float(values.max(initial=0.0))
    x = np.zeros((matrix.shape[1], b.shape[1]), np.result_type(b, matrix.data))
    for group, u, s, vh in found:
        inverse = np.divide(1.0, s, out=np.zeros_like(s), where=s > cutoff * largest)
        inside = inverse[..., None] * (u.conj().swapaxes(1, 2) @ b[group.rows])
        x[group.columns] = vh.conj().swapaxes(1, 2) @ inside
    kept = values[values > cutoff * largest]
    return x, float(largest / kept.min()) if kept.size else 1.0


def of_sparse(matrix: Matrix, b: np.ndarray, solver: Callable[[], Solver], name: str) -> Found:
    """By sparse factors of J where it is square and regular, else of its normal equations, else by LSMR."""
    if matrix.shape[0] == matrix.shape[1]:
        with contextlib.suppress(SingularError):
            regular = solver()
            if regular.condition < CERTAIN / np.finfo(float).eps:
                return regular.refined(b, adjoint=False)[0], regular.condition
    with np.errstate(over="ignore", invalid="ignore"):
        found = _by_gram(matrix, b)
    return by_lsmr(matrix.products, b, name) if found is None else found


def _by_gram(matrix: Matrix, b: np.ndarray) -> Found | None:
    """The normal equations corrected by the true residual: as accurate as QR while κ(J)² eps is small.

    Björck (1996), section 6.6. None where JᴴJ is too close to a singular matrix for that: it may be one.
    """
    try:
        lu, gram = gram_factors(matrix, 0.0)
    except ExactlySingular:
        return None
    dtype = matrix.data.dtype

    def solve(v: np.ndarray, adjoint: bool = False) -> np.ndarray:
        return lu.solve(np.asfortranarray(v, dtype))

    squared = inverse_norm(solve, gram.shape[0], dtype=dtype) * float(abs(gram).sum(axis=0).max())
    if not squared < CERTAIN / np.finfo(float).eps:
        return None
    tall = matrix.shape[0] >= matrix.shape[1]
    x = np.zeros((matrix.shape[1], b.shape[1]), np.result_type(b, matrix.data))
    for _ in range(REFINEMENTS):
        residual = b - matrix @ x
        step = solve(matrix.adjoint(residual)) if tall else matrix.adjoint(solve(residual))
        x = x + step
        if np.abs(step).max(initial=0.0) <= 4 * np.finfo(float).eps * np.abs(x).max(initial=0.0):
            break
    return x, float(squared**0.5)


def by_lsmr(products: Products, b: np.ndarray, name: str) -> Found:
    """LSMR (Fong and Saunders 2011), column by column; from zero it finds the solution of least norm."""
    operator = products.operator()
    tolerance = max(TOLERANCE, 10 * float(np.finfo(products.dtype).eps))
    steps = STEPS * min(products.shape) + 200
    found = [_lsmr(operator, column, tolerance, steps, name) for column in b.T]
    return np.stack([x for x, _ in found], axis=1), max((condition for _, condition in found), default=1.0)


def _lsmr(operator: Any, b: np.ndarray, tolerance: float, steps: int, name: str) -> tuple[np.ndarray, float]:
    x = np.zeros(operator.shape[1], np.result_type(b, operator.dtype))
    used, left, condition = 0, np.inf, 1.0
    # A second start from the residual makes up for the orthogonality that the recurrence loses.
    for _ in range(3):
        step, reason, count, residual, normal, size, seen, _ = sparse_linalg.lsmr(
            operator, b - operator.matvec(x), atol=tolerance, btol=tolerance, conlim=0, maxiter=steps
        )
        x, used, condition = x + step, used + count, max(condition, float(seen))
        if reason in (0, 1, 2, 4, 5):
            return x, condition
        left = normal / max(size * residual, np.finfo(float).tiny)
    raise ConvergenceError(
        f"{name}: LSMR did not reach a least-squares solution in {used} iterations: ‖Jᴴ r‖ is still {left:.1e} of "
        "‖J‖ ‖r‖; scale the inputs and outputs of f, or give more memory= so that J can be factorised"
    )
