"""A grid of the plane and what f makes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D

from .._dispatch import for_tensors_too
from ._axes import axes, colourbar, fitted, legend_below, point, titled, window
from ._colours import GREY, SIZES, VERMILLION, extends, sizes
from ._fold import determinants, folds
from ._sample import PlaneMap, box, count, lattice, some_finite

PIECES = 96  # of a line: what still looks smooth, in an SVG file of half a megabyte
SAMPLES = 241  # of the lattice that folds are looked for on, along each axis


@for_tensors_too()
def grid(f: Callable[..., Any], lower: Any, upper: Any, lines: int = 17, *, ax: Axes | None = None) -> Axes:
    """The image under f: R² → R² of a regular grid on the rectangle from `lower` to `upper`, coloured by |det J|.

    `lines` in each direction; those of constant x[0] are thick, those of constant x[1] thin. Folds, where det J changes
    sign, are drawn on top; they are found to rounding between points of a lattice of 241×241. Lines that a pole tears
    apart are broken, and the picture leaves out what it throws far off. Raises `ArgumentError`.
    """
    low, high = box(lower, upper)
    lines = count(lines, "lines", 2)
    plane = PlaneMap(f, lower)
    families = [
        lattice(low, high, lines, PIECES + 1).swapaxes(0, 1),  # (lines, samples, 2): x[0] constant
        lattice(low, high, PIECES + 1, lines),
    ]
    images = [plane.jacobians(points) for points in families]
    everything = np.concatenate([value.reshape(-1, 2) for value, _ in images])
    some_finite(everything, "f")
    size = np.abs(np.concatenate([determinants(J).ravel() for _, J in images]))
    norm, scale = sizes(size)
    limits = window(everything[:, 0]), window(everything[:, 1])

    ax = axes(ax, fitted(*np.diff(limits)[:, 0]))
    keys = []
    for k, ((value, J), width) in enumerate(zip(images, (2.0, 0.9), strict=True)):
        segments, shades = _segments(value, np.abs(determinants(J)), limits)
        drawn = LineCollection(list(segments), cmap=SIZES, norm=norm, linewidths=width)
        drawn.set_array(shades)
        ax.add_collection(drawn)
        keys.append(Line2D([], [], color=GREY, linewidth=width, label=f"x[{k}] constant"))
    keys += _draw_folds(ax, plane, lattice(low, high, SAMPLES, SAMPLES))
    ax.set_xlim(*limits[0])
    ax.set_ylim(*limits[1])
    ax.set_aspect("equal", adjustable="box")
    colourbar(ax, drawn, f"|det J|: growth of areas{scale}", extend=extends(norm, size))
    ax.set_xlabel("output y[0]")
    ax.set_ylabel("output y[1]")
    titled(ax, f"{plane.name}: image of the grid from {point(low)} to {point(high)}")
    legend_below(ax, keys)
    return ax


def _segments(value: np.ndarray, size: np.ndarray, limits: Any) -> tuple[np.ndarray, np.ndarray]:
    """Pieces (k, 2, 2) between neighbours on a line and their |det J| (k,), without those that jump."""
    pieces = np.stack([value[:, :-1], value[:, 1:]], axis=2).reshape(-1, 2, 2)
    shades = (0.5 * (size[:, :-1] + size[:, 1:])).ravel()
    reach = np.array([high - low for low, high in limits])
    with np.errstate(invalid="ignore"):
        jump = (np.abs(pieces[:, 1] - pieces[:, 0]) > 0.5 * reach).any(axis=1)
    keep = np.isfinite(pieces).all(axis=(1, 2)) & ~jump
    return pieces[keep], shades[keep]


def _draw_folds(ax: Axes, plane: PlaneMap, points: np.ndarray) -> list[Any]:
    curves = folds(plane, points, plane.jacobians(points)[1])
    for curve in curves:
        ax.plot(*plane(curve).T, color=VERMILLION, linewidth=2.5, zorder=3)
    return [Line2D([], [], color=VERMILLION, linewidth=2.5, label="fold: det J changes sign")] if curves else []
