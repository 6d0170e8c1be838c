"""What the leading latent directions move, as pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from .._errors import ArgumentError
from ._axes import axes, colourbar, short, titled
from ._colours import SIGNED, signed


def directions(found: Any, shape: tuple[int, int] | None = None, *, ax: Axes | None = None) -> Axes:
    """The outputs that each of `jacmap.latent.directions` (or `posterior`) moves, side by side, the strongest first.

    `found`: the answer at one point. `shape`: of the picture, where the outputs are none. One colour scale, zero in
    the middle: the sign of a direction is free. Raises `ArgumentError` for a batch, or outputs that are no picture.
    """
    values = getattr(found, "values", None)
    moved, sizes = (found.components, found.variances) if values is None else (found.left, values)
    sizes = np.asarray(sizes)
    if sizes.ndim != 1:
        raise ArgumentError(f"found: got a batch of shape {list(sizes.shape)}, expected one point's; index its arrays")
    moved = np.asarray(moved, float).reshape(len(sizes), *(shape or np.shape(moved)[1:]))
    if moved.ndim != 3:
        raise ArgumentError(f"shape: the outputs are {list(moved.shape[1:])}, give the picture's (rows, columns)")
    _, rows, columns = moved.shape
    ax = axes(ax, (min(12, 1.8 * len(sizes) + 1), 2.4))
    gap = np.full((rows, max(1, columns // 12)), np.nan)
    strip = np.hstack([part for picture in moved for part in (picture, gap)][:-1])
    norm, scale = signed(strip)
    drawn = ax.imshow(np.ma.masked_invalid(strip), norm=norm, cmap=SIGNED, interpolation="nearest")
    centres = np.arange(len(sizes)) * (columns + gap.shape[1]) + (columns - 1) / 2
    ax.set_xticks(centres, [short(float(size)) for size in sizes])
    ax.set_yticks([])
    ax.set_xlabel("singular value" if values is not None else "posterior variance")
    titled(ax, "What each leading direction moves")
    colourbar(ax, drawn, f"change per unit step{scale}")
    return ax
