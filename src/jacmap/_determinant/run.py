"""Run the plan of a determinant: one sweep over the graph, values and each factor's tangents side by side."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..engine.backends.jax import compat
from ..engine.backends.jax.sweep import Tangents, one_hot, sweep
from ..engine.graph import Graph
from ..engine.plan.determinant import Determinant, Entrywise, LowRank, Moved, Repeated, Step

Blocks = tuple[bool, Any, np.ndarray]  # (constant?, (count, s, s), how often each counts)


class _Sum:
    """sign and log|det| so far, and the blocks still to be factorised.

    Blocks of one size are collected over the whole chain and factorised in one call: on the CPU the gradient of several
    independent batched LUs can hang (jaxlib 0.10). Those that are the same at every x stay in a group of their own, or
    `vmap` over a batch would repeat them.
    """

    def __init__(self, dtype: Any, sign: int):
        self.dtype = dtype
        self.sign: Any = jnp.asarray(sign, dtype)
        self.log: Any = jnp.zeros((), dtype)
        self.blocks: dict[tuple[int, bool], list[Blocks]] = {}

    def add(self, sign: Any, log: Any) -> None:
        self.sign, self.log = self.sign * sign, self.log + log

    def numbers(self, numbers: Any, times: np.ndarray | None = None) -> None:
        """Blocks of size 1."""
        logs, signs = jnp.log(jnp.abs(numbers)), jnp.sign(numbers)
        if times is None or (times == 1).all():
            self.add(jnp.prod(signs), jnp.sum(logs))
        else:
            self.several(signs, logs, times)

    def several(self, signs: Any, logs: Any, times: np.ndarray) -> None:
        """Determinants that each count so many times."""
        self.add(jnp.prod(jnp.where(times % 2 == 1, signs, signs * signs)), jnp.sum(logs * times.astype(self.dtype)))

    def take(self, blocks: Any, times: np.ndarray, constant: bool) -> None:
        """Blocks (count, s, s) of any one size."""
        size = blocks.shape[-1]
        blocks = blocks.astype(self.dtype)
        if size == 1:
            self.numbers(blocks[:, 0, 0], times)
        elif size == 2:
            self.numbers(blocks[:, 0, 0] * blocks[:, 1, 1] - blocks[:, 0, 1] * blocks[:, 1, 0], times)
        else:
            self.blocks.setdefault((size, constant), []).append((constant, blocks, times))

    def result(self) -> tuple[Any, Any]:
        for group in self.blocks.values():
            stacked = jnp.concatenate([blocks for _, blocks, _ in group]) if len(group) > 1 else group[0][1]
            times = np.concatenate([times for _, _, times in group])
            signs, logs = jnp.linalg.slogdet(stacked)
            self.several(signs, logs, times)
        return self.sign, self.log


def run(plan: Determinant, graph: Graph, env: dict[int, Any], dtype: Any, outputs: Sequence[int]) -> tuple[Any, ...]:
    """(values at `outputs`, sign, log|det|); `env` holds the inputs, the other arguments and the constants."""
    total = _Sum(dtype, plan.sign)
    states: dict[int, _State] = {}
    last = {owner: position for position, owner in sorted(plan.owner.items())}
    for position, node in enumerate(graph.nodes):
        owner = plan.owner.get(position)
        step = None if owner is None else plan.steps[owner]
        if isinstance(step, Repeated):
            assert owner is not None
            _loop(step, node, env, total, step.body)
        elif isinstance(step, Entrywise) and step.colouring.reverse == 0:
            assert owner is not None
            if owner not in states:
                states[owner] = _State(step)
            states[owner].advance(position, node, env)
        else:
            env.update(zip(node.outputs, compat.bind(node.payload, [env[v] for v in node.inputs]), strict=True))
        if owner is not None and last[owner] == position and not isinstance(step, (Repeated, Moved)):
            assert step is not None
            _finish(step, states.pop(owner, None), graph, env, total)
    for step in plan.steps:
        if isinstance(step, Moved) and len(step.signs) == 1:
            total.add(step.signs[0], 0.0)
    sign, log = total.result()
    return [env[v] for v in outputs], sign, log


class _State:
    """The tangents of one factor on their way."""

    def __init__(self, step: Entrywise):
        self.step = step
        self.local = {position: k for k, position in enumerate(step.factor.positions)}
        self.count = step.colouring.forward
        self.tangents: Tangents = {}
        ends = np.cumsum([step.factor.graph.values[k].size for k in step.factor.graph.inputs])
        self.labels = dict(zip(step.factor.before, np.split(step.colouring.column_colours, ends[:-1]), strict=True))

    def advance(self, position: int, node: Any, env: dict[int, Any]) -> None:
        thinning = self.step.thinning
        for v in node.inputs:
            if v in self.labels:  # only now: an earlier factor may have made it after this one's first operation
                self.tangents |= one_hot(self.labels.pop(v), self.count, [(v, env[v])])
        sweep([(self.local[position], node)], env, self.tangents, self.count, thinning.dropped, thinning.masks)


def _finish(step: Step, state: _State | None, graph: Graph, env: dict[int, Any], total: _Sum) -> None:
    if isinstance(step, LowRank):
        _low_rank(step, graph, env, total)
    elif isinstance(step, Entrywise):
        if state is None:
            compressed = _pulled(step, graph, env)
        else:
            compressed = _laid_out(step, state.tangents, env, state.count)
        _read(step, compressed, total)


def _laid_out(step: Step, tangents: Tangents, env: dict[int, Any], count: int) -> Any:
    """(count, size): the tangents of the values that the factor makes, end to end."""
    parts = [tangents[v] if v in tangents else jnp.zeros((count, jnp.size(env[v]))) for v in step.factor.after]
    parts = [part.reshape(count, -1) for part in parts]
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=1)


def _read(step: Entrywise, compressed: Any, total: _Sum) -> None:
    blocks, colouring = step.blocks, step.colouring
    reverse = colouring.reverse > 0
    compressed = compressed.astype(total.dtype)
    total.add(blocks.sign, 0.0)
    if colouring.passes == 1 and blocks.sizes.max() == 1 and (step.times == 1).all():
        total.numbers(compressed[0])  # in whatever order: each entry counts once
        return
    for size in np.unique(blocks.sizes):
        rows, columns = blocks.of_size(int(size))
        times = step.times[blocks.sizes == size]
        rows, columns, times = rows[times > 0], columns[times > 0], times[times > 0]
        at_row = np.broadcast_to(rows[:, :, None], (*rows.shape, size))
        at_col = np.broadcast_to(columns[:, None, :], (*columns.shape[:1], size, size))
        if reverse:
            taken = compressed[jnp.asarray(colouring.row_colours[at_row]), jnp.asarray(at_col)]
        else:
            taken = compressed[jnp.asarray(colouring.column_colours[at_col]), jnp.asarray(at_row)]
        there = np.asarray(step.pattern[at_row.ravel(), at_col.ravel()]).reshape(at_row.shape)
        if not there.all():
            taken = jnp.where(there, taken, 0)
        total.take(taken, times, step.constant)


def _function(step: Step, graph: Graph, env: dict[int, Any], starts: Sequence[int], stops: Sequence[int]) -> Any:
    """The factor's operations as a function of the values `starts`, giving `stops`."""
    nodes = [graph.nodes[position] for position in step.factor.positions]

    def function(*values: Any) -> list[Any]:
        inner = {**env, **dict(zip(starts, values, strict=True))}
        for node in nodes:
            made = compat.bind(node.payload, [inner[v] for v in node.inputs])
            inner.update((v, value) for v, value in zip(node.outputs, made, strict=True) if v not in starts)
        return [inner[v] for v in stops]

    return function


