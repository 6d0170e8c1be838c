"""J itself: cell by cell when small, as an image when large."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from .._dispatch import for_tensors_too
from .._errors import ArgumentError
from .._jacobian import Jacobian
from ._axes import axes, called, colourbar, counted, hatch_missing, short, titled
from ._cells import MOST_CELLS, cell_of, frame, size_of, whole_ticks
from ._colours import SIGNED, extends, ink, signed
from ._sample import numbers, some_finite

READABLE = 12  # rows and columns up to which numbers are written into the cells
NAMED = 40  # names up to which each gets its tick
DENSE = 25_000_000  # entries up to which an array is made of J


@for_tensors_too()
def matrix(
    J: Any, rows: Sequence[str] | None = None, columns: Sequence[str] | None = None, *, ax: Axes | None = None
) -> Axes:
    """The entries of J, m×n, outputs × inputs, row 0 on top; blue below 0, red above, white at 0.

    `J` is a `Jacobian`, a 2-D array, a SciPy sparse or a BCOO matrix. `rows` and `columns` name its m outputs and n
    inputs. Up to 12×12 the numbers stand in the cells. Above 256 rows or columns a cell stands for a rectangle of
    entries and shows the largest of them in size. What is not finite is hatched. Raises `ArgumentError`.
    """
    cells, (m, n) = _cells(J)
    some_finite(cells, "J")
    for name, names, size in (("rows", rows, m), ("columns", columns, n)):
        if names is not None and (isinstance(names, str) or len(names) != size):
            raise ArgumentError(f"{name}: got {names!r:.60}, expected {counted(size, 'name')}, one per line of J")
    ax = axes(ax, size_of(m, n))
    norm, scale = signed(cells)
    drawn = ax.imshow(np.ma.masked_invalid(cells), cmap=SIGNED, norm=norm, **frame(m, n))
    whole_ticks(ax, m, n)
    missing = hatch_missing(ax, cells)
    if max(m, n) <= READABLE:
        _write(ax, cells, norm)
    colourbar(ax, drawn, f"∂y_i/∂x_j{scale}", extend=extends(norm, cells))
    _name(ax.yaxis, rows, "output", "i")
    _name(ax.xaxis, columns, "input", "j")
    if columns is not None and n <= NAMED and max(map(len, columns)) * n > 60:
        ax.tick_params(axis="x", rotation=90)
    name = f"J of {called(J)}" if isinstance(J, Jacobian) else "J"
    each = "" if cells.shape == (m, n) else "a cell shows the largest of its entries"
    hatched = f"hatched: {counted(missing, 'cell')} not finite" if missing else ""
    titled(ax, f"{name}: {m:,}×{n:,}, outputs × inputs", "; ".join(filter(None, (each, hatched))))
    return ax


def _name(axis: Any, names: Sequence[str] | None, what: str, index: str) -> None:
    if names is not None and len(names) <= NAMED:
        axis.set_ticks(range(len(names)), labels=[str(name) for name in names])
        axis.set_label_text(what)
    else:
        axis.set_label_text(f"{what} entry {index}")


def _write(ax: Axes, cells: np.ndarray, norm: Normalize) -> None:
    crowded = cells.shape[1] > 6
    for (i, j), value in np.ndenumerate(cells):
        if np.isfinite(value):
            text, colour = short(value, 2 if crowded else 3), ink(SIGNED(float(norm(value))))
            ax.text(j, i, text, ha="center", va="center", color=colour, fontsize=7 if crowded else 10)


def _cells(J: Any) -> tuple[np.ndarray, tuple[int, int]]:
    """(values of the cells, shape of J)."""
    found = J
    if isinstance(J, Jacobian):
        m, n = J.shape
        found = J.sparse() if J.pattern.nnz < m * n / 4 else _dense(J)
    if hasattr(found, "indices") and hasattr(found, "data") and not hasattr(found, "tocoo"):  # BCOO
        at = np.asarray(found.indices)
        if at.ndim == 2 and at.shape[1] == 2:
            return _aggregated(at[:, 0], at[:, 1], numbers(found.data, "J"), found.shape)
    if hasattr(found, "tocoo"):
        coo = found.tocoo()
        return _aggregated(coo.row, coo.col, numbers(coo.data, "J"), coo.shape)
    dense = numbers(found, "J")
    if dense.ndim != 2 or not dense.size:
        raise ArgumentError(
            f"J: got shape {dense.shape}, expected a matrix m×n with entries; a vector v is v[None, :] as a row"
        )
    if max(dense.shape) <= MOST_CELLS:
        return dense, dense.shape
    rows, columns = np.indices(dense.shape, dtype=np.int32, sparse=False).reshape(2, -1)
    return _aggregated(rows, columns, dense.ravel(), dense.shape)


def _dense(J: Jacobian) -> Any:
    m, n = J.shape
    if m * n > DENSE:
        raise ArgumentError(
            f"J: got {m}×{n}, expected at most {DENSE:,} entries that can be nonzero; draw "
            "jm.plot.pattern(J), or rows of it: jm.plot.matrix(J.row(i)[None, :])"
        )
    return J.dense()


def _aggregated(
    rows: np.ndarray, columns: np.ndarray, values: np.ndarray, shape: tuple[int, ...]
) -> tuple[np.ndarray, tuple[int, int]]:
    """Of the entries that share a cell the largest in size, with its sign; NaN where one of them is."""
    m, n = shape
    cells = min(m, MOST_CELLS), min(n, MOST_CELLS)
    at = cell_of(rows, m, cells[0]) * cells[1] + cell_of(columns, n, cells[1])
    high, low = np.zeros(cells[0] * cells[1]), np.zeros(cells[0] * cells[1])
    with np.errstate(invalid="ignore"):
        np.maximum.at(high, at, values)
        np.minimum.at(low, at, values)
    return np.where(high >= -low, high, low).reshape(cells), (m, n)
