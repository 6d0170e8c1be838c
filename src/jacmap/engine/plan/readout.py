"""From compressed passes to the answer: which entry is read where, worked out once per plan."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse import csr_array

from .colouring import Colouring, entries
from .symmetric_readout import SymmetricReadout


@dataclass(frozen=True, eq=False)
class Readout:
    """Entry k of the answer, at (rows[k], cols[k]), stands at `source[k]` of the flat passes.

    The flat passes are the forward result (forward × m, one pass after the other) followed by the reverse result
    (reverse × n). `layout`: when `source` is a mere transposition, (shape, axes) such that
    ``flat.reshape(shape).transpose(axes).ravel()`` is the answer; copying blocks is far cheaper than gathering.
    `width`: of one pass, where all are of one kind. `symmetric`: the entries come in equal pairs and are found by this
    instead.
    """

    shape: tuple[int, int]
    rows: np.ndarray
    cols: np.ndarray
    source: np.ndarray
    layout: tuple[tuple[int, ...], tuple[int, ...]] | None
    width: int = 1
    symmetric: SymmetricReadout | None = None

    @cached_property
    def flat(self) -> np.ndarray:
        """Where the entries stand in the m×n matrix, flat."""
        return self.rows.astype(np.int64) * self.shape[1] + self.cols

    @cached_property
    def source_pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """`source` as (pass, place in it), for passes of one kind alone."""
        return np.divmod(self.source, self.width)

    @cached_property
    def source_runs(self) -> tuple[np.ndarray, np.ndarray, int]:
        """(pass, place, height): so many entries from each pair on stand there in passes that follow one another.

        Three, say, where what is seen reads points in space.
        """
        passes, places = self.source_pairs
        begins = np.flatnonzero((np.diff(passes) != 1) | (np.diff(places) != 0)) + 1
        height = max(int(np.gcd.reduce(np.diff(begins, prepend=0, append=len(passes)))), 1)
        return passes[::height], places[::height], height


def readout(colouring: Colouring, wanted: csr_array) -> Readout:
    m, n = colouring.shape
    rows, cols, reverse, colour = entries(colouring, wanted)
    rows, cols, colour = rows.astype(np.int64), cols.astype(np.int64), colour.astype(np.int64)
    source = np.where(reverse, m * colouring.forward + colour * n + cols, colour * m + rows)
    small = np.int32 if m * colouring.forward + colouring.reverse * n < 2**31 else np.int64
    source = source.astype(small)
    size = m * colouring.forward + colouring.reverse * n
    layout = transposition(source, size) if not (colouring.forward and colouring.reverse) else None
    return Readout((m, n), rows.astype(np.int32), cols.astype(np.int32), source, layout, m if colouring.forward else n)


def transposition(source: np.ndarray, size: int) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """(shape, axes) with ``arange(size).reshape(shape).transpose(axes).ravel() == source``, or None.

    Reads nested strides off the sequence: the innermost run of equal steps, then the step between runs, and so on.
    """
    if source.size != size or size == 0 or source[0] != 0:
        return None
    extents: list[int] = []
    strides: list[int] = []
    rest = source
    while rest.size > 1:
        steps = np.diff(rest)
        stride = int(steps[0])
        breaks = np.flatnonzero(steps != stride)
        run = int(breaks[0]) + 1 if breaks.size else rest.size
        if rest.size % run or len(extents) == 6 or stride <= 0:
            return None
        extents.append(run)
        strides.append(stride)
        rest = rest[::run]
    extents, strides = extents[::-1], strides[::-1]
    order = np.argsort(strides)[::-1]
    shape = tuple(extents[k] for k in order)
    axes = tuple(int(a) for a in np.argsort(order))
    found = np.arange(size).reshape(shape).transpose(axes).ravel()
    return (shape, axes) if np.array_equal(found, source) else None


def shows(colouring: Colouring, pattern: csr_array, wanted: csr_array) -> bool:
    """Is each wanted entry alone in its colour? Checked on every colouring before a plan may use it."""
    m, n = colouring.shape
    rows = np.repeat(np.arange(m, dtype=np.int64), np.diff(pattern.indptr))
    read_row, read_col, reverse, colour = entries(colouring, wanted)
    columns, by_row = colouring.column_colours[pattern.indices], colouring.row_colours[rows]
    sums = rows * colouring.forward + columns  # where each entry of the pattern is added in a forward result
    forward_sums = np.bincount(sums[columns >= 0], minlength=m * colouring.forward + 1)
    sums = by_row * np.int64(n) + pattern.indices
    reverse_sums = np.bincount(sums[by_row >= 0], minlength=colouring.reverse * n + 1)
    read_forward = forward_sums[(read_row.astype(np.int64) * colouring.forward + colour)[~reverse]]
    read_reverse = reverse_sums[(colour.astype(np.int64) * n + read_col)[reverse]]
    return bool((read_forward == 1).all() and (read_reverse == 1).all())
