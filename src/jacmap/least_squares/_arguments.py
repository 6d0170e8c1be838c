"""`args`: data that may change from call to call, and what is known when planning."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def split(args: Any) -> tuple[tuple[Any, ...], Callable[[Any], tuple[Any, ...]], Any]:
    """(data, args from data, key): real numbers are data, all else is known and part of the key.

    Integers and masks say which residual reads which unknown: known, they show the structure of J; as data they would
    have to be taken to be any.
    """
    args = tuple(args) if isinstance(args, (tuple, list)) else (args,)
    leaves, tree = jax.tree_util.tree_flatten(args)
    moving = [_is_data(leaf) for leaf in leaves]
    data = tuple(leaf for leaf, moves in zip(leaves, moving, strict=True) if moves)
    known = [None if moves else leaf for leaf, moves in zip(leaves, moving, strict=True)]

    def join(data: Any) -> tuple[Any, ...]:
        rest = iter(data)
        merged = [next(rest) if moves else leaf for leaf, moves in zip(known, moving, strict=True)]
        return tuple(jax.tree_util.tree_unflatten(tree, merged))

    marks = [_aval(leaf) if moves else _mark(leaf) for leaf, moves in zip(leaves, moving, strict=True)]
    return data, join, (tree, tuple(marks))


def _is_data(leaf: Any) -> bool:
    if isinstance(leaf, (bool, int)) or not isinstance(leaf, (float, complex, np.ndarray, np.generic, jax.Array)):
        return False
    return not (jnp.issubdtype(leaf.dtype, jnp.integer) or leaf.dtype == bool) if hasattr(leaf, "dtype") else True


def _aval(leaf: Any) -> Any:
    return np.shape(leaf), str(getattr(leaf, "dtype", type(leaf).__name__))


def _mark(leaf: Any) -> Any:
    """Equal for equal values; what cannot be compared is itself alone: the prepared problem keeps it alive."""
    if isinstance(leaf, (np.ndarray, jax.Array)):
        numbers = np.ascontiguousarray(leaf)
        return _aval(leaf), hashlib.blake2b(numbers.tobytes()).hexdigest()
    try:
        hash(leaf)
    except TypeError:
        return "object", id(leaf)
    return type(leaf), leaf
