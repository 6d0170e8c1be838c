"""Reading an image between its pixels: differentiable, and nothing from outside the image is counted."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp

from .._errors import ArgumentError

Array = jax.Array
Order = Literal["linear", "cubic"]


def grid(shape: tuple[int, int], dtype: Any = float) -> Array:
    """The pixel centres of an image of `shape` (H, W): (H, W, 2), each (x, y) in pixels."""
    height, width = shape
    x, y = jnp.meshgrid(jnp.arange(width), jnp.arange(height))
    return jnp.stack([x, y], axis=-1).astype(dtype)


def sample(image: Any, points: Any, order: Order = "linear") -> tuple[Array, Array]:
    """(values, inside): the image at points (…, 2), each (x, y) in pixels, pixel centres at whole numbers.

    `image` (H, W) or (H, W, C) gives values of shape (…) or (…, C) in the points' dtype, 0 where not inside. `inside`
    (…) is whether the point lies in [0, W−1] × [0, H−1] and every pixel that its value and slope read is finite: NaN
    pixels are outside too. `order`: "linear", or "cubic" (Keys 1981, a = −1/2, C¹), which at the rim reads what the
    inner pixels continue to, linearly. Differentiable by image and points, under `jit`, `vmap` and `grad`; at whole
    numbers the slope of "linear" is that to the right. Raises `ArgumentError` for other shapes or an empty image.
    """
    if order not in KERNELS:
        raise ArgumentError(f"order: got {order!r}, expected one of {', '.join(map(repr, KERNELS))}")
    return _sample(as_image(image), as_points(points), order)


@partial(jax.jit, static_argnames="order")
def _sample(image: Array, points: Array, order: str) -> tuple[Array, Array]:
    height, width = image.shape[:2]
    pixels = image.reshape(height * width, -1).astype(points.dtype)
    most = jnp.asarray([width - 1, height - 1], points.dtype)
    inside = jnp.all((points >= 0) & (points <= most), axis=-1)
    points = jnp.where(inside[..., None], points, 0)
    columns, rows = (_taps(points[..., k], size, order) for k, size in enumerate((width, height)))

    value = jnp.zeros((*points.shape[:-1], pixels.shape[1]), points.dtype)
    for row, row_weight in rows:
        along = jnp.zeros_like(value)
        for column, column_weight in columns:
            read = pixels.at[row * width + column].get(mode="promise_in_bounds")
            # Made harmless before it is multiplied: 0 × NaN would spoil the derivative even where it is masked.
            finite = jnp.isfinite(read)
            inside &= jnp.all(finite, axis=-1)
            along += column_weight[..., None] * jnp.where(finite, read, 0)
        value += row_weight[..., None] * along
    value = jnp.where(inside[..., None], value, 0)
    return (value[..., 0] if image.ndim == 2 else value), inside


def as_points(points: Any, name: str = "points", last: int = 2) -> Array:
    """`points` as a float array (…, last); `ArgumentError` else."""
    points = jnp.asarray(points)
    if points.ndim == 0 or points.shape[-1] != last:
        raise ArgumentError(f"{name}: got shape {list(points.shape)}, expected {last} numbers along the last axis")
    return points if jnp.issubdtype(points.dtype, jnp.floating) else points.astype(float)


def as_image(image: Any, name: str = "image") -> Array:
    """`image` as an array (H, W) or (H, W, C) with at least one pixel; `ArgumentError` else."""
    image = jnp.asarray(image)
    if image.ndim not in (2, 3) or not image.size or jnp.issubdtype(image.dtype, jnp.complexfloating):
        raise ArgumentError(
            f"{name}: got shape {list(image.shape)} of {image.dtype}, expected real numbers (H, W) or (H, W, C) "
            "with at least one pixel"
        )
    return image


def masked(image: Array, mask: Any) -> Array:
    """`image` (H, W, C), the fixed one, with NaN where `mask` (H, W) says that it does not count."""
    counted = jnp.asarray(mask, bool)
    if counted.shape != image.shape[:2]:
        raise ArgumentError(f"mask: got shape {list(counted.shape)}, expected {list(image.shape[:2])}, as fixed")
    return jnp.where(counted[..., None], image, jnp.nan)


def _linear(t: Array) -> dict[int, Array]:
    return {0: 1 - t, 1: t}


def _cubic(t: Array) -> dict[int, Array]:
    """Keys, Cubic convolution interpolation for digital image processing (1981), a = −1/2: Catmull and Rom's spline."""
    return {
        -1: t * (-0.5 + t * (1 - 0.5 * t)),
        0: 1 + t * t * (-2.5 + 1.5 * t),
        1: t * (0.5 + t * (2 - 1.5 * t)),
        2: t * t * (-0.5 + 0.5 * t),
    }


# What a pixel at each offset from the one to the left weighs, at a fraction t of the way to the next.
KERNELS = {"linear": _linear, "cubic": _cubic}


def _taps(x: Array, size: int, order: str) -> list[tuple[Array, Array]]:
    """(index, weight) of each pixel that is read along an axis at x, all of them in 0 … size − 1."""
    start = jax.lax.stop_gradient(jnp.clip(jnp.floor(x), 0, max(size - 2, 0)))
    weights = KERNELS[order](x - start)
    first = start.astype(jnp.int32)
    if -1 in weights:
        # A pixel beyond the rim is 2·(the last) − (the one before), so its weight goes to these two.
        before = jnp.where(first == 0, weights[-1], 0)
        after = jnp.where(first + 2 > size - 1, weights[2], 0)
        weights = {
            -1: weights[-1] - before,
            0: weights[0] + 2 * before - after,
            1: weights[1] + 2 * after - before,
            2: weights[2] - after,
        }
    return [(jnp.clip(first + offset, 0, size - 1), weight) for offset, weight in weights.items()]
