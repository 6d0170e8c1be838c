"""J⁻¹ as an operator: a factorisation that solves, never a matrix."""

from __future__ import annotations

from typing import Any

from .linear import Linear
from .plan import LinearPlan


class Inverse:
    """J⁻¹ (n×n): ``inverse @ b`` solves J x = b, ``inverse.T @ b`` solves Jᵀ x = b, with the same factors."""

    def __init__(self, linear: Linear, transposed: bool = False):
        self._linear, self._transposed = linear, transposed

    @property
    def shape(self) -> tuple[int, int]:
        """(n, n)."""
        return self._linear.subject.shape

    @property
    def T(self) -> Inverse:
        """J⁻ᵀ."""
        return Inverse(self._linear, not self._transposed)

    def __matmul__(self, b: Any) -> Any:
        """J⁻¹ b: (n,) → (n,), or (n, k) → (n, k). SingularError where J is singular."""
        return self._linear.solve(b, self._transposed)

    def explain(self) -> LinearPlan:
        """How it solves."""
        return self._linear.plan("solve")

    def __repr__(self) -> str:
        n = self.shape[0]
        return f"inverse of {self._linear.subject.name}'s {n}×{n} Jacobian{', transposed' if self._transposed else ''}"
