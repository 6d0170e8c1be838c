"""Which entries of one vector can depend on which entries of another.

A `Pattern` is a boolean m×n relation kept as a product of three parts, ``rows ∘ core ∘ cols``: `rows` sends
each of the m rows to a row of `core`, `cols` each of the n columns to a column of `core`. Rows (columns) that
share a core row are identical by construction, so a batched dense layer or a convolution over channels costs
what its *grouping* costs, not what its entries cost. The short forms fall out of the same three parts:
identity (no maps, no core), a selection of rows (a row map alone), full (one group on each side), empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from scipy.sparse import csr_array, vstack

Index = np.ndarray  # integer array; -1 means "none"


def _index(values: Any) -> Index:
    return np.asarray(values, dtype=np.int32)


@lru_cache(maxsize=256)
def _constant(value: int, length: int) -> Index:  # read-only, so that one serves all
    return np.broadcast_to(np.int32(value), (length,))


def _same(a: Index | None, b: Index | None) -> bool:
    if a is b:
        return True
    return a is not None and b is not None and a.shape == b.shape and bool(np.array_equal(a, b))


def _follow(first: Index | None, then: Index | None) -> Index | None:
    """The map `then ∘ first`, where None is the identity and -1 stays -1."""
    if first is None:
        return then
    if then is None:
        return first
    if then.size == 0:
        return _constant(-1, first.size)
    picked = then[first]
    if first.size and first.min() < 0:
        picked = np.where(first < 0, np.int32(-1), picked)
    return picked


def relation(rows: Index, cols: Index, shape: tuple[int, int]) -> csr_array:
    """The boolean CSR with an entry at each pair (rows[k], cols[k]); pairs with a -1 are dropped."""
    rows, cols = np.asarray(rows), np.asarray(cols)
    if rows.size and (rows.min() < 0 or cols.min() < 0):
        keep = (rows >= 0) & (cols >= 0)
        rows, cols = rows[keep], cols[keep]
    if rows.size and rows.size == shape[0] and np.array_equal(rows, np.arange(shape[0])):
        pointers = np.arange(shape[0] + 1, dtype=np.int32)
        return csr_array((np.ones(rows.size, bool), _index(cols), pointers), shape=shape)
    return csr_array((np.ones(rows.size, bool), (rows, cols)), shape=shape)


def _rows_of(core: csr_array, index: Index) -> csr_array:
    """core[index] where -1 gives an empty row. In plain NumPy: SciPy's indexing takes longer to start than to run."""
    if not core.shape[0]:
        return csr_array((index.size, core.shape[1]), dtype=bool)
    counts = np.where(index < 0, 0, np.diff(core.indptr)[index])
    pointers = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    # Entry e of output row i is entry e - pointers[i] of core row index[i].
    at = np.repeat(core.indptr[index] - pointers[:-1], counts) + np.arange(pointers[-1], dtype=np.int32)
    return csr_array((np.ones(at.size, bool), core.indices[at], pointers), shape=(index.size, core.shape[1]))


def _above(a: csr_array, b: csr_array) -> csr_array:
    """The rows of a, then the rows of b."""
    pointers = np.concatenate([a.indptr, b.indptr[1:] + a.indptr[-1]])
    indices = np.concatenate([a.indices, b.indices])
    return csr_array((np.ones(indices.size, bool), indices, pointers), shape=(a.shape[0] + b.shape[0], a.shape[1]))


