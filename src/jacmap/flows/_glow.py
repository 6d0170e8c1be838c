"""Glow: flows of images in several scales.

Kingma and Dhariwal 2018, "Glow: generative flow with invertible 1×1 convolutions". Images are (channels,
height, width), as in equinox.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .._errors import ArgumentError
from ._arguments import whole
from ._chain import Chain
from ._coupling import Halves
from ._elementwise import Affine, Elementwise


class ActNorm(eqx.Module):
    """z = (x + shift)·exp(log_scale), one pair per entry of the first axis; (n,) or (channels, height, width).

    `initialised(batch)` sets both so that the batch comes out with mean 0 and variance 1; once: `ready` says so.
    """

    shift: jax.Array
    log_scale: jax.Array
    ready: bool

    def __init__(self, channels: int) -> None:
        self.shift, self.log_scale = jnp.zeros((2, whole("channels", channels)))
        self.ready = False

    def _as(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Shift and logarithmic scale, shaped to go with x."""
        shape = (-1, *[1] * (x.ndim - 1))
        return self.shift.reshape(shape), self.log_scale.reshape(shape)

    def __call__(self, x: jax.Array) -> jax.Array:
        """x -> z of the same shape."""
        shift, log_scale = self._as(x)
        return (x + shift) * jnp.exp(log_scale)

    def inverse(self, z: jax.Array) -> jax.Array:
        """z -> x of the same shape."""
        shift, log_scale = self._as(z)
        return z * jnp.exp(-log_scale) - shift

    def initialised(self, batch: jax.Array) -> ActNorm:
        """From a batch (k, channels, …); itself where that has been done."""
        if self.ready:
            return self
        axes = (0, *range(2, batch.ndim))
        spread = jnp.maximum(jnp.std(batch, axis=axes), 1e-6)
        new = (-jnp.mean(batch, axis=axes), -jnp.log(spread), True)
        return eqx.tree_at(lambda layer: (layer.shift, layer.log_scale, layer.ready), self, new)


class Conv1x1(eqx.Module):
    """Every pixel's channels mixed by one invertible matrix, orthogonal at the start."""

    weight: jax.Array

    def __init__(self, channels: int, *, key: jax.Array) -> None:
        self.weight = jnp.linalg.qr(jax.random.normal(key, (whole("channels", channels),) * 2))[0]

    def __call__(self, x: jax.Array) -> jax.Array:
        """x (channels, …) -> z of the same shape."""
        return jnp.tensordot(self.weight, x, 1)

    def inverse(self, z: jax.Array) -> jax.Array:
        """z (channels, …) -> x of the same shape."""
        return jnp.linalg.solve(self.weight, z.reshape(len(z), -1)).reshape(z.shape)


class ConvCoupling(Halves):
    """The first half of the channels passes; the others go through `elementwise`, with parameters from convolutions."""

    layers: tuple[eqx.nn.Conv2d, ...]
    elementwise: Elementwise
    kept: int = eqx.field(static=True)

    def __init__(self, channels: int, *, key: jax.Array, elementwise: Elementwise | None = None,
                 width: int = 32) -> None:  # fmt: skip
        self.kept = whole("channels", channels, at_least=2) // 2
        self.elementwise = Affine() if elementwise is None else elementwise
        out = self.elementwise.parameters * (channels - self.kept)
        sizes = [(self.kept, width, 3), (width, width, 1), (width, out, 3)]
        convolutions = [
            eqx.nn.Conv2d(inside, outside, kernel, padding="SAME", key=own)
            for (inside, outside, kernel), own in zip(sizes, jax.random.split(key, 3), strict=True)
        ]
        # As in the paper: the last one starts at zero, and the coupling with it as the identity.
        convolutions[-1] = jax.tree.map(jnp.zeros_like, convolutions[-1])
        self.layers = tuple(convolutions)

    def parameters(self, kept: jax.Array) -> jax.Array:
        """(kept, height, width) -> (parameters · moved, height, width)."""
        first, middle, last = self.layers
        return last(jax.nn.relu(middle(jax.nn.relu(first(kept)))))


