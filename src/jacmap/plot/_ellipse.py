"""A small circle, its true image, and the ellipse that J makes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from .._dispatch import for_tensors_too
from .._errors import ArgumentError
from ._axes import axes, counted, point, short, titled
from ._colours import BLACK, BLUE, GREY, VERMILLION
from ._fold import determinants
from ._sample import PlaneMap, numbers

ANGLES = 361
MARKS = ("o", "s")  # of the two singular directions, in the circle and in its image


@for_tensors_too()
def circle_to_ellipse(f: Callable[..., Any], x: Any, radius: float = 0.5, *, ax: Axes | None = None) -> Axes:
    """What f: R² → R² makes of the circle of `radius` around x, against what J makes of it.

    Drawn in the plane of the outputs: the true image f(x + Δx), the linear one f(x) + J Δx, an ellipse whose half-axes
    are radius·σ_k u_k (singular values and left singular vectors of J = U diag(σ) Vᵀ), and where the right singular
    directions v_k end. The small picture is the circle itself, in the plane of the inputs, with v_1 and v_2. The nearer
    the two images, the better J describes f on that circle. Raises `ArgumentError`.
    """
    centre = numbers(x, "x").ravel()
    if centre.size != 2 or not np.isfinite(centre).all():
        raise ArgumentError(
            f"x: got {counted(centre.size, 'number')}, expected two finite ones: a circle lies in a plane; of a larger "
            "f hold all inputs but two, as in lambda p: f(x.at[:2].set(p)), or ask jm.geometry(J)"
        )
    if not isinstance(radius, (int, float, np.number)) or not 0 < radius < np.inf:
        raise ArgumentError(f"radius: got {radius!r}, expected a positive number, in the units of x")
    plane = PlaneMap(f, x)
    value, J = plane.jacobians(centre)
    if not (np.isfinite(value).all() and np.isfinite(J).all()):
        raise ArgumentError(f"x: f or its Jacobian is not finite at {point(centre)}; choose another point")
    u, s, vt = _svd(J)
    angles = np.linspace(0, 2 * np.pi, ANGLES)
    circle = radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    true = plane(centre + circle)
    linear = value + circle @ J.T

    ax = axes(ax, (7.6, 4.8))
    ax.fill(*linear.T, color=BLUE, alpha=0.12, linewidth=0)
    ax.plot(*linear.T, color=BLUE, linestyle="--", label="linear image, f(x) + J Δx")
    ax.plot(*true.T, color=VERMILLION, linewidth=2, label="true image, f(x + Δx)")
    small = ax.inset_axes((1.06, 0.52, 0.38, 0.42), anchor="W")
    small.plot(*circle.T, color=GREY)
    for k, mark in enumerate(MARKS):
        _line(ax, value, radius * s[k] * u[:, k])
        _line(small, np.zeros(2), radius * vt[k])
        label = f"σ{'₁₂'[k]} = {short(s[k])}, along v{'₁₂'[k]}"
        ax.plot(*plane(centre + radius * vt[k]), mark, color=VERMILLION, markersize=7, markeredgecolor="white")
        ax.plot(*(value + radius * s[k] * u[:, k]), mark, color=BLUE, markersize=7, label=label)
        small.plot(*(radius * vt[k]), mark, color=GREY, markersize=6)
        x0, x1 = radius * vt[k] * 0.55
        small.text(x0, x1, f"v{'₁₂'[k]}", fontsize=8)
    ax.plot(*value, ".", color=BLACK, markersize=8, label=f"f(x) = {point(value)}")
    _input(small, radius)
    ax.set_aspect("equal", adjustable="datalim")
    ax.set_xlabel("output y[0]")
    ax.set_ylabel("output y[1]")
    titled(ax, f"{plane.name} near {point(centre)}: {_said(float(determinants(J)), s)}")
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 0.40), frameon=False, fontsize=8, borderaxespad=0.6)
    return ax


def _svd(J: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(U, s, Vᵀ), of the two signs that each pair (u_k, v_k) can have the one with which v_k points right or up."""
    u, s, vt = np.linalg.svd(J)
    leading = vt[np.arange(2), np.argmax(np.abs(vt) > 0.5, axis=1)]
    signs = np.where(leading < 0, -1.0, 1.0)
    return u * signs, s, vt * signs[:, None]


def _line(ax: Axes, start: np.ndarray, step: np.ndarray) -> None:
    ax.plot(*np.stack([start, start + step], axis=1), color=BLACK, linewidth=1)


def _input(small: Axes, radius: float) -> None:
    small.set_aspect("equal")
    small.margins(0.12)
    small.set_xticks([])
    small.set_yticks([])
    small.set_title(f"inputs: Δx, radius {short(radius)}", fontsize=8)


def _said(det: float, s: np.ndarray) -> str:
    if s[0] == 0:
        return "J = 0, the circle shrinks to a point"
    if s[1] <= 2 * np.finfo(float).eps * s[0]:
        return "det J = 0, the circle collapses"
    return f"areas × {short(abs(det))}, orientation {'kept' if det > 0 else 'reversed'}"
