"""What each segment of a chain does to small changes that pass through it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from .._dispatch import for_tensors_too
from .._errors import ArgumentError
from .._jacobian import Jacobian
from ._axes import axes, called, legend_below, log_ticks, short, titled
from ._colours import BLACK, BLUE, VERMILLION
from ._sample import numbers

DENSE = 1500  # rows or columns up to which all singular values of a segment are computed
DIAMOND: dict[str, Any] = {"marker": "D", "color": "white", "markeredgecolor": BLACK, "markersize": 6, "zorder": 3}


class Gain(NamedTuple):
    """The singular values of a segment at both ends, and the root mean square of what it does to a random direction."""

    smallest: float
    largest: float
    usual: float


@for_tensors_too()
def gains(J: Jacobian | Sequence[Jacobian], *, ax: Axes | None = None) -> Axes:
    """One bar per segment of J.chain, first applied on top: from its smallest to its largest singular value.

    The diamond is ‖J_k‖_F/√n, the root mean square gain of a random direction (E‖Jv‖² = ‖J‖_F²/n for v uniform on the
    unit sphere). Bars right of 1 let changes grow, bars left of it let them vanish; an arrow at
    the left edge is a smallest singular value of 0. Where a segment has more inputs than outputs some directions are
    lost in any case; its sizes tell. `J` may also be a sequence of Jacobians, applied in that order.
    Raises `ArgumentError`.
    """
    chain = list(J.chain) if isinstance(J, Jacobian) else list(J) if isinstance(J, (list, tuple)) else []
    if not chain or not all(isinstance(segment, Jacobian) for segment in chain):
        raise ArgumentError(f"J: got {type(J).__name__}, expected jm.linearize(f, x) or a sequence of such")
    found = [_gain(segment) for segment in chain]
    positive = [number for gain in found for number in gain if number > 0]
    floor = min([*positive, 1.0]) / 2

    ax = axes(ax, (7.2, 2.2 + 0.45 * len(chain)))
    ax.set_xscale("log")
    for at, gain in enumerate(found):
        low, high = max(gain.smallest, floor), max(gain.largest, floor)
        middle = (low * high) ** 0.5  # what neither stretches nor shrinks anything still gets a bar
        left, right = min(low, middle / 1.02), max(high, middle * 1.02)
        ax.barh(at, right - left, left=left, height=0.5, color=BLUE)
        if gain.smallest <= 0:
            ax.plot(low, at, "<", color=VERMILLION, markersize=10, clip_on=False, zorder=4)
        if gain.usual > 0:
            ax.plot(gain.usual, at, **DIAMOND)
    ax.axvline(1.0, color=BLACK, linewidth=1, linestyle="--")
    ax.set_xlim(floor, max([*positive, 1.0]) * 2)
    log_ticks(ax.xaxis)
    ax.set_yticks(range(len(chain)), labels=[_label(k, segment) for k, segment in enumerate(chain)])
    ax.set_ylim(len(chain) - 0.4, -0.6)
    ax.grid(True, axis="x", color="0.9")
    ax.set_axisbelow(True)
    ax.set_xlabel("gain of a small change")
    titled(ax, *_said(J, found))
    legend_below(ax, _keys(any(gain.smallest <= 0 for gain in found)))
    return ax


def _keys(lost: bool) -> list[Any]:
    keys: list[Any] = [
        Patch(color=BLUE, label="smallest to largest singular value"),
        Line2D([], [], linestyle="", label="root mean square, ‖J‖_F/√n", **DIAMOND),
    ]
    if lost:
        label = "smallest is 0: directions are lost"
        keys.append(Line2D([], [], linestyle="", marker="<", color=VERMILLION, label=label))
    return keys


def _label(k: int, segment: Jacobian) -> str:
    m, n = segment.shape
    return f"{k + 1}. {segment.name}\n{n:,} → {m:,}"


def _said(J: Any, found: list[Gain]) -> tuple[str, str]:
    name = f"{called(J)}: " if isinstance(J, Jacobian) else ""
    total = float(np.prod([gain.largest for gain in found]))
    return f"{name}gain of each segment, first to last", f"the whole chain stretches at most {short(total)}×"


def _gain(segment: Jacobian) -> Gain:
    m, n = segment.shape
    frobenius = float(segment.norm("fro")) / n**0.5
    if not np.isfinite(frobenius):
        raise ArgumentError(
            f"J: the Jacobian of {segment.name} is not finite here, expected numbers; choose another point"
        )
    if min(m, n) <= DENSE:
        s = np.linalg.svd(numbers(segment.dense(), "J"), compute_uv=False)
        smallest, largest = float(s[-1]), float(s[0])
        eps = float(np.finfo(np.float64).eps) * max(m, n) * largest
        return Gain(smallest if smallest > eps else 0.0, largest, frobenius)
    largest = float(segment.norm(2))
    return Gain(largest / float(segment.cond()), largest, frobenius)
