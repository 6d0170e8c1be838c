"""The leading singular directions of J at many points, by products alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.sparse.linalg import lobpcg_standard

from .._errors import ArgumentError
from .._flat import Flat
from .._lanczos import Products, largest

Array = jax.Array
Product = Callable[[Array, Array], Array]  # (point, vector) → vector

# Columns beside those asked for: the block converges by the gap to the first singular value outside of it.
MORE = 3
# Below five times the block LOBPCG has no room; there JᵀJ (or JJᵀ), small × small, is had by as many products.
ROOM = 5
STEPS = 200
# Residual, relative, at which the block stands; the values are then right to its square.
ENOUGH = 1e-8


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

    f: one array → one array (a decoder). `batch`: z holds points along its first axis, taken `chunk` at a time. Of one
    point by a Lanczos iteration, as `Jacobian.svd(k)` takes for large J, of a batch and under `jit` or `vmap` by LOBPCG
    (Knyazev 2001, the JAX implementation), which runs compiled; where J has few rows or columns from JᵀJ or JJᵀ whole.
    Then a Rayleigh-Ritz step on J itself. Raises `ArgumentError` where k is not between 1 and min(m, n),
    `ConvergenceError` where Lanczos does not converge.
    """
    z = jnp.asarray(z)
    if batch and (z.ndim == 0 or z.shape[0] == 0):
        raise ArgumentError(f"z: got shape {list(z.shape)} with batch=True, expected points along the first axis")
    flat = Flat.at(f, z[0] if batch else z, "z")
    if not 1 <= k <= min(flat.m, flat.n):
        raise ArgumentError(f"k: got {k}, expected 1 to {min(flat.m, flat.n)}, the smaller side of J")

    def one(point: Array, basis: Array | None = None) -> Directions:
        return _leading(Flat(f, point, flat.out_shape), k, seed, basis)

    if batch:
        return jax.jit(lambda points: jax.lax.map(one, points, batch_size=chunk))(z)
    if isinstance(z, jax.core.Tracer) or is_small(min(flat.m, flat.n), k):
        return jax.jit(one)(z)

    def at(point: Array) -> Flat:
        return Flat(f, point, flat.out_shape)

    shape = (flat.m, flat.n)
    left, right = by_lanczos(lambda p, v: at(p).push(v), lambda p, u: at(p).pull(u), z, shape, k)
    return jax.jit(one)(z, right if flat.m >= flat.n else left)


def _normal(f: Flat) -> Callable[[Array], Array]:
    """v ↦ JᵀJ v, or JJᵀ v where that is smaller."""
    return (lambda v: f.pull(f.push(v))) if f.m >= f.n else (lambda v: f.push(f.pull(v)))


def _leading(f: Flat, k: int, seed: int, basis: Array | None) -> Directions:
    tall = f.m >= f.n
    if basis is None:
        basis = leading_basis(_normal(f), min(f.m, f.n), k, f.x.dtype, seed)
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


def is_small(n: int, k: int) -> bool:
    """Is an n×n matrix had as cheaply as its leading eigenvectors?"""
    return n <= ROOM * min(n, k + MORE)


def leading_basis(product: Callable[[Array], Array], n: int, k: int, dtype: Any, seed: int) -> Array:
    """(n, k + some) orthonormal: the leading eigenvectors of a symmetric operator, the largest first; compiled."""
    width = min(n, k + MORE)
    if is_small(n, k):
        whole = jax.lax.map(product, jnp.eye(n, dtype=dtype))
        return jnp.linalg.eigh((whole + whole.T) / 2)[1][:, ::-1][:, :width]
    start = jax.random.normal(jax.random.key(seed), (n, width), dtype)
    tolerance = max(ENOUGH, float(jnp.finfo(dtype).eps)) / (10 * n)  # LOBPCG multiplies by 10 n what it is given
    found = lobpcg_standard(
        lambda block: jax.lax.map(product, block.T, batch_size=width).T, start, m=STEPS, tol=tolerance
    )
    return jnp.linalg.qr(found[1])[0]


def by_lanczos(push: Product, pull: Product, z: Array, shape: tuple[int, int], k: int) -> tuple[Array, Array]:
    """(m, k) and (n, k) orthonormal: the leading left and right singular vectors of one (m, n) operator at z.

    Outside compiled code, where it takes far fewer products than `leading_basis`: these are what large points cost.
    `push(z, v)` and `pull(z, u)` are its products with a vector.
    """

    def on_host(product: Product) -> Callable[[np.ndarray], np.ndarray]:
        block = jax.jit(lambda point, vectors: jax.lax.map(lambda v: product(point, v), vectors))
        return lambda v: np.asarray(block(z, jnp.asarray(v.T, z.dtype))).T

    close = max(ENOUGH / 10, float(jnp.finfo(z.dtype).eps))
    attempts = tuple((close, room, restarts) for room, restarts in ((4 * k + 20, 300), (100, 100)))
    products = Products(shape, z.dtype, on_host(push), on_host(pull))
    left, _, right = largest(products, k, "the leading directions", attempts)
    return jnp.linalg.qr(jnp.asarray(left, z.dtype))[0], jnp.linalg.qr(jnp.asarray(right.T, z.dtype))[0]
