"""Colours that survive colour blindness and a grey printer: few, and each with one meaning.

Categories are those of Okabe and Ito (2008, "Color universal design"). Sequences rise or fall in lightness all the way,
the diverging one falls from its middle to both ends; `tests/test_plot_colours.py` measures it.
"""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import Colormap, ListedColormap, LogNorm, Normalize, SymLogNorm

BLACK, GREY = "#000000", "#7f7f7f"
BLUE, VERMILLION, GREEN, ORANGE, SKY, PURPLE = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#CC79A7"

SIZES: Colormap = colormaps["cividis"]  # of what is positive
SIGNED: Colormap = colormaps["RdBu_r"]  # blue below 0, white at 0, red above: alike for all kinds of colour blindness
# Of what is a share, drawn on white: its lightest tone is still seen.
SHARES: Colormap = ListedColormap(colormaps["Blues"](np.linspace(0.35, 1.0, 256)), "shares")

SPAN = 100.0  # sizes that differ by more than this are shown on a logarithmic scale
DECADES = 4  # of which a signed scale shows so many below the largest, the rest as 0


def sizes(values: np.ndarray) -> tuple[Normalize, str]:
    """(scale of positive values, what to add to its label); logarithmic where the middle 90 % span two decades."""
    finite = values[np.isfinite(values) & (values > 0)]
    if not finite.size:
        return Normalize(0.0, 1.0), ""
    low, high = (float(q) for q in np.percentile(finite, [5, 95]))
    if high > SPAN * low:
        return LogNorm(low, high, clip=False), " (log)"
    low, high = _hull(finite, low, high)
    if high - low <= 1e-6 * high:  # constant up to rounding, which must not be painted
        low, high = 0.0, 2 * high
    return Normalize(low, high), ""


def signed(values: np.ndarray) -> tuple[Normalize, str]:
    """(scale centred on 0, what to add to its label); symmetric logarithmic where sizes span more than two decades."""
    size = np.abs(values[np.isfinite(values)])
    size = size[size > 0]
    if not size.size:
        return Normalize(-1.0, 1.0), ""
    low, high = (float(q) for q in np.percentile(size, [5, 95]))
    top = _hull(size, low, high)[1]
    if high > SPAN * low:
        top = float(size.max()) if size.max() <= SPAN * high else high
        return SymLogNorm(max(low, top / 10**DECADES), vmin=-top, vmax=top, base=10), " (log on both sides of 0)"
    return Normalize(-top, top), ""


def _hull(values: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """All values, or the middle 90 % where a pole throws some of them far off."""
    top = float(values.max())
    return float(values.min()), top if top <= 10 * high else high


def extends(norm: Normalize, values: np.ndarray) -> str:
    """For a colour bar: on which sides there are values outside its scale."""
    finite = values[np.isfinite(values)]
    assert norm.vmin is not None and norm.vmax is not None
    slack = 1e-9 * (norm.vmax - norm.vmin)
    below = bool(finite.size) and finite.min() < norm.vmin - slack
    above = bool(finite.size) and finite.max() > norm.vmax + slack
    return {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[below, above]


def ink(colour: tuple[float, float, float, float]) -> str:
    """Black or white: what is read on this colour (relative luminance, WCAG 2.2)."""
    channels = np.asarray(colour[:3])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return "black" if linear @ [0.2126, 0.7152, 0.0722] > 0.179 else "white"
