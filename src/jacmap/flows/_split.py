"""A module taken apart: the numbers that may change, and all that is known when a program is planned.

What a planner may use (masks, orders, sizes) must not be traced, and what an optimiser moves must be. So floating-point
arrays become arguments and everything else, integer and boolean arrays too, is part of the key of a cached program.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from typing import Any, TypeVar, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jacmap as jm

F = TypeVar("F", bound=Callable[..., Any])


def moves(leaf: Any) -> bool:
    """Is the leaf an argument of programs? Floating-point arrays and random keys are, and all that is traced."""
    if not eqx.is_array(leaf):
        return False
    whole = jnp.issubdtype(leaf.dtype, jnp.integer) or jnp.issubdtype(leaf.dtype, jnp.bool_)
    return isinstance(leaf, jax.core.Tracer) or not whole


class Static:
    """The rest of a module; equal where structure and leaves are."""

    def __init__(self, tree: Any) -> None:
        self.leaves, self.treedef = jax.tree_util.tree_flatten(tree)
        self._key = (self.treedef, tuple(map(_key, self.leaves)))
        self._hash = hash(self._key)

    def join(self, params: Any) -> Any:
        """The module with these parameters."""
        return eqx.combine(params, jax.tree_util.tree_unflatten(self.treedef, self.leaves))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Static) and self._key == other._key


def _key(leaf: Any) -> Hashable:
    if eqx.is_array(leaf):
        array = np.asarray(leaf)
        return array.shape, str(array.dtype), array.tobytes()
    try:
        hash(leaf)
    except TypeError:
        return id(leaf)  # kept alive by `leaves`
    return cast(Hashable, leaf)


def split(module: Any) -> tuple[Any, Static]:
    """(what moves, the rest): `rest.join(moves)` is the module again."""
    params, rest = eqx.partition(module, moves)
    return params, Static(rest)


def per_static(make: F) -> F:
    """What `make` returns for a `Static`, kept for the next module that differs in its parameters only."""
    return cast(F, functools.lru_cache(maxsize=64)(make))


@per_static
def determinant(static: Static) -> Any:
    """(x, params) -> (z, (sign, log|det ∂z/∂x|)), planned once per shape."""

    def transform(x: Any, params: Any) -> Any:
        return static.join(params)(x)

    return jm.value_and_slogdet(transform)


@per_static
def divergence(static: Static) -> Any:
    """(x, t, params) -> trace of ∂field(t, x)/∂x, planned once per shape."""

    def field(x: Any, t: Any, params: Any) -> Any:
        return static.join(params)(t, x)

    return jm.trace(field)