def _pulled(step: Entrywise, graph: Graph, env: dict[int, Any]) -> Any:
    """(passes, size): the compressed rows by VJPs, for operations that have no forward mode."""
    factor = step.factor
    primals = [env[v] for v in factor.before]
    _, pullback = jax.vjp(_function(step, graph, env, factor.before, factor.after), *primals)
    seeds = one_hot(step.colouring.row_colours, step.colouring.reverse, [(v, env[v]) for v in factor.after])
    pulled = jax.vmap(lambda *cotangents: pullback(list(cotangents)))(*(seeds[v] for v in factor.after))
    return jnp.concatenate([p.reshape(step.colouring.reverse, -1) for p in pulled], axis=1)


def _low_rank(step: LowRank, graph: Graph, env: dict[int, Any], total: _Sum) -> None:
    factor, r, dtype = step.factor, step.width, total.dtype
    nodes = [(k, graph.nodes[position]) for k, position in enumerate(factor.positions)]
    narrow = factor.numbers[step.narrow]

    def pushed(seeds: Tangents, count: int, dropped: Any) -> Any:
        tangents = dict(seeds)
        sweep(nodes, dict(env), tangents, count, dropped)
        return _laid_out(step, tangents, env, count).astype(dtype)

    inner = step.inner
    pieces = [(v, env[v]) for v in factor.before]
    rows, columns = inner.blocks.of_size(1)
    # Row rows[b] and column columns[b] meet in D's entry b: bring U's rows and V's columns into that order.
    u = _ordered(pushed(one_hot(np.arange(r), r, [(narrow, env[narrow])]), r, ()), rows[:, 0]).T
    function = _function(step, graph, env, factor.before, [narrow])
    primals = [env[v] for v in factor.before]
    if step.pulled:
        _, pullback = jax.vjp(function, *primals)
        eye = jnp.eye(r, dtype=jnp.result_type(env[narrow])).reshape(r, *jnp.shape(env[narrow]))
        # One row alone goes without vmap, which would make batched matrix products of it.
        rows_of = pullback([eye[0]]) if r == 1 else jax.vmap(lambda c: pullback([c]))(eye)
        v = jnp.concatenate([p.reshape(r, -1) for p in rows_of], axis=1)
    else:
        basis = one_hot(np.arange(factor.size), factor.size, pieces)
        along = jax.vmap(lambda *t: jax.jvp(function, tuple(primals), t)[1][0])(*(basis[w] for w in factor.before))
        v = along.reshape(factor.size, r).T
    v = _ordered(v.astype(dtype), columns[:, 0])
    total.add(inner.blocks.sign, 0.0)
    if not step.unit:
        seeds = one_hot(inner.colouring.column_colours, inner.colouring.forward, pieces)
        compressed = pushed(seeds, inner.colouring.forward, inner.thinning.dropped)
        diagonal = compressed[jnp.asarray(inner.colouring.column_colours[columns[:, 0]]), jnp.asarray(rows[:, 0])]
        diagonal, u, v = _bordered(diagonal, u, v)
        total.numbers(diagonal)
        v = v / diagonal
    # A product, though of one row and one column it be: XLA would fuse a sum with what makes v and u, entry by entry.
    small = jnp.eye(u.shape[1], dtype=dtype) + v @ u
    total.take(small[None], np.ones(1, int), step.constant)


