"""J x = b on the host: a factorisation chosen by structure, checked by its condition and by the residual."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from .._errors import SingularError
from . import condition
from .factors import FACTORS, ExactlySingular
from .matrix import Matrix
from .structural import ADVICE

# A solution is corrected once where its componentwise backward error is above this multiple of eps.
REFINED = 10.0


class Solver:
    """J factorised at a point. Rows are scaled to a largest entry of 1 first: units must not choose the pivots."""

    def __init__(self, name: str, matrix: Matrix, route: str, eps: float):
        self.name, self.matrix, self.eps = name, matrix, eps
        sizes = matrix.peaks(axis=1)
        if not sizes.all():
            raise self._singular(f"all derivatives of output {int(np.flatnonzero(sizes == 0)[0])} are zero")
        self.scale = np.exp2(-np.frexp(sizes)[1].astype(float))[:, None]  # powers of two: no rounding
        try:
            self._factor = FACTORS[route](matrix.with_rows_scaled(self.scale[:, 0]))
        except ExactlySingular as error:
            raise self._singular(str(error)) from error

    def _singular(self, why: str) -> SingularError:
        return SingularError(f"{self.name}: the Jacobian is singular here: {why}; {ADVICE}")

    def raw(self, b: np.ndarray, adjoint: bool = False) -> np.ndarray:
        """J⁻¹ b or J⁻ᴴ b, unchecked; b is (n, k)."""
        if adjoint:
            return self.scale * self._factor.solve(b, adjoint=True)
        return self._factor.solve(self.scale * b)

    @cached_property
    def condition(self) -> float:
        """κ₁(J), estimated from below."""
        return condition.estimate(self.matrix, self.raw)

    @cached_property
    def scaled_condition(self) -> float:
        """The same after scaling rows and columns."""
        return condition.scaled_estimate(self.matrix, self.raw)

    def solve(self, b: np.ndarray, transposed: bool, stacklevel: int) -> np.ndarray:
        """x (n, k) of J x = b, or of Jᵀ x = b. Raises SingularError, warns with IllConditionedWarning."""
        condition.judge(self.name, self.condition, lambda: self.scaled_condition, self.eps, stacklevel + 1)
        x, error = self.refined(b.conj() if transposed else b, transposed)
        if not error < self.eps**0.5:
            raise SingularError(
                f"{self.name}: the solution of J x = b does not satisfy it (relative residual {error:.1e}, condition "
                f"number about {self.condition:.1e}); {ADVICE}"
            )
        return x.conj() if transposed else x

    def refined(self, b: np.ndarray, adjoint: bool) -> tuple[np.ndarray, float]:
        """(x, its backward error) of J x = b or Jᴴ x = b, corrected once by the residual where that helps."""
        x = self.raw(b, adjoint)
        residual = b - self._apply(x, adjoint)
        error = self._error(x, residual, b, adjoint)
        if error > REFINED * np.finfo(float).eps:
            x = x + self.raw(residual, adjoint)
            error = self._error(x, b - self._apply(x, adjoint), b, adjoint)
        return x, error

    def _apply(self, x: np.ndarray, adjoint: bool) -> np.ndarray:
        return self.matrix.adjoint(x) if adjoint else self.matrix @ x

    def _error(self, x: np.ndarray, residual: np.ndarray, b: np.ndarray, adjoint: bool) -> float:
        """max_i |r_i| / (‖J_i‖ ‖x‖ + |b_i|), J_i a row of J or Jᴴ: relative to what each equation is made of."""
        sizes = self.matrix.sums(0 if adjoint else 1)[:, None]
        scale = sizes * np.abs(x).max(axis=0, initial=0.0) + np.abs(b)
        error = np.abs(residual)
        return float(np.divide(error, scale, out=np.where(error > 0, np.inf, 0.0), where=scale > 0).max(initial=0.0))
