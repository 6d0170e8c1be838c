"""What `least_squares` and `root` return: SciPy's fields, the plan, and why it stopped."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from scipy.linalg import svd
from scipy.sparse import csr_array, issparse

from .._errors import ArgumentError, SingularError
from ._choose import StepPlan

# Positive: as SciPy's. Negative: it did not converge.
MESSAGES = {
    1: "converged: the gradient's largest entry, within bounds, is {optimality:.1e}, below gtol",
    2: "converged: the cost no longer falls by more than ftol of itself",
    3: "converged: steps are shorter than xtol of x",
    4: "converged: neither cost nor x changes by more than ftol and xtol",
    0: "stopped: max_nfev = {max_nfev} evaluations are used up; the optimality is {optimality:.1e}",
    -2: "stopped: f is not finite at x0 ({bad}); start elsewhere",
    -3: "stopped: the Jacobian is not finite {where} ({bad})",
    -4: "stopped: no step of any length gives a lower finite cost, yet the optimality is {optimality:.1e}; f may be "
    "not finite or not smooth near x, or its derivative wrong",
    -5: "stopped: no minimum in reach, the cost keeps falling while x grows (the Gauss-Newton step from x still has "
    "{step:.1e} of x's length)",
}


@dataclass(frozen=True, eq=False)
class LeastSquaresResult:
    """The fields of `scipy.optimize.OptimizeResult`, with `plan`, `covariance()` and `rank`.

    `x` in the form of x0; `cost` ½ Σ ρ; `fun` residuals (m,); `jac` (m, n), an array, a CSR matrix, or a
    `LinearOperator`
    where steps are by products; `grad` (n,) of the cost; `optimality` the first-order optimality within bounds;
    `active_mask` (n,) −1, 0, 1; `nfev`, `njev`. `status`: 1 gtol, 2 ftol, 3 xtol, 4 both, 0 max_nfev as in SciPy; −2 f
    not finite at x0, −3 J not finite, −4 no step lowers the cost, −5 no minimum in reach. `success` is status > 0.
    `plan` prints how steps were solved for and why. `method` is the strategy that ran.
    """

    x: Any
    cost: float
    fun: np.ndarray
    jac: Any
    grad: np.ndarray
    optimality: float
    active_mask: np.ndarray
    nfev: int
    njev: int
    status: int
    message: str
    method: str
    plan: StepPlan
    notes: tuple[str, ...] = field(default=())

    @property
    def success(self) -> bool:
        return self.status > 0

    def explain(self) -> StepPlan:
        """How the steps were solved for: what was considered, what was chosen and why; to print."""
        return self.plan

    @cached_property
    def _factors(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(column norms, singular values, Vᵀ) of J over the unknowns that no bound holds, its columns of length one."""
        J = self.jac.toarray() if issparse(self.jac) else self.jac
        if not isinstance(J, np.ndarray):
            raise ArgumentError("covariance: J was never formed (steps by products); use linear_solver='sparse'")
        J = J[:, self.active_mask == 0]
        norms = np.linalg.norm(J, axis=0)
        norms[norms == 0] = 1
        values, right = svd(J / norms, full_matrices=False)[1:]
        return norms, values, right

    @property
    def rank(self) -> int:
        """The rank of J (its columns scaled to length one) over the unknowns that no bound holds; forms a dense J."""
        values = self._factors[1]
        return int((values > max(self.fun.size, len(values)) * np.finfo(float).eps * values.max(initial=0)).sum())

    def covariance(self, absolute_sigma: bool = False) -> np.ndarray:
        """The covariance of x, (n, n): s²(JᵀJ)⁻¹ with s² = 2·cost/(m − n), or (JᵀJ)⁻¹ for residuals in units of σ.

        As `scipy.optimize.curve_fit` gives it. Zero for unknowns that a bound holds. Raises `SingularError` where J is
        rank-deficient, and `ArgumentError` without degrees of freedom.
        """
        free = np.flatnonzero(self.active_mask == 0)
        norms, values, right = self._factors
        if self.rank < len(free):
            weakest = free[np.argsort(-np.abs(right[-1]) if len(right) == len(free) else np.zeros(len(free)))[:3]]
            raise SingularError(
                f"covariance: J has rank {self.rank} for {len(free)} unknowns, so x is not determined by the data; "
                f"unknowns {', '.join(map(str, weakest))} take part; fix one or add data"
            )
        spare = self.fun.size - len(free)
        if not absolute_sigma and spare <= 0:
            raise ArgumentError(
                f"absolute_sigma: got False with {self.fun.size} residuals for {len(free)} unknowns, expected more "
                "residuals; give residuals in units of σ and absolute_sigma=True"
            )
        half = right.T / values / norms[:, None]
        found = np.zeros((len(self.grad),) * 2)
        found[np.ix_(free, free)] = half @ half.T * (1.0 if absolute_sigma else 2 * self.cost / spare)
        return found

    def __str__(self) -> str:
        lines = [
            f"{self.message}",
            f"cost {self.cost:.6g}, {self.nfev} evaluations, {self.njev} Jacobians, method {self.method}",
            *self.notes,
            f"steps by {self.plan.name}: {self.plan.what}",
        ]
        return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class RootResult:
    """`x` in the form of x0; `fun` (n,) = f(x); `success`: ‖f(x)‖∞ ≤ tol; `status` 1 solved, 0 max_nfev, −2 f not
    finite at x0, −3 J not finite, −4 stuck where ‖f‖ has a local minimum or no step lowers it; `jac`, `nfev`, `njev`,
    `message`.

    `method`: what solved it; `plan`: how its steps were solved for.
    """

    x: Any
    fun: np.ndarray
    jac: Any
    nfev: int
    njev: int
    status: int
    message: str
    method: str
    plan: Any

    @property
    def success(self) -> bool:
        return self.status > 0

    def explain(self) -> Any:
        """How the steps were solved for; to print."""
        return self.plan

    def __str__(self) -> str:
        return f"{self.message}\n{self.nfev} evaluations, {self.njev} Jacobians, method {self.method}"


def first_bad(array: Any) -> str:
    """Where the first entry that is not finite stands, in words."""
    data = array.data if isinstance(array, csr_array) else np.asarray(array)
    bad = np.argwhere(~np.isfinite(data))
    if isinstance(array, csr_array):
        row = int(np.searchsorted(array.indptr, bad[0][0], side="right")) - 1
        where: Any = (row, int(array.indices[bad[0][0]]))
    else:
        where = tuple(int(k) for k in bad[0])
    return f"{len(bad)} NaN or infinite, the first at {where[0] if len(where) == 1 else where}"
