"""A function cut along the path that its data takes, so that parameters stay arguments of the segments.

`Jacobian.chain` cuts between the differentiated inputs and the outputs and closes over everything else. For a loss
f(parameters, data) that is no use: parameters enter everywhere, and the derivative with respect to them is what is
wanted. Here the graph is cut between its operations in execution order, where the fewest bytes are alive.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from ._alike import wiring
from ._arguments import check_inputs, check_outputs, positions, translated
from ._errors import ArgumentError
from ._evaluate import Bind, chunked_scan
from .engine.backends.jax import compat
from .engine.backends.jax import function as backend
from .engine.backends.jax.rules import lookup
from .engine.graph import Graph, Node

Values = tuple[Any, ...]

# An operation that counts more than this many scalar operations per output entry is work worth a segment of its own.
HEAVY = 8
LOOPS = ("scan", "while", "cond")
MOST = 96  # segments; with more, the widest cuts are left out


@dataclass(frozen=True, eq=False)
class Stretch:
    """The operations between two cuts: ``run(state, operands)`` gives the next state.

    A state is the tuple of the values alive at a cut; `operands` are the leaves of the arguments, constants and
    prepared values that the operations read. `given`, `made`: the values' types at either cut. `key`: equal for
    segments that do the same to other numbers.
    """

    name: str
    nodes: tuple[Node, ...]
    entering: tuple[int, ...]
    leaving: tuple[int, ...]
    read: tuple[int, ...]
    given: tuple[jax.ShapeDtypeStruct, ...]
    operands: tuple[jax.ShapeDtypeStruct, ...]
    made: tuple[jax.ShapeDtypeStruct, ...]
    key: Hashable
    steps: int  # of the one `lax.scan` in it, 0 without
    data: tuple[bool, ...]  # which operands are data: leaves of arguments that are not differentiated

    def run(self, state: Values, operands: Values, chunk: int = 0, bind: Bind = compat.bind) -> Values:
        """The next state. `chunk`: see `chunked_scan`; `bind` evaluates an operation, as JAX does unless told else."""
        env = dict(zip(self.entering, state, strict=True)) | dict(zip(self.read, operands, strict=True))
        for node in self.nodes:
            values = [env[v] for v in node.inputs]
            if chunk and node.op == "scan":
                found = chunked_scan(node.payload, values, chunk)
            else:
                found = bind(node.payload, values)
            env.update(zip(node.outputs, found, strict=True))
        return tuple(env[v] for v in self.leaving)


@dataclass(frozen=True, eq=False)
class DataPath:
    """f as segments: ``output(run of each segment on start())``. `prepared`: what several of them read."""

    graph: Graph
    stretches: tuple[Stretch, ...]
    prepared: tuple[Node, ...]
    signature: Any
    out_tree: Any

    def operands(self, args: tuple[Any, ...]) -> list[Values]:
        """What each segment reads beside its state, in order."""
        leaves = jax.tree_util.tree_leaves((args, {}))
        env = dict(self.graph.constants)
        env.update((v, leaves[p]) for v, p in zip(self.graph.inputs, self.signature.moving, strict=True))
        env.update((v, leaves[p]) for v, p in zip(self.graph.others, self.signature.others, strict=True))
        for node in self.prepared:
            env.update(zip(node.outputs, compat.bind(node.payload, [env[v] for v in node.inputs]), strict=True))
        return [tuple(jnp.asarray(env[v]) for v in stretch.read) for stretch in self.stretches]

    def output(self, state: Values) -> Any:
        """What f returns, from the last state."""
        return jax.tree_util.tree_unflatten(self.out_tree, state)

    def accepts(self, args: tuple[Any, ...]) -> bool:
        """Have the arguments the shapes, dtypes and structure that the path was read at?"""
        leaves, treedef = jax.tree_util.tree_flatten((args, {}))
        if treedef != self.signature.treedef:
            return False
        arrays = sorted((*self.signature.moving, *self.signature.others))
        same = all(
            (jnp.shape(leaves[p]), jnp.result_type(leaves[p])) == kind[:2]
            for p, kind in zip(arrays, self.signature.avals, strict=True)
        )
        return same and all(leaves[p] == value for p, value in self.signature.static)


def data_path(f: Callable[..., Any], args: tuple[Any, ...], argnums: int | Sequence[int] = 0) -> DataPath:
    """The segments of f at the shapes of `args`; the derivative will be taken with respect to `argnums`.

    The data are the arguments that are not differentiated; without any, the differentiated ones. The path is
    everything that depends on the data and carries a derivative, and what is computed from that. The rest (masks,
    transposed or normalised weights) is done inside the segment that reads it, so that nothing of it is kept; what
    several segments read is done once before them.
    """
    where = positions(argnums)[0]
    check_inputs(args, where, holomorphic=False)
    signature = backend.signature(args, {}, where)
    with translated(f):
        traced = backend.trace(backend.on_leaves(f, signature, False), signature)
    check_outputs(traced.outputs, signature, False, f)
    if traced.closes_over_tracers:
        name = getattr(f, "__name__", "f")
        raise ArgumentError(f"f: {name} closes over values of an outer jit, grad or vmap; pass them as arguments")
    graph = traced.graph
    kinds = _kinds(graph, signature)
    path = _on_path(graph)
    if not path:
        raise ArgumentError(f"f: {getattr(f, '__name__', 'f')} does not depend on its differentiated arguments")
    groups = _groups(graph, path, kinds)
    return _assemble(graph, groups, kinds, signature, traced.out_tree)


def _kinds(graph: Graph, signature: Any) -> dict[int, jax.ShapeDtypeStruct]:
    kinds: dict[int, jax.ShapeDtypeStruct] = {}
    for node in graph.nodes:
        for v, atom in zip((*node.inputs, *node.outputs), (*node.payload.invars, *node.payload.outvars), strict=True):
            kinds[v] = jax.ShapeDtypeStruct(atom.aval.shape, atom.aval.dtype)
    kinds |= zip(graph.inputs, signature.structs(signature.moving), strict=True)
    kinds |= zip(graph.others, signature.structs(signature.others), strict=True)
    for v, constant in graph.constants.items():
        kinds[v] = jax.ShapeDtypeStruct(jnp.shape(constant), jnp.result_type(constant))
    return kinds


def _on_path(graph: Graph) -> list[Node]:
    def reached(start: Sequence[int]) -> list[Node]:
        data, on_path = set(start), set[int]()
        found = []
        for node in graph.nodes:
            from_data = bool(data.intersection(node.inputs))
            if from_data:
                data.update(node.outputs)
            active = any(graph.values[v].active for v in node.outputs)
            if on_path.intersection(node.inputs) or (active and (from_data or not start)):
                on_path.update(node.outputs)
                found.append(node)
        return found

    return reached(graph.others) or reached(graph.inputs) or reached(())


def _groups(graph: Graph, path: list[Node], kinds: dict[int, jax.ShapeDtypeStruct]) -> list[list[Node]]:
    """The path's operations, cut where the fewest bytes are alive between one heavy operation and the next."""
    alive = _alive(graph, path, kinds)
    heavy = [k for k, node in enumerate(path) if _is_heavy(graph, node)]
    best = []
    for first, second in zip(heavy, heavy[1:], strict=False):
        between = range(first, second)
        best.append(min(between, key=lambda k: (alive[k], -k)))  # the last of equals: a layer keeps its activation
    wide = [alive[k] for k in best]
    edge = float("inf")
    least = [
        k
        for k, before, own, after in zip(best, [edge, *wide], wide, [*wide[1:], edge], strict=False)
        if own <= before and own <= after
    ]
    cuts = sorted(sorted(least, key=lambda k: alive[k])[: MOST - 1])
    ends = [0, *(k + 1 for k in cuts), len(path)]
    return [path[a:b] for a, b in zip(ends, ends[1:], strict=False)]


