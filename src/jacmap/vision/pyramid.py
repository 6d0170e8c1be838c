"""Smaller copies of an image, and its slopes. A pixel that does not count is NaN, here and in all of alignment."""

from __future__ import annotations

import jax
import jax.numpy as jnp

Array = jax.Array

BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
# The share of the kernel's weight that must lie on counted pixels; a corner of an image without NaN has 0.47.
ENOUGH = 0.4


def pyramid(image: Array, levels: int) -> list[Array]:
    """`levels` images, the first the given one (H, W, C), each next one of half its size.

    Pixel (x, y) of level k lies at (2ᵏx, 2ᵏy) of the image (Burt & Adelson 1983).
    """
    images = [image]
    for _ in range(levels - 1):
        images.append(_halved(images[-1]))
    return images


def slopes(image: Array) -> tuple[Array, Array]:
    """(∂/∂x, ∂/∂y) of an image (H, W, C) per pixel: central differences, one-sided at the rim; NaN spreads."""
    return _difference(image, 1), _difference(image, 0)


def _halved(image: Array) -> Array:
    """Every second pixel of the mean over the counted neighbours, by binomial weights."""
    known = jnp.all(jnp.isfinite(image), axis=-1, keepdims=True)
    values, weights = jnp.where(known, image, 0), known.astype(image.dtype)
    for axis in (0, 1):
        values, weights = _smoothed(values, axis), _smoothed(weights, axis)
    return jnp.where(weights >= ENOUGH, values / jnp.maximum(weights, ENOUGH), jnp.nan)


def _smoothed(image: Array, axis: int) -> Array:
    size = image.shape[axis]
    padded = jnp.pad(image, [(2, 2) if k == axis else (0, 0) for k in range(3)])
    return sum(
        weight * jax.lax.slice_in_dim(padded, k, k + size, 2, axis) for k, weight in enumerate(BINOMIAL)
    )  # type: ignore[return-value]


def _difference(image: Array, axis: int) -> Array:
    def part(start: int, stop: int) -> Array:
        return jax.lax.slice_in_dim(image, start, image.shape[axis] + stop, axis=axis)

    size = image.shape[axis]
    inner = (part(2, 0) - part(0, -2)) / 2
    first, last = part(1, 2 - size) - part(0, 1 - size), part(size - 1, 0) - part(size - 2, -1)
    return jnp.concatenate([first, inner, last], axis)
