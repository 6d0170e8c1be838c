"""The three layers: a fixed point, a root, a minimum, as differentiable functions of their arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._errors import ArgumentError
from ._problem import Layout, Problem, Same
from ._solved import solve
from .solution import Solution


def root(
    f: Callable[..., Any],
    x0: Any,
    *args: Any,
    solver: Any = None,
    tolerance: float | None = None,
    max_steps: int = 100,
    accept: float = 1e-2,
    probes: int = 8,
) -> Solution:
    """x with f(x, *args) = 0, near x0, as a function of `args`; `.value` is x.

    x0 and args: pytrees of real arrays; f returns as many numbers as x has. `solver`: one of optimistix' root finders
    or least-squares solvers; default Newton's method, damped, its linear systems planned by the structure of the
    Jacobian. `tolerance`: relative and absolute, of Newton's step; default eps^¾.

    Derivatives are those of the solution, whatever found it: dx = −(∂f/∂x)⁻¹ ∂f/∂θ dθ (implicit function theorem), in
    both modes and of any order, under `jit` and `vmap`, by the args and by what f closes over; the system is planned
    like the solver's own. x0 has none.

    **How far off.** With r = f(x) left by the solver, δ = −J⁻¹r Newton's step from x to x⁺, δ⁺ the next one,
    Θ = ‖δ⁺‖/‖δ‖ and W = −J⁻¹ ∂f/∂θ: ``error`` = ‖δ‖/(1 − Θ) + rounding,
    ``gradient_error`` = ‖W(x⁺) − W(x)‖ (1 + Θ)/(1 − Θ) + rounding, infinite for Θ > ½ (Deuflhard 2004, Newton Methods
    for Nonlinear Problems, ch. 2). To first order in r; it assumes that Newton's steps go on to shrink by Θ and that W
    changes beyond x⁺ at most twice as fast as before. Rounding is what a random z loses on its way through J⁻¹J,
    tenfold. Where the arguments have more than `probes` numbers, norms are estimated from that many random tangents,
    raised to cover 99 % of cases.

    **What is refused.** Where gradient_error exceeds `accept` times the gradient's size, derivatives are NaN, with
    `InaccurateGradientWarning` outside of compiled code (it warns from 1e-4 on); ``accept=inf`` keeps them. Outside of
    compiled code a singular Jacobian raises `SingularError` and a solution that is not finite `ConvergenceError`;
    inside, nothing can be raised and the derivatives are NaN. Raises `ArgumentError` for arguments that do not fit.
    """
    return _layer("root", f, x0, args, solver, tolerance, max_steps, accept, probes)


def fixed_point(
    f: Callable[..., Any],
    x0: Any,
    *args: Any,
    solver: Any = None,
    tolerance: float | None = None,
    max_steps: int = 1000,
    accept: float = 1e-2,
    probes: int = 8,
) -> Solution:
    """x with f(x, *args) = x, as a function of `args`: a deep-equilibrium layer, an iteration's limit.

    f returns x's form. `solver`: one of optimistix' fixed-point solvers, root finders or least-squares solvers; default
    x ← f(x), which needs f to contract. `tolerance`: relative and absolute, of a step. Derivatives, bounds and what is
    refused are those of `root` for f(x) − x.
    """
    return _layer("fixed point", f, x0, args, solver, tolerance, max_steps, accept, probes)


def argmin(
    f: Callable[..., Any],
    x0: Any,
    *args: Any,
    solver: Any = None,
    tolerance: float | None = None,
    max_steps: int = 1000,
    accept: float = 1e-2,
    probes: int = 8,
) -> Solution:
    """x where f(x, *args), one number, has a local minimum, as a function of `args`.

    `solver`: one of optimistix' minimisers; default BFGS (L-BFGS beyond 500 unknowns), then up to eight of Newton's
    steps on ∇f. Derivatives, bounds and what is refused are those of `root` for ∇f: at any point where ∇f = 0, be it a
    minimum or not. ``residual`` is the largest entry of ∇f.
    """
    return _layer("minimum", f, x0, args, solver, tolerance, max_steps, accept, probes)


def _layer(
    kind: str,
    f: Callable[..., Any],
    x0: Any,
    args: tuple[Any, ...],
    solver: Any,
    tolerance: float | None,
    max_steps: int,
    accept: float,
    probes: int,
) -> Solution:
    if not callable(f):
        raise ArgumentError(f"f: got {type(f).__name__}, expected a function of x and the arguments")
    for name, number in (("max_steps", max_steps), ("probes", probes)):
        if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < 1:
            raise ArgumentError(f"{name}: got {number!r}, expected a whole number from 1 on")
    if not accept > 0 or (tolerance is not None and not tolerance > 0):
        raise ArgumentError(f"accept, tolerance: got {accept!r}, {tolerance!r}, expected positive numbers")
    f, hoisted = _open(f, x0, args)
    layout, start, data = Layout.of(x0, (*args, *hoisted))
    close = float(jnp.finfo(start.dtype).eps) ** 0.75 if tolerance is None else float(tolerance)
    problem = Problem(Same(f), kind, layout, Same(solver), close, int(max_steps), float(accept), int(probes))
    problem.check(start, data)
    return solve(problem, start, data)


def _open(f: Callable[..., Any], x0: Any, args: tuple[Any, ...]) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """f with the traced values that it closes over as further arguments: a custom derivative sees no others."""
    if getattr(f, "__closure__", ()) is None:
        return f, ()  # a plain function that closes over nothing
    x0, args = jax.tree_util.tree_map(jnp.asarray, (x0, args))
    # Wrapped, because a callable that holds arrays, as equinox' modules do, cannot be hashed.
    converted, hoisted = jax.closure_convert(lambda *values: f(*values), x0, *args)
    return (converted, tuple(hoisted)) if hoisted else (f, ())
