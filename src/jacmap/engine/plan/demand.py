"""Backward demand: which edges of the graph carry no entry that the question needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy.sparse import csr_array

from ..graph import Graph, Node, Pattern, forward
from ..graph.propagate import Edge

# Demand keeps the pattern of every value at once; beyond this many stored entries it is not worth it.
LARGEST_DEMAND = 2**26


@dataclass(frozen=True)
class Thinning:
    """What a tangent pass may leave out because no wanted entry of J needs it.

    `dropped`: (node position, input position) of whole operands. `masks`: the same → the weights of a contraction that
    carry a needed entry. `patterns`: the local patterns that those leave.
    """

    dropped: frozenset[tuple[int, int]] = frozenset()
    masks: Mapping[tuple[int, int], np.ndarray] = field(default_factory=dict)
    patterns: Mapping[Edge, Pattern] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.dropped or self.masks)

    def edges(self, graph: Graph) -> frozenset[Edge]:
        """The dropped edges, one per output of their node."""
        return frozenset((p, k, i) for p, i in self.dropped for k in range(len(graph.nodes[p].outputs)))


def undemanded(graph: Graph, wanted: csr_array) -> set[tuple[int, int]]:
    """The edges (node position, input position) through which no wanted entry of J needs a tangent."""
    return set(thin(graph, wanted, weights=False).dropped)


def thin(graph: Graph, wanted: csr_array, weights: bool = True) -> Thinning:
    """The edges that no wanted entry of J needs and, with `weights`, the weights of contractions likewise.

    Walks the local patterns backward from the wanted entries: a value's demand is what its readers demand of it,
    restricted to the columns that it depends on at all. The caller must check the result by working out the pattern
    again without what is left out.
    """
    patterns = forward(graph, keep_all=True)
    if sum(p.stored for p in patterns.values()) > LARGEST_DEMAND:
        return Thinning()
    demand: dict[int, csr_array] = {}
    row = 0
    for v in graph.outputs:
        size = graph.values[v].size
        _add(demand, v, wanted[row : row + size])
        row += size
    dropped: set[tuple[int, int]] = set()
    masks: dict[tuple[int, int], np.ndarray] = {}
    thinned: dict[Edge, Pattern] = {}
    for position in range(len(graph.nodes) - 1, -1, -1):
        node = graph.nodes[position]
        for i, v in enumerate(node.inputs):
            known = patterns.get(v)
            if known is None or known.is_empty or not graph.values[v].active:
                continue
            local = {k: node.local[k, i] for k in range(len(node.outputs)) if (k, i) in node.local}
            if weights and i in node.hints.weights:
                found = _masked(node, i, local, demand, known)
                if found is not None:
                    masks[position, i], local = found
                    thinned |= {(position, k, i): pattern for k, pattern in local.items()}
            needed = _needed(local, node.outputs, demand, known)
            if needed is not None and needed.nnz:
                _add(demand, v, needed)
            elif local:
                dropped.add((position, i))
                masks.pop((position, i), None)
    return Thinning(frozenset(dropped), masks, thinned)


def _needed(
    local: Mapping[int, Pattern], outputs: tuple[int, ...], demand: Mapping[int, csr_array], known: Pattern
) -> csr_array | None:
    total = None
    for k, pattern in local.items():
        asked = demand.get(outputs[k])
        if asked is None or asked.nnz == 0:
            continue
        reached = (pattern.T @ Pattern.from_csr(asked)).tocsr()
        total = reached if total is None else total + reached
    if total is None:
        return None
    needed = csr_array(total.multiply(known.tocsr()), dtype=bool)
    needed.eliminate_zeros()
    return needed


def _masked(
    node: Node, i: int, local: Mapping[int, Pattern], demand: Mapping[int, csr_array], known: Pattern
) -> tuple[np.ndarray, dict[int, Pattern]] | None:
    """The weights that carry a demanded entry and the pattern left by them; None when that is all of them."""
    asked, pattern = demand.get(node.outputs[0]), local.get(0)
    if asked is None or pattern is None or asked.nnz == 0:
        return None
    edges = (Pattern.from_csr(asked) @ known.T).tocsr()  # (output entry, input entry) that share a demanded column
    edges = csr_array(edges.multiply(pattern.tocsr()), dtype=bool)
    edges.eliminate_zeros()
    if edges.nnz == pattern.nnz:
        return None
    weights = node.hints.weights[i]
    mask = weights.mask(np.repeat(np.arange(edges.shape[0]), np.diff(edges.indptr)), edges.indices)
    left = weights.pattern(mask)
    return None if left.nnz == pattern.nnz else (mask, {0: left})


def _add(demand: dict[int, csr_array], v: int, more: csr_array) -> None:
    demand[v] = more if v not in demand else csr_array(demand[v] + more, dtype=bool)


__all__ = ["Thinning", "thin", "undemanded"]