def _alive(graph: Graph, path: list[Node], kinds: dict[int, jax.ShapeDtypeStruct]) -> list[int]:
    """Bytes of the path's values that are alive after each of its operations."""
    last = {v: k for k, node in enumerate(path) for v in node.inputs}
    last |= dict.fromkeys(graph.outputs, len(path))
    change = [0] * (len(path) + 2)
    for k, node in enumerate(path):
        for v in node.outputs:
            if last.get(v, -1) > k:
                change[k] += bytes_of(kinds[v])
                change[last[v]] -= bytes_of(kinds[v])
    total, found = 0, []
    for k in range(len(path)):
        total += change[k]
        found.append(total)
    return found


def _is_heavy(graph: Graph, node: Node) -> bool:
    entrywise = lookup(node.op).kind == "elementwise"
    return node.op in LOOPS or (not entrywise and node.work > HEAVY * sum(graph.values[v].size for v in node.outputs))


def _assemble(
    graph: Graph, groups: list[list[Node]], kinds: dict[int, jax.ShapeDtypeStruct], signature: Any, out_tree: Any
) -> DataPath:
    on_path = {v for group in groups for node in group for v in node.outputs}
    order = {id(node): k for k, node in enumerate(graph.nodes)}
    maker = {v: node for node in graph.nodes for v in node.outputs}
    sides = [_side_nodes(group, maker, on_path) for group in groups]
    direct = [v for v in graph.outputs if v not in on_path and v in maker]
    sides.append(_side_nodes([], maker, on_path, direct))
    users: dict[int, set[int]] = {}
    for k, side in enumerate(sides):
        for node in side:
            users.setdefault(id(node), set()).add(k)
    prepared = {i for i, ks in users.items() if len(ks) > 1 or len(groups) in ks}
    links: list[Stretch] = []
    wanted = graph.outputs
    for k in range(len(groups) - 1, -1, -1):
        nodes = [*groups[k], *(node for node in sides[k] if id(node) not in prepared)]
        nodes.sort(key=lambda node: order[id(node)])
        produced = {v for node in nodes for v in node.outputs}
        reads = [v for v in (*(v for node in nodes for v in node.inputs), *wanted) if v not in produced]
        entering = tuple(dict.fromkeys(v for v in reads if v in on_path))
        read = tuple(dict.fromkeys(v for v in reads if v not in on_path))
        links.append(_stretch(nodes, entering, wanted, read, kinds, graph.others))
        wanted = entering
    before = tuple(node for node in graph.nodes if id(node) in prepared)
    return DataPath(graph, tuple(links[::-1]), before, signature, out_tree)


