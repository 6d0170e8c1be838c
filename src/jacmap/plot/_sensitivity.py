"""Which pixels move an output, laid over the image."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from .._errors import ArgumentError
from ._axes import axes, colourbar, short
from ._colours import SIGNED, extends
from ._sample import numbers, some_finite

LUMA = np.array([0.2126, 0.7152, 0.0722])  # of red, green and blue (ITU-R BT.709)


def sensitivity_map(
    values: Any, image: Any = None, *, percentile: float = 99.0, label: str = "∂y/∂pixel", ax: Axes | None = None
) -> Axes:
    """Sensitivities of one output to the pixels of an image: red where a brighter pixel raises it, blue where it lowers it.

    `values` is H×W, or H×W×C, whose channels are summed with their signs: what happens when all channels of a pixel grow
    alike. `image`, H×W or H×W×C, is drawn in grey below; the stronger the sensitivity, the less of it shows through.
    The colours reach from −limit to limit, the `percentile` of |values|, so that a few large ones do not hide the rest.
    `label` names what is seen, with its unit. Raises `ArgumentError`.
    """
    seen = _picture(values, "values")
    some_finite(seen, "values")
    if not isinstance(percentile, (int, float)) or not 0 < percentile <= 100:
        raise ArgumentError(f"percentile: got {percentile!r}, expected a number above 0, at most 100")
    summed = seen.ndim == 3 and seen.shape[2] > 1
    flat = seen.sum(axis=2) if seen.ndim == 3 else seen
    limit, said = _limit(np.abs(flat[np.isfinite(flat)]), percentile)
    norm = Normalize(-limit, limit)
    height, width = flat.shape
    ax = axes(ax, (5.6, 1.0 + 4.4 * min(max(height / width, 0.4), 1.6)))
    strength: Any = None
    if image is not None:
        grey = _grey(image, seen.shape)
        ax.imshow(grey, cmap="gray", interpolation="nearest")
        strength = np.clip(np.abs(np.nan_to_num(flat)) / limit, 0, 1) ** 0.5
    ax.imshow(np.ma.masked_invalid(flat), cmap=SIGNED, norm=norm, alpha=strength, interpolation="nearest")
    colours = ScalarMappable(norm, SIGNED)  # as they are, whatever shows through them
    channels = f", {seen.shape[2]} channels summed" if summed else ""
    colourbar(ax, colours, f"{label}{channels}; {said}", extend=extends(norm, flat))
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_xlabel(f"{height}×{width} pixels")
    ax.set_title("Sensitivity to each pixel")
    return ax


def _limit(size: np.ndarray, percentile: float) -> tuple[float, str]:
    if not size.max():
        return 1.0, "zero everywhere"
    limit = float(np.percentile(size, percentile))
    if not limit or percentile == 100 or size.max() == limit:
        return float(size.max()), f"limits ± {short(float(size.max()))}, the largest"
    return limit, f"limits ± {short(limit)}, {percentile:g} % of pixels within"


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
    if array.ndim == 2:
        return array
    return array[..., :3] @ LUMA if array.shape[2] >= 3 else array[..., 0]
