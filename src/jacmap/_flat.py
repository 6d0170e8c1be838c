"""A function of one array as one of a vector, and its products."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from ._errors import ArgumentError

Array = jax.Array


@dataclass(frozen=True, eq=False)
class Flat:
    """f at a point, flattened: `push` is J v, `pull` Jᵀ u, for single vectors."""

    f: Callable[[Any], Any]
    x: Array
    out_shape: tuple[int, ...]

    @staticmethod
    def at(f: Callable[[Any], Any], x: Any, name: str = "x") -> Flat:
        """Raises ArgumentError where f is not callable, x no real array, or f(x) no single real array."""
        if not callable(f):
            raise ArgumentError(f"f: got {type(f).__name__}, expected a function of one array")
        x = real(name, x)
        leaves = jax.tree_util.tree_leaves(jax.eval_shape(f, x))
        if len(leaves) != 1 or not jnp.issubdtype(leaves[0].dtype, jnp.floating):
            came = ", ".join(f"{leaf.dtype}{list(leaf.shape)}" for leaf in leaves) or "nothing"
            raise ArgumentError(f"f: returned {came}, expected one array of real numbers")
        return Flat(f, x, tuple(leaves[0].shape))

    @property
    def n(self) -> int:
        return int(self.x.size)

    @property
    def m(self) -> int:
        return math.prod(self.out_shape)

    @property
    def point(self) -> Array:
        return jnp.ravel(self.x)

    def vector(self, v: Array) -> Array:
        """f of a vector, as a vector."""
        return jnp.ravel(jax.tree_util.tree_leaves(self.f(v.reshape(self.x.shape)))[0])

    def push(self, v: Array) -> Array:
        """J v."""
        return jax.jvp(self.vector, (self.point,), (v,))[1]

    def pull(self, u: Array) -> Array:
        """Jᵀ u."""
        return jax.vjp(self.vector, self.point)[1](u)[0]

    def jacobian(self, v: Array) -> Array:
        """J (m, n) at another vector, by the smaller side: for use inside compiled code."""
        return (jax.jacrev if self.m <= self.n else jax.jacfwd)(self.vector)(v)


def real(name: str, x: Any) -> Array:
    """x as an array of floats; raises ArgumentError."""
    x = jnp.asarray(x)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ArgumentError(f"{name}: got {x.dtype}, expected real floating-point numbers; convert with float()")
    return x


def square(f: Flat, what: str) -> None:
    """Raise ArgumentError unless f returns an array of its argument's size."""
    if f.m != f.n:
        raise ArgumentError(f"f: returned {list(f.out_shape)} for {list(f.x.shape)}, expected the same size: {what}")
