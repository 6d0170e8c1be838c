"""How much f grows areas, and where it turns them over, seen from the inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ._axes import axes, colourbar
from ._colours import BLACK, GREEN, SIGNED, SIZES, extends, signed, sizes
from ._fold import determinants, folds
from ._sample import PlaneMap, box, count, lattice, some_finite


def volume_map(
    f: Callable[..., Any], lower: Any, upper: Any, resolution: int = 161, *, ax: Axes | None = None
) -> Axes:
    """det J over the rectangle of inputs from `lower` to `upper`, at `resolution`² points.

    For f: R² → R² red areas keep their orientation, blue hatched ones are turned over, a black line is a fold
    (det J = 0), a dashed green one is where areas are kept, |det J| = 1. For f: R² → Rᵐ with m > 2 the generalised
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
    norm, scale = signed(volume) if square else sizes(volume)

    ax = axes(ax, (6.8, 5.2))
    x, y = points[0, :, 0], points[:, 0, 1]
    shown = np.ma.masked_invalid(volume)
    drawn = ax.pcolormesh(x, y, shown, cmap=SIGNED if square else SIZES, norm=norm, shading="nearest", rasterized=True)
    ax.set_facecolor("0.8")  # of what is not finite
    keys: list[Any] = []
    if square:
        keys += _turned(ax, x, y, shown)
        keys += _fold_lines(ax, plane, points, volume)
    keys += _kept(ax, x, y, np.ma.abs(shown))
    ax.set_xlim(low[0], high[0])
    ax.set_ylim(low[1], high[1])
    what = "det J: growth of areas" if square else "√det(JᵀJ): growth of areas"
    colourbar(ax, drawn, f"{what}{scale}", extend=extends(norm, volume))
    ax.set_xlabel("input x[0]")
    ax.set_ylabel("input x[1]")
    ax.set_title(f"{plane.name}: how areas grow" + (_verdict(shown) if square else ", on the surface in the outputs"))
    if keys:
        ax.legend(
            handles=keys, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3, frameon=False, fontsize=8
        )  # fmt: skip
    return ax


def _stretch(J: np.ndarray) -> np.ndarray:
    """√det(JᵀJ) of (..., m, 2)."""
    with np.errstate(all="ignore"):
        return np.sqrt(np.maximum(determinants(np.einsum("...ki,...kj->...ij", J, J)), 0))


def _verdict(det: np.ndarray) -> str:
    if (det == 0).all():
        return ": det J = 0 everywhere"
    if (det > 0).all():
        return "; orientation kept everywhere"
    return "; orientation reversed everywhere" if (det < 0).all() else " and where orientation turns"


def _turned(ax: Axes, x: np.ndarray, y: np.ndarray, det: np.ndarray) -> list[Any]:
    if not (det < 0).any():
        return []
    negative = np.ma.filled(det < 0, False).astype(float)
    ax.contourf(x, y, negative, levels=[0.5, 1.5], colors="none", hatches=["///"])
    return [Patch(facecolor="none", edgecolor=BLACK, hatch="///", label="orientation reversed, det J < 0")]


def _fold_lines(ax: Axes, plane: PlaneMap, points: np.ndarray, det: np.ndarray) -> list[Any]:
    curves = folds(plane, points, det)
    for curve in curves:
        ax.plot(*curve.T, color=BLACK, linewidth=2.5)
    return [Line2D([], [], color=BLACK, linewidth=2.5, label="fold")] if curves else []


def _kept(ax: Axes, x: np.ndarray, y: np.ndarray, size: np.ndarray) -> list[Any]:
    if not size.min() < 1 < size.max():
        return []
    ax.contour(x, y, size, levels=[1.0], colors=GREEN, linestyles="--")
    return [Line2D([], [], color=GREEN, linestyle="--", label="areas kept, factor 1")]
