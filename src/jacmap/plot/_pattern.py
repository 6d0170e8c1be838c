"""Which entries of J can be nonzero, as a picture of at most 256 × 256 cells."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm
from scipy import sparse

from .. import Pattern
from .._dispatch import for_tensors_too
from .._errors import ArgumentError
from .._jacobian import Jacobian
from ._axes import axes, called, colourbar, counted, short, titled
from ._cells import MOST_CELLS, cell_of, frame, size_of, whole_ticks
from ._colours import BLUE, SHARES


@for_tensors_too()
def pattern(J: Any, *, ax: Axes | None = None) -> Axes:
    """The pattern of J, m×n, outputs × inputs, row 0 on top.

    `J` is a `Jacobian`, a `Pattern`, a SciPy sparse matrix (what it stores) or a 2-D array (what is not 0). Where J has
    more than 256 rows or columns a cell stands for a rectangle of entries, and its shade, on a logarithmic scale, for
    the share of them that can be nonzero; a single entry is still seen. Raises `ArgumentError`.
    """
    title = f"Pattern of {called(J)}: {J.structure}" if isinstance(J, Jacobian) else "Pattern"
    found = _pattern_of(J)
    m, n = found.shape
    shape = min(m, MOST_CELLS), min(n, MOST_CELLS)
    held = _counts(found, shape)
    entries = round(held.sum())
    held /= np.outer(np.bincount(cell_of(np.arange(m), m, shape[0])), np.bincount(cell_of(np.arange(n), n, shape[1])))

    ax = axes(ax, size_of(m, n))
    shown = np.ma.masked_equal(held, 0)
    if shape == (m, n):
        ax.imshow(shown, cmap=ListedColormap([BLUE]), **frame(m, n))
    else:
        smallest = shown.min() if entries else 1.0
        scale = LogNorm(min(float(smallest), 0.1), 1.0)
        drawn = ax.imshow(shown, cmap=SHARES, norm=scale, **frame(m, n))
        colourbar(ax, drawn, f"share of a cell's entries (about {-(-m // shape[0])}×{-(-n // shape[1])})")
    whole_ticks(ax, m, n)
    titled(ax, title, _amount(entries, m, n))
    ax.set_xlabel("input entry j")
    ax.set_ylabel("output entry i")
    return ax


def _amount(entries: int, m: int, n: int) -> str:
    share = short(100 * entries / (m * n))
    return f"{m:,}×{n:,}: {counted(entries, 'entry')} can be nonzero ({share} %)"


def _pattern_of(J: Any) -> Any:
    found = J.pattern if isinstance(J, Jacobian) else J
    if not hasattr(found, "tocsr"):
        try:
            found = sparse.csr_array(np.asarray(found) != 0)
        except (TypeError, ValueError) as error:
            raise ArgumentError(_expected(J)) from error
    if len(found.shape) != 2:
        raise ArgumentError(_expected(J))
    if 0 in found.shape:
        raise ArgumentError(f"J: got shape {found.shape}, expected at least one row and one column")
    return found


def _expected(J: Any) -> str:
    return (
        f"J: got {type(J).__name__} of shape {getattr(J, 'shape', ())}, expected jm.linearize(f, x), its pattern, "
        "a SciPy sparse matrix or a 2-D array"
    )


def _counts(found: Any, shape: tuple[int, int]) -> np.ndarray:
    """How many entries lie in each cell, without unfolding the pattern.

    A `Pattern` is a product rows ∘ core ∘ cols in which many rows (columns) share one of the core; so is the count.
    """
    m, n = found.shape
    if not isinstance(found, Pattern):
        found = Pattern.from_csr(_booleans(found))
    inner = found.core_shape
    down = _shares(found.rows, m, shape[0], inner[0])
    across = _shares(found.cols, n, shape[1], inner[1])
    joined = down if found.core is None else down @ found.core
    return np.asarray((joined @ across.T).todense(), float)


def _booleans(found: Any) -> Any:
    """What the matrix stores, each entry once."""
    matrix = sparse.csr_array(found, copy=True)
    matrix.data = np.ones(matrix.data.size, bool)
    matrix.sum_duplicates()
    return matrix


def _shares(index: Any, size: int, cells: int, inner: int) -> Any:
    """(cells, inner): how many of the lines in a cell use each line of the core."""
    lines = np.arange(size)
    index = lines if index is None else np.asarray(index)
    used = index >= 0
    pairs = cell_of(lines[used], size, cells), index[used]
    return sparse.csr_array((np.ones(pairs[0].size), pairs), shape=(cells, inner))
