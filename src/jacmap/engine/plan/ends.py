"""Functions that begin or end entry by entry, with a product of fixed weights inside: J = diag(b) M diag(a).

Inputs that are scaled or transformed one by one before a first layer, outputs that pass an activation after the last:
plain AD multiplies an n×n diagonal matrix with the weights. Taken apart, M begins (forward) or ends (reverse) with the
weights themselves, which are known, and the diagonals need one pass each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..graph import Graph, Pattern
from ..graph.cuts import Cut, nodes_between
from ..graph.graph import Node


@dataclass(frozen=True)
class Ends:
    """`cuts`: x, the value after the entrywise beginning, the one before the entrywise end, y.

    `spared_forward`, `spared_reverse`: counted work per pass of the products of weights that M begins and ends with.
    `fixed`: M is nothing but such products.
    """

    cuts: tuple[Cut, Cut, Cut, Cut]
    spared_forward: float
    spared_reverse: float
    fixed: bool


def diagonal_ends(graph: Graph, boundaries: Sequence[Cut], largest: int) -> Ends | None:
    """The entrywise beginning and end of a function of one array; None where nothing is gained by them.

    `largest`: entries of a constant that the backend computes ahead.
    """
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        return None
    known = _known(graph)
    if not any(_fixed_product(node, graph, known) for node in graph.active_nodes):
        return None
    cuts = [cut for cut in boundaries if len(cut.values) == 1]
    start, end = cuts[0], cuts[-1]
    beginning, finish = _entrywise_from(graph, start.values[0]), _entrywise_to(graph, end.values[0])
    head = [k for k, cut in enumerate(cuts) if cut.values[0] in beginning][-1]
    tail = [k for k, cut in enumerate(cuts) if cut.values[0] in finish][0]
    if head >= tail:
        return None
    middle = nodes_between(graph, cuts[head], cuts[tail])
    first = [node for node in middle if cuts[head].values[0] in node.inputs]
    last = [node for node in middle if cuts[tail].values[0] in node.outputs]
    product = {node: _fixed_product(node, graph, known) for node in middle}
    width = cuts[head].width, cuts[tail].width
    # Without an entrywise beginning a forward pass meets the weights at once anyway, and so in reverse.
    fixed = middle == first == last and all(product.values()) and width[0] * width[1] <= largest
    entering = head > 0 or fixed
    leaving = tail < len(cuts) - 1 and not fixed
    forward = _spared(graph, first, width[0], largest) if entering and all(product[node] for node in first) else 0.0
    reverse = _spared(graph, last, width[1], largest) if leaving and all(product[node] for node in last) else 0.0
    if not forward and not reverse:
        return None
    return Ends((start, cuts[head], cuts[tail], end), forward, reverse, fixed)


def _spared(graph: Graph, nodes: Sequence[Node], width: int, largest: int) -> float:
    """What a pass does not do when these, at the end where its `width` seeds enter, are computed ahead."""
    most = max(graph.values[v].size for node in nodes for v in (*node.inputs, *node.outputs) if graph.values[v].active)
    return sum(node.pass_work for node in nodes) if width * most <= largest else 0.0


def _known(graph: Graph) -> set[int]:
    """The values that no argument reaches."""
    known = set(graph.constants)
    for node in graph.nodes:
        if known.issuperset(node.inputs):
            known.update(node.outputs)
    return known


def _fixed_product(node: Node, graph: Graph, known: set[int]) -> bool:
    """Is this a linear operation that mixes entries, with known coefficients?"""
    given = (v for v in node.inputs if not graph.values[v].active)
    return node.affine and known.issuperset(given) and any(p.nnz > max(p.shape) for p in node.local.values())


def _entrywise_from(graph: Graph, start: int) -> set[int]:
    """The values whose entry k depends on entry k of `start` alone."""
    found = {start}
    for node in graph.active_nodes:
        active = {i: v for i, v in enumerate(node.inputs) if graph.values[v].active}
        for k, out in enumerate(node.outputs):
            patterns = [node.local.get((k, i)) for i in active]
            if graph.values[out].active and found.issuperset(active.values()) and all(map(_diagonal, patterns)):
                found.add(out)
    return found


def _entrywise_to(graph: Graph, end: int) -> set[int]:
    """The values of which `end` reads entry k only in its own entry k."""
    found = {end}
    spoilt: set[int] = set()
    for node in reversed(graph.active_nodes):
        for i, v in enumerate(node.inputs):
            if not graph.values[v].active:
                continue
            read = [out for k, out in enumerate(node.outputs) if (k, i) in node.local and graph.values[out].active]
            patterns = [p for (_, position), p in node.local.items() if position == i]
            if found.issuperset(read) and all(map(_diagonal, patterns)) and v not in spoilt:
                found.add(v)
            else:
                # By another way, too: all that read v are seen before what makes it.
                spoilt.add(v)
                found.discard(v)
    return found


def _diagonal(pattern: Pattern | None) -> bool:
    if pattern is None:
        return True
    m, n = pattern.shape
    if m != n or pattern.nnz > n:
        return False
    entries = pattern.tocsr().tocoo()
    return bool(np.array_equal(entries.row, entries.col))
