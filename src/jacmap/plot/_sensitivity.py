"""Which pixels move an output, laid over the image."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from .._errors import ArgumentError
from ._axes import axes, colourbar, hatch_missing, short, titled
from ._colours import SIGNED, extends, overlaid, overlay
from ._sample import numbers, some_finite

LUMA = np.array([0.2126, 0.7152, 0.0722])  # of red, green and blue (ITU-R BT.709)
DARKEST, LIGHTEST = 0.6, 1.0  # greys of the image: the dark hues of the overlay must be seen on all of them


def sensitivity_map(
    values: Any, image: Any = None, *, percentile: float = 99.0, label: str = "∂y/∂pixel", ax: Axes | None = None
) -> Axes:
    """How much each pixel moves one output: red where more of it raises it, blue where it lowers it.

    `values` is H×W, or H×W×C, whose channels are summed with their signs: what happens when all channels of a pixel
    grow alike. `image`, H×W or H×W×C, is drawn below in light greys, the more hidden the stronger the sensitivity.
    The colours reach from −limit to limit, the `percentile` of |values|, so that a few large ones do not hide the rest.
    `label` names what is seen, with its unit. What is not finite is hatched without an image, bare with one.
    Raises `ArgumentError`.
    """
    seen = _picture(values, "values")
    if not isinstance(percentile, (int, float)) or not 0 < percentile <= 100:
        raise ArgumentError(f"percentile: got {percentile!r}, expected a number above 0, at most 100")
    flat = seen.sum(axis=2) if seen.ndim == 3 else seen
    some_finite(flat, "values")
    limit, said = _limit(np.abs(flat[np.isfinite(flat)]), percentile)
    norm = Normalize(-limit, limit)
    height, width = flat.shape
    grey = None if image is None else _grey(image, flat.shape)

    ax = axes(ax, (5.8, 1.0 + 4.4 * min(max(height / width, 0.4), 1.6)))
    if grey is None:
        ax.imshow(np.ma.masked_invalid(flat), cmap=SIGNED, norm=norm, interpolation="nearest")
        hatch_missing(ax, flat)
        colours = ScalarMappable(norm, SIGNED)
    else:
        ax.imshow(grey, cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")
        ax.imshow(overlay(flat, limit), interpolation="nearest")
        colours = ScalarMappable(norm, overlaid(LIGHTEST))
    channels = f", {seen.shape[2]} channels summed" if seen.ndim == 3 and seen.shape[2] > 1 else ""
    colourbar(ax, colours, f"{label}{channels}", extend=extends(norm, flat))
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_xlabel(f"{height}×{width} pixels; {said}")
    titled(ax, "Sensitivity to each pixel")
    return ax


def _limit(size: np.ndarray, percentile: float) -> tuple[float, str]:
    if not size.max():
        return 1.0, "no sensitivity anywhere"
    limit = float(np.percentile(size, percentile))
    if not limit or percentile == 100 or size.max() == limit:
        return float(size.max()), f"colours reach ± {short(float(size.max()))}, the largest"
    return limit, f"colours reach ± {short(limit)}: {percentile:g} % of pixels"


def _picture(values: Any, name: str) -> np.ndarray:
    array = numbers(values, name)
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise ArgumentError(f"{name}: got shape {array.shape}, expected H×W or H×W×C; reshape a row of J to its image")
    return array


def _grey(image: Any, shape: tuple[int, ...]) -> np.ndarray:
    array = _picture(image, "image")
    if array.shape[:2] != shape[:2]:
        raise ArgumentError(
            f"image: got {array.shape[0]}×{array.shape[1]} pixels for values of {shape[0]}×{shape[1]}, expected as many"
        )
    if array.ndim == 3:
        array = array[..., :3] @ LUMA if array.shape[2] >= 3 else array[..., 0]
    some_finite(array, "image")
    finite = array[np.isfinite(array)]
    low, high = finite.min(), finite.max()
    return DARKEST + (LIGHTEST - DARKEST) * (array - low) / ((high - low) or 1.0)
