"""Matrices as grids of cells: m×n, outputs × inputs, row 0 on top."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, MaxNLocator

MOST_CELLS = 256  # along an axis: as many as a figure of the usual size shows side by side, none of them lost
SEEN = 64  # rows or columns up to which single cells are told apart by lines


def cell_of(index: np.ndarray, size: int, cells: int) -> np.ndarray:
    """In which of `cells` equal stretches of `size` entries each index lies."""
    return index.astype(np.int64) * cells // size


def frame(m: int, n: int) -> dict[str, Any]:
    """For `imshow`: ticks count entries, whatever a cell stands for; cells are square unless J is very long."""
    slender = max(m, n) > 4 * min(m, n)
    return {
        "extent": (-0.5, n - 0.5, m - 0.5, -0.5),
        "aspect": "auto" if slender else "equal",
        "interpolation": "nearest",
    }


def size_of(m: int, n: int) -> tuple[float, float]:
    """Inches of a figure for m×n cells."""
    ratio = min(max(m / n, 0.25), 1.6)
    return (6.4, 2.2 + 4.2 * ratio) if ratio < 1 else (6.4, 6.0)


def whole_ticks(ax: Axes, m: int, n: int) -> None:
    """Ticks at whole numbers, and thin lines between cells that are large enough to be told apart."""
    for axis, size in ((ax.xaxis, n), (ax.yaxis, m)):
        axis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
        if size <= SEEN and max(m, n) <= MOST_CELLS:
            axis.set_minor_locator(FixedLocator([k - 0.5 for k in range(1, size)]))
            axis.grid(True, which="minor", color="0.8", linewidth=0.5)
    ax.tick_params(which="minor", length=0)
