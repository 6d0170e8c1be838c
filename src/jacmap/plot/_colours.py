"""Colours that survive colour blindness and a grey printer: few, and each with one meaning.

Categories are those of Okabe and Ito (2008, "Color universal design"). Sequences rise or fall in lightness all the way,
the diverging one falls from its middle to both ends; `tests/test_plot_colours.py` measures it.
"""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import Colormap, ListedColormap, LogNorm, Normalize, SymLogNorm, to_rgb

BLACK, GREY = "#000000", "#7f7f7f"
BLUE, VERMILLION, GREEN = "#0072B2", "#D55E00", "#009E73"

SIZES: Colormap = colormaps["cividis"]  # of what is positive
SIGNED: Colormap = colormaps["RdBu_r"]  # blue below 0, white at 0, red above: alike for all kinds of colour blindness
# Of what is a share, drawn on white: its lightest tone is still seen.
SHARES: Colormap = ListedColormap(colormaps["Blues"](np.linspace(0.35, 1.0, 256)), "shares")
# The two hues of SIGNED, to be laid over a grey image the more opaque the further from 0.
BELOW, ABOVE = to_rgb("#2166AC"), to_rgb("#B2182B")

SPAN = 100.0  # sizes that differ by more than this are shown on a logarithmic scale
DECADES = 4  # of which a signed scale shows at most so many below the largest, the rest paler and paler


def sizes(values: np.ndarray) -> tuple[Normalize, str]:
    """(scale of positive values, what to add to its label); logarithmic where the middle 90 % span two decades."""
    finite = values[np.isfinite(values) & (values >= 0)]
    positive = finite[finite > 0]
    if not positive.size:
        return Normalize(0.0, 1.0), ""
    low, high = (float(q) for q in np.percentile(positive, [5, 95]))
    if high > SPAN * low:
        return LogNorm(low, high), ", log"
    low, high = float(finite.min()), _top(finite, high)
    if high - low <= 1e-6 * high:  # constant up to rounding, which must not be painted
        low, high = 0.0, 2 * high
    return Normalize(low, high), ""


def signed(values: np.ndarray) -> tuple[Normalize, str]:
    """(scale centred on 0, what to add to its label); symmetric logarithmic where a quarter would look like 0."""
    size = np.abs(values[np.isfinite(values)])
    size = size[size > 0]
    if not size.size:
        return Normalize(-1.0, 1.0), ""
    low, high = (float(q) for q in np.percentile(size, [25, 95]))
    top = _top(size, high)
    if high > SPAN * low:
        return SymLogNorm(max(low, top / 10**DECADES), vmin=-top, vmax=top, base=10), ", log on both sides of 0"
    return Normalize(-top, top), ""


def _top(values: np.ndarray, high: float) -> float:
    """The largest, or the 95th percentile `high` where a pole throws some values far off."""
    top = float(values.max())
    return top if top <= 10 * high else high


def extends(norm: Normalize, values: np.ndarray) -> str:
    """For a colour bar: on which sides there are values outside its scale."""
    finite = values[np.isfinite(values)]
    assert norm.vmin is not None and norm.vmax is not None
    slack = 1e-9 * (norm.vmax - norm.vmin)
    below = bool(finite.size) and bool(finite.min() < norm.vmin - slack)
    above = bool(finite.size) and bool(finite.max() > norm.vmax + slack)
    return {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[below, above]


def overlay(values: np.ndarray, limit: float) -> np.ndarray:
    """(..., 4): the hue of each value's sign, opaque from ±limit on, nothing at 0 or where it is not finite."""
    known = np.nan_to_num(values, nan=0.0)
    colours = np.where(known[..., None] < 0, BELOW, ABOVE)
    strength = np.clip(np.abs(known) / limit, 0, 1) ** 0.7  # so that weak ones are seen at all
    return np.concatenate([colours, strength[..., None]], axis=-1)


def overlaid(grey: float) -> Colormap:
    """What `overlay` looks like on a grey, from −limit to limit: for the colour bar."""
    layer = overlay(np.linspace(-1, 1, 256), 1.0)
    return ListedColormap(layer[:, :3] * layer[:, 3:] + grey * (1 - layer[:, 3:]), "overlaid")


def ink(colour: tuple[float, float, float, float]) -> str:
    """Black or white: what is read on this colour (relative luminance, WCAG 2.2)."""
    channels = np.asarray(colour[:3])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return "black" if linear @ [0.2126, 0.7152, 0.0722] > 0.179 else "white"
