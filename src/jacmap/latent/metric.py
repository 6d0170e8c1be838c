"""The pullback metric G = Jᵀ F J of a decoder, and the volume that it gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp

from .._errors import ArgumentError
from .._flat import Flat

Array = jax.Array
Likelihoods = Literal["gaussian", "bernoulli", "categorical"]

# Directions pushed at once: no m×n matrix is held.
AT_ONCE = 8


def metric(f: Callable[[Any], Any], z: Any, likelihood: Likelihoods = "gaussian") -> Array:
    """G = Jᵀ F J (n, n) at z, n the size of z: |dz|² as the decoder sees it.

    `likelihood` says what f returns, and so the Fisher information F of what it describes (the pullback of the
    Fisher-Rao metric; Arvanitidis et al. 2022, arXiv:2106.05367): "gaussian", means of unit variance (F = I, the
    Euclidean metric of the output); "bernoulli", logits of pixels (F = diag(p(1 − p))); "categorical", logits along
    the last axis (F = diag(p) − p pᵀ). By products with J and Jᵀ, a few directions at a time. Works under `jit`,
    `vmap` and `grad`.
    """
    flat = Flat.at(f, z, "z")
    information = _information(f, flat.x, likelihood)
    columns = jax.lax.map(
        lambda v: flat.pull(information(flat.push(v))), jnp.eye(flat.n, dtype=flat.x.dtype), batch_size=AT_ONCE
    )
    return (columns + columns.T) / 2


def log_volume(f: Callable[[Any], Any], z: Any, likelihood: Likelihoods = "gaussian") -> Array:
    """½ log det G: the logarithm of how much volume the decoder makes of a unit of latent volume; −∞ where J is
    rank-deficient."""
    sign, logdet = jnp.linalg.slogdet(metric(f, z, likelihood))
    return jnp.where(sign > 0, logdet / 2, -jnp.inf)


def _information(f: Callable[[Any], Any], x: Array, likelihood: str) -> Callable[[Array], Array]:
    """u ↦ F u on flattened outputs."""
    if likelihood == "gaussian":
        return lambda u: u
    if likelihood not in ("bernoulli", "categorical"):
        raise ArgumentError(f'likelihood: got {likelihood!r}, expected "gaussian", "bernoulli" or "categorical"')
    logits = jax.tree_util.tree_leaves(f(x))[0]
    if likelihood == "bernoulli":
        p = jax.nn.sigmoid(logits).ravel()
        return lambda u: p * (1 - p) * u
    if logits.ndim == 0:
        raise ArgumentError("f: returned one number, expected logits along a last axis for likelihood='categorical'")
    shares = jax.nn.softmax(logits, axis=-1)

    def product(u: Array) -> Array:
        u = u.reshape(shares.shape)
        return (shares * (u - jnp.sum(shares * u, axis=-1, keepdims=True))).ravel()

    return product
