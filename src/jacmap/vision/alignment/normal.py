"""The residual of an alignment at one level of the pyramid, and its normal equations: one table of three methods.

The model is moving(W(x; p)) ≈ gain · fixed(x) + bias. With r its residual and J the Jacobian of r by what is sought,
the Gauss-Newton step solves (Σ w JJᵀ) δ = −Σ w r J.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ..._questions import jacobian
from ..pyramid import slopes
from ..sampling import grid, sample
from ..warps import Warp
from .frame import Frame
from .robust import LOSSES, scale_of

Array = jax.Array


@dataclass(frozen=True)
class Model:
    """What is fitted and how; hashable, so that a program compiled for it is kept."""

    frame: Frame
    method: str
    robust: str | None
    gain_bias: bool

    @property
    def warp(self) -> Warp:
        return self.frame.warp

    @property
    def unknowns(self) -> int:
        return self.warp.size + 2 * self.gain_bias


# Points that lie this much of a pixel outside the moving image are read at its rim.
RIM = 1e-3
# The least share of a residual's weight that counts in Newton's matrix: with none, nothing holds a step from far away.
LEAST_BEND = 0.3


class Level(NamedTuple):
    """One level of the pyramid, N pixels of the fixed image. `columns` are ∂fixed(W(x; p))/∂p at the identity, which
    the inverse method needs once."""

    step: float  # pixels of the image per pixel of this level
    points: Array  # (N, 2), in the frame
    fixed: Array  # (N, C), 0 where not counted, as the slope
    slope: Array  # (N, C, 2), in pixels of the image
    counted: Array  # (N,)
    moving: Array  # (H, W, C)
    floor: Array  # the least scale of residuals
    columns: Array | None  # (N·C, P)


class Guess(NamedTuple):
    """Parameters in the frame (P,), and (gain, bias)."""

    parameters: Array
    light: Array


class Normal(NamedTuple):
    """The normal equations at a guess. `cost`: mean ρ over the pixels inside, at `scale`; `inside`: their number;
    `noise`: what δᵀHδ is per unknown for a step δ of one standard error."""

    matrix: Array
    gradient: Array
    cost: Array
    scale: Array
    inside: Array
    noise: Array


def level_of(model: Model, fixed: Array, moving: Array, step: float) -> Level:
    """The level of two images (H, W, C), NaN where they are not counted."""
    across, down = slopes(fixed)
    counted = jnp.all(jnp.isfinite(fixed + across + down), axis=-1).ravel()
    height, width, channels = fixed.shape
    points = model.frame.points(step * grid((height, width), fixed.dtype).reshape(-1, 2))
    values = jnp.where(counted[:, None], fixed.reshape(-1, channels), 0)
    share = jnp.maximum(jnp.sum(counted), 1).astype(fixed.dtype) * channels
    mean = jnp.sum(values) / share
    spread = jnp.sqrt(jnp.sum(jnp.where(counted[:, None], values - mean, 0) ** 2) / share)
    slope = jnp.stack([across, down], axis=-1).reshape(-1, channels, 2) / step
    slope = jnp.where(counted[:, None, None], slope, 0)
    return prepared(model, Level(step, points, values, slope, counted, moving, 1e-3 * spread, None))


def prepared(model: Model, level: Level) -> Level:
    """The level with the columns that the model's method and warp need."""
    if model.method != "inverse":
        return level
    still = jnp.zeros(model.warp.size, level.fixed.dtype)
    return level._replace(columns=image_columns(model, still, level.points, level.slope))


def image_columns(model: Model, parameters: Array, points: Array, gradient: Array) -> Array:
    """∂image(W(x; p))/∂p, (N·C, P), from the image's slope (N, C, 2) per pixel at W(x; p).

    The planned Jacobian of all points at once: two numbers per parameter and pixel, by one tangent per parameter.
    """
    moved = jacobian(lambda p: model.warp(p, points))(parameters) * model.frame.radius
    found = gradient[..., 0, None] * moved[:, None, 0] + gradient[..., 1, None] * moved[:, None, 1]
    return found.reshape(-1, model.warp.size)


def _read(model: Model, level: Level, guess: Guess) -> tuple[Array, Array]:
    """The moving image (N, C) where the guess puts the fixed image's pixels, and which of them count (N,)."""
    values, inside = sample(level.moving, _places(model, level, guess))
    return values, inside & level.counted


def _read_with_columns(model: Model, level: Level, guess: Guess) -> tuple[Array, Array, Array]:
    """The same, and the Jacobian (N·C, P). The slope is the interpolation's own: one of smoothed differences would be
    too small, and every step too long by as much."""
    places = _places(model, level, guess)

    def along(axis: int) -> tuple[Array, Array, Array]:
        direction = jnp.zeros_like(places).at[:, axis].set(1)
        return jax.jvp(lambda at: sample(level.moving, at), (places,), (direction,), has_aux=True)

    (values, across, inside), (_, down, _) = along(0), along(1)
    gradient = jnp.stack([across, down], axis=-1) / level.step
    columns = image_columns(model, guess.parameters, level.points, gradient)
    return values, inside & level.counted, columns


def _places(model: Model, level: Level, guess: Guess) -> Array:
    """Pixels (N, 2) of the moving image; rounding must not push the rim's out of it."""
    places = model.frame.pixels(model.warp(guess.parameters, level.points)) / level.step
    height, width = level.moving.shape[:2]
    within = jnp.clip(places, 0, jnp.asarray([width - 1, height - 1], places.dtype))
    return jnp.where(jnp.abs(places - within) <= RIM, within, places)


