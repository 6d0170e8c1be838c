"""The chain of square cuts: how a square Jacobian's determinant falls into factors.

On the graph of values with capacity = size, a maximum flow below n from inputs to outputs proves that det J = 0. Else
the strongly connected components of the residual graph, added one by one from the source's side, pass through
minimum cuts of size n (Picard and Queyranne 1980), and J is the product of what happens between neighbouring ones. A
value in both of two neighbouring cuts is a constant of the factor between them: the factor's matrix is block
triangular with the identity there, so only the values that are exchanged count.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.sparse import csr_array, csr_matrix
from scipy.sparse.csgraph import breadth_first_order, connected_components, maximum_flow

from .graph import Graph, Node, Value

_INFINITE = 2**30


@dataclass(frozen=True, eq=False)
class Factor:
    """One factor: the values `before` are exchanged for `after` (indices into the whole graph's values).

    `positions`: the nodes (in graph.nodes) on the way. `graph`: the same as a graph of its own, with everything else
    constant; its node k is graph.nodes[positions[k]], and `numbers` maps its values to the whole graph's.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    positions: tuple[int, ...]
    graph: Graph
    numbers: tuple[int, ...]

    @property
    def size(self) -> int:
        return self.graph.shape[1]


@dataclass(frozen=True, eq=False)
class Chain:
    """`factors` in order, first applied first. `sign`: of the permutation that the order of values hides.

    `width`: the narrowest cut; below n the determinant is zero and there are no factors.
    """

    factors: tuple[Factor, ...]
    sign: int
    width: int


def chain_of(graph: Graph) -> Chain:
    """The factors of a graph with as many outputs as inputs."""
    n = graph.shape[1]
    network = _Network(graph)
    if network.width < n:
        return Chain((), 1, network.width)
    order, sign, factors = list(graph.inputs), 1, []
    for before, after in network.exchanges():
        # Bring the exchanged values to the front; what stays keeps its order behind them.
        rest = [v for v in order if v not in before]
        sign *= _parity(order, [*before, *rest], graph)
        order = [*after, *rest]
        if any(graph.values[v].size for v in before):  # an empty slice is exchanged for another one
            factors.append(_factor(graph, network.makers, before, after, set(rest)))
    sign *= _parity(order, list(graph.outputs), graph)
    return Chain(tuple(factors), sign, n)


class _Network:
    """Values as pairs of vertices (in 2k, out 2k + 1) joined by an edge of their size, operations as vertices."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.makers: dict[int, int] = {v: p for p, node in enumerate(graph.nodes) for v in node.outputs}
        nodes = _on_the_way(graph)
        number: dict[int, int] = {}
        for v in (*graph.inputs, *(v for _, node in nodes for v in (*node.inputs, *node.outputs)), *graph.outputs):
            if graph.values[v].active:
                number.setdefault(v, len(number))
        self.values = list(number)
        count = len(number)
        self.source, self.sink, first_op = 2 * count, 2 * count + 1, 2 * count + 2
        edges = {
            (2 * k, 2 * k + 1): graph.values[v].size if graph.is_cuttable(v) else _INFINITE for v, k in number.items()
        }
        edges |= {(self.source, 2 * number[v]): _INFINITE for v in graph.inputs}
        edges |= {(2 * number[v] + 1, self.sink): _INFINITE for v in graph.outputs if v in number}
        for at, (_, node) in enumerate(nodes):
            edges |= {(2 * number[v] + 1, first_op + at): _INFINITE for v in node.inputs if v in number}
            edges |= {(first_op + at, 2 * number[v]): _INFINITE for v in node.outputs if v in number}
        self.when = np.zeros(first_op + len(nodes))
        self.when[first_op:] = [position for position, _ in nodes]
        for v, k in number.items():
            self.when[2 * k : 2 * k + 2] = self.makers.get(v, -1) + 0.5
        self.size = first_op + len(nodes)
        rows, cols = np.array(list(edges), dtype=np.int32).T
        capacity = csr_array((np.array(list(edges.values()), np.int32), (rows, cols)), shape=(self.size, self.size))
        flow = maximum_flow(csr_matrix(capacity), self.source, self.sink)
        self.width = int(flow.flow_value)
        residual = csr_matrix(capacity - csr_array(flow.flow))
        residual.data = np.maximum(residual.data, 0)
        residual.eliminate_zeros()
        self.residual: Any = residual

    def exchanges(self) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
        """(values that leave the cut, values that enter it), from the inputs to the outputs."""
        _, label = connected_components(self.residual, directed=True, connection="strong")
        inside = np.zeros(self.size, bool)
        inside[breadth_first_order(self.residual, self.source, return_predecessors=False)] = True
        members: dict[int, list[int]] = {}
        for vertex in np.flatnonzero(~inside):
            members.setdefault(int(label[vertex]), []).append(int(vertex))
        for component in self._ordered(label, inside, members):
            vertices = members[component]
            touched = sorted({vertex // 2 for vertex in vertices if vertex < 2 * len(self.values)})
            before = [k for k in touched if inside[2 * k] and not inside[2 * k + 1]]
            inside[vertices] = True
            after = [k for k in touched if inside[2 * k] and not inside[2 * k + 1]]
            if before or after:
                yield tuple(self.values[k] for k in before), tuple(self.values[k] for k in after)

    def _ordered(self, label: np.ndarray, inside: np.ndarray, members: dict[int, list[int]]) -> Iterator[int]:
        """Components each after all that it leads to, those of early operations first; none that leads to the sink."""
        rows, cols = self.residual.nonzero()
        crossing = (label[rows] != label[cols]) & ~inside[cols]
        pairs = np.unique(np.stack([label[rows[crossing]], label[cols[crossing]]], axis=1), axis=0)
        waiting = {component: 0 for component in members}
        readers: dict[int, list[int]] = {}
        for a, b in pairs.tolist():
            waiting[a] += 1
            readers.setdefault(b, []).append(a)
        last = int(label[self.sink])
        when = {c: float(self.when[vertices].min()) for c, vertices in members.items()}
        ready = [(when[c], c) for c, left in waiting.items() if left == 0 and c != last]
        heapq.heapify(ready)
        while ready:
            _, component = heapq.heappop(ready)
            yield component
            for reader in readers.get(component, ()):
                waiting[reader] -= 1
                if waiting[reader] == 0 and reader != last:
                    heapq.heappush(ready, (when[reader], reader))


def _on_the_way(graph: Graph) -> list[tuple[int, Node]]:
    """(position, node) of the active nodes on a path to the outputs."""
    active, reaching, kept = set(map(id, graph.active_nodes)), set(graph.outputs), []
    for position in range(len(graph.nodes) - 1, -1, -1):
        node = graph.nodes[position]
        if id(node) in active and reaching.intersection(node.outputs):
            kept.append((position, node))
            reaching.update(v for v in node.inputs if graph.values[v].active)
    return kept[::-1]


def _factor(
    graph: Graph, makers: dict[int, int], before: Sequence[int], after: Sequence[int], constant: set[int]
) -> Factor:
    """The part of the graph that turns `before` into `after` while the values in `constant` stand still."""
    start, seen, stack = set(before), set(), list(after)
    while stack:
        v = stack.pop()
        if v in start or v in constant or v not in makers or makers[v] in seen:
            continue
        seen.add(makers[v])
        stack += [w for w in graph.nodes[makers[v]].inputs if graph.values[w].active]
    moving, positions = set(before), []
    for position in sorted(seen):
        node = graph.nodes[position]
        if moving.intersection(node.inputs):
            positions.append(position)
            moving.update(v for v in node.outputs if graph.values[v].active and v not in constant)
    number: dict[int, int] = {}
    for v in (*before, *(v for p in positions for v in (*graph.nodes[p].inputs, *graph.nodes[p].outputs)), *after):
        number.setdefault(v, len(number))
    values = [_still(graph.values[v], v in moving) for v in number]
    nodes = [_renumbered(graph.nodes[p], number) for p in positions]
    made = set(before) | {v for p in positions for v in graph.nodes[p].outputs}
    others = tuple(k for v, k in number.items() if v not in made)
    part = Graph(values, nodes, tuple(number[v] for v in before), tuple(number[v] for v in after), others)
    return Factor(tuple(before), tuple(after), tuple(positions), part, tuple(number))


def _still(value: Value, moving: bool) -> Value:
    return value if value.active == moving else replace(value, active=moving and value.active)


def _renumbered(node: Node, number: dict[int, int]) -> Node:
    inputs, outputs = tuple(number[v] for v in node.inputs), tuple(number[v] for v in node.outputs)
    return replace(
        node,
        inputs=inputs,
        outputs=outputs,
        local_of=lambda: node.local,
        place_of=lambda: node.place,
        hints_of=lambda: node.hints,
    )


def _parity(order: Sequence[int], wanted: Sequence[int], graph: Graph) -> int:
    """The sign of the permutation of entries that takes the values from one order to another."""
    if list(order) == list(wanted):
        return 1
    at = {v: k for k, v in enumerate(wanted)}
    # Two blocks of entries that change places are an odd permutation when both have an odd size.
    places = np.array([at[v] for v in order if graph.values[v].size % 2])
    swaps = sum(int((places[k + 1 :] < place).sum()) for k, place in enumerate(places))
    return -1 if swaps % 2 else 1
