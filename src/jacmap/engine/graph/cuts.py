"""Where all data squeezes through: cuts of the graph of values, and the chain of segments between them.

A *cut* is a set of active values that every path from the inputs to the outputs passes; its width is the number of
their entries. `rank J` is at most the width of the narrowest cut. Values through which everything passes alone are
found by liveness, which for them does not depend on the order of the nodes; cuts of several values by maximum flow
(capacity = size) on each stretch between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array, csr_matrix
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

from .graph import Graph, Node

_INFINITE = 2**30
# Stretches with more nodes than this are left whole: their flow problem would cost more than it could save.
LARGEST_STRETCH = 3000


@dataclass(frozen=True)
class Cut:
    """Values (indices into graph.values) whose entries together determine everything downstream."""

    values: tuple[int, ...]
    width: int


def boundaries(graph: Graph) -> list[Cut]:
    """The inputs, the cuts between them in order, and the outputs."""
    start = Cut(graph.inputs, sum(graph.values[v].size for v in graph.inputs))
    end = Cut(graph.outputs, sum(graph.values[v].size for v in graph.outputs))
    nodes = _on_the_way(graph)
    singles = [Cut((v,), graph.values[v].size) for v in _dominators(graph, nodes)]
    points = [start, *(c for c in singles if c.values not in (start.values, end.values)), end]
    found = [start]
    for before, after in zip(points, points[1:], strict=False):
        stretch = nodes_between(graph, before, after)
        if 1 < len(stretch) <= LARGEST_STRETCH:
            found += _inside(graph, stretch, before, after, max(before.width, after.width))
        found.append(after)
    return found


def _on_the_way(graph: Graph) -> list[Node]:
    """Active nodes that lie on a path from the inputs to the outputs."""
    reaching = set(graph.outputs)
    kept = []
    for node in reversed(graph.active_nodes):
        if reaching.intersection(node.outputs):
            kept.append(node)
            reaching.update(v for v in node.inputs if graph.values[v].active)
    return kept[::-1]


def _dominators(graph: Graph, nodes: list[Node]) -> list[int]:
    """Active values that are alone alive at some point of the execution."""
    last: dict[int, int] = {v: len(nodes) for v in graph.outputs}
    for position, node in reversed(list(enumerate(nodes))):
        for v in node.inputs:
            last.setdefault(v, position)
    live = {v for v in graph.inputs if v in last}
    found = []
    for position, node in enumerate(nodes):
        live |= {v for v in node.outputs if graph.values[v].active and v in last}
        live -= {v for v in node.inputs if last[v] == position}
        if len(live) == 1 and graph.is_cuttable(next(iter(live))):
            found.append(next(iter(live)))
    return [v for k, v in enumerate(found) if k == 0 or found[k - 1] != v]


def nodes_between(graph: Graph, before: Cut, after: Cut) -> list[Node]:
    """The active nodes that turn the values of one cut into those of a later one, in order."""
    needed = set(after.values) - set(before.values)
    given = set(before.values)
    kept = []
    for node in reversed(graph.active_nodes):
        if needed.intersection(node.outputs):
            kept.append(node)
            needed.update(v for v in node.inputs if graph.values[v].active and v not in given)
    return kept[::-1]


def _inside(graph: Graph, nodes: list[Node], before: Cut, after: Cut, widest: int, depth: int = 6) -> list[Cut]:
    """Cuts between two cuts that are no wider than `widest`, in order."""
    cut = _narrowest(graph, nodes, before, after)
    if cut is None or cut.width > widest:
        return []
    if depth == 0:
        return [cut]
    left, right = nodes_between(graph, before, cut), nodes_between(graph, cut, after)
    return [
        *(_inside(graph, left, before, cut, widest, depth - 1) if len(left) > 1 else []),
        cut,
        *(_inside(graph, right, cut, after, widest, depth - 1) if len(right) > 1 else []),
    ]


def _narrowest(graph: Graph, nodes: list[Node], before: Cut, after: Cut) -> Cut | None:
    """The minimum cut of a stretch that is neither of its ends; None when there is none.

    It may hold some of the values of either end: an output made early goes straight through all later cuts.
    """
    if max(len(before.values), len(after.values)) > 1:
        found = _minimum(graph, nodes, before, after, keep_ends=True)
        if found is not None and set(found.values) not in (set(before.values), set(after.values)):
            return found
    return _minimum(graph, nodes, before, after, keep_ends=False)


def _minimum(graph: Graph, nodes: list[Node], before: Cut, after: Cut, keep_ends: bool) -> Cut | None:
    """The minimum cut by maximum flow; with `keep_ends` False among the sets that hold no value of either end."""
    number: dict[int, int] = {}
    for v in (*before.values, *after.values, *(v for node in nodes for v in (*node.inputs, *node.outputs))):
        if graph.values[v].active:
            number.setdefault(v, len(number))
    count = len(number)
    source, sink, first_op = 2 * count, 2 * count + 1, 2 * count + 2
    edges: dict[tuple[int, int], int] = {}
    barred = set() if keep_ends else set(before.values) | set(after.values)
    for v, k in number.items():
        free = v not in barred and graph.is_cuttable(v)
        edges[2 * k, 2 * k + 1] = min(graph.values[v].size, _INFINITE) if free else _INFINITE
    for v in before.values:
        if v in number:
            edges[source, 2 * number[v]] = _INFINITE
    for v in after.values:
        if v in number:
            edges[2 * number[v] + 1, sink] = _INFINITE
    for position, node in enumerate(nodes):
        for v in node.inputs:
            if v in number:
                edges[2 * number[v] + 1, first_op + position] = _INFINITE
        for v in node.outputs:
            if v in number:
                edges[first_op + position, 2 * number[v]] = _INFINITE
    size = first_op + len(nodes)
    rows, cols = np.array(list(edges), dtype=np.int32).T
    capacity = csr_array((np.array(list(edges.values()), dtype=np.int32), (rows, cols)), shape=(size, size))
    # SciPy's flow is int32: a total that saturates means that no finite cut separates the ends.
    result = maximum_flow(_as_matrix(capacity), source, sink)
    if result.flow_value <= 0 or result.flow_value >= _INFINITE:
        return None
    residual = capacity - csr_array(result.flow)
    residual.data = np.maximum(residual.data, 0)
    residual.eliminate_zeros()
    reached = np.zeros(size, bool)
    reached[breadth_first_order(_as_matrix(residual), source, return_predecessors=False)] = True
    values = tuple(v for v, k in number.items() if reached[2 * k] and not reached[2 * k + 1])
    if not values or barred.intersection(values):
        return None
    return Cut(values, sum(graph.values[v].size for v in values))


def _as_matrix(array: csr_array) -> Any:

    return csr_matrix(array)


def rank_bound(graph: Graph) -> int:
    """An upper bound of rank J: the width of the narrowest cut found."""
    return min(cut.width for cut in boundaries(graph))


def name_of(graph: Graph, before: Cut, after: Cut) -> str:
    """A segment's name: the scope it ran in, else the source line of its heaviest operation."""
    nodes = nodes_between(graph, before, after)
    if not nodes:
        return "identity"
    heaviest = max(nodes, key=lambda node: node.work)
    scopes = {node.place.scope for node in nodes} - {""}
    if len(scopes) == 1:
        return scopes.pop()
    return heaviest.place.line or heaviest.op


def useful_chain(graph: Graph, cuts: list[Cut]) -> list[Cut]:
    """Leave out the cuts that only separate entrywise work or data movement from their neighbour.

    Each segment that remains holds at least one operation that mixes entries (a contraction, a reduction, a solve).
    """
    if len(cuts) <= 2:
        return cuts
    kept = [cuts[0]]
    for before, cut, after in zip(cuts, cuts[1:], cuts[2:], strict=False):
        heavy_before = _mixes(nodes_between(graph, kept[-1], cut))
        heavy_after = _mixes(nodes_between(graph, cut, after))
        if heavy_before and heavy_after or cut.width < min(before.width, after.width):
            kept.append(cut)
    kept.append(cuts[-1])
    return kept


def _mixes(nodes: list[Node]) -> bool:
    return any(p.core is not None or p.cols is not None for node in nodes for p in node.local.values())
