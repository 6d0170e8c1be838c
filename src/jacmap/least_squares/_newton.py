"""Newton steps of a square system: J factored by its structure, or GMRES on products with an older factor before it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from scipy.linalg import LinAlgWarning, lu_factor, lu_solve, solve_banded
from scipy.sparse import csc_array
from scipy.sparse.linalg import LinearOperator, gmres, splu

from .._memory import parse_memory
from .._questions import diagonal
from ._problem import Problem
from ._result import first_bad

ARMIJO, SHORTEST = 1e-4, 2.0**-24
SPARSE = 0.2  # the share of nonzeros up to which J is factored as a sparse matrix
FILL = 60.0  # bytes per nonzero and row that sparse factors are taken to need


@dataclass(frozen=True)
class NewtonRun:
    """Where Newton's method stands; `status` as `RootResult.status`."""

    x: np.ndarray
    r: np.ndarray
    jacobian: Any
    nfev: int
    njev: int
    status: int
    bad: str = ""


class Steps(Protocol):
    """Newton's direction at x; `jacobian` as the result shows it."""

    jacobian: Any

    def direction(self, x: np.ndarray, r: np.ndarray) -> np.ndarray | None:
        """p with J p ≈ −r, or None where J is singular; FloatingPointError where J is not finite."""


class Newton:
    """LU of J: of the band where it is narrow, sparse (SuperLU) where few entries can be nonzero, else dense."""

    def __init__(self, problem: Problem, args: tuple[Any, ...]):
        self.problem, self.args = problem, args
        self.jacobian: Any = None
        self.kind = "dense"
        if problem.flat is None or problem.small:
            return
        pattern, n = problem.pattern, problem.shape[1]
        rows = np.repeat(np.arange(n), np.diff(pattern.indptr))
        offset = pattern.indices - rows
        self.lower, self.upper = int(max(-offset.min(initial=0), 0)), int(max(offset.max(initial=0), 0))
        if self.lower + self.upper < min(40, n / 4 - 1):
            self.kind = "banded"
        elif n > 100 and pattern.nnz < SPARSE * n**2:
            self.kind = "sparse"
        self.at = self.upper - offset, pattern.indices

    def __str__(self) -> str:
        how = {"banded": "banded LU", "sparse": "SuperLU", "dense": "dense LU"}[self.kind]
        if self.kind == "banded":
            how += f" ({self.lower} below, {self.upper} above)"
        return f"Newton steps by {how} of J: {self.problem}"

    def direction(self, x: np.ndarray, r: np.ndarray) -> np.ndarray | None:
        """One factorisation and solve."""
        self.jacobian = J = (self.problem.array if self.kind == "dense" else self.problem.matrix)(x, self.args)
        if not np.isfinite(J if self.kind == "dense" else J.data).all():
            raise FloatingPointError(first_bad(J))
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore", LinAlgWarning)  # a singular J is met below, by the size of the step
                p = self._solve(J, -r)
        except (np.linalg.LinAlgError, RuntimeError):
            return None
        return p if np.isfinite(p).all() else None

    def _solve(self, J: Any, b: np.ndarray) -> np.ndarray:
        if self.kind == "dense":
            return lu_solve(lu_factor(J), b)
        if self.kind == "sparse":
            return splu(csc_array(J)).solve(b)
        band = np.zeros((self.lower + self.upper + 1, len(b)))
        band[self.at] = J.data
        return solve_banded((self.lower, self.upper), band, b)


class Krylov:
    """GMRES on J v; an older J's factors precondition it, made anew when it took more than `SLOW` products."""

    SLOW, MOST = 12, 60

    def __init__(self, problem: Problem, args: tuple[Any, ...], memory: str | float | None):
        self.problem, self.args = problem, args
        self.jacobian: Any = None
        bound = parse_memory(memory)
        self.fits = FILL * (problem.pattern.nnz + problem.shape[1]) <= (2e9 if bound is None else bound)
        self.stale = True
        self.before: LinearOperator | None = None
        self.diagonal: Callable[..., Any] | None = None if self.fits else diagonal(problem.flat)  # type: ignore[arg-type]

    def __str__(self) -> str:
        by = "SuperLU of an earlier J" if self.fits else "J's diagonal"
        return f"Newton steps by GMRES on products, preconditioned by {by}"

    def direction(self, x: np.ndarray, r: np.ndarray) -> np.ndarray | None:
        """GMRES to a tenth of the residual, and closer the nearer the root."""
        self.jacobian = operator = self.problem.operator(x, self.args)
        if self.stale:
            self.before = self._preconditioner(x)
        size, counted = float(np.linalg.norm(r)), 0

        def count(_: Any) -> None:
            nonlocal counted
            counted += 1

        p, failed = gmres(
            operator, -r, rtol=min(0.1, max(np.sqrt(size), 1e-10)), restart=self.MOST, maxiter=3, M=self.before,
            callback=count, callback_type="pr_norm",
        )  # fmt: skip
        self.stale = bool(failed) or counted > self.SLOW
        return p if np.isfinite(p).all() else None

    def _preconditioner(self, x: np.ndarray) -> LinearOperator | None:
        n = self.problem.shape[1]
        if self.diagonal is not None:
            d = np.array(self.diagonal(self.problem.cast(x), *self.args), float)
            d[~np.isfinite(d) | (d == 0)] = 1
            return LinearOperator((n, n), matvec=lambda v: v.ravel() / d, dtype=float)
        J = self.problem.matrix(x, self.args)
        if not np.isfinite(J.data).all():
            raise FloatingPointError(first_bad(J))
        try:
            factors = splu(csc_array(J))
        except RuntimeError:  # exactly singular: GMRES alone
            return None
        return LinearOperator((n, n), matvec=lambda v: factors.solve(v.ravel()), dtype=float)


def newton(
    steps: Steps, problem: Problem, args: tuple[Any, ...], run: NewtonRun, tol: float, limit: int,
    watch: Callable[[np.ndarray, np.ndarray], Any],
) -> NewtonRun:  # fmt: skip
    """Newton's method with halving until ‖f‖² falls as Armijo asks; status −4 where that fails or J is singular."""
    while float(np.abs(run.r).max()) > tol:
        if run.nfev >= limit:
            return replace(run, status=0)
        try:
            p = steps.direction(run.x, run.r)
        except FloatingPointError as error:
            return replace(run, status=-3, bad=str(error), jacobian=steps.jacobian)
        run = replace(run, jacobian=steps.jacobian, njev=run.njev + 1)
        if p is None:
            return run
        before, share, nfev = float(run.r @ run.r), 1.0, run.nfev
        while True:
            x = run.x + share * p
            r = problem.value(x, args)
            nfev += 1
            finite = bool(np.isfinite(r).all())
            with np.errstate(over="ignore"):
                enough = finite and float(r @ r) <= (1 - 2 * ARMIJO * share) * before
            if enough:
                break
            share /= 2
            if share < SHORTEST or nfev >= limit:
                return replace(run, nfev=nfev)
        run = replace(run, x=x, r=r, nfev=nfev)
        try:
            watch(x, r)
        except StopIteration:
            return replace(run, status=-6)
    return replace(run, status=1)
