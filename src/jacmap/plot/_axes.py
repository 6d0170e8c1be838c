"""Axes to draw on, and the words on them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from matplotlib.transforms import ScaledTranslation

from .._errors import ArgumentError
from ._colours import GREY

SIZE = (6.4, 4.8)  # inches; matplotlib's own default


def axes(ax: Axes | None, size: tuple[float, float] = SIZE) -> Axes:
    """`ax` itself, or the one of a new pyplot figure of `size` inches that nobody has shown yet."""
    if ax is None:
        from matplotlib import pyplot  # chooses a backend: only where a figure is really made

        return pyplot.subplots(figsize=size, layout="compressed")[1]
    if not isinstance(ax, Axes):
        raise ArgumentError(
            f"ax: got {type(ax).__name__}, expected one matplotlib Axes, as in fig, ax = plt.subplots(); "
            "of an array of axes pass one entry"
        )
    return ax


def fitted(wide: float, high: float) -> tuple[float, float]:
    """Inches of a figure that holds a rectangle of these proportions, equal in scale both ways, and a colour bar."""
    return 6.8, 1.2 + 4.4 * min(max(high / wide, 0.35), 1.0)


def called(thing: Any) -> str:
    """What a title calls a function or a Jacobian."""
    name = str(getattr(thing, "name", getattr(thing, "__name__", "f")))
    return "f" if "<lambda>" in name else name


def titled(ax: Axes, *lines: str) -> None:
    """The title, each line broken where it would run over the axes by much."""
    size = 11.0
    wide = ax.get_window_extent().width * 72 / (ax.figure.dpi * size * 0.5)  # half as wide as high, a letter
    broken = (textwrap.fill(line, max(int(1.15 * wide), 24), break_long_words=False) for line in lines if line)
    ax.set_title("\n".join(broken), fontsize=size)


def short(number: float, digits: int = 3) -> str:
    """Three digits: 3.16, 2048, −1.2e−7."""
    text = f"{number:.0f}" if 10**digits <= abs(number) < 1e5 else f"{number:.{digits}g}"
    mantissa, _, exponent = text.partition("e")
    return (f"{mantissa}e{int(exponent)}" if exponent else text).replace("-", "−")


def point(numbers: Iterable[float]) -> str:
    """(1.5, 0.5)"""
    return f"({', '.join(short(float(x)) for x in numbers)})"


def counted(number: int, noun: str) -> str:
    """1 entry, 12,000 entries."""
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{number:,} {noun if number == 1 else plural}"


def colourbar(ax: Axes, drawn: Any, label: str, **options: Any) -> Any:
    """The scale of `drawn` beside `ax`, exactly as high as it is."""
    return ax.figure.colorbar(drawn, cax=ax.inset_axes((1.03, 0.0, 0.045, 1.0)), label=label, **options)


def legend_below(ax: Axes, handles: list[Any], columns: int = 3) -> None:
    """The legend under the label of the horizontal axis, however low the axes are."""
    if not handles:
        return
    figure = ax.figure
    down = ScaledTranslation(0, -0.45, figure.dpi_scale_trans)
    ax.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.0), bbox_transform=ax.transAxes + down,
        ncols=columns, frameon=False, fontsize=8,
    )  # fmt: skip


def log_ticks(axis: Axis) -> None:
    """On a logarithmic axis of few decades plain numbers, of very few at 1, 2 and 5."""
    low, high = axis.get_view_interval()
    if high / low < 200:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_minor_locator(NullLocator())
    if high / low < 1e5:
        axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))


def hatch_missing(ax: Axes, values: np.ndarray) -> int:
    """Lets hatching show through where there is no finite value; how many these are."""
    missing = int((~np.isfinite(values)).sum())
    if missing:
        ax.patch.set(hatch="////", edgecolor=GREY)
    return missing


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
