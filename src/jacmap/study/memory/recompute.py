"""A block of segments whose VJP keeps the block's input alone and does the block again when its cotangent arrives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.source_info_util import reset_name_stack

Values = tuple[Any, ...]
Block = Callable[[Values, list[Values]], Values]


def recomputed(plain: Block, block: Block, data: Sequence[Sequence[bool]]) -> Block:
    """`jax.checkpoint`, in a form that the compiler of the platform does not undo.

    XLA for the CPU drops the optimisation barriers that `jax.checkpoint` puts around a recomputation, merges it with
    the first computation, and keeps everything after all. There the block's input goes into the recomputation through
    a choice by a property of the cotangent that always holds: XLA cannot know that, so nothing is merged, and nothing
    starts before the cotangent is there. Elsewhere it is `jax.checkpoint` itself.

    `plain` does the same as `block` without blocks of its own: the forward pass, whose time to trace would double with
    every level of nesting else. `data`: which operands of each segment are data, put through that choice like
    the state.
    """
    return _guarded(plain, block, data) if jax.default_backend() == "cpu" else jax.checkpoint(block)


def _guarded(plain: Block, block: Block, data: Sequence[Sequence[bool]]) -> Block:
    def call(state: Values, operands: list[Values]) -> Values:
        leaves, treedef = jax.tree_util.tree_flatten((state, operands))
        hidden = [True] * len(state) + [flag for flags in data for flag in flags]
        if not any(hidden):
            hidden = [True] * len(leaves)
        moving = [is_float(leaf) for leaf in leaves]
        kinds: list[bool] = []

        def run(floats: list[Any], others: list[Any], way: Block = plain) -> tuple[list[Any], list[Any]]:
            out = way(*jax.tree_util.tree_unflatten(treedef, _merged(floats, others, moving)))
            kinds[:] = [is_float(leaf) for leaf in out]
            return [v for v in out if is_float(v)], [v for v in out if not is_float(v)]

        guarded = jax.custom_vjp(lambda floats, others: run(floats, others))

        def forward(floats: list[Any], others: list[Any]) -> tuple[Any, Any]:
            return run(floats, others), (floats, others)

        def backward(kept: Any, cotangents: Any) -> tuple[Any, None]:
            floats, others = kept
            along = list(cotangents[0])
            always = _always(along[0])
            given = _merged(floats, others, moving)
            given = [_hidden(v, always) if flag else v for v, flag in zip(given, hidden, strict=True)]
            floats = [v for v, flag in zip(given, moving, strict=True) if flag]
            others = [v for v, flag in zip(given, moving, strict=True) if not flag]
            with reset_name_stack():  # the names of nested transformations double in length with every level
                return jax.vjp(lambda values: run(values, others, block)[0], floats)[1](along)[0], None

        guarded.defvjp(forward, backward)
        floats = [leaf for leaf, is_moving in zip(leaves, moving, strict=True) if is_moving]
        others = [leaf for leaf, is_moving in zip(leaves, moving, strict=True) if not is_moving]
        made, rest = guarded(floats, others)
        return tuple(_merged(made, rest, kinds))

    return call


def _merged(floats: Sequence[Any], others: Sequence[Any], which: Sequence[bool]) -> list[Any]:
    one, other = iter(floats), iter(others)
    return [next(one) if flag else next(other) for flag in which]


def _always(cotangent: Any) -> Any:
    """True, by a computation that no compiler folds: a word has no more bits set than it has bits.

    The branches make XLA finish it before it goes on: fused into what reads it, it would keep the cotangent alive.
    """
    word = jnp.real(cotangent).ravel()[0]
    width = 8 * word.dtype.itemsize
    bits = jax.lax.bitcast_convert_type(word, jnp.dtype(f"uint{width}"))
    count = jax.lax.population_count(bits)
    return jax.lax.cond(count <= width, lambda n: n, lambda n: n + n, count) <= width


def _hidden(value: Any, always: Any) -> Any:
    """The value itself, chosen by what XLA cannot know to be true."""
    if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        return value
    return jax.lax.select(always, value, jnp.zeros_like(value))


def is_float(value: Any) -> bool:
    """Can a derivative flow through an array of this dtype?"""
    return bool(jnp.issubdtype(value.dtype, jnp.inexact))
