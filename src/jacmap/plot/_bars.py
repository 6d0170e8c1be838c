"""Named numbers as bars, the largest on top."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from .._errors import ArgumentError
from ._axes import axes, short, titled
from ._colours import BLACK, BLUE, VERMILLION
from ._sample import count, numbers


def bars(
    values: Any,
    names: Sequence[str] | None = None,
    intervals: Any = None,
    *,
    most: int = 20,
    label: str = "sensitivity",
    ax: Axes | None = None,
) -> Axes:
    """`values` (N,) as horizontal bars, sorted by size; those below 0 in another colour.

    `names` has N entries, x[0], x[1], … without it. `intervals` (N, 2) holds the lower and upper end of each value's
    interval. At most `most` bars are drawn; what is left out is said below them. `label` names the axis, with its unit.
    Raises `ArgumentError`.
    """
    values = numbers(values, "values")
    if values.ndim != 1 or not values.size or not np.isfinite(values).all():
        raise ArgumentError(
            f"values: got shape {values.shape} with {int(np.sum(~np.isfinite(values)))} not finite, expected a vector "
            "of finite numbers, as one row of J"
        )
    labels = [f"x[{j}]" for j in range(values.size)] if names is None else [str(name) for name in names]
    if isinstance(names, str) or len(labels) != values.size:
        raise ArgumentError(f"names: got {len(labels)}, expected {values.size}, one per value")
    ends = None if intervals is None else _ends(intervals, values.size)
    most = count(most, "most", 1)
    order = np.argsort(-np.abs(values), kind="stable")
    shown, left = order[:most], order[most:]

    ax = axes(ax, (6.4, 1.6 + 0.27 * len(shown)))
    at = np.arange(len(shown))
    ax.barh(at, values[shown], color=[BLUE if value >= 0 else VERMILLION for value in values[shown]], height=0.7)
    if ends is not None:
        ax.hlines(at, *ends[shown].T, color=BLACK, linewidth=1.5)
        ax.plot(ends[shown].ravel(), np.repeat(at, 2), "|", color=BLACK, markersize=7, markeredgewidth=1.5)
    ax.axvline(0, color=BLACK, linewidth=0.8)
    ax.set_yticks(at, labels=[labels[k] for k in shown])
    ax.set_ylim(len(shown) - 0.4, -0.6)
    ax.grid(True, axis="x", color="0.9")
    ax.set_axisbelow(True)
    ax.set_xlabel(label if not left.size else f"{label}\n{_rest(values, left)}")
    titled(ax, f"The {len(shown)} largest of {values.size}" if left.size else "By size, the largest on top")
    return ax


def _ends(intervals: Any, size: int) -> np.ndarray:
    ends = numbers(intervals, "intervals")
    if ends.shape != (size, 2) or not (ends[:, 0] <= ends[:, 1]).all():
        raise ArgumentError(
            f"intervals: got shape {ends.shape}, expected ({size}, 2): the lower and upper end of each, in that order"
        )
    return ends


def _rest(values: np.ndarray, left: np.ndarray) -> str:
    total = float(np.abs(values).sum())
    share = 100 * float(np.abs(values[left]).sum()) / total if total else 0.0
    return f"{left.size} more, each at most {short(float(np.abs(values[left]).max()))} in size, together {share:.2g} %"
