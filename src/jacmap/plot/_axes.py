"""Axes to draw on, and the words on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from .._errors import ArgumentError

SIZE = (6.4, 4.8)  # inches; matplotlib's own default


def axes(ax: Axes | None, size: tuple[float, float] = SIZE) -> Axes:
    """`ax` itself, or the one of a new pyplot figure of `size` inches that nobody has shown yet."""
    if ax is None:
        from matplotlib import pyplot  # chooses a backend: only where a figure is really made

        return pyplot.subplots(figsize=size, layout="constrained")[1]
    if not isinstance(ax, Axes):
        raise ArgumentError(
            f"ax: got {type(ax).__name__}, expected one matplotlib Axes, as in fig, ax = plt.subplots(); "
            "of an array of axes pass one entry"
        )
    return ax


def name_of(f: Callable[..., Any]) -> str:
    """What a title calls the function."""
    name = getattr(f, "__name__", "f")
    return "f" if name == "<lambda>" else name


def short(number: float) -> str:
    """Three digits: 3.16, 1.2e−07."""
    return f"{number:.3g}".replace("-", "−")


def point(numbers: Iterable[float]) -> str:
    """(1.5, 0.5)"""
    return f"({', '.join(short(float(x)) for x in numbers)})"


def counted(number: int, noun: str) -> str:
    """1 entry, 12,000 entries."""
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{number:,} {noun if number == 1 else plural}"


def colourbar(ax: Axes, drawn: Any, label: str, **options: Any) -> Any:
    """The scale of `drawn` beside `ax`."""
    figure = ax.get_figure()
    assert figure is not None
    return figure.colorbar(drawn, ax=ax, label=label, **options)


def window(values: np.ndarray) -> tuple[float, float]:
    """Limits that show the finite values with a margin, but not the far ones that a pole throws off.

    All are shown unless their range is more than four times that of the middle 90 %.
    """
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, [5, 95])
    if np.ptp(finite) <= 4 * (high - low) or high == low:
        low, high = finite.min(), finite.max()
    margin = 0.05 * (high - low) or 0.05 * max(abs(float(high)), 1.0)
    return float(low - margin), float(high + margin)
