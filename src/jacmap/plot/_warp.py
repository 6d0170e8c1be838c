"""Warps and registrations: two images before and after, what is left over, and the grid that the warp makes."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D

from .._errors import ArgumentError
from ..vision import area
from ._axes import axes, colourbar, counted, fitted, hatch_missing, legend_below, titled, window
from ._colours import SIGNED, SIZES, VERMILLION, extends, signed, sizes
from ._sample import count

PIECES = 96  # of a line


def before_after(fixed: Any, moving: Any, warped: Any, *, ax: Axes | None = None) -> Axes:
    """Two images laid over each other before and after: the fixed one red, the other cyan, grey where they agree.

    Images (H, W) or (H, W, C) of one shape, colours averaged; `warped` is `Registration.warped` or the like, black
    where it is NaN. One scale of brightness for all. Raises `ArgumentError` for other shapes.
    """
    pictures = [flat(name, image) for name, image in (("fixed", fixed), ("moving", moving), ("warped", warped))]
    if len({picture.shape for picture in pictures}) > 1:
        shapes = ", ".join(str(list(picture.shape)) for picture in pictures)
        raise ArgumentError(f"fixed, moving, warped: got the shapes {shapes}, expected one for all")
    known = np.concatenate([picture[np.isfinite(picture)] for picture in pictures])
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    red, before, after = ((picture - low) / ((high - low) or 1.0) for picture in pictures)
    rows, columns = red.shape
    gap = np.ones((rows, max(1, columns // 20), 3))
    strip = np.hstack([overlaid(red, before), gap, overlaid(red, after)])
    ax = axes(ax, fitted(strip.shape[1], rows))
    ax.imshow(strip, interpolation="nearest")
    ax.set_xticks([(columns - 1) / 2, columns + gap.shape[1] + (columns - 1) / 2], ["before", "after"])
    ax.set_yticks([])
    ax.set_xlabel("fixed image in red, the other in cyan")
    ax.set_ylabel("grey: they agree")
    titled(ax, "Two images before and after")
    return ax


def residual(values: Any, *, ax: Axes | None = None) -> Axes:
    """What is left over after alignment, (H, W) or (H, W, C) with channels averaged: hatched where it is not known."""
    values = flat("values", values)
    norm, scale = signed(values)
    ax = axes(ax)
    drawn = ax.imshow(np.ma.masked_invalid(values), cmap=SIGNED, norm=norm, interpolation="nearest")
    missing = hatch_missing(ax, values)
    colourbar(ax, drawn, f"warped − fixed{scale}", extend=extends(norm, values))
    ax.set_xlabel("x in pixels")
    ax.set_ylabel("y in pixels")
    known = values[np.isfinite(values)]
    middle = f"median |residual| {np.median(np.abs(known)):.3g}" if known.size else "nothing is known"
    unknown = f", {counted(missing, 'pixel')} unknown" if missing else ""
    titled(ax, f"What is left over: {middle}{unknown}")
    return ax


def warped_grid(warp: Any, parameters: Any, shape: tuple[int, int], lines: int = 17, *, ax: Axes | None = None) -> Axes:
    """A regular grid on an image of `shape` (H, W) as `warp` of `jacmap.vision` moves it, coloured by |det|.

    `lines` in each direction, y downwards as in the image. Pieces that are turned over, det < 0, are drawn on top.
    """
    lines = count(lines, "lines", 2)
    x, y = (np.linspace(0, size - 1, lines) for size in (shape[1], shape[0]))
    along = [np.linspace(0, size - 1, PIECES + 1) for size in (shape[0], shape[1])]
    points = np.concatenate(
        [np.stack(np.meshgrid(x, along[0], indexing="ij"), -1), np.stack(np.meshgrid(along[1], y), -1)]
    )
    value = np.asarray(warp(parameters, points), float)
    det = np.asarray(area(warp, parameters, points), float)
    pieces = np.stack([value[:, :-1], value[:, 1:]], axis=2).reshape(-1, 2, 2)
    middle = (0.5 * (det[:, :-1] + det[:, 1:])).ravel()
    keep = np.isfinite(pieces).all(axis=(1, 2))
    if not keep.any():
        raise ArgumentError("warp: gave no finite point on the grid, expected a map of the image's pixels")
    pieces, middle = pieces[keep], middle[keep]
    norm, scale = sizes(np.abs(middle))
    limits = window(pieces[..., 0].ravel()), window(pieces[..., 1].ravel())

    ax = axes(ax, fitted(*np.diff(limits)[:, 0]))
    drawn = LineCollection(list(pieces), cmap=SIZES, norm=norm, linewidths=1.2)
    drawn.set_array(np.abs(middle))
    ax.add_collection(drawn)
    keys = []
    if (middle < 0).any():
        ax.add_collection(LineCollection(list(pieces[middle < 0]), colors=VERMILLION, linewidths=2.0, zorder=3))
        keys.append(Line2D([], [], color=VERMILLION, linewidth=2.0, label="turned over: det < 0"))
    ax.set_xlim(*limits[0])
    ax.set_ylim(*limits[1][::-1])
    ax.set_aspect("equal", adjustable="box")
    colourbar(ax, drawn, f"|det|: growth of areas{scale}", extend=extends(norm, np.abs(middle)))
    ax.set_xlabel("x in pixels")
    ax.set_ylabel("y in pixels")
    titled(ax, f"{getattr(warp, 'name', 'warp')}: image of a grid of {shape[1]}×{shape[0]} pixels")
    legend_below(ax, keys)
    return ax


def overlaid(red: np.ndarray, cyan: np.ndarray) -> np.ndarray:
    """(H, W, 3)"""
    return np.clip(np.nan_to_num(np.stack([red, cyan, cyan], axis=-1)), 0, 1)


def flat(name: str, image: Any) -> np.ndarray:
    """(H, W) in double precision, channels averaged."""
    image = np.asarray(image, float)
    image = image.mean(axis=2) if image.ndim == 3 else image
    if image.ndim != 2 or not image.size:
        raise ArgumentError(f"{name}: got shape {list(image.shape)}, expected an image (H, W) or (H, W, C)")
    return image
