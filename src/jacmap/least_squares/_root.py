"""`root`: Newton's method with planned steps, made global by Levenberg-Marquardt, and Newton-Krylov."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .._errors import ArgumentError
from ._front import planned
from ._iterate import Iteration, Tolerances
from ._manifold import is_curved
from ._newton import Krylov, Newton, NewtonRun, newton
from ._optimistix import foreign_name, foreign_root, is_solver
from ._problem import prepare
from ._result import RootResult, first_bad
from ._strategies import levenberg

METHODS = ("newton", "krylov", "lm")
MESSAGES = {
    1: "solved: ‖f(x)‖∞ = {size:.1e} is at most tol = {tol:.1e}",
    0: "stopped: max_nfev = {max_nfev} evaluations are used up, ‖f(x)‖∞ = {size:.1e}",
    -2: "stopped: f is not finite at x0 ({bad}); start elsewhere",
    -3: "stopped: the Jacobian is not finite ({bad})",
    -4: "stopped: ‖f‖ has a local minimum here that is no root, or no step lowers it: ‖f(x)‖∞ = {size:.1e}, ‖Jᵀf‖∞ = "
    "{slope:.1e}; start elsewhere",
    -6: "stopped: by the callback, ‖f(x)‖∞ = {size:.1e}",
}


def root(
    f: Callable[..., Any],
    x0: Any,
    args: tuple[Any, ...] = (),
    method: Any = "newton",
    tol: float | None = None,
    max_nfev: int | None = None,
    *,
    callback: Callable[..., Any] | None = None,
    linear_solver: str | None = None,
    memory: str | float | None = None,
) -> RootResult:
    """x with f(x) = 0, for as many equations as unknowns: `scipy.optimize.root` with a planned exact Jacobian.

    `x0` and what `f(x, *args)` returns are arrays or pytrees of n numbers. `method`: "newton", J factored by its
    structure
    (dense, banded or sparse LU) with a line search on ‖f‖, and Levenberg-Marquardt from where that gets stuck;
    "krylov",
    GMRES on products J v, preconditioned by the factors of an earlier J, or J's diagonal where they do not fit
    `memory`; "lm", Levenberg-Marquardt alone. `tol`: ‖f(x)‖∞ that counts as solved, by default 1e-9 (1e-4 in float32).
    `max_nfev`: evaluations of f, 100·(n + 1) at most 10,000 by default. `callback(x, f)` is called
    after every step; StopIteration raised in it ends the run. `method` may be a solver of optimistix (the
    extra `implicit`), such as `optimistix.Newton(rtol, atol)`: it runs by its own tolerances, `max_nfev` bounds its
    steps, and the answer counts as solved by `tol` alone.

    Raises `ArgumentError` for a system that is not square: `least_squares` takes those.
    """
    foreign = is_solver(method)
    if not foreign and method not in METHODS:
        raise ArgumentError(f"method: got {method!r}, expected one of {', '.join(map(repr, METHODS))}")
    if is_curved(x0, None):
        raise ArgumentError("x0: holds Lie groups, expected plain numbers; jacmap.least_squares moves on groups")
    problem, x, back, data = prepare(f, x0, args)
    m, n = problem.shape
    if m != n:
        raise ArgumentError(f"f: got {m} equations for {n} unknowns, expected as many; use jacmap.least_squares")
    if method == "krylov" and problem.flat is None:
        raise ArgumentError('method: got "krylov" for a function that JAX cannot read, expected "newton" or "lm"')
    limit = min(100 * (n + 1), 10_000) if max_nfev is None else int(max_nfev)
    if tol is None:
        tol = 1e-9 if problem.dtype.itemsize == 8 else 1e-4
    first = problem.value(x, data)
    bad = "" if np.isfinite(first).all() else first_bad(first)
    if bad:
        name = foreign_name(method) if foreign else method
        return _answer(back, NewtonRun(x, first, None, 1, 0, -2), name, None, tol, limit, bad)
    if foreign and callback is not None:
        raise ArgumentError(f"callback: given with method={foreign_name(method)}, which knows none; leave it out")
    if foreign:
        return foreign_root(method, problem, x, data, tol, limit, back, planned(problem, memory, linear_solver)[0])
    run, used = NewtonRun(x, first, None, 1, 0, -4), method

    def watch(x: np.ndarray, r: np.ndarray) -> None:
        if callback is not None:
            callback(back(x.copy()), r.copy())

    plan: Any = None
    if method != "lm":
        way = Newton(problem, data) if method == "newton" else Krylov(problem, data, memory)
        run, plan = newton(way, problem, data, run, tol, limit, watch), way
    if run.status == -4:
        step_plan, step_way = planned(problem, memory, linear_solver)
        every = np.full(n, np.inf)
        strategy = levenberg(step_way.repeats)
        fallback = Iteration(problem, data, step_plan, step_way, strategy, "linear", 1.0, None, -every, every)
        fallback.goal, fallback.watch = tol, lambda run: watch(run.x, run.r)
        ended = fallback.minimise(run.x, Tolerances.of(problem.dtype, 1e-15, 1e-15, 0.0, max(limit - run.nfev, 1)))
        size = float(np.abs(fallback.r).max())
        status = 1 if size <= tol else ended if ended in (0, -3, -6) else -4
        nfev, njev = run.nfev + fallback.nfev, run.njev + fallback.njev
        run = NewtonRun(fallback.x, fallback.r, fallback.jacobian, nfev, njev, status)
        used, plan, bad = ("lm" if method == "lm" else f"{method}, then lm"), step_plan, fallback.bad
    return _answer(back, run, used, plan, tol, limit, bad or run.bad)


def _answer(
    back: Callable[[np.ndarray], Any], run: NewtonRun, method: str, plan: Any, tol: float, limit: int, bad: str
) -> RootResult:
    slope = np.inf if run.jacobian is None else float(np.abs(run.jacobian.T @ run.r).max())
    text = MESSAGES[run.status].format(size=float(np.abs(run.r).max()), tol=tol, max_nfev=limit, bad=bad, slope=slope)
    return RootResult(back(run.x), run.r, run.jacobian, run.nfev, run.njev, run.status, text, method, plan)
