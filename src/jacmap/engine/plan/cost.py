"""What the candidates are expected to cost. Units: one entry moved through memory (about half a nanosecond here).

The figures only rank candidates of one function; `plan="measure"` times the best few instead.
"""

from __future__ import annotations

from collections.abc import Set

from ..graph import Graph

# Measured on small functions on two CPU cores: one more kernel costs about as much as this many entries.
KERNEL = 8000.0
# A reverse pass stores and re-reads what a forward pass uses at once.
REVERSE = 1.15
# Placing an entry of a dense answer by index, against writing it in order.
SCATTER = 4.0
GATHER = 2.0


def plain_forward(graph: Graph) -> float:
    m, n = graph.shape
    return n * graph.pass_work + m * n


def plain_reverse(graph: Graph) -> float:
    m, n = graph.shape
    return REVERSE * m * graph.pass_work + m * n


def coloured(graph: Graph, forward: int, reverse: int, wanted: int, dense: bool, moved: bool) -> float:
    """`moved`: the read-out is a transposition rather than a gather."""
    m, n = graph.shape
    passes = forward * graph.pass_work + REVERSE * reverse * graph.pass_work
    answer = (m * n + SCATTER * wanted) if dense else (1.0 if moved else GATHER) * wanted
    return passes + forward * m + reverse * n + answer + 3 * KERNEL


def seed_bytes(graph: Graph, itemsize: int, alive: float = 2.0, still: Set[tuple[int, int]] = frozenset()) -> float:
    """Memory that one seed of a batch needs: its tangents at the widest point, `alive` of them, and at both ends.

    `still`: edges (node position, input position) along which nothing moves.
    """
    moving = graph.active_nodes
    if still:
        moving = [
            node for p, node in enumerate(graph.nodes)
            if any(graph.values[v].active and (p, i) not in still for i, v in enumerate(node.inputs))
        ]  # fmt: skip
    widest = max((graph.values[v].size for node in moving for v in node.outputs), default=0)
    m, n = graph.shape
    return float(itemsize) * (alive * widest + m + n)
