"""A block of segments whose VJP keeps the block's input alone and does the block again when its cotangent arrives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

Values = tuple[Any, ...]
Block = Callable[[Values, list[Values]], Values]


def recomputed(block: Block) -> Block:
    """`jax.checkpoint`, in a form that the compiler of the platform does not undo.

    XLA for the CPU drops the optimisation barriers that `jax.checkpoint` puts around a recomputation, merges it with
    the first computation, and keeps everything after all. There the recomputation and the VJP stand inside a
    conditional on a bit of the cotangent that is always set: XLA cannot know that, so nothing is merged, and nothing
    starts before the cotangent is there. Elsewhere it is `jax.checkpoint` itself.
    """
    return _guarded(block) if jax.default_backend() == "cpu" else jax.checkpoint(block)


def _guarded(block: Block) -> Block:
    def call(state: Values, operands: list[Values]) -> Values:
        leaves, treedef = jax.tree_util.tree_flatten((state, operands))
        moving = [is_float(leaf) for leaf in leaves]
        kinds: list[bool] = []

        def run(floats: list[Any], others: list[Any]) -> tuple[list[Any], list[Any]]:
            out = block(*jax.tree_util.tree_unflatten(treedef, _merged(floats, others, moving)))
            kinds[:] = [is_float(leaf) for leaf in out]
            return [v for v in out if is_float(v)], [v for v in out if not is_float(v)]

        guarded = jax.custom_vjp(run)

        def forward(floats: list[Any], others: list[Any]) -> tuple[Any, Any]:
            return run(floats, others), (floats, others)

        def backward(kept: Any, cotangents: Any) -> tuple[Any, None]:
            floats, others = kept
            along = list(cotangents[0])

            def again(floats: list[Any], others: list[Any], along: list[Any]) -> list[Any]:
                pulled: list[Any] = jax.vjp(lambda values: run(values, others)[0], floats)[1](along)[0]
                return pulled

            def never(floats: list[Any], others: list[Any], along: list[Any]) -> list[Any]:
                return [jnp.zeros_like(value) for value in floats]

            return jax.lax.cond(_always(along), again, never, floats, others, along), None

        guarded.defvjp(forward, backward)
        floats = [leaf for leaf, is_moving in zip(leaves, moving, strict=True) if is_moving]
        others = [leaf for leaf, is_moving in zip(leaves, moving, strict=True) if not is_moving]
        made, rest = guarded(floats, others)
        return tuple(_merged(made, rest, kinds))

    return call


def _merged(floats: Sequence[Any], others: Sequence[Any], which: Sequence[bool]) -> list[Any]:
    one, other = iter(floats), iter(others)
    return [next(one) if flag else next(other) for flag in which]


def _always(along: list[Any]) -> Any:
    """True, by a computation on the cotangent that no compiler folds: a word has no more bits set than it has bits."""
    word = jnp.real(along[0]).ravel()[0]
    width = 8 * word.dtype.itemsize
    bits = jax.lax.bitcast_convert_type(word, jnp.dtype(f"uint{width}"))
    return jax.lax.population_count(bits) <= width


def is_float(value: Any) -> bool:
    """Can a derivative flow through an array of this dtype?"""
    return bool(jnp.issubdtype(value.dtype, jnp.inexact))
