"""The solution as a function of the arguments, with the implicit function theorem as its derivative."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from .._errors import ConvergenceError, InaccurateGradientWarning, SingularError
from ._bound import Bound, bound, relative
from ._forward import forward
from ._problem import Array, Data, Problem
from ._system import system
from .solution import Solution

# A gradient that may be off by more than this share of its size is warned of.
SMALL = 1e-4
# J⁻¹ J z that differs from z by more than this share shows that J is singular.
SINGULAR = 0.1
# User's line → root → _layer → solve → _complain.
_STACK = 5

Found = tuple[Array, Array, Array, Bound, Array]


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def solved(problem: Problem, x0: Array, data: Data) -> Found:
    """(x, converged, steps, bound, the bound relative to the gradient)."""
    x, converged, steps = forward(problem, x0, data)
    found = bound(problem, x, data)
    return x, converged, steps, found, relative(found, x, data)


@solved.defjvp
def _derivative(problem: Problem, primals: tuple[Array, Data], tangents: tuple[Any, Any]) -> tuple[Found, Any]:
    x0, data = primals
    along = tangents[1][0]
    found = solved(problem, x0, data)
    x, off = found[0], jax.lax.stop_gradient(found[-1])
    pushed = jax.jvp(lambda theta: problem.residual(x, (theta, data[1])), (data[0],), (along,))[1]
    moved = -system(problem, x, data)(pushed[:, None])[:, 0]
    if problem.accept < jnp.inf:  # else nothing needs the bound, and compiled code leaves it out
        # A product, not a choice: it is linear in `moved`, so that reverse mode hands on the NaN as well.
        moved = moved * jnp.where(off <= problem.accept, 1.0, jnp.nan).astype(x.dtype)
    still = jax.tree_util.tree_map(_zero, found[1:])
    return found, (moved, *still)


def _zero(primal: Array) -> Any:
    return jax.custom_derivatives.zero_from_primal(primal)


@partial(jax.jit, static_argnums=0)
def _run(problem: Problem, x0: Array, data: Data) -> Found:
    return solved(problem, jax.lax.stop_gradient(x0), data)


def solve(problem: Problem, x0: Array, data: Data) -> Solution:
    """Compiled once per f and shapes; judged where the numbers are known."""
    x, converged, steps, found, off = _run(problem, x0, data)
    figures: Any = jax.lax.stop_gradient((converged, steps, found, off))
    converged, steps, found, off = figures
    solution = Solution(
        problem.layout.x(x), converged, found.residual, steps, found.error, found.gradient_error,
        found.gradient_size, off, found.lost,
    )  # fmt: skip
    if not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree_util.tree_leaves(figures)):
        _complain(problem, solution)
    return solution


def _complain(problem: Problem, solution: Solution) -> None:
    """What can only be said outside of compiled code."""
    name = getattr(problem.f, "__name__", "f")
    if not jnp.isfinite(solution.residual):
        raise ConvergenceError(
            f"{name}: the solver left the region where f is finite after {int(solution.steps)} steps; start nearer to "
            "a solution, or give a damped solver= of optimistix"
        )
    if not solution.lost < SINGULAR:
        raise SingularError(
            f"{name}: the Jacobian of the equations by x is singular at the solution found (residual "
            f"{float(solution.residual):.1e}), so that x is no differentiable function of the arguments there; a "
            "multiple root or a free direction: add an equation or a regularising term"
        )
    off = float(solution.relative_error)
    if not off <= min(SMALL, problem.accept):
        state = "converged" if solution.converged else f"did not converge in {int(solution.steps)} steps"
        what = "derivatives are NaN" if not off <= problem.accept else "derivatives are given as they are"
        warnings.warn(
            f"{name}: the solver {state} and left a residual of {float(solution.residual):.1e}; the gradient may be "
            f"off by {off:.1e} of its size, {what} (accept={problem.accept:g}); allow more max_steps, lower "
            "tolerance, or start nearer",
            InaccurateGradientWarning,
            stacklevel=_STACK,
        )
