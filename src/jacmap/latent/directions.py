"""The leading singular directions of J at many points, by products alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.sparse.linalg import lobpcg_standard

from .._errors import ArgumentError
from ._flat import Flat

Array = jax.Array

# Columns beside those asked for: the block converges by the gap to the first singular value outside of it.
MORE = 3
# Below five times the block LOBPCG has no room; there JᵀJ (or JJᵀ), small × small, is had by as many products.
ROOM = 5
STEPS = 200


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Directions:
    """J ≈ Σ_i values[i] left[i] right[i]ᵀ: what moves most, and how.

    `values` (k,): the largest singular values. `right` (k, *shape of z): the latent directions, of length one.
    `left` (k, *shape of f(z)): what each moves, of length one. `residual` (k,): ‖Jᵀ left − value · right‖ relative to
    the largest value. Over a batch all have its axis in front.
    """

    values: Array
    right: Array
    left: Array
    residual: Array


def directions(
    f: Callable[[Any], Any], z: Any, k: int = 5, *, batch: bool = False, chunk: int = 64, seed: int = 0
) -> Directions:
    """The k largest singular values of f's Jacobian at z with their directions; no m×n matrix is formed.

    f: one array → one array (a decoder). `batch`: z holds points along its first axis, taken `chunk` at a time. By
    LOBPCG on JᵀJ (Knyazev 2001, the JAX implementation) and a Rayleigh-Ritz step on J itself; where J has few rows or
    columns, from JᵀJ or JJᵀ whole. Compiled; works under `jit` and `vmap`. Raises `ArgumentError` where k is not
    between 1 and min(m, n).
    """
    z = jnp.asarray(z)
    if batch and (z.ndim == 0 or z.shape[0] == 0):
        raise ArgumentError(f"z: got shape {list(z.shape)} with batch=True, expected points along the first axis")
    flat = Flat.at(f, z[0] if batch else z)
    if not 1 <= k <= min(flat.m, flat.n):
        raise ArgumentError(f"k: got {k}, expected 1 to {min(flat.m, flat.n)}, the smaller side of J")

    def one(point: Array) -> Directions:
        return _leading(Flat(f, point, flat.out_shape), k, seed)

    if not batch:
        return jax.jit(one)(z)
    return jax.jit(lambda points: jax.lax.map(one, points, batch_size=chunk))(z)


def _leading(f: Flat, k: int, seed: int) -> Directions:
    tall = f.m >= f.n
    size = min(f.m, f.n)

    def normal(v: Array) -> Array:
        return f.pull(f.push(v)) if tall else f.push(f.pull(v))

    basis = leading_basis(normal, size, k, f.x.dtype, seed)
    # Rayleigh-Ritz on J: squaring costs half the digits of the small values, this gives them back.
    image = jax.lax.map(f.push if tall else f.pull, basis.T).T
    outer, values, inner = jnp.linalg.svd(image, full_matrices=False)
    small, large = (basis @ inner.T)[:, :k], outer[:, :k]
    right, left = (small, large) if tall else (large, small)
    values = values[:k]
    back = jax.lax.map(f.pull, left.T)
    residual = jnp.linalg.norm(back - values[:, None] * right.T, axis=1) / jnp.maximum(
        values[0], jnp.finfo(values).tiny
    )
    return Directions(values, right.T.reshape(k, *f.x.shape), left.T.reshape(k, *f.out_shape), residual)


def leading_basis(product: Callable[[Array], Array], n: int, k: int, dtype: Any, seed: int) -> Array:
    """(n, k + some) orthonormal: the leading eigenvectors of a symmetric operator, the largest first."""
    width = min(n, k + MORE)
    if n <= ROOM * width:
        whole = jax.lax.map(product, jnp.eye(n, dtype=dtype))
        return jnp.linalg.eigh((whole + whole.T) / 2)[1][:, ::-1][:, :width]
    start = jax.random.normal(jax.random.key(seed), (n, width), dtype)
    found = lobpcg_standard(lambda block: jax.lax.map(product, block.T, batch_size=width).T, start, m=STEPS)
    return jnp.linalg.qr(found[1])[0]
