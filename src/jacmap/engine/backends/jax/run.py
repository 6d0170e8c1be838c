"""Batches of JVPs and VJPs at a point, through the whole function or between two of its cuts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...graph import Graph
from ...graph.cuts import Cut, nodes_between
from .products import bind
from .sweep import sweep

Flat = Callable[[Any], Any]

LARGEST_CONSTANT = 2**22  # entries of a constant put into compiled code
Dropped = Collection[tuple[int, int]]


class Runner:
    """Passes through `flat` (vector → vector) at `x`; see `plan.execute.Runner` for the contract.

    `graph` with the values of its inputs is needed only for parts of the function and for dropped edges.
    """

    def __init__(self, flat: Flat, x: Any, shape: tuple[int, int], parts: Parts | None = None):
        self.flat, self.x, self.shape, self.parts = flat, x, shape, parts
        self.foldable = True  # False hides the seeds from XLA, which would fold all passes of an affine function

    def push(self, seeds: Any, chunk: int = 0, between: Any = None, dropped: Dropped = frozenset()) -> Any:
        function, x = self._function(between)
        parts = self._at_point() if dropped else None

        def one(tangent: Any) -> Any:
            if parts is not None:
                return parts.tangent(tangent.astype(x.dtype), dropped)
            return jax.jvp(function, (x,), (tangent.astype(x.dtype),))[1]

        if not chunk or chunk >= seeds.shape[1]:
            return jax.vmap(one, out_axes=1)(seeds.T)
        return _in_turn(one, seeds.T, chunk).T

    def pull(self, seeds: Any, chunk: int = 0, between: Any = None, dropped: Dropped = frozenset()) -> Any:
        function, x = self._function(between)
        if dropped:
            y, parts = jax.eval_shape(function, x), self._at_point()
            pullback = jax.linear_transpose(lambda tangent: parts.tangent(tangent, dropped), x)
        else:
            y, pullback = jax.vjp(function, x)

        def one(cotangent: Any) -> Any:
            return pullback(cotangent.astype(y.dtype))[0]

        if not chunk or chunk >= seeds.shape[0]:
            return jax.vmap(one)(seeds)
        return _in_turn(one, seeds, chunk)

    def _at_point(self) -> Parts:
        """The parts with f's values worked out here: inside a pass they would be its own, and leak from it."""
        assert self.parts is not None and self.parts.primal is not None
        return self.parts

    def _function(self, between: tuple[Cut, Cut] | None) -> tuple[Flat, Any]:
        if between is None:
            return self.flat, self.x
        assert self.parts is not None
        return self.parts.segment(*between)

    def tangents(self, direction: Any) -> list[tuple[Any, int, np.ndarray]]:
        """(node, value, tangent) for every active value on the way, along one direction."""
        assert self.parts is not None
        graph = self.parts.graph
        pushed = jax.jit(jax.jvp, static_argnums=0)(
            self.parts.everything, (self.x,), (jnp.asarray(direction, self.x.dtype),)
        )[1]
        at = [(node, v) for node in graph.active_nodes for v in node.outputs if graph.values[v].active]
        return [(node, v, np.asarray(t)) for (node, v), t in zip(at, pushed, strict=True)]

    def identity(self, size: int) -> Any:
        return self._seeds(jnp.eye(size, dtype=self.x.dtype))

    def one_hot(self, labels: np.ndarray, count: int) -> Any:
        if labels.size * count <= LARGEST_CONSTANT:
            # As a constant XLA folds it into the tangents; made on the fly it would be made again for every entry read.
            return self._seeds(jnp.asarray(labels[:, None] == np.arange(count), dtype=self.x.dtype))
        small = np.int8 if count < 127 else np.int32
        return self._seeds(
            (jnp.asarray(labels.astype(small))[:, None] == jnp.arange(count, dtype=small)).astype(self.x.dtype)
        )

    def _seeds(self, seeds: Any) -> Any:
        return seeds if self.foldable else jax.lax.optimization_barrier(seeds)

    def pick(self, matrix: Any, rows: np.ndarray, cols: np.ndarray, height: int = 1) -> Any:
        # With two indices XLA fuses the gather with the passes and computes only the entries that are read; a flat
        # index would have to be divided again for each.
        offset, collapsed = ((), (0, 1)) if height == 1 else ((1,), (1,))
        return jax.lax.gather(
            matrix,
            jnp.asarray(np.stack([rows, cols], axis=1).astype(np.int32)),
            jax.lax.GatherDimensionNumbers(offset, collapsed, start_index_map=(0, 1)),
            slice_sizes=(height, 1),
            unique_indices=True,
            mode=jax.lax.GatherScatterMode.PROMISE_IN_BOUNDS,
        ).reshape(-1)

    def take(self, flat: Any, index: np.ndarray) -> Any:
        return flat.at[jnp.asarray(index)].get(mode="promise_in_bounds")

    def spread(self, flat: Any, index: np.ndarray, size: int) -> Any:
        at = jnp.asarray(index)
        zeros = jnp.zeros(size, flat.dtype)
        return zeros.at[at].set(flat, mode="promise_in_bounds", unique_indices=True, indices_are_sorted=True)

    def sums(self, flat: Any, index: np.ndarray, groups: np.ndarray, count: int) -> Any:
        taken = self.take(flat, index)
        return jax.ops.segment_sum(taken, jnp.asarray(groups), count, indices_are_sorted=True)

    def concatenate(self, parts: list[Any]) -> Any:
        return parts[0] if len(parts) == 1 else jnp.concatenate(parts)

    def permute(self, array: Any, axes: tuple[int, ...]) -> Any:
        return array.transpose(axes)


