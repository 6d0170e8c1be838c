"""What is told of an alignment once the loops have ended; still inside the compiled program."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..._questions import jacobian
from ..pyramid import slopes
from .descent import State, updated, watched
from .normal import LINEAR, Guess, Level, Model, image_columns
from .robust import LOSSES, scale_of

Array = jax.Array


class Summary(NamedTuple):
    """`texture` (P, P): what the fixed image's slopes alone say of the parameters, as a share of all their energy,
    where a unit of each parameter moves the picture by one pixel; `slope`: their root mean square. `bread`, `meat`
    (K, K) and `outward` (P, P) make the covariance."""

    parameters: Array
    light: Array
    residual: Array
    scale: Array
    inside: Array
    counted: Array
    steps: Array
    reason: Array
    start: Array
    texture: Array
    slope: Array
    brightest: Array
    moving_slope: Array
    moving_brightest: Array
    bread: Array
    meat: Array
    outward: Array


def summary(model: Model, level: Level, start: Array, chosen: Array, state: State, steps: Array) -> Summary:
    """Everything at the finest level; `start` (P,) in pixels."""
    guess, residual_model = state.guess, model
    if model.method == "ecc":
        guess, residual_model = _lit(model, level, guess), replace(model, gain_bias=True)
    residual, counted, columns, size = LINEAR[model.method](residual_model, level, guess)
    loss = LOSSES[model.robust]
    scale = scale_of(residual, counted, level.floor) if loss.scaled else jnp.ones_like(level.floor)
    weight, curvature = (
        jnp.where(counted[:, None], of(residual / scale), 0).ravel() for of in (loss.weight, loss.curvature)
    )
    influence = weight * residual.ravel()
    pulled = columns * influence[:, None]

    def outward(change: Array) -> Array:
        """The parameters in pixels after a step of the method."""
        still = jnp.zeros(model.unknowns - model.warp.size, change.dtype)
        return model.frame.outward(updated(model, state.guess, jnp.concatenate([change, still])).parameters)

    texture, slope = _texture(model, level, start)
    steep = jnp.nan_to_num(jnp.square(jnp.stack(slopes(level.moving))))
    return Summary(
        parameters=model.frame.outward(guess.parameters),
        light=guess.light,
        residual=jnp.sqrt(influence @ residual.ravel() / jnp.maximum(jnp.sum(weight), 1)),
        scale=scale,
        inside=jnp.sum(counted),
        counted=jnp.sum(level.counted),
        steps=steps,
        reason=state.reason,
        start=chosen,
        texture=texture,
        slope=slope,
        brightest=jnp.max(jnp.abs(level.fixed)),
        moving_slope=jnp.sqrt(jnp.mean(steep)),
        moving_brightest=jnp.nanmax(jnp.abs(level.moving)),
        bread=(columns * curvature[:, None]).T @ columns * (size[:, None] * size),
        meat=pulled.T @ pulled * (size[:, None] * size),
        outward=jacobian(outward)(jnp.zeros_like(guess.parameters)),
    )


def covariance(found: Summary, numbers: int) -> np.ndarray:
    """Of the parameters in pixels (P, P), from `numbers` residuals: Huber's sandwich A⁻¹BA⁻¹ n/(n − K).

    A = Σ ψ'(rᵢ) JᵢJᵢᵀ and B = Σ ψ(rᵢ)² JᵢJᵢᵀ with ψ(r) = r for least squares (Huber 1967; White 1980): it is σ²(JᵀJ)⁻¹
    where the noise is alike everywhere, and holds where it is not. NaN where there are too few residuals.
    """
    bread, meat, outward = (np.asarray(part, float) for part in (found.bread, found.meat, found.outward))
    unknowns, size = len(bread), len(outward)
    scale = np.sqrt(np.abs(np.diag(bread)))
    if numbers <= unknowns or not np.isfinite(bread).all() or not scale.all():
        return np.full((size, size), np.nan)
    inverse = np.linalg.pinv(bread / np.outer(scale, scale), hermitian=True) / np.outer(scale, scale)
    whole = inverse @ meat @ inverse * (numbers / (numbers - unknowns))
    return outward @ whole[:size, :size] @ outward.T


def _lit(model: Model, level: Level, guess: Guess) -> Guess:
    """The guess with the gain and bias that fit best."""
    moving, counted, _, _ = LINEAR[model.method](model, level, Guess(guess.parameters, jnp.zeros_like(guess.light)))
    weight = jnp.where(counted[:, None], 1, jnp.zeros_like(moving))
    total = jnp.maximum(jnp.sum(weight), 1)
    fixed_mean, moving_mean = (jnp.sum(weight * a) / total for a in (level.fixed, moving))
    about = weight * (level.fixed - fixed_mean)
    power = jnp.sum(about**2)
    gain = jnp.where(power > 0, jnp.sum(about * moving) / jnp.where(power > 0, power, 1), 1)
    return Guess(guess.parameters, jnp.stack([gain, moving_mean - gain * fixed_mean]))


def _texture(model: Model, level: Level, start: Array) -> tuple[Array, Array]:
    """(texture, slope) of the fixed image's inner pixels: the one-sided slopes of the rim would feign texture."""
    inner = jnp.all((level.points > level.points[0]) & (level.points < level.points[-1]), axis=-1) & level.counted
    slope = jnp.where(inner[:, None, None], level.slope, 0)
    still = jnp.zeros_like(start)
    parameters = still if model.method == "inverse" else model.frame.inward(start)
    columns = image_columns(model, parameters, level.points, slope)
    moved = jacobian(lambda p: model.warp(p, watched(level)))(parameters) * model.frame.radius
    reach = jnp.sqrt(jnp.mean(jnp.sum(moved**2, axis=1), axis=0))
    reach = jnp.where(reach > 0, reach, 1)
    energy = jnp.sum(slope**2)
    share = columns.T @ columns / jnp.maximum(energy, jnp.finfo(energy.dtype).tiny) / (reach[:, None] * reach)
    return share, jnp.sqrt(energy / jnp.maximum(jnp.sum(inner), 1).astype(energy.dtype))
