"""The whole alignment as one program, compiled once per model, sizes of the images and number of levels."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from .descent import State, descend
from .normal import Guess, Level, Model, level_of
from ..pyramid import pyramid
from .robust import LOSSES
from .summary import Summary, summary

Array = jax.Array

# On all levels but the finest a step below this share of the level's pixel ends the loop: the next level knows better.
COARSE = 0.05


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def run(
    model: Model, levels: int, tolerance: float, limit: int, fixed: Array, moving: Array, starts: Array
) -> Summary:
    """Images (H, W, C), NaN where not counted; starts (k, P) in pixels, of which the coarsest level keeps the best."""
    pairs = zip(pyramid(fixed, levels), pyramid(moving, levels), strict=True)
    made = [level_of(model, *pair, 2.0**k) for k, pair in enumerate(pairs)]
    state, chosen = _best_start(model, made[-1], starts, _tolerance(levels - 1, tolerance), limit)
    steps = [state.steps]
    for k in reversed(range(levels - 1)):
        state = descend(model, made[k], state.guess, _tolerance(k, tolerance), limit)
        steps.append(state.steps)
    return summary(model, made[0], starts[chosen], chosen, state, jnp.stack(steps))


def _tolerance(level: int, tolerance: float) -> float:
    return max(tolerance, COARSE * 2.0**level) if level else tolerance


def _best_start(model: Model, level: Level, starts: Array, tolerance: float, limit: int) -> tuple[State, Array]:
    """The state of the start that ends with the least cost, and its number."""

    def fitted(start: Array) -> State:
        guess = Guess(model.frame.inward(start), jnp.asarray([1, 0], start.dtype))
        return descend(model, level, guess, tolerance, limit)

    if len(starts) == 1:
        return fitted(starts[0]), jnp.asarray(0)
    states = jax.vmap(fitted)(starts)
    # A robust cost is told in scales of its own residuals, so it is the scales that compare.
    cost = states.normal.scale if LOSSES[model.robust].scaled else states.normal.cost
    best = jnp.argmin(jnp.where(jnp.isfinite(states.normal.cost), cost, jnp.inf))
    return jax.tree.map(lambda leaf: leaf[best], states), best
