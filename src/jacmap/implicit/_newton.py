"""Newton's method with the planned linear solve, as a root finder of optimistix."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx

from ._problem import Array, Problem
from ._system import system

# A step is halved at most this often before the iteration is given up.
HALVINGS = 20
# The share of the decrease that the linear model promises which a step must bring (Armijo).
ENOUGH = 1e-4


class State(eqx.Module):
    """What the last step was: its size relative to the tolerance, and the share of Newton's step that was taken."""

    size: Array
    share: Array


class PlannedNewton(optx.AbstractRootFinder):
    """x ← x − t J⁻¹F with t halved until ‖F‖ falls; ends where Newton's whole step is below the tolerance."""

    problem: Problem = eqx.field(static=True)
    rtol: float
    atol: float
    norm: Any

    def init(self, fn: Any, y: Any, args: Any, options: Any, f_struct: Any, aux_struct: Any, tags: Any) -> State:
        """No step yet."""
        return State(jnp.array(jnp.inf, y.dtype), jnp.array(1.0, y.dtype))

    def step(self, fn: Any, y: Any, args: Any, options: Any, state: State, tags: Any) -> tuple[Any, State, Any]:
        """One damped step."""
        value, aux = fn(y, args)
        newton = -system(self.problem, y, args)(value[:, None])[:, 0]
        size = jnp.max(jnp.abs(newton) / (self.atol + self.rtol * jnp.abs(y)))
        before = jnp.linalg.norm(value)

        def too_long(share: Array) -> Array:
            after = jnp.linalg.norm(fn(y + share * newton, args)[0])
            # Near the end rounding hides the decrease: such a step is taken whole.
            return ~(after <= (1 - ENOUGH * share) * before) & (size >= 1) & (share > 0.5**HALVINGS)

        share = jax.lax.while_loop(too_long, lambda share: share / 2, jnp.ones_like(size))
        return y + share * newton, State(size, share), aux

    def terminate(self, fn: Any, y: Any, args: Any, options: Any, state: State, tags: Any) -> tuple[Any, Any]:
        """Done where the step was small; given up where no step brings ‖F‖ down."""
        stuck = state.share <= 0.5**HALVINGS
        result = optx.RESULTS.where(stuck, optx.RESULTS.nonlinear_divergence, optx.RESULTS.successful)
        return (state.size < 1) | stuck, result

    def postprocess(
        self, fn: Any, y: Any, aux: Any, args: Any, options: Any, state: State, tags: Any, result: Any
    ) -> tuple[Any, Any, dict[str, Any]]:
        """Nothing to add."""
        return y, aux, {}
