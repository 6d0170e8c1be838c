"""Few seed vectors that show a sparse Jacobian: colour its columns, its rows, or some of both.

Columns of one colour are summed into one JVP (`J @ S`), rows of one colour into one VJP (`Sᵀ @ J`); a
colouring is valid if each wanted entry can then be read off directly. Two-sided colouring: Hossain,
Steihaug (1998); Coleman, Verma (1998).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import sparse
from scipy.sparse import csr_array

from . import orders
from .problem import reduce


@dataclass(frozen=True, eq=False)
class Colouring:
    """Which columns share a JVP and which rows share a VJP.

    `column_colours` (n,) and `row_colours` (m,) are int32, -1 where a column or row is in no seed.
    `forward` is the number of JVPs, `reverse` of VJPs, `lower_bound` a proven lower bound on the passes of
    this side (0 if two-sided). An entry with both a row and a column colour is read from the side named by
    `first`.
    """

    shape: tuple[int, int]
    column_colours: np.ndarray
    row_colours: np.ndarray
    forward: int
    reverse: int
    lower_bound: int
    order: str
    first: Literal["rows", "columns"] = "rows"

    @property
    def passes(self) -> int:
        return self.forward + self.reverse

    @property
    def side(self) -> Literal["columns", "rows", "both"]:
        if self.forward and self.reverse:
            return "both"
        return "rows" if self.reverse else "columns"


def colour_columns(pattern: Any, wanted: Any = None, *, effort: float = 1.0) -> Colouring:
    """Colour the columns of an m×n pattern: one JVP per colour.

    `pattern` is a scipy sparse matrix, nonzero where J may be; `wanted` a part of it (None: all of it).
    Columns without a wanted entry get no colour. `effort` scales the work spent on fewer colours; at 0 only
    lattices and one greedy pass are tried. The same input always gives the same colouring. Raises TypeError
    for a pattern that is not a scipy sparse matrix; ValueError for `wanted` of another shape or outside the
    pattern, and for a negative or infinite effort.
    """
    return _columns(_marked(pattern, wanted, effort), effort)


def colour_rows(pattern: Any, wanted: Any = None, *, effort: float = 1.0) -> Colouring:
    """Colour the rows of an m×n pattern: one VJP per colour. Arguments and errors as in `colour_columns`."""
    return _transposed(_columns(_marked(pattern, wanted, effort).T.tocsr(), effort))


def colour_both(pattern: Any, wanted: Any = None, *, effort: float = 1.0) -> Colouring:
    """Colour some rows and the columns of the rest, or the reverse, whichever needs the fewest passes.

    Long rows go to VJPs and the other rows to JVPs (or long columns to JVPs), for several meanings of "long".
    Where no split saves a pass, the result is the better one-sided colouring. Arguments and errors as in
    `colour_columns`.
    """
    marked = _marked(pattern, wanted, effort)
    flipped = marked.T.tocsr()
    columns, rows = _columns(marked, effort), _transposed(_columns(flipped, effort))
    best = columns if columns.passes <= rows.passes else rows
    best = _split(marked, flipped, best, effort)
    return _transposed(_split(flipped, marked, _transposed(best), effort))


def entries(colouring: Colouring, wanted: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Where each wanted entry (i, j) is read: rows, columns, from_reverse, colour, in row-major order.

    It is `(J @ S)[i, colour]`, or `(Sᵀ @ J)[colour, j]` where `from_reverse` holds. Raises ValueError if the
    colouring does not show an entry of `wanted`.
    """
    wanted = _canonical(wanted, "wanted")
    if wanted.shape != colouring.shape:
        raise ValueError(
            f"wanted has shape {wanted.shape}, the colouring is for shape {colouring.shape}: "
            "pass the entries of the pattern that was coloured."
        )
    rows = np.repeat(np.arange(wanted.shape[0], dtype=np.int32), np.diff(wanted.indptr))
    columns = wanted.indices.astype(np.int32)
    row_colours, column_colours = colouring.row_colours[rows], colouring.column_colours[columns]
    from_reverse = row_colours >= 0 if colouring.first == "rows" else column_colours < 0
    colour = np.where(from_reverse, row_colours, column_colours)
    if (colour < 0).any():
        at = int(np.argmax(colour < 0))
        raise ValueError(
            f"wanted contains entry ({rows[at]}, {columns[at]}), which is in no seed of this colouring: "
            "colour again with these entries as `wanted`."
        )
    return rows, columns, from_reverse, colour


def _columns(marked: csr_array, effort: float) -> Colouring:
    m, n = marked.shape
    problem, columns = reduce(marked)
    best = orders.colour(problem, effort)
    colours = np.full(n, -1, np.int32)
    colours[columns] = best.colours
    none = np.full(m, -1, np.int32)
    return Colouring((m, n), colours, none, best.count, 0, best.lower, best.order, "columns")