class Pattern:
    """A boolean m×n relation. Immutable; see the module's text for the storage.

    ``a @ b`` composes (a∘b as relations), ``a | b`` unites, `take` picks rows. All are over-estimates of nothing:
    the algebra is exact.
    """

    shape: tuple[int, int]

    def __init__(
        self,
        shape: tuple[int, int],
        rows: Index | None = None,
        core: csr_array | None = None,
        cols: Index | None = None,
        inner: int | None = None,
    ):
        self.shape = shape
        self.rows = rows
        self.core = core
        self.cols = cols
        if core is not None:
            self.core_shape = core.shape
        else:
            size = inner if inner is not None else (shape[0] if rows is None else shape[1])
            self.core_shape = (size, size)

    # -- short forms ---------------------------------------------------------------------------------------
    @staticmethod
    @lru_cache(maxsize=256)
    def empty(shape: tuple[int, int]) -> Pattern:
        return Pattern(shape, _constant(-1, shape[0]), None, _constant(-1, shape[1]), inner=0)

    @staticmethod
    def full(shape: tuple[int, int]) -> Pattern:
        if 0 in shape:
            return Pattern.empty(shape)
        return Pattern(shape, _constant(0, shape[0]), None, _constant(0, shape[1]), inner=1)

    @staticmethod
    @lru_cache(maxsize=256)
    def identity(size: int) -> Pattern:
        return Pattern((size, size))

    @staticmethod
    def selection(index: Any, columns: int) -> Pattern:
        """Row i has its one entry in column index[i]; -1 gives an empty row."""
        index = _index(index).ravel()
        return Pattern((index.size, columns), index, None, None, inner=columns)

    @staticmethod
    def grouped(rows: Any, cols: Any, groups: int) -> Pattern:
        """Entry (i, j) is there when row i and column j carry the same group number (-1: none)."""
        rows, cols = _index(rows).ravel(), _index(cols).ravel()
        return Pattern((rows.size, cols.size), rows, None, cols, inner=groups)

    @staticmethod
    def from_csr(matrix: Any) -> Pattern:
        matrix = csr_array(matrix, dtype=bool)
        return Pattern(matrix.shape, None, matrix, None)

    # -- what it is ----------------------------------------------------------------------------------------
    @cached_property
    def nnz(self) -> int:
        """How many entries there are (counted in Python integers: no overflow)."""
        per_row, per_col = self._multiplicity(0), self._multiplicity(1)
        if self.core is None:
            return int(per_row.astype(np.int64) @ per_col.astype(np.int64))
        weights = per_col.astype(np.int64)[self.core.indices]
        owner = np.repeat(per_row.astype(np.int64), np.diff(self.core.indptr))
        return int(owner @ weights)

    def _multiplicity(self, axis: int) -> np.ndarray:
        index, size = (self.rows, self.core_shape[0]) if axis == 0 else (self.cols, self.core_shape[1])
        if index is None:
            return np.ones(size, np.int64)
        if index.size and index.min() < 0:
            index = index[index >= 0]
        return np.bincount(index, minlength=size) if index.size else np.zeros(size, np.int64)

    @property
    def is_empty(self) -> bool:
        return 0 in self.core_shape or 0 in self.shape or (self.core is not None and self.core.nnz == 0)

    @cached_property
    def is_full(self) -> bool:
        # Only the short form is asked for here, so that the test costs nothing on large sparse patterns.
        if self.core_shape == (1, 1) and self.core is None and self.rows is not None and self.cols is not None:
            return bool(self.rows.size and self.cols.size and self.rows.min() == 0 and self.cols.min() == 0)
        return False

    @property
    def stored(self) -> int:
        """How many entries the parts hold: a measure of memory and of the cost of the next operation."""
        return self.core.nnz if self.core is not None else self.core_shape[0]

    def __repr__(self) -> str:
        return f"Pattern({self.shape[0]}×{self.shape[1]}, nnz={self.nnz})"

    # -- algebra -------------------------------------------------------------------------------------------
    @property
    def T(self) -> Pattern:
        core = None if self.core is None else self.core.T.tocsr()
        return Pattern(self.shape[::-1], self.cols, core, self.rows, inner=self.core_shape[0])

    def take(self, index: Index) -> Pattern:
        """Rows `index` (1-D, -1 gives an empty row) in that order."""
        rows = _follow(index, self.rows)
        return Pattern((index.size, self.shape[1]), rows, self.core, self.cols, inner=self.core_shape[0])

    def columns(self, start: int, stop: int) -> Pattern:
        """The columns start:stop."""
        if (start, stop) == (0, self.shape[1]):
            return self
        cols = np.arange(start, stop, dtype=np.int32) if self.cols is None else self.cols[start:stop]
        part = Pattern((self.shape[0], stop - start), self.rows, self.core, cols, inner=self.core_shape[0])
        return part._compact_columns()

    def _compact_columns(self) -> Pattern:
        """Drop core columns that no column uses, when most are unused."""
        if self.cols is None or self.core is None or self.core_shape[1] <= 2 * self.shape[1]:
            return self
        used = self.cols if not (self.cols.size and self.cols.min() < 0) else self.cols[self.cols >= 0]
        names, inverse = np.unique(used, return_inverse=True)
        cols = np.full(self.cols.size, -1, np.int32)
        cols[self.cols >= 0] = inverse
        core = self.core[:, names] if names.size else csr_array((self.core_shape[0], 0), dtype=bool)
        if names.size == self.shape[1] and np.array_equal(cols, np.arange(names.size)):
            return Pattern(self.shape, self.rows, core, None)
        return Pattern(self.shape, self.rows, core, cols)

    def __matmul__(self, other: Pattern) -> Pattern:
        shape = (self.shape[0], other.shape[1])
        if self.is_empty or other.is_empty:
            return Pattern.empty(shape)
        if self.core is None and self.cols is None:
            rows = _follow(self.rows, other.rows)
            return Pattern(shape, rows, other.core, other.cols, inner=other.core_shape[0])
        if other.core is None and other.rows is None:
            cols = _follow(other.cols, self.cols)
            return Pattern(shape, self.rows, self.core, cols, inner=self.core_shape[0])
        left, right = self.cols, other.rows
        core = self.core
        if left is not None or right is not None:
            middle = relation(
                np.arange(self.shape[1]) if left is None else left,
                np.arange(other.shape[0]) if right is None else right,
                (self.core_shape[1], other.core_shape[0]),
            )
            core = middle if core is None else core @ middle
        if other.core is not None:
            core = other.core if core is None else core @ other.core
        return Pattern(shape, self.rows, core, other.cols)._simplify()

    def _compact_rows(self) -> Pattern:
        """Drop core rows that no row uses, when most are unused: slices of slices would drag them along."""
        if self.rows is None or self.core is None or self.core_shape[0] <= 2 * self.shape[0]:
            return self
        names, inverse = np.unique(self.rows, return_inverse=True)
        rows = _index(inverse)
        if names.size and names[0] < 0:
            rows, names = rows - np.int32(1), names[1:]
        return Pattern(self.shape, rows, _rows_of(self.core, names), self.cols)

    def _simplify(self) -> Pattern:
        """Give a 1×1 core its short form, so that full stays recognisable."""
        if self.core_shape == (1, 1) and self.core is not None and self.core.nnz:
            rows = _constant(0, self.shape[0]) if self.rows is None else self.rows
            cols = _constant(0, self.shape[1]) if self.cols is None else self.cols
            return Pattern(self.shape, rows, None, cols, inner=1)
        return self

    def __or__(self, other: Pattern) -> Pattern:
        if self is other or other.is_empty or self.is_full:
            return self
        if self.is_empty or other.is_full:
            return other
        same_rows, same_cols = _same(self.rows, other.rows), _same(self.cols, other.cols)
        if same_rows and same_cols and self.core_shape == other.core_shape:
            if self.core is other.core:
                return self
            return Pattern(self.shape, self.rows, self.matrix() + other.matrix(), self.cols)
        if same_cols and self.rows is not None and other.rows is not None:
            if ((self.rows < 0) | (other.rows < 0)).all():
                return self._beside(other)
        groups = None if same_rows else _refine(self.rows, other.rows)
        if self.cols is None and other.cols is None and not same_rows and groups is None:
            return Pattern(self.shape, None, self._over_rows() + other._over_rows(), None)
        (a, b), cols = align_columns([self, other])
        if same_rows and a.shape[0] == b.shape[0]:
            return Pattern(self.shape, self.rows, a + b, cols)
        if groups is None:
            a = a if self.rows is None else _rows_of(a, self.rows)
            b = b if other.rows is None else _rows_of(b, other.rows)
            return Pattern(self.shape, None, a + b, cols)
        label, first, second = groups
        return Pattern(self.shape, label, _rows_of(a, first) + _rows_of(b, second), cols)._simplify()

    def _beside(self, other: Pattern) -> Pattern:
        """The union when no row is in both: a scatter, say. The cores are stacked, not merged."""
        assert self.rows is not None and other.rows is not None
        if self.core is other.core and self.core_shape == other.core_shape:
            rows = np.maximum(self.rows, other.rows)
            return Pattern(self.shape, rows, self.core, self.cols, inner=self.core_shape[0])
        shifted = np.where(other.rows < 0, np.int32(-1), other.rows + np.int32(self.core_shape[0]))
        core = _above(self.matrix(), other.matrix())
        return Pattern(self.shape, np.maximum(self.rows, shifted), core, self.cols)._compact_rows()

    def _over_rows(self) -> csr_array:
        """The m rows over the core's columns."""
        if self.rows is None:
            return self.matrix()
        if self.core is not None:
            return _rows_of(self.core, self.rows)
        present = self.rows >= 0
        everywhere = bool(present.all())
        indices = self.rows if everywhere else self.rows[present]
        counted = np.arange(1, self.rows.size + 1) if everywhere else np.cumsum(present)
        pointers = np.concatenate([[0], counted]).astype(np.int32)
        return csr_array((np.ones(indices.size, bool), indices, pointers), shape=(self.rows.size, self.core_shape[1]))

    def matrix(self) -> csr_array:
        """The core as a CSR, also where it is the identity."""
        if self.core is not None:
            return self.core
        size = self.core_shape[0]
        return csr_array(
            (np.ones(size, bool), np.arange(size, dtype=np.int32), np.arange(size + 1, dtype=np.int32)),
            shape=self.core_shape,
        )

    # -- out -----------------------------------------------------------------------------------------------
    def tocsr(self) -> csr_array:
        """The m×n boolean CSR, indices sorted."""
        matrix = self._over_rows()
        if self.cols is not None:
            matrix = matrix @ _expansion(self.cols, self.core_shape[1])
        matrix = csr_array(matrix, shape=self.shape)
        matrix.sum_duplicates()
        return matrix

    def todense(self) -> np.ndarray:
        """The m×n boolean array."""
        return self.tocsr().toarray()