class Squeeze(eqx.Module):
    """Squares of 2×2 pixels become four channels: (c, h, w) -> (4c, h/2, w/2)."""

    def __call__(self, x: jax.Array) -> jax.Array:
        """x (c, h, w), h and w even -> z (4c, h/2, w/2)."""
        c, h, w = x.shape
        return x.reshape(c, h // 2, 2, w // 2, 2).transpose(0, 2, 4, 1, 3).reshape(4 * c, h // 2, w // 2)

    def inverse(self, z: jax.Array) -> jax.Array:
        """z (4c, h/2, w/2) -> x (c, h, w)."""
        c, h, w = z.shape
        return z.reshape(c // 4, 2, 2, h, w).transpose(0, 3, 1, 4, 2).reshape(c // 4, 2 * h, 2 * w)


class MultiScale(eqx.Module):
    """Levels one after another; after each but the last, half of the channels are done and leave. Gives one vector.

    Dinh et al. 2017, section 3.6. `shape` is that of the image, (channels, height, width).
    """

    levels: tuple[Any, ...]
    shape: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, levels: Sequence[Callable[[jax.Array], jax.Array]], shape: Sequence[int]) -> None:
        self.levels, self.shape = tuple(levels), tuple(shape)

    def __call__(self, x: jax.Array) -> jax.Array:
        """x (channels, height, width) -> z (n,)."""
        done = []
        for level in self.levels[:-1]:
            leaving, x = jnp.split(level(x), 2)
            done.append(leaving.ravel())
        return jnp.concatenate([*done, self.levels[-1](x).ravel()])

    def inverse(self, z: jax.Array) -> jax.Array:
        """z (n,) -> x (channels, height, width)."""
        shapes = self._shapes()
        parts = []
        for channels, height, width in shapes[:-1]:
            size = channels // 2 * height * width
            parts.append(z[:size].reshape(channels // 2, height, width))
            z = z[size:]
        x = self.levels[-1].inverse(z.reshape(shapes[-1]))
        for level, leaving in zip(self.levels[-2::-1], reversed(parts), strict=True):
            x = level.inverse(jnp.concatenate([leaving, x]))
        return x

    def _shapes(self) -> list[tuple[int, ...]]:
        """What each level gives."""
        shapes: list[tuple[int, ...]] = []
        shape = self.shape
        for level in self.levels:
            out = jax.eval_shape(level, jax.ShapeDtypeStruct(shape, jnp.result_type(float))).shape
            shapes.append(out)
            shape = (out[0] // 2, *out[1:])
        return shapes

    def initialised(self, batch: jax.Array) -> MultiScale:
        """With every `ActNorm` set to what the batch looks like where it stands."""
        ready = []
        for level in self.levels:
            level = level.initialised(batch) if hasattr(level, "initialised") else level
            ready.append(level)
            batch = jnp.split(jax.vmap(level)(batch), 2, axis=1)[1]
        return MultiScale(ready, self.shape)


def glow(shape: Sequence[int], *, key: jax.Array, levels: int = 2, steps: int = 4, width: int = 32,
         elementwise: Elementwise | None = None) -> MultiScale:  # fmt: skip
    """Glow for images (channels, height, width): levels of a squeeze and `steps` × (actnorm, 1×1 mix, coupling).

    Maps an image to a vector of as many numbers: ``Flow(glow(shape, key=key), Normal(n), direction="data_to_noise",
    shape=shape)``. Raises ArgumentError where height or width cannot be halved `levels` times.
    """
    channels, height, width_of_image = shape
    for name, size in (("height", height), ("width", width_of_image)):
        if size % 2 ** whole("levels", levels):
            raise ArgumentError(f"shape: got {name} {size}, expected a multiple of {2**levels} for {levels} levels")
    made = []
    for for_level in jax.random.split(key, levels):
        channels *= 4
        parts: list[Any] = [Squeeze()]
        for own in jax.random.split(for_level, whole("steps", steps)):
            for_mix, for_net = jax.random.split(own)
            parts += [ActNorm(channels), Conv1x1(channels, key=for_mix)]
            parts.append(ConvCoupling(channels, key=for_net, elementwise=elementwise, width=width))
        made.append(Chain(*parts))
        channels //= 2
    return MultiScale(made, tuple(shape))
