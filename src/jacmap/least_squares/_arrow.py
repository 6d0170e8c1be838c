"""Which columns to eliminate: a large set whose part of JᵀJ is block-diagonal, found in JᵀJ's pattern alone."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from ._normal import Normal, each_once

ROUNDS = 12


def components(normal: Normal) -> np.ndarray:
    """(n,) labels of the blocks into which JᵀJ falls apart."""
    quotient = csr_array((np.ones(len(normal.left)), (normal.left, normal.right)), shape=(len(normal.sizes),) * 2)
    return connected_components(quotient, directed=False)[1][normal.supers]


def arrow(normal: Normal) -> np.ndarray:
    """(n,) block labels 0, 1, ... of the columns to eliminate, -1 for those of the border that stays.

    A maximal independent set of supercolumns in the graph of JᵀJ, those with few neighbours first (Luby's rounds): in
    bundle adjustment the landmarks, since each is seen by few cameras and each camera sees many landmarks.
    """
    merged = _alike(normal)
    sizes = np.bincount(merged, weights=normal.sizes)
    count = len(sizes)
    edges = each_once(merged[normal.left] * np.int64(count) + merged[normal.right])
    left, right = edges // count, edges % count
    left, right = left[left != right], right[left != right]
    degree = np.bincount(left, weights=sizes[right], minlength=count)
    rank = np.empty(count, np.int64)
    rank[np.lexsort((np.random.default_rng(0).random(count), degree))] = np.arange(count)
    state = np.zeros(count, np.int8)  # 0 undecided, 1 eliminated, -1 border
    for _ in range(ROUNDS):
        open_ = state == 0
        if not open_.any():
            break
        live = open_[left] & open_[right]
        lowest = np.full(count, count)
        np.minimum.at(lowest, left[live], rank[right[live]])
        chosen = open_ & (rank < lowest)
        state[chosen] = 1
        touched = np.zeros(count, bool)
        touched[right[chosen[left]]] = True
        state[touched & (state == 0)] = -1
    labels = np.full(count, -1)
    labels[state == 1] = np.arange(int((state == 1).sum()))
    return labels[merged][normal.supers]


def _alike(normal: Normal) -> np.ndarray:
    """Labels of the supercolumns, equal for neighbours with the same neighbours: a block's own unknowns.

    By sums of random bits; whatever is merged, the blocks stay uncoupled.
    """
    count = len(normal.sizes)
    draw = np.random.default_rng(1).integers(1, 2**63, count, dtype=np.uint64)
    sums = np.add.reduceat(draw[normal.right], np.searchsorted(normal.left, np.arange(count)))
    return np.unique(sums, return_inverse=True)[1].ravel()
