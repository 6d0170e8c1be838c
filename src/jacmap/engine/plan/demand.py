"""Backward demand: which edges of the graph carry no entry that the question needs."""

from __future__ import annotations

from scipy.sparse import csr_array

from ..graph import Graph, Pattern, forward

# Demand keeps the pattern of every value at once; beyond this many stored entries it is not worth it.
LARGEST_DEMAND = 2**24


def undemanded(graph: Graph, wanted: csr_array) -> set[tuple[int, int]]:
    """The edges (node position, input position) through which no wanted entry of J needs a tangent.

    Walks the local patterns backward from the wanted entries: a value's demand is what its readers demand of it,
    restricted to the columns that it depends on at all. The caller must check the result by working out the pattern
    again without these edges.
    """
    patterns = forward(graph, keep_all=True)
    if sum(p.stored for p in patterns.values()) > LARGEST_DEMAND:
        return set()
    demand: dict[int, csr_array] = {}
    row = 0
    for v in graph.outputs:
        size = graph.values[v].size
        _add(demand, v, wanted[row : row + size])
        row += size
    useless: set[tuple[int, int]] = set()
    for position in range(len(graph.nodes) - 1, -1, -1):
        node = graph.nodes[position]
        for i, v in enumerate(node.inputs):
            known = patterns.get(v)
            if known is None or known.is_empty:
                continue
            needed = _needed(node.local, node.outputs, i, demand, known)
            if needed is None or needed.nnz == 0:
                if any((k, i) in node.local for k in range(len(node.outputs))):
                    useless.add((position, i))
            else:
                _add(demand, v, needed)
    return useless


def _needed(local, outputs, i: int, demand, known: Pattern) -> csr_array | None:  # type: ignore[no-untyped-def]
    total = None
    for k, out in enumerate(outputs):
        asked, pattern = demand.get(out), local.get((k, i))
        if asked is None or pattern is None or asked.nnz == 0:
            continue
        reached = (pattern.T @ Pattern.from_csr(asked)).tocsr()
        total = reached if total is None else total + reached
    if total is None:
        return None
    needed = csr_array(total.multiply(known.tocsr()), dtype=bool)
    needed.eliminate_zeros()
    return needed


def _add(demand: dict[int, csr_array], v: int, more: csr_array) -> None:
    demand[v] = more if v not in demand else csr_array(demand[v] + more, dtype=bool)


__all__ = ["undemanded"]
