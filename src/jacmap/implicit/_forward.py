"""The solve itself, by optimistix: no derivative passes through it."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import optimistix as optx

from ._newton import PlannedNewton
from ._problem import Array, Data, Problem

# BFGS keeps an n×n matrix; beyond this size the limited-memory version is taken.
FULL_BFGS = 500
# Newton's steps on ∇f after a quasi-Newton method, whose end is accurate to the square root of rounding only.
POLISH = 8


def forward(problem: Problem, x0: Array, data: Data) -> tuple[Array, Array, Array]:
    """(x, did the solver end by its own criterion?, steps)."""
    tolerances: dict[str, Any] = {"rtol": problem.tolerance, "atol": problem.tolerance}
    newton = PlannedNewton(problem=problem, norm=optx.max_norm, **tolerances)
    options: dict[str, Any] = {"max_steps": problem.max_steps, "throw": False}
    if problem.kind == "root":
        return _of(optx.root_find(problem.residual, problem.solver or newton, x0, data, **options))
    if problem.kind == "fixed point":
        iteration: Any = optx.FixedPointIteration(**tolerances)
        return _of(optx.fixed_point(problem.plain, problem.solver or iteration, x0, data, **options))
    descent: Any = optx.BFGS if x0.size <= FULL_BFGS else optx.LBFGS
    x, converged, steps = _of(
        optx.minimise(problem.plain, problem.solver or descent(**tolerances), x0, data, **options)
    )
    if problem.solver is not None:
        return x, converged, steps
    options["max_steps"] = min(POLISH, problem.max_steps)
    polished, ended, more = _of(optx.root_find(problem.residual, newton, x, data, **options))
    # Newton's method on ∇f is at home near a minimum only: what is worse, or higher, is not taken.
    size, before = (jnp.linalg.norm(problem.residual(at, data)) for at in (polished, x))
    low = problem.plain(x, data)
    lower = problem.plain(polished, data) <= low + problem.tolerance**0.5 * (1 + jnp.abs(low))
    better = (size <= before) & lower & jnp.isfinite(size)
    return jnp.where(better, polished, x), jnp.where(better, ended, converged), steps + jnp.where(better, more, 0)


def _of(found: Any) -> tuple[Array, Array, Array]:
    return found.value, found.result == optx.RESULTS.successful, jnp.asarray(found.stats["num_steps"])
