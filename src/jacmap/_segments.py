"""A function as the chain of its segments, each a function of (values at its cut, operands): no point is closed over.

`Jacobian.chain` shows the factors of J at one point. Here the same segments can be run anywhere: over a batch by
`jax.vmap`, differentiated by their parameters, checkpointed. Composed, they are f exactly: what a segment needs of
earlier values that carry no derivative (a mask made long before) travels along in the state.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from ._alike import wiring
from ._arguments import check_inputs, check_outputs, positions, translated
from ._errors import ArgumentError
from ._opened import opened
from .engine.backends.jax import compat
from .engine.backends.jax import function as backend
from .engine.backends.jax.run import ravel, split
from .engine.graph import Graph, Node
from .engine.graph.cuts import Cut, boundaries, name_of, nodes_between, useful_chain

State = tuple[Any, ...]
Operands = tuple[Any, ...]
Hook = Callable[[str, list[Any]], list[Any]]  # (operation, the values it reads) -> the values it is given


@dataclass(frozen=True, eq=False)
class Segment:
    """The operations between two cuts of f's graph.

    `name`: its scope, or its source line; `place`: that line. `run(state, operands)` gives the next state. A state is
    the tuple of the cut's values (the first `active` of them carry the derivative), then of what travels along.
    `operands`: what the segment reads that does not depend on the differentiated input (weights). Segments with equal
    `key` do the same to other numbers: one compiled program serves them all.
    """

    name: str
    place: str
    nodes: tuple[Node, ...]
    given: tuple[int, ...]
    made: tuple[int, ...]
    read: tuple[int, ...]
    active: tuple[int, int]  # of the values given, of those made
    avals: tuple[tuple[tuple[tuple[int, ...], Any], ...], ...]  # (shape, dtype) of the active ones given, and made
    key: Hashable

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n) of its Jacobian: outputs × inputs."""
        n, m = (sum(math.prod(shape) for shape, _ in avals) for avals in self.avals)
        return m, n

    def run(self, state: State, operands: Operands, hook: Hook | None = None) -> State:
        """The next state. A `hook` is asked before every operation for the values that it shall be given."""
        env = dict(zip(self.given, state, strict=True)) | dict(zip(self.read, operands, strict=True))
        for node in self.nodes:
            values = [env[v] for v in node.inputs]
            if hook is not None:
                values = hook(node.op, values)
            env.update(zip(node.outputs, compat.bind(node.payload, values), strict=True))
        return tuple(env[v] for v in self.made)

    def on_vectors(
        self, along: State, operands: Operands, hook: Hook | None = None
    ) -> Callable[[Any], tuple[Any, State]]:
        """(n,) → ((m,), what travels on): the segment on the active values as one vector, for `jax.vjp(has_aux=True)`.

        `along`: what travels along, after the active values of the state.
        """

        def function(vector: Any) -> tuple[Any, State]:
            made = self.run((*split(vector, self.avals[0]), *along), operands, hook)
            return ravel(made[: self.active[1]]), made[self.active[1] :]

        return function


@dataclass(frozen=True, eq=False)
class Chain:
    """f as its segments, first applied first. Made by `segments`."""

    graph: Graph
    links: tuple[Segment, ...]
    signature: Any
    out_tree: Any
    prepared: tuple[Node, ...]  # the operations that make the operands, none of which reads x

    def __iter__(self) -> Iterator[Segment]:
        return iter(self.links)

    def __len__(self) -> int:
        return len(self.links)

    def __getitem__(self, k: int) -> Segment:
        return self.links[k]

    def operands(self, *args: Any) -> list[Operands]:
        """What each segment reads beside its state, from the arguments of f."""
        return self.prepare(tuple(self.graph.constants.values()), self.others(*args))

    def prepare(self, constants: Sequence[Any], others: Sequence[Any]) -> list[Operands]:
        """The same from the values of `graph.constants` and `others(*args)`, to be put through `jit` or `vmap`."""
        env = dict(zip(self.graph.constants, constants, strict=True))
        env.update(zip(self.graph.others, others, strict=True))
        for node in self.prepared:
            env.update(zip(node.outputs, compat.bind(node.payload, [env[v] for v in node.inputs]), strict=True))
        return [tuple(env[v] for v in link.read) for link in self.links]

    def others(self, *args: Any) -> list[Any]:
        """The leaves of the arguments that are not differentiated."""
        return self._leaves(args)[1]

    def operands_follow(self, varying: Sequence[bool]) -> list[tuple[bool, ...]]:
        """For each operand: does it depend on one of the marked leaves of the arguments? Told without computing."""
        marked = [varying[p] for p in self.signature.others]
        follow = {v for v, is_marked in zip(self.graph.others, marked, strict=True) if is_marked}
        for node in self.prepared:
            if follow.intersection(node.inputs):
                follow.update(node.outputs)
        return [tuple(v in follow for v in link.read) for link in self.links]

    def start(self, *args: Any) -> State:
        """The state before the first segment."""
        return tuple(jnp.asarray(leaf) for leaf in self._leaves(args)[0])

    def output(self, state: State) -> Any:
        """What f returns, from the last state."""
        return jax.tree_util.tree_unflatten(self.out_tree, state)

    def _leaves(self, args: tuple[Any, ...]) -> tuple[list[Any], list[Any]]:
        leaves = jax.tree_util.tree_leaves((args, {}))
        return [leaves[p] for p in self.signature.moving], [leaves[p] for p in self.signature.others]