def _side_nodes(
    group: list[Node], maker: dict[int, Node], on_path: set[int], also: Sequence[int] = ()
) -> list[Node]:
    """The operations off the path that a group needs."""
    found: dict[int, Node] = {}
    todo = [*also, *(v for node in group for v in node.inputs)]
    while todo:
        v = todo.pop()
        if v in on_path or v not in maker or id(maker[v]) in found:
            continue
        found[id(maker[v])] = maker[v]
        todo += maker[v].inputs
    return list(found.values())


def _stretch(
    nodes: list[Node], entering: tuple[int, ...], leaving: tuple[int, ...], read: tuple[int, ...],
    kinds: dict[int, jax.ShapeDtypeStruct], others: tuple[int, ...],
) -> Stretch:  # fmt: skip
    types = [tuple(kinds[v] for v in values) for values in (entering, read, leaving)]
    key = (wiring(nodes, (*entering, *read), leaving), len(entering), len(read))
    scans = [node.payload.params["length"] for node in nodes if node.op == "scan"]
    heaviest = max(nodes, key=lambda node: node.work)
    name = heaviest.place.scope or heaviest.place.line or heaviest.op
    steps = scans[0] if len(scans) == 1 else 0
    data = tuple(v in others for v in read)
    return Stretch(name, tuple(nodes), entering, leaving, read, types[0], types[1], types[2], key, steps, data)


def bytes_of(kind: Any) -> int:
    """The bytes of an array of this shape and dtype."""
    return int(kind.size) * jnp.dtype(kind.dtype).itemsize if not _is_key(kind) else 8


def _is_key(kind: Any) -> bool:
    return bool(jnp.issubdtype(kind.dtype, jax.dtypes.prng_key))