def _transposed(c: Colouring) -> Colouring:
    return Colouring(
        shape=c.shape[::-1],
        column_colours=c.row_colours,
        row_colours=c.column_colours,
        forward=c.reverse,
        reverse=c.forward,
        lower_bound=c.lower_bound,
        order=c.order,
        first="rows" if c.first == "columns" else "columns",
    )


def _split(marked: csr_array, flipped: csr_array, best: Colouring, effort: float) -> Colouring:
    """`best`, or a colouring with fewer passes that gives the long rows to VJPs and the rest to JVPs."""
    wanted_rows = np.repeat(np.arange(marked.shape[0]), np.diff(marked.indptr))[marked.data]
    wanted_columns = marked.indices[marked.data]
    wanted = np.bincount(wanted_rows, minlength=marked.shape[0])
    lengths = np.where(wanted > 0, np.diff(marked.indptr), 0)
    cuts = np.unique(lengths[wanted > 0])[:-1][::-1]
    # The longest rows are where a split pays; among many more lengths a sample will do.
    cuts = np.unique(np.concatenate([cuts[:16], cuts[:: max(1, len(cuts) // 16)]]))
    bounds = []
    for cut in cuts.tolist():
        in_long = lengths[wanted_rows] > cut
        reverse = int(np.bincount(wanted_columns[in_long]).max())
        bounds.append((int(wanted[lengths <= cut].max()) + reverse, cut))

    def at(cut: int, effort: float) -> Colouring:
        long = lengths > cut
        forward = _columns(_wanting(marked, ~long[:, None]), effort)
        reverse = _transposed(_columns(_wanting(flipped, long[None, :]), effort))
        return Colouring(
            shape=forward.shape,
            column_colours=forward.column_colours,
            row_colours=reverse.row_colours,
            forward=forward.forward,
            reverse=reverse.reverse,
            lower_bound=0,
            order=f"rows longer than {cut}: {reverse.order}; the rest: {forward.order}",
            first="rows",
        )

    tries = int(np.clip(orders.VISITS * effort / max(8 * marked.nnz, 1), 2, 12))
    chosen = None
    for bound, cut in sorted(bounds)[:tries]:
        if bound >= best.passes:
            break
        if (split := at(cut, 0.0)).passes < best.passes:
            best, chosen = split, cut
    if chosen is not None and (split := at(chosen, effort)).passes <= best.passes:
        best = split
    return best


def _wanting(marked: csr_array, lines: np.ndarray) -> csr_array:
    """The same pattern, wanted only in these rows (m×1 mask) or columns (1×n mask)."""
    if lines.shape[0] == 1:
        kept = lines[0, marked.indices]
    else:
        kept = np.repeat(lines[:, 0], np.diff(marked.indptr))
    return csr_array((marked.data & kept, marked.indices, marked.indptr), shape=marked.shape)


def _marked(pattern: Any, wanted: Any, effort: float) -> csr_array:
    """The pattern as a CSR whose stored values say which entries are wanted."""
    if not (math.isfinite(effort) and effort >= 0):
        raise ValueError(f"effort is {effort!r}, expected a finite number >= 0; 1 is usual.")
    pattern = _canonical(pattern, "pattern")
    if wanted is None:
        return pattern
    wanted = _canonical(wanted, "wanted")
    if wanted.shape != pattern.shape:
        raise ValueError(f"wanted has shape {wanted.shape}, expected the pattern's shape {pattern.shape}.")
    union = pattern.astype(np.int8) + wanted.astype(np.int8)
    if union.nnz != pattern.nnz:
        raise ValueError(
            f"wanted has {union.nnz - pattern.nnz} entries outside the pattern, where J is zero: "
            "intersect it with the pattern first, e.g. pattern.multiply(wanted)."
        )
    union.sort_indices()
    return csr_array((union.data == 2, union.indices, union.indptr), shape=pattern.shape)


def _canonical(matrix: Any, name: str) -> csr_array:
    """A boolean CSR with sorted rows, no duplicates and no stored zeros; the argument is left as it is."""
    if not sparse.issparse(matrix) or len(matrix.shape) != 2:
        raise TypeError(
            f"{name} is a {type(matrix).__name__}, expected a two-dimensional scipy sparse matrix: "
            "wrap it in scipy.sparse.csr_array."
        )
    csr = csr_array(matrix)
    csr = csr_array((csr.data != 0, csr.indices, csr.indptr), shape=csr.shape)
    if not csr.has_canonical_format or not csr.data.all():
        csr = csr.copy()
        csr.sum_duplicates()
        csr.eliminate_zeros()
    return csr
