"""The whole alignment as one program, compiled once per model, sizes of the images and number of levels."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp

from ..pyramid import pyramid
from ..warps import GROUPS
from .descent import State, descend
from .normal import Guess, Level, Model, level_of, prepared
from .robust import LOSSES
from .summary import Summary, summary

Array = jax.Array

# On all levels but the finest a step below this share of the level's pixel ends the loop: the next level knows better.
COARSE = 0.05


# From the identity, the coarsest level fits these first: with few parameters the way is longer and surer.
SIMPLER = {
    "euclidean": ("translation",),
    "similarity": ("translation",),
    "affine": ("translation",),
    "homography": ("translation", "affine"),
}


@partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def run(
    model: Model, levels: int, afar: bool, tolerance: float, limit: int, fixed: Array, moving: Array, starts: Array
) -> Summary:
    """Images (H, W, C), NaN where not counted; starts (k, P) in pixels, of which the coarsest level keeps the best.
    `afar`: nothing is known of the start."""
    pairs = zip(pyramid(fixed, levels), pyramid(moving, levels), strict=True)
    made = [level_of(model, *pair, 2.0**k) for k, pair in enumerate(pairs)]
    state, chosen = _best_start(model, made[-1], afar, starts, _tolerance(levels - 1, tolerance), limit)
    steps = [state.steps]
    for k in reversed(range(levels - 1)):
        state = descend(model, made[k], state.guess, _tolerance(k, tolerance), limit)
        steps.append(state.steps)
    return summary(model, made[0], starts[chosen], chosen, state, jnp.stack(steps))


def _tolerance(level: int, tolerance: float) -> float:
    return max(tolerance, COARSE * 2.0**level) if level else tolerance


def _best_start(
    model: Model, level: Level, afar: bool, starts: Array, tolerance: float, limit: int
) -> tuple[State, Array]:
    """The state of the start that ends with the least cost, and its number."""

    def fitted(start: Array) -> State:
        guess = Guess(model.frame.inward(start), jnp.asarray([1, 0], start.dtype))
        if afar:
            guess = _approached(model, level, guess, tolerance, limit)
        return descend(model, level, guess, tolerance, limit)

    if len(starts) == 1:
        return fitted(starts[0]), jnp.asarray(0)
    states = jax.vmap(fitted)(starts)
    # A robust cost is told in scales of its own residuals, so it is the scales that compare.
    cost = states.normal.scale if LOSSES[model.robust].scaled else states.normal.cost
    best = jnp.argmin(jnp.where(jnp.isfinite(states.normal.cost), cost, jnp.inf))
    return jax.tree.map(lambda leaf: leaf[best], states), best


def _approached(model: Model, level: Level, guess: Guess, tolerance: float, limit: int) -> Guess:
    """The guess from the identity, bettered by the simpler warps."""
    for name in SIMPLER.get(model.warp.name, ()):
        simple, whole = GROUPS[name], GROUPS[model.warp.name]
        easier = replace(model, frame=replace(model.frame, warp=simple))
        before = Guess(simple.parameters_of(whole.matrix(guess.parameters)), guess.light)
        found = descend(easier, prepared(easier, level), before, tolerance, limit).guess
        guess = Guess(whole.parameters_of(simple.matrix(found.parameters)), found.light)
    return guess
