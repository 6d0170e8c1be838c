"""The Schur complement: blocks of JᵀJ eliminated in batches, a dense system for the border that stays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from ._normal import Normal
from ._ways import _OnNormal


@dataclass(frozen=True)
class Batch:
    """Blocks of one size b with k unknowns of the border each.

    `members` (N, b) their unknowns, `border` (N, k) numbers in the border, ascending, `inner` (N, b, b) and `outer`
    (N, b, k) places in JᵀJ's data, with nnz (one past the end: a zero) where it has no entry. `lower`: which of the
    k×(k + 1) products of the border's columns and the right side stand on or below the diagonal.
    """

    members: np.ndarray
    border: np.ndarray
    inner: np.ndarray
    outer: np.ndarray
    lower: np.ndarray


class Schur(_OnNormal):
    """For labels (n,) of blocks, -1 for the border; a matrix without border is block-diagonal."""

    def __init__(self, normal: Normal, labels: np.ndarray):
        super().__init__(normal)
        n = normal.n
        self.kept = np.flatnonzero(labels < 0)
        number = np.full(n, -1)
        number[self.kept] = np.arange(len(self.kept))
        sizes = np.bincount(labels[labels >= 0])
        members = np.argsort(labels, kind="stable")[len(self.kept) :]
        first = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        local = np.zeros(n, np.int64)
        local[members] = np.arange(len(members)) - np.repeat(first[:-1], sizes)

        row, column = labels[normal.rows], labels[normal.indices]
        inside = np.flatnonzero((row >= 0) & (column >= 0))
        assert (row[inside] == column[inside]).all(), "two eliminated blocks are coupled"
        across = np.flatnonzero((row >= 0) & (column < 0))
        corner = np.flatnonzero((row < 0) & (column < 0))
        size = len(self.kept)
        self.corner = corner, number[normal.rows[corner]] * size + number[normal.indices[corner]]

        pairs, slot = np.unique(row[across] * np.int64(size) + number[normal.indices[across]], return_inverse=True)
        owner = pairs // size if size else pairs
        width = np.bincount(owner, minlength=len(sizes)) if len(sizes) else np.zeros(0, int)
        begin = np.concatenate([[0], np.cumsum(width)]).astype(np.int64)
        slot = slot.ravel() - begin[row[across]]
        kinds, kind = np.unique(np.stack([sizes, width], 1), axis=0, return_inverse=True)
        kind = kind.ravel().astype(np.min_scalar_type(len(kinds)))  # few kinds: sorted by radix
        by_kind, ends = _parted(kind, len(kinds))
        place = np.empty(len(sizes), np.int64)
        place[by_kind] = np.arange(len(sizes)) - np.repeat(ends[:-1], np.diff(ends))
        within, within_ends = _parted(kind[row[inside]], len(kinds))
        beside, beside_ends = _parted(kind[row[across]], len(kinds))
        self.batches = []
        spread = []
        for j, (b, k) in enumerate(kinds):
            mine = by_kind[ends[j] : ends[j + 1]]
            inner = np.full((len(mine), b, b), normal.nnz)
            at = inside[within[within_ends[j] : within_ends[j + 1]]]
            inner[place[row[at]], local[normal.rows[at]], local[normal.indices[at]]] = at
            outer = np.full((len(mine), b, k), normal.nnz)
            chosen = beside[beside_ends[j] : beside_ends[j + 1]]
            at = across[chosen]
            outer[place[row[at]], local[normal.rows[at]], slot[chosen]] = at
            border = pairs[begin[mine][:, None] + np.arange(k)] % max(size, 1)
            down, along = np.tril_indices(k)
            spread.append((border[:, down] * size + border[:, along]).ravel())
            own = members[first[mine][:, None] + np.arange(b)]
            self.batches.append(Batch(own, border, inner, outer, down * (k + 1) + along))
        self.spread = np.concatenate([np.zeros(0, np.int64), *spread])  # where all those products belong in the border

    def _solve(self, data: np.ndarray, b: np.ndarray) -> np.ndarray:
        size, padded = len(self.kept), np.append(data, 0.0)
        # Of the border's matrix only the half below the diagonal is worked out: Cholesky reads no other.
        matrix = np.bincount(self.corner[1], weights=data[self.corner[0]], minlength=size * size)
        right = b[self.kept]
        solved, falls = [], [np.zeros(0)]
        for batch in self.batches:
            across = padded[batch.outer]
            both = np.concatenate([across, b[batch.members][:, :, None]], axis=2)
            lower = np.linalg.cholesky(padded[batch.inner])  # also says whether the block is positive definite
            half = _forward(lower, both)
            left = half[:, :, :-1]
            if left.shape[2]:
                product = np.matmul(left.transpose(0, 2, 1), half)
                falls.append(product.reshape(len(half), -1).take(batch.lower, axis=1).ravel())
                right -= np.bincount(batch.border.ravel(), weights=product[:, :, -1].ravel(), minlength=size)
            solved.append((lower, half))
        matrix -= np.bincount(self.spread, weights=np.concatenate(falls), minlength=size * size)
        p = np.empty(len(b))
        if size:
            p[self.kept] = cho_solve(
                cho_factor(matrix.reshape(size, size), lower=True, overwrite_a=True, check_finite=False), right
            )
        for batch, (lower, half) in zip(self.batches, solved, strict=True):
            rest = half[:, :, -1]
            if batch.border.shape[1]:
                rest = rest - np.matmul(half[:, :, :-1], p[self.kept][batch.border][:, :, None])[:, :, 0]
            p[batch.members] = _backward(lower, rest)
        return p


def _parted(kind: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(places by kind, where each kind begins, and the end)."""
    return np.argsort(kind, kind="stable"), np.concatenate([[0], np.cumsum(np.bincount(kind, minlength=count))])


def _forward(lower: np.ndarray, b: np.ndarray) -> np.ndarray:
    """L⁻¹ b of a batch: few steps over small blocks, each over the whole batch at once."""
    x = b.copy()
    for i in range(lower.shape[1]):
        if i:
            x[:, i] -= np.matmul(lower[:, i : i + 1, :i], x[:, :i])[:, 0]
        x[:, i] /= lower[:, i, i, None]
    return x


def _backward(lower: np.ndarray, b: np.ndarray) -> np.ndarray:
    """L⁻ᵀ b of a batch of vectors (N, b)."""
    x = b.copy()
    for i in reversed(range(lower.shape[1])):
        x[:, i] -= (lower[:, i + 1 :, i] * x[:, i + 1 :]).sum(1)
        x[:, i] /= lower[:, i, i]
    return x
