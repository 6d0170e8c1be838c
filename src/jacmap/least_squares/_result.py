"""What `least_squares` and `root` return: SciPy's fields, the plan, and why it stopped."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import numpy as np
from scipy.sparse import csr_array

from .._errors import ArgumentError
from ._choose import MEMORY, StepPlan
from ._covariance import Inverse, inverse

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
    -6: "stopped: by the callback; the optimality is {optimality:.1e}",
}


@dataclass(frozen=True, eq=False)
class LeastSquaresResult:
    """The fields of `scipy.optimize.OptimizeResult`, with `plan`, `covariance()`, `variances()` and `rank`.

    `x` in the form of x0; `cost` ½ Σ ρ; `fun` residuals (m,); `jac` (m, n), an array, a CSR matrix, or a
    `LinearOperator`
    where steps are by products; `grad` (n,) of the cost; `optimality` the first-order optimality within bounds;
    `active_mask` (n,) −1, 0, 1; `nfev`, `njev`. `status`: 1 gtol, 2 ftol, 3 xtol, 4 both, 0 max_nfev as in SciPy; −2 f
    not finite at x0, −3 J not finite, −4 no step lowers the cost, −5 no minimum in reach, −6 stopped by the callback.
    `success` is status > 0.
    `plan` prints how steps were solved for and why. `method` is the strategy that ran. `index` holds the number of each
    unknown, 0 to n − 1, in the form of x0: `covariance(found.index["pose"])`.
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
    index: Any
    notes: tuple[str, ...] = field(default=())

    @property
    def success(self) -> bool:
        return self.status > 0

    def explain(self) -> StepPlan:
        """How the steps were solved for: what was considered, what was chosen and why; to print."""
        return self.plan

    @cached_property
    def _inverse(self) -> Inverse:
        make = next((c.make for c in self.plan.candidates if c.name == self.plan.name), None)
        return inverse(self.jac, self.active_mask == 0, make)

    @property
    def rank(self) -> int:
        """The rank of J (its columns scaled to length one) over the unknowns that no bound holds.

        From the singular values of J where it is small; for a large sparse J from the smallest few alone, measured on
        directions that inverse iteration with the factors of JᵀJ finds. Raises `ArgumentError` where J was never
        formed, or so many are missing that counting them does not fit.
        """
        return self._inverse.rank

    def covariance(self, unknowns: Any = None, absolute_sigma: bool = False) -> np.ndarray:
        """The covariance of x, (n, n), or (k, k) of the `unknowns` named: s²(JᵀJ)⁻¹ with s² = 2·cost/(m − n).

        (JᵀJ)⁻¹ itself with `absolute_sigma`, for residuals in units of σ: as `scipy.optimize.curve_fit` gives it.
        `unknowns`: numbers of unknowns, an array or pytree of them (such as a part of `index`), or a mask (n,). Zero
        for unknowns that a bound holds. A large sparse J is never made dense: only the columns asked for are solved
        for, with the factors of JᵀJ.

        Raises `SingularError` where J is rank-deficient, `ArgumentError` without degrees of freedom or where (k, k)
        takes more than 2 GB. Warns `IllConditionedWarning` where the factors of JᵀJ hold less than half of the digits.
        """
        chosen = self._chosen(unknowns)
        if 8.0 * len(chosen) ** 2 > MEMORY:
            raise ArgumentError(
                f"unknowns: got {len(chosen)}, whose covariance takes {8e-9 * len(chosen) ** 2:.3g} GB; name those "
                "wanted (covariance(found.index[...])), or ask for variances()"
            )
        return self._inverse.block(chosen) * self._variance(absolute_sigma)

    def variances(self, unknowns: Any = None, absolute_sigma: bool = False) -> np.ndarray:
        """The diagonal of `covariance`, (n,) or (k,), without the rest of it; the same arguments and errors."""
        return self._inverse.diagonal(self._chosen(unknowns)) * self._variance(absolute_sigma)

    def _chosen(self, unknowns: Any) -> np.ndarray:
        """(k,) numbers of unknowns."""
        n = len(self.grad)
        if unknowns is None:
            return np.arange(n)
        leaves = [np.asarray(leaf).ravel() for leaf in jax.tree_util.tree_leaves(unknowns)]
        found = np.concatenate(leaves) if leaves else np.zeros(0, int)
        if found.dtype == bool and found.size == n:
            return np.flatnonzero(found)
        if found.dtype.kind not in "iu" or not found.size or found.min() < -n or found.max() >= n:
            raise ArgumentError(
                f"unknowns: got {found.size} of dtype {found.dtype}, expected numbers below {n} (a part of "
                f"found.index) or a mask of {n}"
            )
        return found % n

    def _variance(self, absolute_sigma: bool) -> float:
        """What (JᵀJ)⁻¹ is multiplied by; asked for after it, so that a singular J is told first."""
        free = int((self.active_mask == 0).sum())
        spare = self.fun.size - free
        if not absolute_sigma and spare <= 0:
            raise ArgumentError(
                f"absolute_sigma: got False with {self.fun.size} residuals for {free} unknowns, expected more "
                "residuals; give residuals in units of σ and absolute_sigma=True"
            )
        return 1.0 if absolute_sigma else 2 * self.cost / spare

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
    finite at x0, −3 J not finite, −4 stuck where ‖f‖ has a local minimum or no step lowers it, −6 stopped by the
    callback; `jac`, `nfev`, `njev`, `message`.

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
