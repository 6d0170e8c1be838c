"""Solvers of optimistix as `method`: theirs are the steps, ours the front, the last J and the verdict."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from .._errors import ArgumentError
from ._choose import StepPlan
from ._iterate import Iteration, Tolerances
from ._problem import Problem
from ._result import MESSAGES, RootResult, first_bad
from ._strategies import Levenberg
from ._ways import Way


class Foreign(Levenberg):
    """Stands for a solver that is not ours; asked for no step."""

    def __init__(self, name: str):
        super().__init__()
        self.name = name


def is_solver(method: Any) -> bool:
    """A solver of optimistix, looked for only where somebody has made one."""
    if isinstance(method, str) or "optimistix" not in sys.modules:
        return False
    import optimistix as optx

    return isinstance(method, (optx.AbstractLeastSquaresSolver, optx.AbstractMinimiser, optx.AbstractRootFinder))


def foreign_name(solver: Any) -> str:
    return f"optimistix.{type(solver).__name__}"


def foreign_least_squares(
    solver: Any, problem: Problem, x: np.ndarray, args: tuple[Any, ...], plan: StepPlan, way: Way, limit: int,
    wishes: Mapping[str, bool],
) -> tuple[Iteration, int, str]:
    """(the state at the end, status, message). ArgumentError for a wish that optimistix' solvers cannot meet."""
    import optimistix as optx

    name = foreign_name(solver)
    if isinstance(solver, optx.AbstractRootFinder):
        raise ArgumentError(f"method: got {name}, a root finder, expected a least-squares solver; use jacmap.root")
    asked = [wish for wish, is_asked in wishes.items() if is_asked]
    if asked:
        raise ArgumentError(
            f"{asked[0]}: given with method={name}, which knows none; set the solver's own options, or take a method "
            'by name ("lm", "dogleg")'
        )
    every = np.full(len(x), np.inf)
    plan = replace(plan, why=f"for the Jacobian at the end; {name} took the steps its own way")
    run = Iteration(problem, args, plan, way, Foreign(name), "linear", 1.0, None, -every, every)
    look = Tolerances(-1.0, -1.0, -1.0, 1)  # one evaluation and one Jacobian, no step
    first = problem.value(x, args)
    if not np.isfinite(first).all():
        run.minimise(x, look)
        return run, -2, MESSAGES[-2].format(bad=first_bad(first))
    end, steps, said = _solve(optx.least_squares, solver, problem, x, args, limit)
    seen = run.minimise(end, look)
    run.nfev = steps
    if seen == -2:
        return run, -4, f"stopped: {name} ended where f is not finite ({run.bad}); start elsewhere"
    if seen == -3:
        return run, -3, MESSAGES[-3].format(where=f"where {name} ended", bad=run.bad)
    best = float(np.abs(run.gradient).max())
    if said == "":
        status = run._converged(4)
        if status == -5:
            return run, status, MESSAGES[-5].format(step=run.last_step)
        return run, status, f"converged: {name} met its rtol and atol; the optimality is {best:.1e}"
    if steps >= limit:
        return run, 0, f"stopped: max_nfev = {limit} steps of {name} are used up; the optimality is {best:.1e}"
    return run, -4, f"stopped: {name} says: {said}; the optimality is {best:.1e}"


def foreign_root(
    solver: Any, problem: Problem, x: np.ndarray, args: tuple[Any, ...], tol: float, limit: int,
    back: Callable[[np.ndarray], Any], plan: StepPlan,
) -> RootResult:  # fmt: skip
    """What `root` returns, solved by optimistix: ‖f(x)‖∞ ≤ tol decides, whatever the solver says of itself."""
    import optimistix as optx

    name = foreign_name(solver)
    end, steps, said = _solve(optx.root_find, solver, problem, x, args, limit)
    r = problem.value(end, args)
    size = float(np.abs(r).max())
    jacobian = getattr(problem, plan.form)(end, args) if np.isfinite(end).all() else None
    if size <= tol:
        status, text = 1, f"solved: ‖f(x)‖∞ = {size:.1e} is at most tol = {tol:.1e}"
    elif steps >= limit:
        status, text = 0, f"stopped: max_nfev = {limit} steps of {name} are used up, ‖f(x)‖∞ = {size:.1e}"
    else:
        why = said or "its rtol and atol are met; give it smaller ones"
        status, text = -4, f"stopped: {name} says: {why}; ‖f(x)‖∞ = {size:.1e} is above tol = {tol:.1e}"
    plan = replace(plan, why=f"for the Jacobian at the end; {name} took the steps its own way")
    return RootResult(back(end), r, jacobian, steps, int(jacobian is not None), status, text, name, plan)


def _solve(
    entry: Callable[..., Any], solver: Any, problem: Problem, x: np.ndarray, args: tuple[Any, ...], limit: int
) -> tuple[np.ndarray, int, str]:
    """(x, steps, what it says: "" for success). Compiled once per problem and solver."""
    import equinox as eqx
    import optimistix as optx

    flat = problem.flat
    if flat is None:
        raise ArgumentError(
            f"method: got {foreign_name(solver)} for a function that JAX cannot read, expected a method by name"
        )
    key = entry.__name__, "optimistix"
    if key not in problem.ways:

        @eqx.filter_jit
        def run(solver: Any, x: Any, args: tuple[Any, ...], limit: int) -> Any:
            return entry(lambda x, args: flat(x, *args), solver, x, args, max_steps=limit, throw=False)

        problem.ways[key] = run
    with jax.numpy_dtype_promotion("standard"):  # optimistix mixes counts with numbers
        found = problem.ways[key](solver, problem.cast(x), args, limit)
    said = "" if bool(found.result == optx.RESULTS.successful) else str(optx.RESULTS[found.result])  # type: ignore[misc]
    return np.asarray(found.value, float), int(found.stats["num_steps"]), said.split("\n")[0].rstrip(".")
