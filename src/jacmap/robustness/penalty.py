"""The squared Frobenius norm of J as a penalty in training: exact, or by random projections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from .._errors import ArgumentError
from .._flat import Flat
from .._questions import jacobian
from ._function import steepest

Array = jax.Array


def jacobian_penalty(
    f: Callable[..., Any], x: Any, *operands: Any, key: jax.Array | None = None, projections: int | None = None
) -> Array:
    """‖∂f/∂x‖_F² at one point, a number that can be differentiated; `jax.vmap` it over a batch.

    f(x, *operands): an array → an array; `operands` (weights) are differentiated with the rest. `projections` None:
    exact, by the engine's plan for f. Else that many random rows, one VJP each: m ‖vᵀJ‖², v uniform on the unit sphere
    of outputs, whose mean is the penalty (Hoffman, Roberts, Yaida, *Robust learning with Jacobian regularization*,
    2019); one is enough for training. They need a `key`, a new one per step. Raises ArgumentError.
    """
    flat = Flat.at(lambda z: f(z, *operands), x)
    if projections is None:
        blocks = jacobian(f)(flat.x, *operands)
        return sum((jnp.sum(block**2) for block in jax.tree_util.tree_leaves(blocks)), jnp.zeros((), flat.x.dtype))
    if projections < 1:
        raise ArgumentError(f"projections: got {projections!r}, expected at least 1, or None for the exact penalty")
    if key is None:
        raise ArgumentError("key: got None with random projections, expected a jax.random.key, a new one per step")
    rows = steepest(jax.random.normal(key, (projections, flat.m), flat.x.dtype), 2)
    pulled = jax.vmap(jax.vjp(flat.vector, flat.point)[1])(rows)[0]
    return flat.m * jnp.mean(jnp.sum(pulled**2, axis=1))