class Linear(NamedTuple):
    """The residual (N, C), the pixels that count (N,), and its Jacobian (N·C, K) as `size` (K,) times `columns`."""

    residual: Array
    counted: Array
    columns: Array
    size: Array


def linear_inverse(model: Model, level: Level, guess: Guess) -> Linear:
    """Inverse compositional (Baker & Matthews 2004): the slopes are the fixed image's, computed once."""
    assert level.columns is not None
    values, counted = _read(model, level, guess)
    return _with_light(model, level, guess, values, counted, level.columns, -guess.light[0])


def linear_forward(model: Model, level: Level, guess: Guess) -> Linear:
    """Forward additive (Lucas & Kanade 1981): the slopes of the moving image where it is read."""
    values, counted, columns = _read_with_columns(model, level, guess)
    return _with_light(model, level, guess, values, counted, columns, jnp.ones_like(guess.light[0]))


def _with_light(
    model: Model, level: Level, guess: Guess, values: Array, counted: Array, columns: Array, factor: Array
) -> Linear:
    """The columns times `factor`, and those of gain and bias where they are sought."""
    residual = jnp.where(counted[:, None], values - guess.light[0] * level.fixed - guess.light[1], 0)
    size = jnp.broadcast_to(factor, (model.warp.size,))
    if model.gain_bias:
        fixed = level.fixed.reshape(-1, 1)
        columns = jnp.concatenate([columns, fixed, jnp.ones_like(fixed)], axis=1)
        size = jnp.concatenate([size, -jnp.ones(2, size.dtype)])
    return Linear(residual, counted, columns, size)


def normal_squares(model: Model, level: Level, guess: Guess, scale: Array | None) -> tuple[Normal, Array]:
    """Least squares, or what the robust weights make of it."""
    loss = LOSSES[model.robust]
    residual, counted, columns, size = LINEAR[model.method](model, level, guess)
    here = scale_of(residual, counted, level.floor) if loss.scaled else jnp.ones_like(level.floor)
    inside = jnp.sum(counted)
    weight = jnp.where(counted[:, None], loss.weight(residual / here), 0)
    # Newton's matrix, kept positive: with ρ'/u for ρ'' every step would be too short near the end.
    bend = jnp.where(counted[:, None], jnp.maximum(loss.curvature(residual / here), LEAST_BEND * weight), 0)
    matrix = (columns * bend.ravel()[:, None]).T @ columns * (size[:, None] * size)
    gradient = (weight * residual).ravel() @ columns * size

    def cost(scale: Array) -> Array:
        total = jnp.sum(jnp.where(counted[:, None], loss.value(residual / scale), 0))
        return total / jnp.maximum(inside, 1).astype(total.dtype)

    noise = jnp.sum((weight * residual) ** 2) / jnp.maximum(jnp.sum(bend), 1)
    found = Normal(matrix, gradient, cost(here), here, inside, noise)
    return found, found.cost if scale is None else cost(scale)


def normal_ecc(model: Model, level: Level, guess: Guess, scale: Array | None) -> tuple[Normal, Array]:
    """Enhanced correlation coefficient (Evangelidis & Psarakis 2008): 1 − ρ of the two images about their means.

    The increment maximises ρ of the moving image's linear model, in closed form; it does not see gain nor bias.
    """
    values, counted, columns = _read_with_columns(model, level, guess)
    weight = jnp.broadcast_to(counted[:, None], level.fixed.shape).ravel().astype(values.dtype)
    total = jnp.maximum(jnp.sum(weight), 1)

    def about_mean(a: Array) -> Array:
        return (a - weight @ a / total) * (weight if a.ndim == 1 else weight[:, None])

    fixed, moving = about_mean(level.fixed.ravel()), about_mean(values.ravel())
    columns = about_mean(columns)
    matrix = columns.T @ columns
    # λ of equation (19): the fixed image is scaled so that the error is what the columns can take away.
    by_fixed, by_moving = fixed @ columns, moving @ columns
    solved = jnp.linalg.solve(matrix + _ridge(matrix), by_moving)
    correlation, power = fixed @ moving, moving @ moving
    upper, lower = power - by_moving @ solved, correlation - by_fixed @ solved
    # Where the denominator is not positive the images are not yet alike: equation (20)'s bound instead.
    least = jnp.maximum(jnp.sqrt(power / jnp.maximum(fixed @ fixed, 1e-30)), 0)
    ratio = jnp.where(lower > 0, upper / jnp.where(lower > 0, lower, 1), least)
    gradient = by_moving - ratio * by_fixed
    rho = correlation / jnp.sqrt(jnp.maximum(power * (fixed @ fixed), 1e-30))
    found = Normal(matrix, gradient, 1 - rho, jnp.ones_like(rho), jnp.sum(counted), power * (1 - rho**2) / total)
    return found, found.cost


def _ridge(matrix: Array) -> Array:
    """A trace of the diagonal: a level without texture gives finite numbers, told apart at the end."""
    return jnp.diag(1e-6 * jnp.diag(matrix) + 1e-30)


# The methods with a residual; correlation borrows the forward one's where a residual is asked for.
LINEAR: dict[str, Callable[[Model, Level, Guess], Linear]] = {
    "inverse": linear_inverse,
    "forward": linear_forward,
    "ecc": linear_forward,
}
NORMAL: dict[str, Callable[[Model, Level, Guess, Array | None], tuple[Normal, Array]]] = {
    "inverse": normal_squares,
    "forward": normal_squares,
    "ecc": normal_ecc,
}
