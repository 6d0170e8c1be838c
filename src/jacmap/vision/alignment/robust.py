"""Losses that count large residuals less, and a scale of the residuals that outliers cannot move."""

from __future__ import annotations

from collections.abc import Callable
from math import gcd
from typing import NamedTuple

import jax
import jax.numpy as jnp

Array = jax.Array

# 95 % of least squares' efficiency for normal noise (Huber 1981; Holland & Welsch 1977).
HUBER, TUKEY = 1.345, 4.685
# The median of |r| of normal noise with σ = 1 is 1/1.4826.
MEDIAN_TO_SIGMA = 1.4826
# Residuals that the median is taken of: it is within 3 % then, and a sort of all of them would cost more than the rest.
SAMPLED = 2048


class Loss(NamedTuple):
    """ρ(u) of u = residual/scale, with ρ'(u)/u and ρ''(u); `scaled`: whether the scale matters to it."""

    value: Callable[[Array], Array]
    weight: Callable[[Array], Array]
    curvature: Callable[[Array], Array]
    scaled: bool = True


def _tukey_rest(u: Array) -> Array:
    """1 − (u/c)², and 0 for outliers."""
    return jnp.maximum(1 - (u / TUKEY) ** 2, 0)


LOSSES: dict[str | None, Loss] = {
    None: Loss(lambda u: u * u / 2, jnp.ones_like, jnp.ones_like, scaled=False),
    "huber": Loss(
        lambda u: jnp.where(jnp.abs(u) <= HUBER, u * u / 2, HUBER * (jnp.abs(u) - HUBER / 2)),
        lambda u: HUBER / jnp.maximum(jnp.abs(u), HUBER),
        lambda u: (jnp.abs(u) <= HUBER).astype(u.dtype),
    ),
    "tukey": Loss(
        lambda u: TUKEY**2 / 6 * (1 - _tukey_rest(u) ** 3),
        lambda u: _tukey_rest(u) ** 2,
        lambda u: _tukey_rest(u) * (1 - 5 * (u / TUKEY) ** 2),
    ),
}


def scale_of(residual: Array, counted: Array, floor: Array) -> Array:
    """σ of residuals (N, C) by their median absolute value over the `counted` pixels (N,), at least `floor`."""
    step = _step(len(residual))
    some, known = jnp.abs(residual[::step]), counted[::step]
    ordered = jnp.sort(jnp.where(known[:, None], some, jnp.inf).ravel())
    middle = jnp.sum(known) * residual.shape[1] // 2
    return jnp.maximum(jnp.where(jnp.any(known), MEDIAN_TO_SIGMA * ordered[middle], 0), floor)


def _step(pixels: int) -> int:
    """A step through the pixels that meets every column: a prime to most widths."""
    step = max(1, pixels // SAMPLED)
    while step > 1 and gcd(step, 2 * 3 * 5 * 7) > 1:
        step += 1
    return step
