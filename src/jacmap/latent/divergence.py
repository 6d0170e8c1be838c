"""The divergence of a field, exact or estimated, with the estimate's error bar."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from .._errors import ArgumentError
from .._flat import Flat, square
from .._questions import trace

Array = jax.Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Divergence:
    """`value`: of tr J; `error`: the standard error of the estimate, 0 where it is exact."""

    value: Array
    error: Array


def divergence(f: Callable[[Any], Any], x: Any, *, probes: int | None = None, key: Any = 0) -> Divergence:
    """tr J of a field f at x.

    Without `probes` exact, by the plan of `jacmap.trace`. With `probes` Hutchinson's estimate, the mean of vᵀ J v over
    that many vectors of random signs drawn with `key` (a seed or a JAX key), and its standard error; one probe has
    none, and NaN stands for it. Works under `jit` and `vmap`. Raises `ArgumentError` where f changes the size.
    """
    flat = Flat.at(f, x)
    square(flat, "a field has a divergence")
    if probes is None:
        value = trace(flat.vector)(flat.x.ravel())
        return Divergence(value, jnp.zeros_like(value))
    samples = jax.vmap(lambda v: v @ flat.push(v))(signs(key, probes, flat.n, flat.x.dtype))
    return Divergence(jnp.mean(samples), standard_error(samples))


def signs(key: Any, probes: int, n: int, dtype: Any) -> Array:
    """(probes, n) random signs."""
    if probes < 1:
        raise ArgumentError(f"probes: got {probes}, expected at least 1, or None for the exact trace")
    key = jax.random.key(key) if isinstance(key, int) else key
    return jax.random.rademacher(key, (probes, n), dtype)


def standard_error(samples: Array) -> Array:
    """Of the mean along the first axis; NaN for one sample."""
    count = samples.shape[0]
    return jnp.std(samples, axis=0, ddof=1) / jnp.sqrt(count) if count > 1 else jnp.full(samples.shape[1:], jnp.nan)
