"""Columns of different kinds (`graph.reach`) in passes of their own, each through what its kind reaches alone."""

from __future__ import annotations

from itertools import groupby

import numpy as np
from scipy.sparse import csr_array

from ..graph import Graph
from ..graph.reach import Reach
from . import cost
from .colouring import Colouring, colour_columns
from .recipe import Part

# Passes are told apart only where they save this share of the work: each kind is code of its own.
WORTH = 0.1


def colour_apart(pattern: csr_array, wanted: csr_array, kinds: np.ndarray, effort: float) -> Colouring | None:
    """Each kind of columns coloured by itself; None where that might need more passes than all kinds together."""
    count = int(kinds.max()) + 1
    rows = np.repeat(np.arange(wanted.shape[0]), np.diff(wanted.indptr))
    met = np.bincount(rows * count + kinds[wanted.indices], minlength=wanted.shape[0] * count).reshape(-1, count)
    bound = int(met.sum(1).max(initial=0))
    if met.max(0).sum() > bound:
        return None
    colours, total = np.full(pattern.shape[1], -1, np.int32), 0
    order = ""
    for kind in np.flatnonzero(met.max(0)):
        columns = np.flatnonzero(kinds == kind)
        part = colour_columns(pattern[:, columns], wanted[:, columns], effort=effort)
        colours[columns] = np.where(part.column_colours < 0, -1, part.column_colours + total)
        total += part.forward
        order = part.order
    nobody = np.full(pattern.shape[0], -1, np.int32)
    return Colouring(pattern.shape, colours, nobody, total, 0, bound, order, "columns") if total == bound else None


def passes_apart(graph: Graph, found: Reach, colouring: Colouring) -> tuple[tuple[Part, ...], float] | None:
    """Which forward passes share the edges along which nothing moves, and the work saved; None where that is little."""
    if not colouring.forward or not graph.pass_work:
        return None
    used = np.zeros((colouring.forward, len(found.still)), bool)
    coloured = colouring.column_colours >= 0
    used[colouring.column_colours[coloured], found.kinds[coloured]] = True
    if not used.any(1).all():
        return None  # a seed of nothing, in a colouring from elsewhere
    still = [frozenset.intersection(*(found.still[k] for k in np.flatnonzero(kinds))) for kinds in used]
    parts = tuple(Part(len(list(passes)), edges) for edges, passes in groupby(still))
    work = [min(sum(found.work[k] for k in np.flatnonzero(kinds)), graph.pass_work) for kinds in used]
    saved = colouring.forward * graph.pass_work - sum(work)
    little = WORTH * colouring.forward * graph.pass_work + cost.KERNEL * len(graph.active_nodes)
    return (parts, saved) if saved > little else None
