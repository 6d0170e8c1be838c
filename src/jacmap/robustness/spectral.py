"""Spectral normalisation by the norm of the map itself: of a matrix, or of a convolution on images of its size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental.sparse.linalg import lobpcg_standard

from .._errors import ArgumentError
from .._flat import real
from ._function import checked_radius
from .convolution import Padding, convolution

Array = jax.Array
DENSE = 64  # up to this many columns the exact mode forms JᵀJ
BLOCK, MOST = 4, 300  # beyond them: vectors and steps of LOBPCG


class Normalised(NamedTuple):
    """`weight`: the one given times bound / norm. `norm`: as found. `state`: the direction to go on from."""

    weight: Any
    norm: Any
    state: Any


def spectral_normalise(
    weight: Any, state: Any = None, *, shape: Sequence[int] | None = None, bound: Any = 1.0, steps: int | None = 1,
    strides: int | Sequence[int] = 1, padding: Padding = "SAME", dilation: int | Sequence[int] = 1, groups: int = 1,
) -> Normalised:  # fmt: skip
    """The weight scaled so that its map has the norm `bound`; for use inside a compiled training step.

    `weight`: a matrix (m, n), or with `shape`, the size of the image, the kernel of a convolution (see `conv_norm`).
    `steps` of the power iteration are taken from `state` (None: from a fixed start), which is to be kept for the next
    call: one a step is enough where weights move slowly (Miyato et al. 2018); the norm is then a lower estimate.
    `steps=None` is the exact mode, from `state` on: LOBPCG on JᵀJ (Knyazev 2001). The direction is held constant in the
    gradient, which is that of the largest singular value where it is simple. Raises ArgumentError.
    """
    weight = real("weight", weight)
    checked_radius("bound", bound)
    if steps is not None and steps < 1:
        raise ArgumentError(f"steps: got {steps!r}, expected at least 1, or None for the exact mode")
    if shape is None:
        if weight.ndim != 2:
            raise ArgumentError(f"weight: got shape {weight.shape}, expected a matrix; give shape for a convolution")
        apply: Callable[[Array, Array], Array] = jnp.matmul
        start = jax.ShapeDtypeStruct((weight.shape[1],), weight.dtype)
    else:
        apply, size = convolution(weight.shape, shape, strides, padding, dilation, groups)
        start = jax.ShapeDtypeStruct(size, weight.dtype)
    held = jax.lax.stop_gradient(weight)
    v = jax.random.normal(jax.random.key(0), start.shape, start.dtype) if state is None else jnp.asarray(state)
    v = v / jnp.linalg.norm(v)
    found = _exact if steps is None else partial(_iterated, steps=steps)
    v = found(lambda z: apply(held, z), jax.lax.stop_gradient(v))
    norm = jnp.linalg.norm(apply(weight, v))
    return Normalised(weight * (bound / jnp.where(norm > 0, norm, 1)), norm, v)


def _iterated(push: Callable[[Array], Array], v: Array, steps: int) -> Array:
    """The power iteration on JᵀJ, from a v of length one."""
    pull = jax.linear_transpose(push, v)

    def step(_: Any, v: Array) -> Array:
        moved = pull(push(v))[0]
        length = jnp.linalg.norm(moved)
        return moved / jnp.where(length > 0, length, 1)

    return jax.lax.fori_loop(0, steps, step, v)


def _exact(push: Callable[[Array], Array], v: Array) -> Array:
    """The right singular vector of the largest singular value."""
    pull = jax.linear_transpose(push, v)

    def normal(columns: Array) -> Array:
        """JᵀJ times each column."""
        return jax.vmap(lambda z: pull(push(z.reshape(v.shape)))[0].ravel(), 1, 1)(columns)

    if v.size <= DENSE:
        found = jnp.linalg.eigh(normal(jnp.eye(v.size, dtype=v.dtype)))[1][:, -1]
    else:
        others = jax.random.normal(jax.random.key(1), (v.size, BLOCK - 1), v.dtype)
        found = lobpcg_standard(normal, jnp.concatenate([v.reshape(-1, 1), others], 1), MOST)[1][:, 0]
    return found.reshape(v.shape)