def _expansion(cols: Index, size: int) -> csr_array:
    """The size×n selection that spreads each core column to all the columns mapped to it."""
    n = cols.size
    keep = cols >= 0
    owner = cols[keep]
    order = np.argsort(owner, kind="stable").astype(np.int32)
    pointers = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=size))]).astype(np.int32)
    return csr_array(
        (np.ones(order.size, bool), np.flatnonzero(keep)[order].astype(np.int32), pointers), shape=(size, n)
    )


def _refine(a: Index | None, b: Index | None) -> tuple[Index, Index, Index] | None:
    """The common refinement of two groupings: (group per row, a-group and b-group per group).

    None when it would hardly be smaller than the rows themselves: then plain rows are cheaper.
    """
    if a is None or b is None:
        return None
    width = int(b.max(initial=-1)) + 2
    if (int(a.max(initial=-1)) + 2) * width > 4 * a.size and a.size > 64:
        sample = slice(None, None, max(1, a.size // 64))
        pairs = (a[sample].astype(np.int64) + 1) * width + b[sample] + 1
        if np.unique(pairs).size > 0.9 * pairs.size:
            return None
    key = (a.astype(np.int64) + 1) * width + (b + 1)
    names, label = np.unique(key, return_inverse=True)
    if names.size * 2 > a.size and a.size > 1:
        return None
    return _index(label), _index(names // width - 1), _index(names % width - 1)


def align_columns(parts: Sequence[Pattern]) -> tuple[list[csr_array], Index | None]:
    """The cores of `parts` over one shared column grouping, and that grouping."""
    first = parts[0]
    if all(_same(p.cols, first.cols) and p.core_shape[1] == first.core_shape[1] for p in parts):
        return [p.matrix() for p in parts], first.cols
    maps = [p.cols for p in parts if p.cols is not None]
    if len(maps) == len(parts):
        label: np.ndarray = np.zeros(maps[0].size, np.int64)
        for cols in maps:
            width = np.int64(int(cols.max(initial=-1)) + 2)
            _, first_at, label = np.unique(label * width + (cols + 1), return_index=True, return_inverse=True)
        names = [cols[first_at] for cols in maps]
        if first_at.size * 2 <= label.size:
            cores = [p.matrix() @ _expansion(name, p.core_shape[1]) for p, name in zip(parts, names, strict=True)]
            return cores, _index(label)
    return [p.matrix() if p.cols is None else p.matrix() @ _expansion(p.cols, p.core_shape[1]) for p in parts], None


def stack(parts: Sequence[Pattern]) -> Pattern:
    """The patterns one above the other; all have the same number of columns."""
    shape = (sum(p.shape[0] for p in parts), parts[0].shape[1])
    solid = [p for p in parts if not p.is_empty]
    if not solid:
        return Pattern.empty(shape)
    first = solid[0]
    if all(p.core is first.core and p.core_shape == first.core_shape and _same(p.cols, first.cols) for p in solid):
        pieces = [_constant(-1, p.shape[0]) if p.is_empty else _row_map(p) for p in parts]
        return Pattern(shape, np.concatenate(pieces), first.core, first.cols, inner=first.core_shape[0])
    cores, cols = align_columns(solid)
    maps, offset, count = [], 0, 0
    for p in parts:
        if p.is_empty:
            maps.append(_constant(-1, p.shape[0]))
            continue
        rows = _row_map(p)
        maps.append(np.where(rows < 0, np.int32(-1), rows + np.int32(offset)) if offset else rows)
        offset += cores[count].shape[0]
        count += 1
    core = vstack(cores, format="csr") if len(cores) > 1 else cores[0]
    return Pattern(shape, np.concatenate(maps), csr_array(core), cols)._compact_rows()


def _row_map(p: Pattern) -> Index:
    return np.arange(p.shape[0], dtype=np.int32) if p.rows is None else p.rows
