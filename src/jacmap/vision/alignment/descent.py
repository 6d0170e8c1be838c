"""Levenberg-Marquardt on one level of the pyramid, as one compiled loop."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ..warps import GroupWarp
from .normal import NORMAL, Guess, Level, Model, Normal

Array = jax.Array

# Why a loop ended; `align` says them in words.
RUNNING, STEADY, STALLED, LIMIT = range(4)

FIRST_DAMPING, LEAST_DAMPING, MOST_DAMPING = 1e-4, 1e-7, 1e3
# Steps below this share of a pixel, or within so many standard errors, are taken without asking the cost: there, noise,
# interpolation and the pixels that enter or leave the picture move it more than the step does.
SMALL, ERRORS = 0.05, 2
# A step of this share of a standard error ends the loop: what it would still gain is far below what the noise allows.
SETTLED = 0.1
# With more damping than this a step is short because it was held back, which says nothing of how near the end is.
FREE = 0.1
# The least share of the counted pixels that must be read inside the moving image.
OVERLAP = 0.1


class State(NamedTuple):
    guess: Guess
    normal: Normal
    damping: Array
    steps: Array
    reason: Array


def descend(model: Model, level: Level, guess: Guess, tolerance: float, limit: int) -> State:
    """From `guess` until a step moves no pixel by more than `tolerance` pixels or a tenth of its standard error."""
    evaluate = NORMAL[model.method]
    counted = jnp.sum(level.counted).astype(level.fixed.dtype)
    corners = watched(level)
    normal, _ = evaluate(model, level, guess, None)
    dtype = normal.cost.dtype
    tiny = jnp.finfo(dtype).tiny

    def body(state: State) -> State:
        step = _solved(state.normal, state.damping)
        proposed = updated(model, state.guess, step)
        found, cost = evaluate(model, level, proposed, state.normal.scale)
        before, after = (model.warp(guess.parameters, corners) for guess in (state.guess, proposed))
        moved = model.frame.radius * jnp.sqrt(jnp.max(jnp.sum((after - before) ** 2, axis=-1)))
        sound = jnp.isfinite(moved) & jnp.isfinite(cost) & (found.inside.astype(dtype) >= OVERLAP * counted)
        free = state.damping <= FREE
        errors = step @ state.normal.matrix @ step / (model.unknowns * state.normal.noise + tiny)
        near = (errors <= ERRORS**2) | (moved <= SMALL * level.step)
        taken = sound & ((cost <= state.normal.cost) | (free & near))
        damping = jnp.where(taken, jnp.maximum(state.damping / 10, LEAST_DAMPING), state.damping * 10)
        reason = jnp.where(
            taken & free & ((moved <= tolerance) | (errors <= SETTLED**2)),
            STEADY,
            jnp.where(damping > MOST_DAMPING, STALLED, RUNNING),
        )
        steps = state.steps + 1
        reason = jnp.where((reason == RUNNING) & (steps >= limit), LIMIT, reason)
        guess, normal = jax.tree.map(
            lambda new, old: jnp.where(taken, new, old), (proposed, found), (state.guess, state.normal)
        )
        return State(guess, normal, damping, steps, reason)

    start = State(guess, normal, jnp.asarray(FIRST_DAMPING, dtype), jnp.asarray(0), jnp.asarray(RUNNING))
    return jax.lax.while_loop(lambda state: state.reason == RUNNING, body, start)


def updated(model: Model, guess: Guess, step: Array) -> Guess:
    """The guess after a step: added, or for the inverse method composed with the step's inverse."""
    change, light = step[: model.warp.size], guess.light
    if model.gain_bias:
        light = light + step[model.warp.size :]
    if model.method == "inverse":
        assert isinstance(model.warp, GroupWarp)
        return Guess(model.warp.compose(guess.parameters, model.warp.inverse(change)), light)
    return Guess(guess.parameters + change, light)


def _solved(normal: Normal, damping: Array) -> Array:
    """(H + λ diag H) δ = −g (Marquardt 1963), at unit diagonal: the unknowns have sizes of their own."""
    diagonal = jnp.diag(normal.matrix)
    scale = jnp.where(diagonal > 0, 1 / jnp.sqrt(jnp.where(diagonal > 0, diagonal, 1)), 0)
    scaled = normal.matrix * scale[:, None] * scale
    return -scale * jnp.linalg.solve(
        scaled + jnp.diag(damping + (diagonal <= 0).astype(scale.dtype)), scale * normal.gradient
    )


def watched(level: Level) -> Array:
    """A grid of 25 points over the picture, in the frame: their greatest movement measures a step."""
    low, high = level.points[0], level.points[-1]
    share = jnp.linspace(0, 1, 5, dtype=low.dtype)
    x, y = jnp.meshgrid(low[0] + share * (high[0] - low[0]), low[1] + share * (high[1] - low[1]))
    return jnp.stack([x, y], axis=-1).reshape(-1, 2)
