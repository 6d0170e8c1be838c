"""Undoing a warp that has no closed inverse: Newton's method at every point, with what is left over reported."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .derivatives import Map, by_points
from .sampling import as_points

Array = jax.Array

HALVINGS = 8
SMALL = 64  # residuals of so many units in the last place of the point count as none


class Inverse(NamedTuple):
    """`points` (…, 2) that the warp sends to those asked for; `residual` (…): how far it misses, in pixels.

    `converged` (…): whether that is rounding, or the tolerance given. `iterations`: of the slowest point.
    """

    points: Array
    residual: Array
    converged: Array
    iterations: Array


def invert(
    warp: Map, parameters: Any, points: Any, start: Any = None, *, tolerance: float = 0.0, most: int = 50
) -> Inverse:
    """The points that `warp(parameters, ·)` sends to `points` (…, 2): `cv2.undistortPoints` for a `Lens`, and the like.

    Newton's method at every point, steps halved until the residual shrinks, from `start` (`points` themselves by
    default). Where the warp folds there may be several answers, or none: one that Newton's path leads to is found, or
    `converged` is False there. `tolerance` in pixels; by default a few units in the last place. The answer is
    differentiable, forward and in reverse, by parameters and points (the implicit function theorem).
    """
    points = as_points(points)
    start = points if start is None else jnp.broadcast_to(as_points(start, "start"), points.shape).astype(points.dtype)
    return _invert(warp, most, parameters, points, start, tolerance)


@partial(jax.jit, static_argnums=(0, 1))
def _invert(warp: Map, most: int, parameters: Any, points: Array, start: Array, tolerance: Any) -> Inverse:
    wanted, fixed = jax.lax.stop_gradient((points, parameters))
    size = jnp.maximum(1.0, jnp.max(jnp.abs(wanted), axis=-1))
    enough = jnp.maximum(tolerance, SMALL * jnp.finfo(points.dtype).eps * size).astype(points.dtype)

    def miss(x: Array) -> Array:
        return jnp.linalg.norm(warp(fixed, x) - wanted, axis=-1)

    def going(state: tuple[Array, Array, Array, Array]) -> Array:
        _, left, moving, k = state
        return (k < most) & jnp.any(moving & (left > enough))

    def step(state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        x, left, moving, k = state
        towards = _solve(by_points(warp, fixed, x), warp(fixed, x) - wanted)

        def shorter(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            best, best_left, halving = state
            trial = x - 0.5**halving * towards
            trial_left = miss(trial)
            # The longest step that shrinks the residual; what is not finite shrinks nothing.
            better = (best_left == left) & (trial_left < left)
            return jnp.where(better[..., None], trial, best), jnp.where(better, trial_left, best_left), halving + 1

        def looking(state: tuple[Array, Array, Array]) -> Array:
            return (state[2] < HALVINGS) & jnp.any(moving & (left > enough) & (state[1] == left))

        best, best_left, _ = jax.lax.while_loop(looking, shorter, (x, left, jnp.zeros((), x.dtype)))
        return best, best_left, best_left < left, k + 1

    start = jax.lax.stop_gradient(start)
    state = (start, miss(start), jnp.ones(start.shape[:-1], bool), jnp.asarray(0))
    found, left, _, iterations = jax.lax.while_loop(going, step, state)
    converged = left <= enough
    # One step more changes nothing but carries the derivatives: dx = J⁻¹ (dy − ∂warp/∂parameters dp).
    free = warp(parameters, jax.lax.stop_gradient(found)) - points
    correction = _solve(jax.lax.stop_gradient(by_points(warp, fixed, found)), free - jax.lax.stop_gradient(free))
    return Inverse(found - correction, left, converged, iterations)


def _solve(matrix: Array, right: Array) -> Array:
    """matrix⁻¹ right for (…, 2, 2) and (…, 2), by Cramer's rule."""
    a, b, c, d = (matrix[..., i, j] for i in (0, 1) for j in (0, 1))
    det = a * d - b * c
    x, y = right[..., 0], right[..., 1]
    return jnp.stack([d * x - b * y, a * y - c * x], axis=-1) / det[..., None]
