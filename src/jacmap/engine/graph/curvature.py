"""The pattern of a Hessian: which inputs of a scalar function interact nonlinearly, read from f's own graph.

By the chain rule the Hessian of f is a sum over the operations of f: each adds, for an output entry o and two input
entries a and b that it couples, (adjoint of o) · (∂²o/∂a∂b) · (∂a/∂x)ᵀ(∂b/∂x). So a pair of inputs can interact only
where some operation couples two values that depend on them and the result reaches f. Affine operations add nothing,
a product couples its two factors and no factor with itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from .coupling import Coupling
from .graph import Graph, Node
from .pattern import Pattern
from .propagate import LARGEST_PATTERN, forward


@dataclass(frozen=True)
class HessianPattern:
    """`pattern`: n×n, symmetric. `symmetric`: is the matrix that AD returns symmetric, too? See `Curvature`."""

    pattern: Pattern
    symmetric: bool


def hessian_pattern(graph: Graph, limit: int = LARGEST_PATTERN) -> HessianPattern:
    """Which second derivatives of the sum of the graph's outputs can be nonzero, at any point."""
    n = graph.shape[1]
    reached = reaching(graph)
    bent = [node for node in graph.active_nodes if not node.affine and any(v in reached for v in node.outputs)]
    symmetric = all(node.curvature.symmetric for node in bent)
    known = forward(graph if symmetric else _with_values(graph), limit, keep_all=True)
    total = Pattern.empty((n, n))
    for node in bent:
        for left, right in _factors(node, known, reached, n):
            total = total | _pairs(left, right, limit)
            if total.is_full or total.stored > limit:
                return HessianPattern(Pattern.full((n, n)), symmetric)
    return HessianPattern(total | total.T, symmetric)


def _with_values(graph: Graph) -> Graph:
    """The graph in which a custom rule passes what its value depends on besides what its derivative does."""

    def widened(node: Node) -> Node:
        more = node.curvature.value
        if not more:
            return node
        local = {key: node.local[key] if key in node.local else more[key] for key in (*node.local, *more)}
        merged = {key: pattern | more[key] if key in more else pattern for key, pattern in local.items()}
        return replace(node, local_of=lambda: merged)

    return replace(graph, nodes=[widened(node) for node in graph.nodes])


def reaching(graph: Graph) -> dict[int, np.ndarray]:
    """For each value through which a derivative reaches the outputs: which of its entries one flows through."""
    reached = {v: np.ones(graph.values[v].size, bool) for v in graph.outputs if graph.values[v].active}
    for node in reversed(graph.active_nodes):
        masks = {k: reached[v] for k, v in enumerate(node.outputs) if v in reached}
        if not masks:
            continue
        for (k, i), pattern in node.local.items():
            if k in masks and graph.values[node.inputs[i]].active:
                read = columns_read(pattern, masks[k])
                if read.any():
                    v = node.inputs[i]
                    reached[v] = reached[v] | read if v in reached else read
    return reached


def columns_read(pattern: Pattern, rows: np.ndarray) -> np.ndarray:
    """The columns that some of the marked rows have an entry in, as a mask."""
    groups = rows
    if pattern.rows is not None:
        groups = np.zeros(pattern.core_shape[0], bool)
        groups[pattern.rows[rows & (pattern.rows >= 0)]] = True
    if pattern.core is not None:
        owner = np.repeat(groups, np.diff(pattern.core.indptr))
        groups = np.zeros(pattern.core_shape[1], bool)
        groups[pattern.core.indices[owner]] = True
    if pattern.cols is None:
        return groups
    if groups.size == 0:
        return np.zeros(pattern.shape[1], bool)
    return groups[pattern.cols] & (pattern.cols >= 0)


def _factors(
    node: Node, known: dict[int, Pattern], reached: dict[int, np.ndarray], n: int
) -> Iterator[tuple[Pattern, Pattern]]:
    """Pairs (terms × n, terms × n): in each term all inputs on the left meet all those on the right."""
    couplings = node.curvature.couplings
    if couplings is None:
        for k, out in enumerate(node.outputs):
            if out in reached:
                read = Pattern.empty((reached[out].size, n))
                for i, v in enumerate(node.inputs):
                    if v in known and (k, i) in node.local:
                        read = read | (node.local[k, i] @ known[v])
                read = _only(read, reached[out])
                yield read, read
        return
    for coupling in couplings:
        yield from _coupled(node, coupling, known, reached)


def _coupled(
    node: Node, coupling: Coupling, known: dict[int, Pattern], reached: dict[int, np.ndarray]
) -> Iterator[tuple[Pattern, Pattern]]:
    first, second = node.inputs[coupling.first], node.inputs[coupling.second]
    if first not in known or second not in known:
        return
    left, right = coupling.left, coupling.right
    if coupling.output is not None:
        out = node.outputs[coupling.output]
        if out not in reached:
            return
        left, right = _only(left, reached[out]), _only(right, reached[out])
    yield left @ known[first], right @ known[second]


def _only(pattern: Pattern, rows: np.ndarray) -> Pattern:
    return pattern if rows.all() else pattern.take(np.flatnonzero(rows).astype(np.int32))


def _pairs(left: Pattern, right: Pattern, limit: int) -> Pattern:
    """leftᵀ ∘ right, full when counting tells that the product would have too many entries to be worth forming."""
    n = left.shape[1]
    if left.is_empty or right.is_empty:
        return Pattern.empty((n, n))
    product = float(_row_lengths(left) @ _row_lengths(right))
    if product > limit and not (left.is_full and right.is_full):
        both = [p.tocsr() for p in (left, right)]
        longest = max(int(np.diff(csr.indptr).max()) for csr in both)
        if longest == n or product > 16 * limit:
            return Pattern.full((n, n))
    return left.T @ right


def _row_lengths(pattern: Pattern) -> np.ndarray:
    """How many entries of the core each row has: what the product of two patterns costs, grouped columns as one."""
    lengths = np.ones(pattern.core_shape[0]) if pattern.core is None else np.diff(pattern.core.indptr).astype(float)
    if pattern.rows is None:
        return lengths
    return np.where(pattern.rows < 0, 0.0, np.append(lengths, 0.0)[pattern.rows])


__all__ = ["HessianPattern", "hessian_pattern", "reaching"]
