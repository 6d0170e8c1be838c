"""One sweep over f's graph that carries values, first derivatives and Laplacians: the forward Laplacian.

Li et al. (2023), "Forward Laplacian: A New Computational Framework for Neural Network-based Variational Monte Carlo",
arXiv:2307.08214. For the directions s_1 … s_p every value v carries its tangents ∂v·s_k and L v = Σ_k s_kᵀ (∂²v) s_k.
Through an operation φ the tangents go as in forward mode, and L φ(v) = φ'·L v + Σ_k φ''[t_k, t_k]. With the unit
vectors for directions L is the Laplacian; with fewer, see `plan/laplacian.py`.

A direction in which a value does not move at all is left out of its tangents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...graph import Graph, Node
from . import compat
from .call import is_inexact


@dataclass(frozen=True)
class Moving:
    """How a value moves: `tangents` (r, *shape) along the directions `along` (r sorted numbers), and its `laplacian`.

    `laplacian` None: zero.
    """

    along: tuple[int, ...]
    tangents: Any
    laplacian: Any = None


def sweep(graph: Graph, inputs: Sequence[Any], others: Sequence[Any], directions: Any, labels: np.ndarray) -> list[Any]:
    """[(value, L value)] of the outputs, L None where it is zero.

    `directions` (p, n): the s_k; `labels` (n,) tells the only direction that an input has a part in, -1 for none.
    """
    values = dict(graph.constants) | dict(zip(graph.others, others, strict=True))
    moving: dict[int, Moving] = {}
    start = 0
    for v, leaf in zip(graph.inputs, inputs, strict=True):
        values[v] = leaf
        size = graph.values[v].size
        along = np.unique(labels[start : start + size])
        along = along[along >= 0]
        if along.size:
            part = directions[along, start : start + size].reshape(-1, *jnp.shape(leaf))
            moving[v] = Moving(tuple(along.tolist()), part.astype(jnp.result_type(leaf)))
        start += size
    for node in graph.nodes:
        point = [values[v] for v in node.inputs]
        carried = {i: moving[v] for i, v in enumerate(node.inputs) if v in moving}
        if not carried:
            values.update(zip(node.outputs, compat.bind(node.payload, point), strict=True))
            continue
        outputs, carry = _through(node, point, carried)
        values.update(zip(node.outputs, outputs, strict=True))
        for v, found in zip(node.outputs, carry, strict=True):
            if found is not None and graph.values[v].active:
                moving[v] = found
    return [(values[v], moving[v].laplacian if v in moving else None) for v in graph.outputs]


def _through(node: Node, point: list[Any], carried: dict[int, Moving]) -> tuple[list[Any], list[Moving | None]]:
    """The operation's outputs, and how they move."""
    if node.op == "mul" and len(carried) == 2 and jnp.shape(point[0]) == jnp.shape(point[1]):
        return _product(point, carried)
    if node.affine or node.curvature.couplings == ():
        return _linear(node, point, carried)
    if len(node.inputs) == 1 and len(node.outputs) == 1 and _entrywise(node):
        return _entry_by_entry(node, point[0], carried[0])
    return _general(node, point, carried)


def _linear(node: Node, point: list[Any], carried: dict[int, Moving]) -> tuple[list[Any], list[Moving | None]]:
    """An operation that is linear here treats Laplacians like tangents."""
    which = sorted(carried)
    along = _union(carried.values())
    outputs = compat.bind(node.payload, point)
    pushed = jax.vmap(lambda *tangents: _push(node, point, which, tangents))(*[_rows(carried[i], along) for i in which])
    straight: list[Any] = [None] * len(outputs)
    bent = [i for i in which if carried[i].laplacian is not None]
    if bent:
        straight = _push(node, point, bent, [carried[i].laplacian for i in bent])
    return outputs, [None if t is None else Moving(along, t, more) for t, more in zip(pushed, straight, strict=True)]


