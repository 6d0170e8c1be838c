"""Gains and gradients along a chain of segments."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from .._errors import ArgumentError
from ..study.gradient_flow import GradientFlow
from ._axes import axes, counted, titled
from ._colours import BLACK, BLUE, GREEN, GREY, VERMILLION

FEW = 24  # segments up to which each has its number below it


def gradient_flow(flow: Any, ax: Axes | None = None) -> Axes:
    """One step per segment, first applied on the left; logarithmic.

    The band reaches from the smallest to the largest singular value of each segment, the dots are its gain per kept
    direction (1 is neutral). The line is the length of the loss gradient at every cut over that at the output (without
    a loss the gain from there to the output). Segments that the diagnosis names stand on a shaded ground.
    `flow`: what `jm.gradient_flow` returns. Raises `ArgumentError`.
    """
    if not isinstance(flow, GradientFlow):
        raise ArgumentError(f"flow: got {type(flow).__name__}, expected what jm.gradient_flow(f, x) returns")
    count = len(flow.rows)
    at = np.arange(1, count + 1)
    ax = axes(ax, (7.2, 4.6))
    ax.set_yscale("log")
    for number in {k for finding in flow.diagnosis.findings for k in finding.segments}:
        ax.axvspan(number - 0.5, number + 0.5, color=VERMILLION, alpha=0.12, linewidth=0)
    low, high = flow.column("smallest"), flow.column("largest")
    shown = (low > 0) & np.isfinite(high)
    if shown.any():
        ax.vlines(at[shown], low[shown], high[shown], color=BLUE, alpha=0.35, linewidth=max(1.0, min(8.0, 160 / count)),
                  label="singular values, smallest to largest")  # fmt: skip
    kept = flow.column("kept")
    positive = kept > 0
    ax.plot(at[positive], kept[positive], "o", color=BLUE, markersize=4, label="gain per kept direction")
    cuts, lengths, label = _gradient(flow)
    fine = lengths > 0
    ax.plot(cuts[fine], lengths[fine], "-", color=GREEN, linewidth=2, label=label)
    ax.axhline(1.0, color=BLACK, linestyle="--", linewidth=1)
    ax.grid(True, which="major", color="0.9")
    ax.set_axisbelow(True)
    ax.set_xlim(0.4, count + 0.6)
    ax.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
    if count <= FEW:
        ax.set_xticks(at)
    ax.set_xlabel("segment, from the input to the output")
    ax.set_ylabel("gain (1 is neutral)")
    kinds = dict.fromkeys(finding.kind for finding in flow.diagnosis.findings)
    said = "healthy" if flow.diagnosis.healthy else ", ".join(kinds)
    titled(ax, f"{flow.name}: {counted(count, 'segment')}, {said}")
    ax.legend(frameon=False, fontsize=8)
    ax.tick_params(colors=GREY, labelcolor=BLACK)
    return ax


def _gradient(flow: GradientFlow) -> tuple[np.ndarray, np.ndarray, str]:
    """(where, cuts between segments; lengths; what they are)."""
    logs = [row.log_gradient for row in flow.rows]
    if flow.input_gradient is None or any(log is None for log in logs):
        onward = flow.column("gain", "onward")
        return np.arange(len(onward)) + 0.5, onward, "gain from here to the output"
    first = np.log(flow.input_gradient) if flow.input_gradient > 0 else -np.inf
    lengths = np.array([first, *(float(log) for log in logs if log is not None)])
    with np.errstate(invalid="ignore"):
        relative = np.exp(np.clip(lengths - lengths[-1], -700, 700))
    return np.arange(len(lengths)) + 0.5, relative, "loss gradient, over that at the output"
