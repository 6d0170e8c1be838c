"""Factors whose entries are numbers that an operand holds (a linear layer's are its weights): no pass is needed."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from ..graph.factors import Factor
from ..graph.hints import Entries
from .blocks import Blocks, order_of
from .determinant import Equal, Stored


def stored(factor: Factor, csr: csr_array, blocks: Blocks, constant: bool) -> Stored | None:
    """The factor, where it is one operation whose entries another operand holds; equal blocks are read once."""
    graph = factor.graph
    if len(graph.nodes) != 1:
        return None
    node = graph.nodes[0]
    active = [i for i, v in enumerate(node.inputs) if graph.values[v].active]
    if len(active) != 1 or active[0] not in node.hints.entries:
        return None
    if graph.inputs != (node.inputs[active[0]],) or graph.outputs != node.outputs[:1]:
        return None
    entries, blocks = node.hints.entries[active[0]], blocks.ascending()
    held = np.diff(blocks.wanted(csr).indptr)[blocks.rows]
    full = np.add.reduceat(held, blocks.starts[:-1]) == blocks.sizes**2
    groups = [
        _equal(blocks, chosen, entries, None if whole else csr)
        for whole, of_kind in ((True, full), (False, ~full))
        for size in np.unique(blocks.sizes[of_kind])
        for chosen in [np.flatnonzero(of_kind & (blocks.sizes == size))]
    ]
    return Stored(
        factor=factor, constant=constant, blocks=blocks, operand=factor.numbers[node.inputs[entries.operand]],
        scale=entries.scale, groups=tuple(groups), reason=order_of(csr),
    )  # fmt: skip


def _equal(blocks: Blocks, chosen: np.ndarray, entries: Entries, csr: csr_array | None) -> Equal:
    """The chosen blocks, all of one size, one for all that are equal. `csr`: which entries are there (None: all)."""
    size = int(blocks.sizes[chosen[0]])
    at = blocks.starts[chosen][:, None] + np.arange(size)
    rows, columns = blocks.rows[at], blocks.columns[at]
    places = [entries.rows[rows], entries.columns[columns]]
    there = None
    if csr is not None:
        there = np.asarray(csr[np.repeat(rows, size, axis=1).ravel(), np.tile(columns, size).ravel()], bool)
        places.append(there.reshape(len(rows), -1))
    _, first, times = np.unique(np.concatenate(places, axis=1), axis=0, return_index=True, return_counts=True)
    found = places[0][first][:, :, None] + places[1][first][:, None, :]
    if there is not None:
        found[~there.reshape(len(rows), size, size)[first]] = -1
    return Equal(found, times)