def _product(point: list[Any], carried: dict[int, Moving]) -> tuple[list[Any], list[Moving | None]]:
    """L(ab) = a L b + b L a + 2 Σ_k (∂a·s_k)(∂b·s_k)."""
    a, b = point
    along = _union(carried.values())
    both = tuple(k for k in carried[0].along if k in set(carried[1].along))
    first, second = (_rows(carried[i], along) for i in (0, 1))
    laplacian = 2 * jnp.sum(_rows(carried[0], both) * _rows(carried[1], both), axis=0) if both else None
    for mine, other in ((carried[0], b), (carried[1], a)):
        if mine.laplacian is not None:
            laplacian = mine.laplacian * other + (0 if laplacian is None else laplacian)
    return [a * b], [Moving(along, first * b + a * second, laplacian)]


def _entrywise(node: Node) -> bool:
    pattern = node.local.get((0, 0))
    return pattern is not None and pattern.core is None and pattern.rows is None and pattern.cols is None


def _entry_by_entry(node: Node, x: Any, mine: Moving) -> tuple[list[Any], list[Moving | None]]:
    """L φ(v) = φ'(v) L v + φ''(v) Σ_k t_k², with φ' and φ'' evaluated once for all directions."""

    def slope(x: Any) -> Any:
        return jax.jvp(lambda x: compat.bind(node.payload, [x])[0], (x,), (jnp.ones_like(x),))[1]

    value = compat.bind(node.payload, [x])[0]
    first, second = jax.jvp(slope, (x,), (jnp.ones_like(x),))
    laplacian = second * jnp.sum(mine.tangents**2, axis=0)
    if mine.laplacian is not None:
        laplacian = laplacian + first * mine.laplacian
    return [value], [Moving(mine.along, first * mine.tangents, laplacian)]


def _general(node: Node, point: list[Any], carried: dict[int, Moving]) -> tuple[list[Any], list[Moving | None]]:
    """Any other operation: its second derivative along each direction, by two nested JVPs."""
    which = sorted(carried)
    along = _union(carried.values())

    def once(at: list[Any], tangents: Sequence[Any]) -> list[Any]:
        full = list(point)
        for i, value in zip(which, at, strict=True):
            full[i] = value
        return _push(node, full, which, tangents)

    at = [point[i] for i in which]

    def twice(*tangents: Any) -> tuple[list[Any], list[Any]]:
        return jax.jvp(lambda *at: once(list(at), tangents), tuple(at), tangents)

    first, second = jax.vmap(twice)(*[_rows(carried[i], along) for i in which])
    outputs = compat.bind(node.payload, point)
    straight: list[Any] = [None] * len(outputs)
    if any(carried[i].laplacian is not None for i in which):
        laplacians = [_or_zero(carried[i].laplacian, point[i]) for i in which]
        straight = once(at, laplacians)
    found: list[Moving | None] = []
    for tangents, bent, more in zip(first, second, straight, strict=True):
        if tangents is None:
            found.append(None)
        else:
            total = jnp.sum(bent, axis=0)
            found.append(Moving(along, tangents, total if more is None else total + more))
    return outputs, found


def _push(node: Node, point: list[Any], which: Sequence[int], tangents: Sequence[Any]) -> list[Any]:
    """The output tangents of an operation; None for outputs that carry none (integers)."""

    def function(*moved: Any) -> list[Any]:
        full = list(point)
        for i, value in zip(which, moved, strict=True):
            full[i] = value
        return compat.bind(node.payload, full)

    out = jax.jvp(function, tuple(point[i] for i in which), tuple(tangents))[1]
    return [tangent if is_inexact(jnp.result_type(tangent)) else None for tangent in out]


def _union(carried: Any) -> tuple[int, ...]:
    return tuple(sorted(set().union(*(m.along for m in carried))))


def _rows(mine: Moving, along: tuple[int, ...]) -> Any:
    """The tangents along these directions, zeros where the value does not move."""
    if mine.along == along:
        return mine.tangents
    place = {k: r for r, k in enumerate(mine.along)}
    if all(k in place for k in along):
        return mine.tangents[np.array([place[k] for k in along])]
    at = np.searchsorted(along, mine.along)
    zeros = jnp.zeros((len(along), *mine.tangents.shape[1:]), mine.tangents.dtype)
    return zeros.at[at].set(mine.tangents, unique_indices=True, indices_are_sorted=True)


def _or_zero(laplacian: Any, like: Any) -> Any:
    return jnp.zeros_like(like) if laplacian is None else laplacian
