"""JᵀJ of a J whose pattern stays: planned once by blocks, then a few array operations for each new J."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

LARGEST = 2e8  # products of two entries of one row, in all: beyond this JᵀJ costs more than it is worth


@dataclass(frozen=True)
class Group:
    """Runs of rows alike: `take` (N, g, c) places of their entries in J's data, `put` (N, c, c) in JᵀJ's."""

    take: np.ndarray
    put: np.ndarray


class Normal:
    """JᵀJ for the pattern (m×n CSR, sorted indices): `data` of a symmetric CSR with `indptr`, `indices`.

    Columns that stand in the same rows (a landmark's three) form a supercolumn, rows that follow one another with the
    same columns a run; all index arithmetic is done on those, so that planning costs what the blocks cost, not the
    entries. Within a row the columns are in the order of their blocks.
    """

    def __init__(self, pattern: csr_array):
        m, n = pattern.shape
        self.n = n
        self.supers = supercolumns(pattern)
        self.sizes = np.bincount(self.supers)
        members = np.argsort(self.supers, kind="stable")
        first = np.concatenate([[0], np.cumsum(self.sizes)])
        local = np.empty(n, np.int64)
        local[members] = np.arange(n) - np.repeat(first[:-1], self.sizes)
        indptr, indices = pattern.indptr.astype(np.int64), pattern.indices.astype(np.int64)
        counts = np.diff(indptr)
        starts, runs = _runs(indptr, indices, counts)
        count = len(self.sizes)
        found = []
        for g, c in np.unique(np.stack([runs, counts[starts]], 1), axis=0) if len(starts) else ():
            if not c:
                continue
            rows = starts[(runs == g) & (counts[starts] == c)]
            columns = indices[indptr[rows][:, None] + np.arange(c)]
            slot, distinct = _slots(self.supers[columns])
            for k, there in distinct.items():
                mine = rows[there]
                take = indptr[mine[:, None] + np.arange(g)][:, :, None] + np.arange(c)
                supers = np.empty((len(mine), k), np.int64)
                np.put_along_axis(supers, slot[there], self.supers[columns[there]], axis=1)
                key = supers[:, :, None] * count + supers[:, None, :]
                found.append((take, columns[there], slot[there], supers, key))
        diagonal = np.arange(count) * (count + 1)  # kept even for columns without entries: damping goes there
        pairs = each_once(np.concatenate([*(part[-1].ravel() for part in found), diagonal]))
        left, right = pairs // count, pairs % count
        self.left, self.right = left, right
        area = self.sizes[left] * self.sizes[right]
        offset = np.concatenate([[0], np.cumsum(area)])
        self.groups = []
        for take, columns, slot, supers, key in found:
            begin = offset[np.searchsorted(pairs, key)]
            each = np.arange(len(slot))[:, None, None]
            put = begin[each, slot[:, :, None], slot[:, None, :]]
            put += local[columns][:, :, None] * self.sizes[np.take_along_axis(supers, slot, 1)][:, None, :]
            put += local[columns][:, None, :]
            self.groups.append(Group(take, put))
        self.nnz = int(offset[-1])
        # The blocks' own order turned into rows, once: all rows of a supercolumn read the same columns.
        width = self.sizes[right]
        across, place = members[_ranges(first[right], width)], _ranges(offset[:-1], width)
        stride, line = np.repeat(width, width), np.concatenate([[0], np.cumsum(width)])
        ends = np.searchsorted(left, np.arange(count + 1))
        length = (line[ends[1:]] - line[ends[:-1]])[self.supers]
        at = _ranges(line[ends[:-1]][self.supers], length)
        self.order = place[at] + np.repeat(local, length) * stride[at]
        self.rows, self.indices = np.repeat(np.arange(n), length), across[at]
        self.indptr = np.concatenate([[0], np.cumsum(length)])
        self.diagonal = np.flatnonzero(self.rows == self.indices)

    def numbers(self, data: np.ndarray) -> np.ndarray:
        """JᵀJ's entries, (nnz,), from J's (both row-major)."""
        total = np.zeros(self.nnz)
        for group in self.groups:
            block = data[group.take]
            product = np.matmul(block.transpose(0, 2, 1), block)
            total += np.bincount(group.put.ravel(), weights=product.ravel(), minlength=self.nnz)
        return total[self.order]

    def matrix(self, data: np.ndarray) -> csr_array:
        """The symmetric n×n matrix with these entries; its index arrays are shared and must not be sorted in place."""
        return csr_array((data, self.indices, self.indptr), shape=(self.n, self.n))


def each_once(numbers: np.ndarray) -> np.ndarray:
    """The distinct integers, ascending: `np.unique` looks them up in a hash table, which takes seven times as long."""
    ordered = np.sort(numbers, axis=None)
    return ordered[np.concatenate([[True], ordered[1:] != ordered[:-1]])] if ordered.size else ordered


def _ranges(begin: np.ndarray, length: np.ndarray) -> np.ndarray:
    """begin[0], begin[0] + 1, ... (length[0] of them), begin[1], ..."""
    done = np.cumsum(length)
    return np.repeat(begin - (done - length), length) + np.arange(int(done[-1]) if done.size else 0)


def _slots(labels: np.ndarray) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """For rows of labels (N, c): (which of the row's distinct labels, in ascending order, each one is (N, c);
    number of distinct labels -> rows that have as many)."""
    order = np.argsort(labels, axis=1, kind="stable")
    ascending = np.take_along_axis(labels, order, 1)
    rank = np.zeros_like(labels)
    np.cumsum(ascending[:, 1:] != ascending[:, :-1], axis=1, out=rank[:, 1:])
    slot = np.empty_like(rank)
    np.put_along_axis(slot, order, rank, axis=1)
    return slot, {int(k) + 1: np.flatnonzero(rank[:, -1] == k) for k in each_once(rank[:, -1])}


def products(pattern: csr_array) -> float:
    """How many products of two entries JᵀJ takes."""
    return float((np.diff(pattern.indptr).astype(float) ** 2).sum())


def supercolumns(pattern: csr_array) -> np.ndarray:
    """(n,) labels 0, 1, ...: columns with one label stand in exactly the same rows."""
    n = pattern.shape[1]
    by_column = pattern.tocsc()
    counts = np.diff(by_column.indptr)
    filled = np.flatnonzero(counts)
    sums = np.zeros(n, np.uint64)
    if filled.size:
        draw = np.random.default_rng(0).integers(1, 2**63, pattern.shape[0], dtype=np.uint64)
        sums[filled] = np.add.reduceat(draw[by_column.indices], by_column.indptr[filled])
    _, first, labels = np.unique(sums, return_index=True, return_inverse=True)
    labels = labels.ravel().astype(np.int64)
    # Sums of 64 random bits agree by chance once in 10⁹ matrices: look, and do without labels then.
    alike = first[labels]
    if not np.array_equal(counts, counts[alike]):
        return np.arange(n)
    there = np.arange(by_column.nnz) + np.repeat(by_column.indptr[alike] - by_column.indptr[:-1], counts)
    return labels if np.array_equal(by_column.indices, by_column.indices[there]) else np.arange(n)


def _runs(indptr: np.ndarray, indices: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(first rows, lengths) of the longest runs of rows with equal columns."""
    if not counts.size:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    alike = np.zeros(counts.size, bool)
    alike[1:] = (counts[1:] == counts[:-1]) & (counts[1:] > 0)
    row = np.repeat(np.arange(counts.size), counts)
    here = np.flatnonzero(alike[row])
    differs = indices[here] != indices[here - counts[row[here]]]
    alike[row[here[differs]]] = False
    starts = np.flatnonzero(~alike)
    return starts, np.diff(np.append(starts, counts.size))