def _ordered(rows: Any, order: np.ndarray) -> Any:
    """The columns of `rows` in an order, which mostly is theirs already."""
    return rows if (order == np.arange(order.size)).all() else rows[:, order]


def _bordered(diagonal: Any, u: Any, v: Any) -> tuple[Any, Any, Any]:
    """D + U V = D' + U' V' where D' has no small entry among the r smallest: those move to the low-rank part.

    D' = D + s E Eᵀ, U' = [U, −s E], V' = [V; Eᵀ] with E the unit vectors of those entries; exact for any s.
    """
    n, r = u.shape
    _, smallest = jax.lax.top_k(-jax.lax.stop_gradient(jnp.abs(diagonal)), min(r, n))
    unit = jax.nn.one_hot(smallest, n, dtype=diagonal.dtype)
    size = jax.lax.stop_gradient(jnp.max(jnp.abs(diagonal)) + jnp.max(jnp.abs(u)) * jnp.max(jnp.abs(v)))
    shift = jnp.where(jax.lax.stop_gradient(diagonal) < 0, -size, size)
    u, v = jnp.concatenate([u, -(shift * unit).T], axis=1), jnp.concatenate([v, unit])
    return diagonal + (shift * unit).sum(axis=0), u, v


def _loop(step: Repeated, node: Any, env: dict[int, Any], total: _Sum, body: Determinant) -> None:
    """A scan with its body's determinant summed beside the carry."""
    p = node.payload.params
    n_consts, n_carry = p["num_consts"], p["num_carry"]
    values = [env[v] for v in node.inputs]
    consts, carry, xs = values[:n_consts], values[n_consts : n_consts + n_carry], values[n_consts + n_carry :]
    graph = step.loop.graph
    per_step = [s for s in body.steps if isinstance(s, Moved) and len(s.signs) > 1]
    signs = [jnp.asarray(s.signs, total.dtype) for s in per_step]

    def one(state: Any, inputs: Any) -> Any:
        carried, sign, log = state
        given, extra = inputs
        inner = dict(graph.constants)
        moving, still = list(graph.inputs), list(graph.others)
        active = {n_consts + k for k in step.loop.carry}
        for i, value in enumerate([*consts, *carried, *given]):
            inner[(moving if i in active else still).pop(0)] = value
        results, of_step, more = run(body, graph, inner, total.dtype, step.loop.results)
        sign, log = functools.reduce(lambda a, b: a * b, extra, sign * of_step), log + more
        return (results[:n_carry], sign, log), results[n_carry:]

    start = (carry, jnp.ones((), total.dtype), jnp.zeros((), total.dtype))
    (carried, sign, log), ys = jax.lax.scan(one, start, (xs, signs), p["length"], p["reverse"], p["unroll"])
    env.update(zip(node.outputs, [*carried, *ys], strict=True))
    total.add(sign * step.sign, log)
