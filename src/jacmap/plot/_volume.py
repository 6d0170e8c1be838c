"""How much f grows areas, and where it turns them over, seen from the inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from .._dispatch import for_tensors_too
from ._axes import axes, colourbar, hatch_missing, legend_below, titled
from ._colours import BLACK, SIGNED, SIZES, extends, signed, sizes
from ._fold import determinants, folds
from ._sample import PlaneMap, box, count, lattice, some_finite

LINE = "#E69F00"  # orange, seen on blue, white, red and on cividis but for its light end


@for_tensors_too()
def volume_map(f: Callable[..., Any], lower: Any, upper: Any, resolution: int = 161, *, ax: Axes | None = None) -> Axes:
    """det J over the rectangle of inputs from `lower` to `upper`, at `resolution`² points.

    For f: R² → R² hatched areas are turned over (blue, where others, in red, are not), a black line is a fold (det J
    changes sign), a dashed orange one is where areas are kept, |det J| = 1. For f: R² → Rᵐ with m > 2 the generalised
    volume √det(JᵀJ), how much f stretches a piece of surface (the area formula of geometric measure theory, Federer
    3.2.3). Raises `ArgumentError`.
    """
    low, high = box(lower, upper)
    resolution = count(resolution, "resolution", 2)
    plane = PlaneMap(f, lower, outputs=(2, np.inf))
    points = lattice(low, high, resolution, resolution)
    J = plane.jacobians(points)[1]
    square = plane.outputs == 2
    volume = determinants(J) if square else _stretch(J)
    some_finite(volume, "det J")
    mixed = bool((volume < 0).any() and (volume > 0).any())
    shades = volume if mixed else np.abs(volume)
    norm, scale = signed(volume) if mixed else sizes(shades)

    ax = axes(ax, (6.8, 5.2))
    x, y = points[0, :, 0], points[:, 0, 1]
    shown = np.ma.masked_invalid(volume)
    painted = np.ma.masked_invalid(shades)
    drawn = ax.pcolormesh(x, y, painted, cmap=SIGNED if mixed else SIZES, norm=norm, shading="nearest", rasterized=True)
    hatch_missing(ax, volume)
    keys: list[Any] = []
    if square:
        keys += _turned(ax, x, y, shown)
        keys += _fold_lines(ax, plane, points, J)
    keys += _kept(ax, x, y, np.ma.abs(shown))
    ax.set_xlim(low[0], high[0])
    ax.set_ylim(low[1], high[1])
    what = ("det J" if mixed else "|det J|") if square else "√det(JᵀJ)"
    colourbar(ax, drawn, f"{what}: growth of areas{scale}", extend=extends(norm, shades))
    ax.set_xlabel("input x[0]")
    ax.set_ylabel("input x[1]")
    titled(ax, f"{plane.name}: how areas grow{_verdict(shown) if square else ' on the surface of the outputs'}")
    legend_below(ax, keys)
    return ax


def _stretch(J: np.ndarray) -> np.ndarray:
    """√det(JᵀJ) of (..., m, 2)."""
    with np.errstate(all="ignore"):
        return np.sqrt(np.maximum(determinants(np.einsum("...ki,...kj->...ij", J, J)), 0))


def _verdict(det: np.ndarray) -> str:
    if (det == 0).all():
        return ": det J = 0 everywhere"
    if (det >= 0).all():
        return "; orientation is kept"
    return "; orientation is reversed" if (det <= 0).all() else " and where orientation turns"


def _turned(ax: Axes, x: np.ndarray, y: np.ndarray, det: np.ndarray) -> list[Any]:
    if not (det < 0).any():
        return []
    negative = np.ma.filled(det < 0, False).astype(float)
    ax.contourf(x, y, negative, levels=[0.5, 1.5], colors="none", hatches=["///"])
    return [Patch(facecolor="none", edgecolor=BLACK, hatch="///", label="reversed, det J < 0")]


def _fold_lines(ax: Axes, plane: PlaneMap, points: np.ndarray, J: np.ndarray) -> list[Any]:
    curves = folds(plane, points, J)
    for curve in curves:
        ax.plot(*curve.T, color=BLACK, linewidth=2.5)
    return [Line2D([], [], color=BLACK, linewidth=2.5, label="fold, det J = 0")] if curves else []


def _kept(ax: Axes, x: np.ndarray, y: np.ndarray, size: np.ndarray) -> list[Any]:
    if not size.min() < 1 < size.max():
        return []
    ax.contour(x, y, size, levels=[1.0], colors=LINE, linestyles="--", linewidths=2)
    return [Line2D([], [], color=LINE, linestyle="--", linewidth=2, label="areas kept, factor 1")]
