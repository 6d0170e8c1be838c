"""How far the linear model can be trusted: what it leaves out, against how far one goes."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from .._errors import ArgumentError
from ._axes import axes, short, titled
from ._colours import BLUE, GREEN, GREY, VERMILLION
from ._sample import numbers, some_finite


def trust(trust: Any, *, ax: Axes | None = None) -> Axes:
    """The remainder ‖f(x + h d) − f(x) − h J d‖ against the radius h, on logarithmic axes.

    `trust` is `jm.geometry(J).trust`, or anything with `radii` (k,), `remainders` (k,) or (directions, k), `order` (the
    slope), `radius` (of trust) and `tolerance` (the relative error allowed). Grey lines are single directions, the blue
    one the worst of them; the dashed line has the slope `order` that was fitted, 2 for a smooth f, 1 at a kink.
    Raises `ArgumentError`.
    """
    try:
        radii, remainders = numbers(trust.radii, "trust.radii"), numbers(trust.remainders, "trust.remainders")
        order, radius, tolerance = (_number(getattr(trust, name)) for name in ("order", "radius", "tolerance"))
    except AttributeError as error:
        raise ArgumentError(f"trust: got {type(trust).__name__}, expected jm.geometry(J).trust ({error})") from error
    remainders = np.atleast_2d(remainders)
    if radii.ndim != 1 or not radii.size or remainders.shape[1:] != radii.shape or not (radii > 0).all():
        raise ArgumentError(
            f"trust: got radii {radii.shape} and remainders {remainders.shape}, expected (k,) positive radii and "
            "(k,) or (directions, k) remainders"
        )
    some_finite(remainders, "trust.remainders")
    sorting = np.argsort(radii)
    radii, remainders = radii[sorting], remainders[:, sorting]
    worst = np.max(np.where(np.isfinite(remainders), remainders, 0.0), axis=0)

    ax = axes(ax)
    ax.set_xscale("log")
    ax.set_yscale("log")
    if len(remainders) > 1:
        for k, line in enumerate(remainders):
            label = f"each of {len(remainders)} directions" if k == 0 else "_nolegend_"
            ax.plot(radii, np.ma.masked_less_equal(line, 0), color=GREY, linewidth=0.8, alpha=0.6, label=label)
    name = "worst direction" if len(remainders) > 1 else "remainder"
    ax.plot(radii, np.ma.masked_less_equal(worst, 0), "o-", color=BLUE, markersize=4, label=name)
    _slope(ax, radii, worst, order)
    if 0 < radius < np.inf:
        label = f"radius of trust {short(radius)}: error under {100 * tolerance:.3g} %"
        ax.axvspan(radii.min(), max(radius, radii.min()), color=GREEN, alpha=0.12, linewidth=0)
        ax.axvline(radius, color=GREEN, linewidth=1.5, label=label)
    ends = [*radii, *([radius] if 0 < radius < np.inf else [])]
    ax.set_xlim(min(ends), max(ends))
    ax.grid(True, color="0.9")
    ax.set_xlabel("radius h = ‖Δx‖, in the units of x")
    ax.set_ylabel("remainder ‖f(x + Δx) − f(x) − J Δx‖")
    titled(ax, _said(worst, order, radius))
    if worst.any():
        ax.legend(frameon=False, fontsize=8)
    else:
        ax.set_yscale("linear")
        ax.set_yticks([])
        ax.text(0.5, 0.5, "the remainder is 0 at every radius", transform=ax.transAxes, ha="center", va="center")
    return ax


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _slope(ax: Axes, radii: np.ndarray, worst: np.ndarray, order: float) -> None:
    """A line of the fitted slope through the middle of the points that are not 0."""
    clear = np.flatnonzero(worst > 0)
    if not np.isfinite(order) or not clear.size:
        return
    middle = clear[len(clear) // 2]
    line = worst[middle] * (radii / radii[middle]) ** order
    # Above the points, so that both are seen; only as far down as they reach.
    seen = line >= worst[clear].min()
    ax.plot(
        radii[seen], 2 * line[seen], "--", color=VERMILLION, label=f"slope {short(order)}, the order that was fitted"
    )


def _said(worst: np.ndarray, order: float, radius: float) -> str:
    if not worst.any() or order == np.inf:
        return "The linear model is exact up to rounding"
    if np.isposinf(radius):
        return "The linear model holds at every radius"
    if not radius > 0:
        return "What the linear model leaves out"
    return f"The linear model holds up to a radius of {short(radius)}"
