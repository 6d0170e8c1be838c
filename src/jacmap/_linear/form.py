"""What the pattern of J alone tells a solver: the same at every point, so worked out once and shared by all of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from ..engine.graph import Pattern
from ..engine.graph.matching import maximum_matching
from ..engine.graph.recognise import recognise
from ..engine.graph.structure import Structure
from .plan import LinearPlan

# Patterns with more entries are neither listed nor named: they are taken as full.
LARGEST_LISTED = 2**26


@dataclass(frozen=True, eq=False)
class Group:
    """The independent blocks of one shape: `count` of them, each p×q.

    `rows` (count, p) and `columns` (count, q) say where they stand in J. Entry ``entries[e]`` of J stands at ``at[e]``
    of the flattened array (count, p, q).
    """

    rows: np.ndarray
    columns: np.ndarray
    entries: np.ndarray
    at: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        """(count, p, q)."""
        return (*self.rows.shape, self.columns.shape[1])


class Form:
    """The pattern as linear algebra sees it: entries row by row, structure, independent blocks, bandwidths.

    `full`: every entry may be nonzero (or too many are to be listed); then nothing is listed. `itemsize`: bytes of an
    entry on the host. `forward` and `reverse`: which products are possible. `plans` and `compiled` keep what was
    decided and compiled for these shapes.
    """

    def __init__(
        self,
        pattern: Pattern,
        rank_bound: int,
        *,
        affine: bool = False,
        forward: bool = True,
        reverse: bool = True,
        itemsize: int = 8,
    ):
        self.pattern, self.rank_bound, self.affine = pattern, rank_bound, affine
        self.forward, self.reverse, self.itemsize = forward, reverse, itemsize
        self.shape = pattern.shape
        self.nnz = pattern.nnz
        self.full = self.nnz > LARGEST_LISTED or self.nnz == self.shape[0] * self.shape[1] > 0
        self.plans: dict[Any, LinearPlan] = {}
        self.compiled: dict[Any, Any] = {}

    # -- entries -------------------------------------------------------------------------------------------
    @cached_property
    def csr(self) -> Any:
        """The boolean CSR, indices sorted."""
        return self.pattern.tocsr()

    @cached_property
    def rows(self) -> np.ndarray:
        """(nnz,) row of each entry."""
        return np.repeat(np.arange(self.shape[0], dtype=np.int32), np.diff(self.csr.indptr))

    @property
    def columns(self) -> np.ndarray:
        """(nnz,) column of each entry."""
        return self.csr.indices

    def at(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Which entry stands at each (row, column); -1 where none can."""
        key = self.rows.astype(np.int64) * self.shape[1] + self.columns
        asked = np.asarray(rows, np.int64) * self.shape[1] + columns
        found = np.minimum(np.searchsorted(key, asked), max(key.size - 1, 0))
        return np.where(key[found] == asked, found, -1) if key.size else np.full(asked.shape, -1)

    # -- names ---------------------------------------------------------------------------------------------
    @cached_property
    def structure(self) -> Structure:
        """The name of the pattern, with the permutation and the bandwidths that belong to it."""
        m, n = self.shape
        if not self.full or min(m, n) == 1:
            return recognise(self.csr, rank_bound=self.rank_bound)
        rank = min(m, n) if self.nnz == m * n else None
        if self.rank_bound < min(m, n):
            text = f"low rank: at most {self.rank_bound} of {min(m, n)} through a narrow cut"
            return Structure("low-rank", text, self.shape, m * n, structural_rank=rank)
        text = "dense" if self.nnz == m * n else f"{self.nnz} of {m * n} entries: too many to be named"
        return Structure("dense", text, self.shape, m * n, structural_rank=rank)

    @cached_property
    def orders(self) -> tuple[np.ndarray, np.ndarray]:
        """The rows and the columns in the order in which J has its named form."""
        m, n = self.shape
        rows, columns = self.structure.row_order, self.structure.column_order
        return (np.arange(m) if rows is None else rows, np.arange(n) if columns is None else columns)

    @property
    def diagonal(self) -> bool:
        """At most one entry in each row and column, in any order."""
        return self.structure.kind == "diagonal"

    @cached_property
    def triangle(self) -> str:
        """ "lower" or "upper" where `orders` make J triangular, else ""."""
        side, _, rest = self.structure.kind.partition("-")
        if rest == "triangular":
            return side
        if self.full or not self.nnz or self.structure.permuted:
            return ""
        lower, upper = self.natural_band
        return "lower" if upper == 0 else "upper" if lower == 0 else ""

    @cached_property
    def natural_band(self) -> tuple[int, int]:
        """(lower, upper) bandwidths of J as it stands."""
        if self.full:
            return self.shape[0] - 1, self.shape[1] - 1
        offsets = self.columns.astype(np.int64) - self.rows
        return max(0, -int(offsets.min(initial=0))), max(0, int(offsets.max(initial=0)))

    @cached_property
    def band(self) -> tuple[int, int, np.ndarray, np.ndarray]:
        """(lower, upper, row order, column order) of the narrowest band known."""
        m, n = self.shape
        if self.band_permuted:
            assert self.structure.bandwidths is not None
            return *self.structure.bandwidths, *self.orders
        return *self.natural_band, np.arange(m), np.arange(n)

    @property
    def band_permuted(self) -> bool:
        """Is the narrowest band one after a permutation?"""
        return self.structure.kind == "banded" and self.structure.permuted

    @property
    def bound(self) -> int:
        """The rank of J is at most this, at any point."""
        structural = self.structural_rank
        return self.rank_bound if structural is None else min(self.rank_bound, structural)

    @property
    def structural_rank(self) -> int | None:
        """The most entries in distinct rows and columns; None where finding it would take too long."""
        return self.structure.structural_rank

    @cached_property
    def matching(self) -> np.ndarray:
        """The column matched to each row, -1 for none."""
        return maximum_matching(self.csr)

    # -- independent blocks --------------------------------------------------------------------------------
    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The connected components of rows and columns, those of one shape together; none where J is full.

        Empty rows and columns belong to no block.
        """
        if self.full or not self.nnz:
            return ()
        m, n = self.shape
        graph = sparse.csr_array((np.ones(self.nnz, bool), (self.rows, self.columns + m)), shape=(m + n, m + n))
        labels = csgraph.connected_components(graph, directed=False)[1]
        used = np.zeros(m + n, bool)
        used[self.rows] = used[self.columns + m] = True
        names, labels[used] = np.unique(labels[used], return_inverse=True)
        row_of, column_of = np.where(used[:m], labels[:m], -1), np.where(used[m:], labels[m:], -1)
        heights = np.bincount(row_of[row_of >= 0], minlength=names.size)
        widths = np.bincount(column_of[column_of >= 0], minlength=names.size)
        row_lists, within_row = _members(row_of, heights)
        column_lists, within_column = _members(column_of, widths)
        starts = np.cumsum(heights) - heights, np.cumsum(widths) - widths
        owner = row_of[self.rows]
        found = []
        for p, q in np.unique(np.stack([heights, widths], axis=1), axis=0).tolist():
            mine = (heights == p) & (widths == q)
            number = np.cumsum(mine) - 1
            entries = np.flatnonzero(mine[owner])
            place = number[owner[entries]] * p + within_row[self.rows[entries]]
            at = place * q + within_column[self.columns[entries]]
            rows = row_lists[starts[0][mine][:, None] + np.arange(p)]
            found.append(Group(rows, column_lists[starts[1][mine][:, None] + np.arange(q)], entries, at))
        return tuple(found)

    @property
    def block_area(self) -> float:
        """How many entries the blocks would hold as dense arrays."""
        return float(sum(np.prod(group.shape, dtype=float) for group in self.groups))


def _members(labels: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(the lines sorted by block, each line's place within its block)."""
    order = np.argsort(np.where(labels < 0, sizes.size, labels), kind="stable")
    lines = order[: int(sizes.sum())]
    within = np.full(labels.size, -1)
    within[lines] = np.arange(lines.size) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return lines, within
