"""A robot as lines from link to link, with the ellipsoid of the speeds that one of its links can have."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._errors import ArgumentError
from ._axes import short, titled
from ._colours import BLACK, BLUE, GREY, VERMILLION
from ._ellipsoid import sphere

# Of the picture's width, the longest half-axis where no scale is given.
SHARE = 0.25


def arm(robot: Any, q: Any, link: str, part: Any = "translation", scale: float | None = None, *, ax: Any = None) -> Any:
    """The robot (`jacmap.kinematics.Robot`) at q (n,) and at `link` its velocity ellipsoid: how far unit joint speeds
    move it each way, times `scale` (by default such that it is a quarter as wide as the robot).

    The half-axes are σ_k u_k of J's linear rows, or of its angular ones for `part` "rotation". The way to the link is
    drawn black, the rest grey. `ax` must have ``projection="3d"``. Raises `ArgumentError`.
    """
    from ..kinematics import velocity_ellipsoid  # whoever has a robot has the extra that this needs

    if part not in ("translation", "rotation"):
        raise ArgumentError(f'part: got {part!r}, expected "translation" or "rotation": an ellipsoid in space')
    if np.ndim(q) != 1:
        raise ArgumentError(f"q: got shape {list(np.shape(q))}, expected [{len(robot.joints)}]: one configuration")
    if ax is None:
        from matplotlib import pyplot

        ax = pyplot.subplots(figsize=(6.4, 5.6), subplot_kw={"projection": "3d"})[1]
    elif getattr(ax, "name", "") != "3d":
        raise ArgumentError("ax: got flat axes, expected axes in space: plt.subplots(subplot_kw={'projection': '3d'})")
    robot.check_link(link)
    places = dict(zip(robot.links, np.asarray(robot.poses(q).translation(), float), strict=True))
    found = velocity_ellipsoid(robot, q, link, part)
    lengths, directions = np.asarray(found.lengths, float), np.asarray(found.axes, float)
    wide = max(float(np.ptp(np.stack(list(places.values())), axis=0).max()), 1e-9)
    if scale is None:
        scale = SHARE * wide / lengths[0] if lengths[0] > 0 else 1.0

    ax.computed_zorder = False  # the ellipsoid's axes are inside, but must be seen
    way = {link, *robot.above(link)}
    for child in robot.links:
        parent = next(iter(robot.above(child)), None)
        if parent is not None:
            on_way = child in way
            ends = np.stack([places[parent], places[child]], axis=1)
            ax.plot(*ends, color=BLACK if on_way else GREY, linewidth=3 if on_way else 1.5, zorder=2 + on_way)
    joints = np.stack([places[child] for child in (*way,)])
    ax.plot(*joints.T, linestyle="none", marker="o", markersize=5, color=BLACK, zorder=3)
    surface = places[link] + scale * sphere() * lengths @ directions.T
    ax.plot_surface(*np.moveaxis(surface, -1, 0), color=VERMILLION, alpha=0.3, linewidth=0, zorder=4)
    for k in range(3):
        ends = places[link][:, None] + scale * lengths[k] * directions[:, k : k + 1] * np.array([[-1.0, 1.0]])
        ax.plot(*ends, color=BLUE, linewidth=2, zorder=5)
    ax.set(xlabel="x", ylabel="y", zlabel="z")
    ax.set_aspect("equal")
    unit = "m/s" if part == "translation" else "rad/s"
    sizes = ", ".join(short(float(length)) for length in lengths)
    titled(ax, f"{robot.name or 'robot'}: {part} of {link} by unit joint speeds, half-axes {sizes} {unit}")
    return ax