def segments(f: Callable[..., Any], *args: Any, argnums: int | Sequence[int] = 0, every: bool = False) -> Chain:
    """The chain of f along its cuts, at the shapes of `args` (arrays or `jax.ShapeDtypeStruct`s).

    Entrywise operations stay with a neighbour that mixes entries, unless `every` cut is asked for.
    `jax.lax.scan` of up to `LONGEST` steps is opened: each step has segments of its own. Raises `ArgumentError` for
    arguments or outputs that are no floats, and inside a transformation of JAX that f closes over.
    """
    where = positions(argnums)[0]
    check_inputs(args, where, holomorphic=False)
    signature = backend.signature(args, {}, where)
    call = backend.on_leaves(f, signature, False)
    with translated(f):
        traced = backend.trace(opened(call, signature), signature)
    check_outputs(traced.outputs, signature, False, f)
    if traced.closes_over_tracers:
        name = getattr(f, "__name__", "f")
        raise ArgumentError(f"f: {name} closes over values of an outer jit, grad or vmap; pass them as arguments")
    graph = traced.graph
    cuts = boundaries(graph)
    if not every:
        cuts = useful_chain(graph, cuts)
    return Chain(graph, _links(graph, cuts), signature, traced.out_tree, _fixed(graph))


def _fixed(graph: Graph) -> tuple[Node, ...]:
    """The operations that do not depend on the differentiated inputs, in order."""
    return tuple(node for node in graph.nodes if not any(graph.values[v].varying for v in node.inputs))


def _links(graph: Graph, cuts: list[Cut]) -> tuple[Segment, ...]:
    """From the last segment to the first: what a segment cannot make itself, the ones before hand on to it."""
    stretches = [nodes_between(graph, before, after) for before, after in zip(cuts, cuts[1:], strict=False)]
    stage = _stages(graph, stretches)
    maker = {v: node for node in graph.nodes for v in node.outputs}
    links: list[Segment] = []
    wanted = cuts[-1].values
    for k in range(len(stretches) - 1, -1, -1):
        before, after = cuts[k], cuts[k + 1]
        inside = set(before.values).union(*(node.outputs for node in stretches[k]))
        chosen, handed = _needed(graph, wanted, before, inside, stage, maker, k + 1)
        given = (*before.values, *handed)
        nodes = tuple(node for node in graph.nodes if id(node) in chosen)
        links.append(_link(graph, before, after, nodes, given, wanted))
        wanted = given
    return tuple(links[::-1])


def _stages(graph: Graph, stretches: list[list[Node]]) -> dict[int, int]:
    """Varying value → the number of the segment at whose end it is known at the earliest; the inputs are at 0."""
    stage = dict.fromkeys(graph.inputs, 0)
    on_the_way = {v: k for k, stretch in enumerate(stretches, 1) for node in stretch for v in node.outputs}
    for node in graph.nodes:
        read = [stage[v] for v in node.inputs if v in stage]
        if read:
            stage.update((v, on_the_way.get(v, max(read))) for v in node.outputs)
    return stage


def _needed(
    graph: Graph, wanted: tuple[int, ...], before: Cut, inside: set[int], stage: dict[int, int],
    maker: dict[int, Node], number: int,
) -> tuple[set[int], list[int]]:  # fmt: skip
    """(ids of the operations of segment `number`, the values that must be handed to it beside the cut's)."""
    local: dict[int, bool] = {}

    def is_local(v: int) -> bool:
        """Can it be made from the cut's values within this segment?"""
        if v not in local:
            read = [w for w in maker[v].inputs if graph.values[w].varying] if v in maker and v not in inside else None
            local[v] = v in inside if read is None else all(is_local(w) for w in read)
        return local[v]

    chosen: set[int] = set()
    handed: list[int] = []
    seen = set(before.values)
    todo = list(wanted)
    while todo:
        v = todo.pop()
        if v in seen or not graph.values[v].varying:
            continue
        seen.add(v)
        if is_local(v) or stage[v] == number:
            chosen.add(id(maker[v]))
            seen.update(maker[v].outputs)
            todo += maker[v].inputs
        else:
            handed.append(v)
    return chosen, handed


def _link(
    graph: Graph, before: Cut, after: Cut, nodes: tuple[Node, ...], given: tuple[int, ...], made: tuple[int, ...]
) -> Segment:
    produced = {v for node in nodes for v in node.outputs}
    reads = [v for node in nodes for v in node.inputs] + list(made)
    read = tuple(dict.fromkeys(v for v in reads if v not in produced and v not in given))
    own = nodes_between(graph, before, after)
    heaviest = max(own, key=lambda node: node.work, default=None)
    place = "" if heaviest is None else heaviest.place.line
    name = heaviest.place.scope if heaviest is not None else ""
    kinds = _avals(graph, nodes)
    avals = tuple(
        tuple((graph.values[v].shape, kinds.get(v, jnp.float32)) for v in cut.values) for cut in (before, after)
    )
    key = (wiring(nodes, (*given, *read), made), len(given), len(read), avals)
    return Segment(
        name=name or place or name_of(graph, before, after),
        place=place,
        nodes=nodes,
        given=given,
        made=made,
        read=read,
        active=(len(before.values), len(after.values)),
        avals=avals,
        key=key,
    )


def _avals(graph: Graph, nodes: tuple[Node, ...]) -> dict[int, Any]:
    """The dtype of every value that the operations read or make."""
    kinds: dict[int, Any] = {}
    for node in nodes:
        for v, atom in zip((*node.inputs, *node.outputs), (*node.payload.invars, *node.payload.outvars), strict=True):
            kinds[v] = atom.aval.dtype
    return kinds
