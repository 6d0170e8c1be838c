"""How freely a link can be moved, over two joints."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from .._errors import ArgumentError
from ._axes import axes, colourbar, hatch_missing, legend_below, titled
from ._colours import BLACK, SIZES, VERMILLION, extends, sizes
from ._sample import count, lattice, some_finite

# Share of the largest value below which a pose is said to be next to a singular one.
NEAR = 0.02


def manipulability_map(
    robot: Any,
    q: Any,
    link: str,
    joints: tuple[str, str],
    measure: Any = "yoshikawa",
    part: Any = "all",
    resolution: int = 81,
    *,
    ax: Axes | None = None,
) -> Axes:
    """`jacmap.kinematics.manipulability` of `link` over the ranges of two joints, the others as in q (n,).

    A cross marks q; the dashed line holds the poses below a fiftieth of the largest value, next to singular ones. A
    joint without limits takes [−π, π]. `measure` and `part` as there. Raises `ArgumentError`.
    """
    from ..kinematics import manipulability  # whoever has a robot has the extra that this needs

    q = np.asarray(q, float)
    if q.ndim != 1:
        raise ArgumentError(f"q: got shape {list(q.shape)}, expected [{len(robot.joints)}]: one configuration")
    if len(joints) != 2 or joints[0] == joints[1] or not set(joints) <= set(robot.joints):
        raise ArgumentError(f"joints: got {joints!r}, expected two of {', '.join(robot.joints)}")
    resolution = count(resolution, "resolution", 2)
    which = [robot.joints.index(name) for name in joints]
    low, high = (np.asarray(limit, float)[which] for limit in (robot.lower, robot.upper))
    low, high = np.where(np.isfinite(low), low, -np.pi), np.where(np.isfinite(high), high, np.pi)
    points = lattice(low, high, resolution, resolution)
    poses = np.broadcast_to(q, (resolution, resolution, len(q))).copy()
    poses[..., which] = points
    found: np.ndarray = np.asarray(manipulability(robot, poses, link, measure, part), dtype=np.float64)
    some_finite(found, str(measure))
    norm, scale = sizes(found)
    ax = axes(ax, (6.8, 5.2))
    x, y = points[0, :, 0], points[:, 0, 1]
    painted = np.ma.masked_invalid(found)
    drawn = ax.pcolormesh(x, y, painted, cmap=SIZES, norm=norm, shading="nearest", rasterized=True)
    hatch_missing(ax, found)
    ax.plot(*q[which], marker="x", markersize=9, markeredgewidth=2.5, color=VERMILLION, linestyle="none")
    keys = [Line2D([], [], marker="x", color=VERMILLION, linestyle="none", label="q")]
    edge = NEAR * float(painted.max())
    if painted.min() < edge:
        ax.contour(x, y, painted, levels=[edge], colors=BLACK, linestyles="--", linewidths=1.5)
        keys.append(Line2D([], [], color=BLACK, linestyle="--", label="next to singular"))
    colourbar(ax, drawn, f"{measure.replace('_', ' ')}{scale}", extend=extends(norm, found))
    ax.set_xlabel(joints[0])
    ax.set_ylabel(joints[1])
    titled(ax, f"{robot.name or 'robot'}: manipulability of {link}" + (f", {part}" if part != "all" else ""))
    legend_below(ax, keys)
    return ax