def _in_turn(one: Flat, seeds: Any, chunk: int) -> Any:
    return jax.lax.map(one, seeds) if chunk == 1 else jax.lax.map(one, seeds, batch_size=chunk)


class Parts:
    """The graph at a point, run operation by operation: for segments between cuts and for dropped edges."""

    def __init__(self, graph: Graph, inputs: Sequence[Any], others: Sequence[Any]):
        self.graph = graph
        self.fixed = dict(graph.constants) | dict(zip(graph.others, others, strict=True))
        self.inputs = list(inputs)
        self._primal: dict[int, Any] | None = None

    @property
    def primal(self) -> dict[int, Any]:
        """Every value at x, computed once and shared by all segments."""
        if self._primal is None:
            env = dict(self.fixed) | dict(zip(self.graph.inputs, self.inputs, strict=True))
            self._primal = evaluate(self.graph.nodes, env)
        return self._primal

    def tangent(self, direction: Any, dropped: Dropped) -> Any:
        """The outputs' tangent along a direction, without what comes through the dropped edges."""
        env = dict(self.primal)
        shapes = [(a.shape, a.dtype) for a in self.inputs]
        along = {v: t[None] for v, t in zip(self.graph.inputs, split(direction, shapes), strict=True)}
        sweep(list(enumerate(self.graph.nodes)), env, along, 1, dropped)
        return ravel([along[v][0] if v in along else jnp.zeros_like(env[v]) for v in self.graph.outputs])

    def everything(self, x: Any) -> list[Any]:
        """All active values on the way from x to the outputs."""
        shapes = [(a.shape, a.dtype) for a in self.inputs]
        env = dict(self.fixed) | dict(zip(self.graph.inputs, split(x, shapes), strict=True))
        values = evaluate(self.graph.nodes, env)
        return [values[v] for node in self.graph.active_nodes for v in node.outputs if self.graph.values[v].active]

    def segment(self, before: Cut, after: Cut) -> tuple[Flat, Any]:
        """The function from the values of one cut to those of a later one, and its point."""
        nodes = nodes_between(self.graph, before, after)
        points = [self.primal[v] for v in before.values]
        shapes = [(jnp.shape(a), jnp.result_type(a)) for a in points]

        def function(x: Any) -> Any:
            env = dict(self.primal) | dict(zip(before.values, split(x, shapes), strict=True))
            return ravel([evaluate(nodes, env)[v] for v in after.values], x.dtype)

        return function, ravel(points)


def evaluate(nodes: Sequence[Any], env: dict[int, Any]) -> dict[int, Any]:
    """`env` with the values that the nodes make."""
    for node in nodes:
        env.update(zip(node.outputs, bind(node.payload, [env[v] for v in node.inputs]), strict=True))
    return env


def ravel(leaves: Sequence[Any], dtype: Any = None) -> Any:
    """The leaves as one vector, in their common dtype (or `dtype` when that is wider or complex)."""
    if not leaves:
        return jnp.zeros(0, dtype)
    flat = [jnp.ravel(leaf) for leaf in leaves]
    if len(flat) == 1:
        return flat[0]
    common = (
        np.result_type(*(f.dtype for f in flat)) if all(f.dtype.kind in "fc" for f in flat) else jnp.result_type(*flat)
    )
    return jnp.concatenate([f.astype(common) for f in flat])


def split(x: Any, shapes: Sequence[tuple[tuple[int, ...], Any]]) -> list[Any]:
    """The vector cut back into leaves of the given shapes and dtypes."""
    if len(shapes) == 1:
        return [x.reshape(shapes[0][0]).astype(shapes[0][1])]
    leaves, start = [], 0
    for shape, dtype in shapes:
        size = int(np.prod(shape, dtype=int))
        leaves.append(x[start : start + size].reshape(shape).astype(dtype))
        start += size
    return leaves
