"""The checks of arguments that all fronts share, and norms' duals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._errors import ArgumentError
from .._flat import Flat

Array = jax.Array
NORMS = (1, 2, np.inf)


def classifier(f: Callable[[Any], Any], x: Any) -> Flat:
    """`Flat` of a function that returns scores of at least two classes, one vector; raises ArgumentError."""
    flat = Flat.at(f, x)
    if len(flat.out_shape) != 1 or flat.m < 2:
        raise ArgumentError(
            f"f: returned shape {list(flat.out_shape)} for one point, expected scores (classes,) of two classes or "
            "more; map over a batch with jax.vmap"
        )
    return flat


def checked_norm(name: str, value: Any, among: tuple[Any, ...] = NORMS) -> Any:
    """1, 2 or infinity; raises ArgumentError."""
    if isinstance(value, bool) or value not in among:
        raise ArgumentError(f"{name}: got {value!r}, expected one of {', '.join(str(p) for p in among)}")
    return value


def checked_radius(name: str, value: Any) -> Any:
    """A positive number (a traced one is taken as it is); raises ArgumentError."""
    if np.ndim(value) != 0:
        raise ArgumentError(f"{name}: got shape {np.shape(value)}, expected one positive number")
    if not isinstance(value, jax.core.Tracer) and not (float(value) > 0 and np.isfinite(float(value))):
        raise ArgumentError(f"{name}: got {value!r}, expected a positive, finite number")
    return value


def checked_label(label: Any, classes: int, name: str = "label") -> Array:
    """A class number; raises ArgumentError where it is none of 0 … classes − 1."""
    if isinstance(label, jax.core.Tracer):
        return jnp.asarray(label)
    if np.ndim(label) != 0 or not np.issubdtype(np.asarray(label).dtype, np.integer) or not 0 <= int(label) < classes:
        raise ArgumentError(f"{name}: got {label!r}, expected a class from 0 to {classes - 1}")
    return jnp.asarray(label)


def dual(p: Any) -> Any:
    """The dual order: 1/p + 1/p* = 1."""
    return {1: np.inf, 2: 2, np.inf: 1}[p]


def steepest(g: Array, p: Any) -> Array:
    """The v of ‖v‖_p = 1 that maximises g·v = ‖g‖_p*, for g (..., n); zero where g is."""
    if p == np.inf:
        return jnp.sign(g)
    if p == 2:
        length = jnp.linalg.norm(g, axis=-1, keepdims=True)
        return g / jnp.where(length > 0, length, 1)
    best = jnp.argmax(jnp.abs(g), axis=-1)
    return jax.nn.one_hot(best, g.shape[-1], dtype=g.dtype) * jnp.sign(g)
