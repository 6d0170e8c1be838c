"""Flows of images as plain functions, (h, w, channels) to the same: Glow, and couplings on a checkerboard.

Glow: Kingma & Dhariwal 2018; the checkerboard: Dinh et al. 2017. No log-determinant here either.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flows import Flow, draw, orthogonal
from jax import lax


def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """(h, w, a) by (k, k, a, b) -> (h, w, b), zeros around."""
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x[None], kernel, (1, 1), "SAME", dimension_numbers=layout)[0]


def image_net_params(random: np.random.Generator, a: int, hidden: int, b: int) -> list[tuple[jax.Array, jax.Array]]:
    shapes = ((3, 3, a, hidden), (1, 1, hidden, hidden), (3, 3, hidden, b))
    return [(draw(random, *shape, scale=0.5 * np.prod(shape[:3]) ** -0.5), draw(random, shape[3], scale=0.1))
            for shape in shapes]  # fmt: skip


def image_net(params: list[tuple[jax.Array, jax.Array]], x: jax.Array) -> jax.Array:
    for kernel, bias in params[:-1]:
        x = jax.nn.relu(convolve(x, kernel) + bias)
    kernel, bias = params[-1]
    return convolve(x, kernel) + bias


def glow(channels: int, steps: int = 4, hidden: int = 32, seed: int = 0) -> Flow:
    """On images (h, w, channels): normalised channels, an invertible 1×1 convolution, an affine coupling."""
    half, random = channels // 2, np.random.default_rng(seed)
    params = [
        {
            "log_scale": draw(random, channels, scale=0.1),
            "bias": draw(random, channels, scale=0.1),
            "mix": orthogonal(random, channels),
            "net": image_net_params(random, half, hidden, 2 * (channels - half)),
        }
        for _ in range(steps)
    ]

    def flow(x, params):
        for step in params:
            x = (x + step["bias"]) * jnp.exp(step["log_scale"])
            x = convolve(x, step["mix"][None, None])
            kept, moved = x[..., :half], x[..., half:]
            log_scale, shift = jnp.split(image_net(step["net"], kept), 2, axis=-1)
            moved = (moved + shift) * jax.nn.sigmoid(log_scale + 2)
            x = jnp.concatenate([kept, moved], axis=-1)
        return x

    return flow, params


def checkerboard(height: int, width: int, channels: int, layers: int = 4, hidden: int = 16, seed: int = 0) -> Flow:
    """Affine couplings of the black pixels by the white ones and back, with convolutions."""
    random = np.random.default_rng(seed)
    black = np.add.outer(np.arange(height), np.arange(width))[..., None] % 2
    params = [image_net_params(random, channels, hidden, 2 * channels) for _ in range(layers)]

    def flow(x, params):
        for k, net in enumerate(params):
            mask = jnp.asarray(black == k % 2, x.dtype)
            log_scale, shift = jnp.split(image_net(net, mask * x), 2, axis=-1)
            x = mask * x + (1 - mask) * (x * jnp.exp(jnp.tanh(log_scale)) + shift)
        return x

    return flow, params
