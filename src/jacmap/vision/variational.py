"""One level of dense registration: Gauss-Newton on a regularised flow, its equations solved by conjugate gradients.

The energy of displacements u (H, W, 2) is Σ √(r² + ε²)/C + smoothness · Σ √(|∇u|² + ε²), sums over pixels and the C
channels of r, which compares brightness and its slopes in both images (Brox, Bruhn, Papenberg, Weickert 2004).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .pyramid import slopes
from .sampling import grid, sample

Array = jax.Array

FURTHEST = 1.0  # pixels that a step may move one: further, the linearisation says nothing
HALVINGS = 4
RESIDUAL = 1e-2  # relative, at which conjugate gradients stop: the next linearisation changes the equations by more


class Energy(NamedTuple):
    """What is minimised; numbers, so that one compiled program serves any. `gradient`: the weight of the slopes."""

    smoothness: Any
    gradient: Any
    data_edge: Any
    flow_edge: Any


class Level(NamedTuple):
    """A flow with its energy, by how much of itself the last step lowered it, and the steps taken."""

    flow: Array
    energy: Array
    fall: Array
    steps: Array


class Linear(NamedTuple):
    """Residuals (H, W, C) at a flow, their slopes by Δx and Δy, and which pixels (H, W, 1) are counted."""

    residual: Array
    by_x: Array
    by_y: Array
    counted: Array


def features(image: Array, gradient: Any) -> Array:
    """(H, W, 3C): the image (H, W, C) and its slopes, times `gradient`."""
    x, y = slopes(image)
    return jnp.concatenate([image, gradient * x, gradient * y], axis=-1)


@jax.jit
def refine(
    fixed: Array, moving: Array, flow: Array, energy: Energy, most: Array, products: Array, tolerance: Array
) -> Level:
    """The flow at which the energy of two images (H, W, C) no longer falls by `tolerance` of itself, from `flow`.

    At most `most` steps, each of at most `products` conjugate-gradient products. NaN pixels are not counted.
    """
    wanted, there = features(fixed, energy.gradient), features(moving, energy.gradient)
    pixels = grid((fixed.shape[0], fixed.shape[1]), flow.dtype)

    def at(flow: Array) -> Linear:
        return linearised(there, pixels + flow, turn(flow), wanted)

    def going(state: tuple[Level, Linear]) -> Array:
        return (state[0].steps < most) & (state[0].fall > tolerance)

    def step(state: tuple[Level, Linear]) -> tuple[Level, Linear]:
        level, linear = state
        towards = jnp.clip(newton_step(linear, level.flow, energy, products), -FURTHEST, FURTHEST)

        def shorter(trial: tuple[Array, Array, Linear, Array]) -> tuple[Array, Array, Linear, Array]:
            flow = level.flow + trial[0] * towards
            new = at(flow)
            return trial[0] / 2, flow, new, fallen(linear, level.flow, new, flow, energy)

        first = shorter((jnp.ones((), flow.dtype), level.flow, linear, jnp.zeros((), flow.dtype)))
        _, moved, new, fall = jax.lax.while_loop(
            lambda trial: (trial[3] <= 0) & (trial[0] > 0.5 ** (HALVINGS + 1)), shorter, first
        )
        # Where no step lowers the energy the flow stays as it was.
        kept = fall > 0
        moved, new = jax.tree.map(lambda a, b: jnp.where(kept, a, b), (moved, new), (level.flow, linear))
        total = total_energy(new, moved, energy)
        share = jnp.where(kept, fall / jnp.maximum(total, jnp.finfo(flow.dtype).tiny), 0)
        return Level(moved, total, share, level.steps + 1), new

    linear = at(flow)
    start = Level(flow, total_energy(linear, flow, energy), jnp.asarray(jnp.inf, flow.dtype), jnp.asarray(0))
    return jax.lax.while_loop(going, step, (start, linear))[0]


def turn(flow: Array) -> tuple[Array, Array]:
    """∂(x + flow)/∂x and ∂(x + flow)/∂y (H, W, 2), what slopes are carried by; held within ½ of the identity's, as
    across an edge of the flow the differences mean nothing."""
    by_x, by_y = (jnp.clip(part, -0.5, 0.5) for part in slopes(flow))
    return by_x.at[..., 0].add(1), by_y.at[..., 1].add(1)


def linearised(moving: Array, points: Array, turned: tuple[Array, Array], wanted: Array) -> Linear:
    """The residual at `points` and its slopes: each depends on its own pixel's displacement alone, so that the Jacobian
    is block-diagonal and two passes give all of it."""

    def residual(at: Array) -> tuple[Array, Array]:
        value, inside = sample(moving, at, "cubic")
        # The slopes of the warped image, not of the moving one where it is read: a flow that stretches changes them.
        plain, x, y = jnp.split(value, 3, axis=-1)
        carried = (x * by[..., :1] + y * by[..., 1:] for by in turned)
        value = jnp.concatenate([plain, *carried], axis=-1)
        return value - jnp.where(known, wanted, 0), inside

    known = jnp.all(jnp.isfinite(wanted), axis=-1, keepdims=True)
    value, push, inside = jax.linearize(residual, points, has_aux=True)
    one, none = jnp.ones_like(points[..., 0]), jnp.zeros_like(points[..., 0])
    by_x, by_y = push(jnp.stack([one, none], axis=-1)), push(jnp.stack([none, one], axis=-1))
    return Linear(value, by_x, by_y, inside[..., None] & known)


def data_terms(linear: Linear, energy: Energy) -> Array:
    return jnp.sqrt(linear.residual**2 + energy.data_edge**2) / linear.residual.shape[-1]


def smooth_terms(flow: Array, energy: Energy) -> Array:
    right, down = differences(flow)
    return jnp.sqrt(jnp.sum(right**2 + down**2, axis=-1, keepdims=True) + energy.flow_edge**2)


def total_energy(linear: Linear, flow: Array, energy: Energy) -> Array:
    data = jnp.sum(jnp.where(linear.counted, data_terms(linear, energy), 0))
    return data + energy.smoothness * jnp.sum(smooth_terms(flow, energy))


def fallen(old: Linear, old_flow: Array, new: Linear, new_flow: Array, energy: Energy) -> Array:
    """By how much the energy fell, over pixels counted in both: else leaving the image would be a gain."""
    data = jnp.where(old.counted & new.counted, data_terms(old, energy) - data_terms(new, energy), 0)
    return jnp.sum(data) + energy.smoothness * jnp.sum(smooth_terms(old_flow, energy) - smooth_terms(new_flow, energy))


def differences(flow: Array) -> tuple[Array, Array]:
    """Forward differences along x and y; 0 at the far rim."""
    right = jnp.pad(jnp.diff(flow, axis=1), [(0, 0), (0, 1), (0, 0)])
    down = jnp.pad(jnp.diff(flow, axis=0), [(0, 1), (0, 0), (0, 0)])
    return right, down


def tension(flow: Array, weights: Array) -> Array:
    """∇ᵀ(weights · ∇flow), the gradient of the weighted smoothness."""
    right, down = (weights * part for part in differences(flow))
    before = jnp.pad(right, [(0, 0), (1, 0), (0, 0)])[:, :-1], jnp.pad(down, [(1, 0), (0, 0), (0, 0)])[:-1]
    return before[0] - right + before[1] - down


def degree(weights: Array) -> Array:
    """The diagonal (H, W) of ∇ᵀ(weights · ∇): the weights of the edges that meet at a pixel."""
    right, down = weights[..., 0].at[:, -1].set(0), weights[..., 0].at[-1].set(0)
    return right + down + jnp.pad(right, [(0, 0), (1, 0)])[:, :-1] + jnp.pad(down, [(1, 0), (0, 0)])[:-1]


def newton_step(linear: Linear, flow: Array, energy: Energy, products: Array) -> Array:
    """(JᵀWJ)⁻¹ of minus the gradient, W the weights 1/√(r² + ε²) under which least squares have the energy's gradient
    (iteratively reweighted). By conjugate gradients with products alone, preconditioned by 2×2 blocks per pixel."""
    channels = linear.residual.shape[-1]
    weights = jnp.where(linear.counted, 1 / (channels**2 * data_terms(linear, energy)), 0)
    smooth = energy.smoothness / smooth_terms(flow, energy)
    x, y = linear.by_x, linear.by_y
    # The equations are coupled per pixel by (a b; b c), and between pixels by the smoothness.
    a, b, c = (jnp.sum(weights * one * other, axis=-1) for one, other in ((x, x), (x, y), (y, y)))
    force = (jnp.sum(weights * one * linear.residual, axis=-1) for one in (x, y))
    right = -jnp.stack(list(force), axis=-1) - tension(flow, smooth)
    meeting = degree(smooth)
    det = (a + meeting) * (c + meeting) - b * b

    def product(v: Array) -> Array:
        return jnp.stack([a * v[..., 0] + b * v[..., 1], b * v[..., 0] + c * v[..., 1]], axis=-1) + tension(v, smooth)

    def conditioned(v: Array) -> Array:
        parts = [(c + meeting) * v[..., 0] - b * v[..., 1], (a + meeting) * v[..., 1] - b * v[..., 0]]
        return jnp.stack(parts, axis=-1) / det[..., None]

    return conjugate_gradients(product, conditioned, right, products)


def conjugate_gradients(product: Any, conditioned: Any, right: Array, most: Array) -> Array:
    """Preconditioned conjugate gradients from 0 (Hestenes & Stiefel 1952); stops early at `RESIDUAL`."""
    first = conditioned(right)
    size = jnp.sum(right * first)

    def going(state: tuple[Array, Array, Array, Array, Array]) -> Array:
        return (state[4] < most) & (state[3] > RESIDUAL**2 * size)

    def step(state: tuple[Array, Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array, Array]:
        x, left, along, size, k = state
        image = product(along)
        length = size / jnp.sum(along * image)
        x, left = x + length * along, left - length * image
        towards = conditioned(left)
        new = jnp.sum(left * towards)
        return x, left, towards + new / size * along, new, k + 1

    return jax.lax.while_loop(going, step, (jnp.zeros_like(right), right, first, size, jnp.asarray(0)))[0]
