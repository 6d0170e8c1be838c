"""Which operations a tangent along some columns of J can reach at all: the others stand still, and need no pass.

Where x falls into pieces that enter f by different ways (poses and landmarks, the weights of two layers), the columns
of one piece move only what follows it. Two columns are of one kind when they enter the same operations. Entry by entry
this is followed through slices, gathers and other maps that read one entry each; behind them value by value, which can
only over-estimate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .graph import Graph, Node
from .pattern import Pattern

Edge = tuple[int, int]  # (node position, input position)

MOST = 62  # entrances, and kinds: one bit each
LARGEST = 2**24  # entries of the values followed entry by entry


@dataclass(frozen=True, eq=False)
class Reach:
    """`kinds` (n,): the kind of each column; by kind, the edges along which its tangents are zero and a pass' work."""

    kinds: np.ndarray
    still: tuple[frozenset[Edge], ...]
    work: tuple[float, ...]


def reach(graph: Graph) -> Reach | None:
    """The kinds of columns; None where there is but one, or too many to tell apart."""
    moving = set(graph.active_nodes)
    active = [(p, node) for p, node in enumerate(graph.nodes) if node in moving]
    moved = _moved(graph, active)
    if sum(graph.values[v].size for v in moved) > LARGEST:
        return None
    moves = [(p, node) for p, node in active if set(node.outputs) & moved]
    entrances = [
        (p, i) for p, node in active if not set(node.outputs) & moved for i, v in enumerate(node.inputs) if v in moved
    ]
    if not 1 < len(entrances) <= MOST:
        return None
    names, kinds = np.unique(_entered(graph, moves, entrances), return_inverse=True)
    if not 1 < names.size <= MOST:
        return None
    reached = _reached(graph, active, moves, kinds)
    still = tuple(
        frozenset(
            (p, i)
            for p, node in active
            for i, v in enumerate(node.inputs)
            if graph.values[v].active and not reached.get(v, 0) >> k & 1
        )
        for k in range(names.size)
    )
    return Reach(kinds, still, tuple(_work(graph, active, edges) for edges in still))


def _moved(graph: Graph, active: Sequence[tuple[int, Node]]) -> set[int]:
    """The values each of whose entries reads one entry of x at most, by operations that read one entry each."""
    moved = set(graph.inputs)
    for _, node in active:
        reads = {v for v in node.inputs if graph.values[v].active}
        if reads <= moved and all(_reads_one(node, k) for k in range(len(node.outputs))):
            moved.update(v for v in node.outputs if graph.values[v].active)
    return moved


def _reads_one(node: Node, k: int) -> bool:
    patterns = [pattern for (out, _), pattern in node.local.items() if out == k]
    if any(pattern.core is not None or pattern.cols is not None for pattern in patterns):
        return False
    rows = [pattern.rows for pattern in patterns if pattern.rows is not None]
    if len(patterns) < 2 or len(rows) < len(patterns):
        return len(patterns) < 2
    return int(np.sum([index >= 0 for index in rows], axis=0).max(initial=0)) <= 1


def _entered(graph: Graph, moves: Sequence[tuple[int, Node]], entrances: Sequence[Edge]) -> np.ndarray:
    """For each column the entrances that it reaches, as bits."""
    bits: dict[int, np.ndarray] = {}
    for bit, (p, i) in enumerate(entrances):
        v = graph.nodes[p].inputs[i]
        bits[v] = bits.get(v, _none(graph, v)) | np.int64(1 << bit)
    for _, node in reversed(moves):
        for (k, i), pattern in node.local.items():
            read = bits.get(node.outputs[k])
            if read is not None:
                v = node.inputs[i]
                known = bits.get(v, _none(graph, v))
                bits[v] = known | _gathered(pattern, read)
    return np.concatenate([bits.get(v, _none(graph, v)) for v in graph.inputs])


def _none(graph: Graph, v: int) -> np.ndarray:
    """No bit for any entry."""
    return np.zeros(graph.values[v].size, np.int64)


def _gathered(pattern: Pattern, bits: np.ndarray) -> np.ndarray:
    """For each entry read the bits of all that read it."""
    if pattern.rows is None:
        return bits
    found = np.zeros(pattern.shape[1], np.int64)
    for name in np.unique(bits):
        read = pattern.rows[bits == name]
        found[read[read >= 0]] |= name
    return found


def _reached(
    graph: Graph, active: Sequence[tuple[int, Node]], moves: Sequence[tuple[int, Node]], kinds: np.ndarray
) -> dict[int, int]:
    """For each value the kinds of columns that it may depend on, as bits."""
    entries: dict[int, np.ndarray] = {}
    start = 0
    for v in graph.inputs:
        size = graph.values[v].size
        entries[v] = np.int64(1) << kinds[start : start + size].astype(np.int64)
        start += size
    for _, node in moves:
        for (k, i), pattern in node.local.items():
            out, read = node.outputs[k], entries[node.inputs[i]]
            known = entries.get(out, _none(graph, out))
            entries[out] = known | _spread(pattern, read)
    reached = {v: int(np.bitwise_or.reduce(bits)) for v, bits in entries.items()}
    for _, node in active:
        if not any(v in entries for v in node.outputs):
            for k, i in node.local:
                out = node.outputs[k]
                reached[out] = reached.get(out, 0) | reached.get(node.inputs[i], 0)
    return reached


def _spread(pattern: Pattern, bits: np.ndarray) -> np.ndarray:
    """For each entry the bits of the one that it reads."""
    if pattern.rows is None:
        return bits
    return np.where(pattern.rows < 0, np.int64(0), bits[pattern.rows]) if bits.size else np.zeros(pattern.shape[0], int)


def _work(graph: Graph, active: Sequence[tuple[int, Node]], still: frozenset[Edge]) -> float:
    """Of one pass: an operation with several inputs costs the share of those that move."""
    total = 0.0
    for p, node in active:
        moving = [(p, i) not in still for i, v in enumerate(node.inputs) if graph.values[v].active]
        total += node.pass_work * sum(moving) / len(moving)
    return total
