"""A vector field of the plane with its sources and its rotation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from .._dispatch import for_tensors_too
from ._axes import axes, colourbar, fitted, hatch_missing, legend_below, short, titled
from ._colours import BLACK, GREEN, SIGNED, extends, signed
from ._sample import PlaneMap, box, count, lattice, some_finite

SAMPLES = 121  # of the background, along each axis
LEVELS = 5  # of rotation
ROUNDING = 8.0  # in units of eps times the size of the terms


@for_tensors_too()
def vector_field(f: Callable[..., Any], lower: Any, upper: Any, arrows: int = 17, *, ax: Axes | None = None) -> Axes:
    """The field f: R² → R² on the rectangle from `lower` to `upper`: arrows, divergence, rotation.

    Red is a source and blue a sink: divergence tr J = ∂f_0/∂x_0 + ∂f_1/∂x_1. Green contours are the rotation
    ∂f_1/∂x_0 − ∂f_0/∂x_1, solid where it is counterclockwise, dashed where clockwise. Both are in units of f over
    those of x. `arrows` along each axis. Raises `ArgumentError`.
    """
    low, high = box(lower, upper)
    arrows = count(arrows, "arrows", 2)
    plane = PlaneMap(f, lower)
    points = lattice(low, high, SAMPLES, SAMPLES)
    J = plane.jacobians(points)[1]
    divergence = _sum(J[..., 0, 0], J[..., 1, 1], plane.eps)
    rotation = _sum(J[..., 1, 0], -J[..., 0, 1], plane.eps)
    some_finite(divergence, "the divergence of f")
    norm, scale = signed(divergence)

    ax = axes(ax, fitted(*(high - low)))
    x, y = points[0, :, 0], points[:, 0, 1]
    drawn = ax.pcolormesh(
        x, y, np.ma.masked_invalid(divergence), cmap=SIGNED, norm=norm, shading="nearest", rasterized=True
    )
    hatch_missing(ax, divergence)
    inside = 0.5 * (high - low) / arrows
    keys = _arrows(ax, plane, lattice(low + inside, high - inside, arrows, arrows))
    keys += _contours(ax, x, y, np.ma.masked_invalid(rotation))
    ax.set_xlim(low[0], high[0])
    ax.set_ylim(low[1], high[1])
    ax.set_aspect("equal", adjustable="box")
    colourbar(ax, drawn, f"divergence tr J (source > 0 > sink){scale}", extend=extends(norm, divergence))
    ax.set_xlabel("input x[0]")
    ax.set_ylabel("input x[1]")
    titled(ax, f"Field {plane.name}: {_said('divergence', divergence)}, {_said('rotation', rotation)}")
    legend_below(ax, keys, columns=1)
    return ax


def _sum(a: np.ndarray, b: np.ndarray, eps: float) -> np.ndarray:
    """a + b, 0 where that is rounding, NaN where it is not finite."""
    with np.errstate(all="ignore"):
        total, noise = a + b, ROUNDING * eps * (np.abs(a) + np.abs(b))
    return np.where(np.isfinite(total), np.where(np.abs(total) <= noise, 0.0, total), np.nan)


def _said(name: str, values: np.ndarray) -> str:
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    return f"{name} {short(high)} everywhere" if _constant(low, high) else f"{name} {short(low)} to {short(high)}"


def _constant(low: float, high: float) -> bool:
    return high - low <= 1e-9 * max(abs(low), abs(high))


def _contours(ax: Axes, x: np.ndarray, y: np.ndarray, rotation: np.ndarray) -> list[Any]:
    if _constant(float(rotation.min()), float(rotation.max())):
        return []
    lines = ax.contour(x, y, rotation, LEVELS, colors=GREEN, negative_linestyles="dashed", linewidths=1.2)
    ax.clabel(lines, fontsize=8, fmt=lambda level: short(level))
    return [Line2D([], [], color=GREEN, label="rotation ∂f₁/∂x₀ − ∂f₀/∂x₁ (dashed: clockwise)")]


def _arrows(ax: Axes, plane: PlaneMap, points: np.ndarray) -> list[Any]:
    value = plane(points)
    with np.errstate(invalid="ignore"):
        speed = np.hypot(value[..., 0], value[..., 1])
    value = np.where(np.isfinite(speed)[..., None], value, np.nan)
    longest = float(np.nanmax(speed)) if np.isfinite(speed).any() else 0.0
    if not longest:
        return []
    ax.quiver(*np.moveaxis(points, -1, 0), *np.moveaxis(value, -1, 0), color=BLACK, pivot="mid", width=0.004)
    label = f"f; the longest arrow stands for |f| = {short(longest)}"
    return [Line2D([], [], color=BLACK, marker=r"$\rightarrow$", markersize=16, linestyle="", label=label)]
