"""Patterns moved through a graph: forward, what each value depends on; backward, what a question needs of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType

import numpy as np

from .graph import Graph, Node
from .pattern import Pattern, stack

# A pattern with more stored entries than this (bool + int32: about 1.3 GB) goes to its full form.
LARGEST_PATTERN = 2**28

Edge = tuple[int, int, int]  # (index of the node in graph.nodes, output position, input position)


def input_patterns(graph: Graph) -> dict[int, Pattern]:
    """Each differentiated input with respect to all of them, concatenated."""
    n = graph.shape[1]
    patterns, offset = {}, 0
    for v in graph.inputs:
        size = graph.values[v].size
        index = np.arange(offset, offset + size, dtype=np.int32)
        patterns[v] = Pattern.identity(n) if size == n else Pattern.selection(index, n)
        offset += size
    return patterns


def forward(
    graph: Graph,
    limit: int = LARGEST_PATTERN,
    dropped: Collection[Edge] = (),
    keep_all: bool = False,
    thinned: Mapping[Edge, Pattern] = MappingProxyType({}),
) -> dict[int, Pattern]:
    """The pattern of values with respect to the concatenated inputs.

    Patterns are freed when their value is dead, unless `keep_all`; the outputs' are always kept. An over-large
    pattern becomes full. Edges in `dropped` pass nothing, those in `thinned` only what stands there.
    """
    patterns = input_patterns(graph)
    last_use = _last_use(graph)
    n = graph.shape[1]
    for position, node in enumerate(graph.nodes):
        if any(v in patterns for v in node.inputs) and any(graph.values[v].active for v in node.outputs):
            for k, out in enumerate(node.outputs):
                if graph.values[out].active:
                    found = _through(node, k, position, patterns, graph.values[out].size, n, dropped, thinned)
                    if not found.is_empty:
                        patterns[out] = found if found.stored <= limit else Pattern.full(found.shape)
        if not keep_all:
            for v in node.inputs:
                if last_use[v] == position:
                    patterns.pop(v, None)
    return patterns


def _through(
    node: Node,
    k: int,
    position: int,
    patterns: dict[int, Pattern],
    rows: int,
    n: int,
    dropped: Collection[Edge],
    thinned: Mapping[Edge, Pattern],
) -> Pattern:
    found = Pattern.empty((rows, n))
    for i, v in enumerate(node.inputs):
        known = patterns.get(v)
        if known is None or (position, k, i) in dropped:
            continue
        local = thinned.get((position, k, i)) or node.local.get((k, i))
        if local is not None:
            found = found | (local @ known)
    return found


def _last_use(graph: Graph) -> dict[int, int]:
    last: dict[int, int] = {}
    for position, node in enumerate(graph.nodes):
        for v in node.inputs:
            last[v] = position
    for v in graph.outputs:
        last[v] = len(graph.nodes)
    return last


def jacobian_pattern(
    graph: Graph,
    limit: int = LARGEST_PATTERN,
    dropped: Collection[Edge] = (),
    thinned: Mapping[Edge, Pattern] = MappingProxyType({}),
) -> Pattern:
    """The m×n pattern of the whole function: outputs stacked, inputs concatenated."""
    patterns = forward(graph, limit, dropped, thinned=thinned)
    n = graph.shape[1]
    rows = [patterns.get(v, Pattern.empty((graph.values[v].size, n))) for v in graph.outputs]
    if not rows:
        return Pattern.empty((0, n))
    return stack(rows) if len(rows) > 1 else rows[0]
