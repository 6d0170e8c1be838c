"""Tangents carried through a graph operation by operation, beside the values they belong to.

Unlike a `jax.jvp` of the whole, single edges can be left out, and weights masked, without touching the values: a
`stop_gradient` in their place would also cut the derivative of the *result* with respect to x.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .call import is_inexact
from .products import bind

Tangents = dict[int, Any]  # value → (count, *shape)


def step(node: Any, values: Sequence[Any], tangents: Sequence[Any], count: int, masks: Mapping[int, Any]) -> Any:
    """(outputs, their tangents or None) of one operation; `tangents[i]` is None where input i stands still.

    `masks`: input position → (position of the weights, mask that they get in the tangent along that input).
    """
    moving = [i for i, t in enumerate(tangents) if t is not None]
    outs, total = None, None
    plain = [i for i in moving if i not in masks]
    if plain:
        outs, total = _pushed(node.payload, values, {i: tangents[i] for i in plain}, count)
    if outs is None:
        outs = bind(node.payload, list(values))
    for i in moving:
        if i in masks:
            at, mask = masks[i]
            weighted = list(values)
            weighted[at] = values[at] * jnp.asarray(mask, values[at].dtype)
            _, more = _pushed(node.payload, weighted, {i: tangents[i]}, count)
            total = more if total is None else [_sum(a, b) for a, b in zip(total, more, strict=True)]
    return outs, total


def _sum(a: Any, b: Any) -> Any:
    return a if b is None else b if a is None else a + b


def _pushed(eqn: Any, values: Sequence[Any], tangents: dict[int, Any], count: int) -> tuple[list[Any], list[Any]]:
    at = list(tangents)
    inexact = [is_inexact(var.aval.dtype) for var in eqn.outvars]

    def apply(*moving: Any) -> Any:
        full = list(values)
        for i, value in zip(at, moving, strict=True):
            full[i] = value
        return bind(eqn, full)

    def one(*directions: Any) -> Any:
        outs, along = jax.jvp(apply, tuple(jnp.asarray(values[i]) for i in at), directions)
        return outs, [t for t, real in zip(along, inexact, strict=True) if real]

    if count == 1:
        outs, along = one(*(t[0] for t in tangents.values()))
        along = [t[None] for t in along]
    else:
        outs, along = jax.vmap(one, out_axes=(None, 0))(*tangents.values())
    found = iter(along)
    return list(outs), [next(found) if real else None for real in inexact]


def sweep(
    nodes: Sequence[tuple[int, Any]],
    env: dict[int, Any],
    tangents: Tangents,
    count: int,
    dropped: Collection[tuple[int, int]] = (),
    masks: Mapping[tuple[int, int], np.ndarray] | None = None,
) -> None:
    """Carry `tangents` through the (position, node) given, in order; values and tangents are added to the two dicts."""
    for position, node in nodes:
        along = [
            tangents.get(v) if (position, i) not in dropped else None for i, v in enumerate(node.inputs)
        ]
        if all(t is None for t in along):
            if any(v not in env for v in node.outputs):
                env.update(zip(node.outputs, bind(node.payload, [env[v] for v in node.inputs]), strict=True))
            continue
        weights = {
            i: (node.hints.weights[i].operand, (masks or {})[position, i])
            for i in range(len(node.inputs))
            if (position, i) in (masks or {})
        }
        outs, found = step(node, [env[v] for v in node.inputs], along, count, weights)
        env.update({v: out for v, out in zip(node.outputs, outs, strict=True) if v not in env})
        tangents.update({v: t for v, t in zip(node.outputs, found, strict=True) if t is not None})


def one_hot(labels: np.ndarray, count: int, pieces: Sequence[tuple[int, Any]]) -> Tangents:
    """Seeds: entry j of the pieces laid end to end moves in tangent labels[j] (-1: in none).

    `pieces`: (value, the array itself), whose shapes and dtypes the seeds get.
    """
    seeds, start = {}, 0
    for v, array in pieces:
        size = int(np.prod(np.shape(array), dtype=int))
        mine = labels[start : start + size]
        hot = (mine[None, :] == np.arange(count)[:, None]).reshape((count, *np.shape(array)))
        seeds[v] = jnp.asarray(hot, jnp.result_type(array))
        start += size
    return seeds
