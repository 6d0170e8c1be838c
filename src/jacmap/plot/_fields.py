"""A vector field of the plane with its sources and its rotation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ._axes import axes, colourbar, short
from ._colours import BLACK, GREEN, SIGNED, extends, signed
from ._sample import PlaneMap, box, count, lattice, some_finite

SAMPLES = 121  # of the background, along each axis
LEVELS = 5  # of rotation


def vector_field(
    f: Callable[..., Any], lower: Any, upper: Any, arrows: int = 17, *, ax: Axes | None = None
) -> Axes:
    """The field f: R² → R² on the rectangle from `lower` to `upper`: arrows, divergence, rotation.

    Red is a source and blue a sink: divergence tr J = ∂f_0/∂x_0 + ∂f_1/∂x_1. Green contours are the rotation
    ∂f_1/∂x_0 − ∂f_0/∂x_1, solid where it is counterclockwise, dashed where clockwise. Both have the units of f over those
    of x. `arrows` along each axis. Raises `ArgumentError`.
    """
    low, high = box(lower, upper)
    arrows = count(arrows, "arrows", 2)
    plane = PlaneMap(f, lower)
    points = lattice(low, high, SAMPLES, SAMPLES)
    J = plane.jacobians(points)[1]
    divergence, rotation = J[..., 0, 0] + J[..., 1, 1], J[..., 1, 0] - J[..., 0, 1]
    some_finite(divergence, "the divergence of f")
    norm, scale = signed(divergence)

    ax = axes(ax, (6.8, 5.4))
    x, y = points[0, :, 0], points[:, 0, 1]
    drawn = ax.pcolormesh(
        x, y, np.ma.masked_invalid(divergence), cmap=SIGNED, norm=norm, shading="nearest", rasterized=True
    )
    ax.set_facecolor("0.8")
    said = _contours(ax, x, y, np.ma.masked_invalid(rotation))
    inside = 0.5 * (high - low) / arrows
    _arrows(ax, plane, lattice(low + inside, high - inside, arrows, arrows))
    ax.set_xlim(low[0], high[0])
    ax.set_ylim(low[1], high[1])
    ax.set_aspect("equal", adjustable="box")
    colourbar(ax, drawn, f"divergence tr J (source > 0 > sink){scale}", extend=extends(norm, divergence))
    ax.set_xlabel("input x[0]")
    ax.set_ylabel("input x[1]")
    ax.set_title(f"Field {plane.name}; {said}")
    return ax


def _contours(ax: Axes, x: np.ndarray, y: np.ndarray, rotation: np.ndarray) -> str:
    """Draws the lines of equal rotation; what there is to say of it."""
    lowest, highest = float(rotation.min()), float(rotation.max())
    if highest - lowest <= 1e-9 * max(abs(lowest), abs(highest), 1e-300):
        return f"rotation {short(highest)} everywhere" if highest else "free of rotation"
    lines = ax.contour(x, y, rotation, LEVELS, colors=GREEN, negative_linestyles="dashed", linewidths=1.2)
    ax.clabel(lines, fontsize=7, fmt=lambda level: short(level))
    ax.legend(
        handles=[Line2D([], [], color=GREEN, label="rotation ∂f₁/∂x₀ − ∂f₀/∂x₁ (dashed: clockwise)")],
        loc="upper center", bbox_to_anchor=(0.5, -0.12), frameon=False, fontsize=8,
    )  # fmt: skip
    return f"rotation from {short(lowest)} to {short(highest)}"


def _arrows(ax: Axes, plane: PlaneMap, points: np.ndarray) -> None:
    value = plane(points)
    with np.errstate(invalid="ignore"):
        speed = np.hypot(value[..., 0], value[..., 1])
    value = np.where(np.isfinite(speed)[..., None], value, np.nan)
    longest = float(np.nanmax(speed)) if np.isfinite(speed).any() else 0.0
    if not longest:
        return
    drawn = ax.quiver(*np.moveaxis(points, -1, 0), *np.moveaxis(value, -1, 0), color=BLACK, pivot="mid", width=0.004)
    ax.quiverkey(drawn, 0.9, 1.03, longest, f"|f| = {short(longest)}", labelpos="E", fontproperties={"size": 8})
