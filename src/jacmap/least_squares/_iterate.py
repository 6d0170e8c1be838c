"""The iteration that all methods share: evaluate, propose, keep what lowers the cost, stop for a reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array, issparse
from scipy.sparse.linalg import LinearOperator

from ._box import boxed_step, free_of, optimality
from ._choose import StepPlan
from ._losses import cost, weights
from ._problem import Problem
from ._result import first_bad
from ._strategies import TINY, Strategy
from ._ways import Way

ACCEPT = 1e-4  # the share of the predicted fall that a step must bring
ENDLESS = 1e-2  # a Gauss-Newton step of this share of x, at a point said to be converged: there is no minimum near


@dataclass(frozen=True)
class Tolerances:
    ftol: float
    xtol: float
    gtol: float
    max_nfev: int

    @staticmethod
    def of(dtype: Any, ftol: float | None, xtol: float | None, gtol: float | None, max_nfev: int) -> Tolerances:
        """None is never met; nothing below four roundings is asked of changes, which could not show it."""
        least = 4 * float(np.finfo(dtype).eps)
        f, x = (-1.0 if tol is None else max(float(tol), least) for tol in (ftol, xtol))
        return Tolerances(f, x, -1.0 if gtol is None else float(gtol), int(max_nfev))


class Iteration:
    """The state of one run; after `minimise` its fields are the answer."""

    def __init__(
        self, problem: Problem, args: tuple[Any, ...], plan: StepPlan, way: Way, strategy: Strategy, loss: str,
        f_scale: float, scale: np.ndarray | None, low: np.ndarray, high: np.ndarray,
    ):  # fmt: skip
        self.problem, self.args, self.plan, self.way, self.strategy = problem, args, plan, way, strategy
        self.loss, self.f_scale, self.low, self.high = loss, f_scale, low, high
        self.unit = np.ones(problem.shape[1]) if scale is None else 1 / scale
        self.fixed_scale = scale is not None
        self.bounded = bool(np.isfinite(low).any() or np.isfinite(high).any())
        self.nfev = self.njev = 0
        self.bad = self.where = ""
        self.last_step = 0.0
        self.goal = -1.0  # stop as soon as no residual is larger: for roots
        self.watch: Callable[[Iteration], None] | None = None  # after every kept step; StopIteration ends the run
        self.jacobian: Any = None
        self.gradient = np.full(problem.shape[1], np.nan)

    def minimise(self, x: np.ndarray, tolerances: Tolerances) -> int:
        """The status at which it stopped."""
        self.x, self.r = x, self._value(x)
        self.cost = cost(self.loss, self.f_scale, self.r)
        if not np.isfinite(self.cost):
            self.bad = first_bad(self.r) if not np.isfinite(self.r).all() else "its squares overflow"
            return -2
        self.where = "at x0"
        if not self._linearise():
            return -3
        self.strategy.begin(float(np.linalg.norm(self.unit * self.x)) or float(np.linalg.norm(self.residual)))
        while float(np.abs(self.r).max()) > self.goal:
            if optimality(self.x, self.gradient, self.low, self.high) <= tolerances.gtol:
                return self._converged(1)
            before = self.x, self.r, self.cost, self.jacobian, self.gradient
            status = self._advance(tolerances)
            if status is None or status > 0:
                self.where = "after a step"
                if self.x is not before[0] and not self._linearise():
                    self.x, self.r, self.cost, self.jacobian, self.gradient = before
                    return -3
            if self.watch is not None and self.x is not before[0]:
                try:
                    self.watch(self)
                except StopIteration:
                    status = -6 if status is None else status
            if status is not None:
                return self._converged(status) if status > 0 else status
        return 1

    def _value(self, x: np.ndarray) -> np.ndarray:
        self.nfev += 1
        return self.problem.value(x, self.args)

    def _linearise(self) -> bool:
        """J at x, weighted for the loss, into the way; False where it is not finite."""
        form = self.plan.form
        self.jacobian = getattr(self.problem, form)(self.x, self.args)
        self.njev += 1
        data = self.jacobian.data if form == "matrix" else self.jacobian
        if form != "operator" and not np.isfinite(data).all():
            self.bad = first_bad(self.jacobian)
            return False
        w, s = weights(self.loss, self.f_scale, self.r)
        self.scaled = self.jacobian if self.loss == "linear" else _rows_times(self.jacobian, w)
        self.residual = s * self.r
        self.gradient = self.scaled.T @ self.residual
        self.way.load(self.scaled)
        norms = self._norms()
        if not self.fixed_scale:
            self.unit = norms if self.njev == 1 else np.maximum(self.unit, norms)
            self.unit[self.unit == 0] = 1
        self.least = self.way.least * np.where(norms > 0, norms, self.unit) ** 2
        return True

    def _norms(self) -> np.ndarray:
        """Column norms of the weighted J; ones where J is known by products alone."""
        if self.plan.form == "operator":
            return np.ones(self.problem.shape[1])
        if issparse(self.scaled):
            squares = np.bincount(self.scaled.indices, weights=self.scaled.data**2, minlength=self.scaled.shape[1])
            return np.sqrt(squares)
        return np.linalg.norm(self.scaled, axis=0)

    def _solve(self, damping: np.ndarray) -> np.ndarray | None:
        damping = np.maximum(damping, self.least)
        if not self.bounded:
            return self.way.step(self.residual, damping, np.ones(len(self.x), bool))
        free = free_of(self.x, self.gradient, self.low, self.high)
        return boxed_step(
            lambda r, free: self.way.step(r, damping, free),
            lambda p: self.scaled @ p,
            self.residual, free, self.low - self.x, self.high - self.x,
        )  # fmt: skip

    def _advance(self, tolerances: Tolerances) -> int | None:
        """Steps until one is kept (None) or there is a reason to stop (the status); x, r and cost follow."""
        free = free_of(self.x, self.gradient, self.low, self.high)
        gradient = np.where(free, self.gradient, 0)  # what a bound holds takes no part in steps along the gradient
        steepest = gradient / self.unit**2
        curvature = float(np.sum((self.scaled @ steepest) ** 2)) if self.strategy.name == "dogleg" else 0.0
        least = float((self.least / self.unit**2).min(initial=np.inf))
        ever_finite = False
        while True:
            if self.nfev >= tolerances.max_nfev:
                return 0
            p = self.strategy.propose(self._solve, gradient, self.unit, curvature, least)
            if p is None:
                self.strategy.learn(-1.0, 0.0)
                if self.strategy.refused():
                    return -4
                continue
            x = np.clip(self.x + p, self.low, self.high) if self.bounded else self.x + p
            p = x - self.x
            length, reach = float(np.linalg.norm(self.unit * p)), float(np.linalg.norm(self.unit * self.x))
            if not length:
                return self._stalled(ever_finite)
            linear = self.scaled @ p
            predicted = -float(self.gradient @ p) - 0.5 * float(linear @ linear)
            r = self._value(x)
            new = cost(self.loss, self.f_scale, r)
            fall = self.cost - new
            ever_finite |= bool(np.isfinite(new))
            ratio = fall / predicted if np.isfinite(new) and predicted > 0 else -1.0
            small_fall = abs(fall) <= tolerances.ftol * self.cost and predicted <= tolerances.ftol * self.cost
            small_step = length <= tolerances.xtol * (tolerances.xtol + reach)
            kept = ratio > ACCEPT
            self.strategy.learn(ratio if kept else min(ratio, -0.0), length)
            if kept:
                self.x, self.r, self.cost = x, r, new
            if small_fall or small_step:
                if not kept and not ever_finite:
                    return -4
                return 4 if small_fall and small_step else 2 if small_fall else 3
            if kept:
                return None
            if self.strategy.refused():
                return self._stalled(ever_finite)

    def _stalled(self, ever_finite: bool) -> int:
        """No shorter step can be told from none: converged to rounding if f could be seen at all."""
        return 3 if ever_finite else -4

    def _converged(self, status: int) -> int:
        """Is it a minimum? From one, the undamped step is short; where the cost only fades away it is not."""
        reach = float(np.linalg.norm(self.unit * self.x))
        if self.plan.form == "operator" or self.cost == 0:
            return status
        p = self._solve(TINY * self.unit**2)
        if p is None:
            return status
        length = float(np.linalg.norm(self.unit * p))
        self.last_step = length / reach if reach else 0.0
        moved = self.problem.value(np.clip(self.x + p, self.low, self.high), self.args)
        further = cost(self.loss, self.f_scale, moved)
        # Only a step that is long and does what the model says shows that the minimum lies elsewhere.
        endless = self.last_step > ENDLESS and further < 0.5 * self.cost and self._still_long(self.x + p, length)
        return -5 if endless else status

    def _still_long(self, x: np.ndarray, length: float) -> bool:
        """Is the step from x + p as long again? At a multiple root it halves; towards infinity it does not shrink."""
        kept = self.x, self.r, self.jacobian, self.gradient, self.scaled, self.residual, self.unit.copy(), self.njev
        self.x = np.clip(x, self.low, self.high)
        self.r = self.problem.value(self.x, self.args)
        again = self._solve(TINY * self.unit**2) if np.isfinite(self.r).all() and self._linearise() else None
        unit = self.unit
        self.x, self.r, self.jacobian, self.gradient, self.scaled, self.residual, self.unit, self.njev = kept
        self.way.load(self.scaled)
        return again is not None and float(np.linalg.norm(unit * again)) > 0.9 * length


def _rows_times(jacobian: Any, w: np.ndarray) -> Any:
    """diag(w) J in J's own form."""
    if isinstance(jacobian, np.ndarray):
        return w[:, None] * jacobian
    if isinstance(jacobian, csr_array):
        data = jacobian.data * np.repeat(w, np.diff(jacobian.indptr))
        return csr_array((data, jacobian.indices, jacobian.indptr), shape=jacobian.shape)
    return LinearOperator(
        jacobian.shape,
        matvec=lambda v: w * (jacobian @ v.ravel()),
        rmatvec=lambda u: jacobian.T @ (w * u.ravel()),
        dtype=float,
    )
