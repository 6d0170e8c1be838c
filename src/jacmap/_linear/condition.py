"""Is a solution worth anything? Condition estimates, backward errors, and what is said about them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.sparse import linalg as sparse_linalg

from .._errors import IllConditionedWarning, SingularError
from .matrix import Matrix
from .structural import ADVICE

Solve = Callable[..., np.ndarray]  # (b, adjoint=False) -> J⁻¹ b or J⁻ᴴ b

# The share of 1/eps from which on no digit of a solution can be trusted. The estimate is a lower bound, rarely more
# than a factor of 3 below the truth (Higham and Tisseur 2000).
HOPELESS = 0.1


def inverse_norm(solve: Solve, n: int, left: Any = 1.0, right: Any = 1.0, dtype: Any = float) -> float:
    """An estimate of ‖diag(left) J⁻¹ diag(right)‖₁ from below.

    Hager's estimate (1984) in Higham's form, and the alternating vector with which LAPACK guards it (xLACN2).
    """
    left, right = np.broadcast_to(left, n)[:, None], np.broadcast_to(right, n)[:, None]

    def apply(v: np.ndarray) -> np.ndarray:
        return left * solve(right * v.reshape(n, -1))

    def adjoint(u: np.ndarray) -> np.ndarray:
        return right * solve(left * u.reshape(n, -1), adjoint=True)

    if n <= 4:
        return float(np.abs(apply(np.eye(n))).sum(0).max())
    operator = sparse_linalg.LinearOperator(
        (n, n), matvec=apply, rmatvec=adjoint, matmat=apply, rmatmat=adjoint, dtype=dtype
    )
    alternating = (1.0 + np.arange(n) / (n - 1)) * np.where(np.arange(n) % 2, -1.0, 1.0)
    guard = 2.0 * float(np.abs(apply(alternating)).sum()) / (3.0 * n)
    # With one column the estimate draws no random numbers, so that equal questions get equal answers.
    return max(float(sparse_linalg.onenormest(operator, t=1)), guard)


def estimate(matrix: Matrix, solve: Solve) -> float:
    """κ₁(J) = ‖J‖₁ ‖J⁻¹‖₁, estimated from below."""
    with np.errstate(over="ignore", invalid="ignore"):
        size = inverse_norm(solve, matrix.shape[0], dtype=matrix.data.dtype)
    return float(matrix.norm(1) * size) if np.isfinite(size) else np.inf


def scaled_estimate(matrix: Matrix, solve: Solve) -> float:
    """κ₁ of J with rows, then columns, scaled to a largest entry of 1: what bad units alone cannot make large."""
    rows, columns, norm = matrix.equilibrated()
    with np.errstate(over="ignore", invalid="ignore"):
        size = inverse_norm(solve, matrix.shape[0], columns, rows, matrix.data.dtype)
    return norm * size if np.isfinite(size) else np.inf


def judge(name: str, condition: float, scaled: Callable[[], float], eps: float, stacklevel: int) -> None:
    """Raise SingularError where no digit of a solution can be trusted, warn where half of them may be lost."""
    if condition < eps**-0.5:
        return
    rest = scaled()
    if not rest < HOPELESS / eps:
        raise SingularError(
            f"{name}: the Jacobian is numerically singular here: its condition number is about {condition:.1e}, so no "
            f"digit of the solution could be trusted (eps is {eps:.1e}); {ADVICE}"
        )
    warn(name, condition, eps, stacklevel + 1, scaled=rest)


def warn(name: str, condition: float, eps: float, stacklevel: int, scaled: float | None = None) -> None:
    """IllConditionedWarning where half of the digits of a solution may be lost; `scaled`: κ without the units."""
    if condition < eps**-0.5:
        return
    scaled = condition if scaled is None else scaled
    digits = max(0.0, -np.log10(eps * scaled))
    meaning = f"about {digits:.0f} of {-np.log10(eps):.0f} digits of the solution can be trusted"
    if scaled < eps**-0.5:
        meaning = (
            f"but only {scaled:.1e} once rows and columns are scaled: the solution is accurate for this b, while "
            "changes of b are amplified"
        )
    warnings.warn(
        f"{name}: the Jacobian is ill-conditioned here: its condition number is about {condition:.1e}, {meaning}",
        IllConditionedWarning,
        stacklevel=stacklevel + 1,
    )
