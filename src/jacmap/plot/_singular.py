"""The singular values of J, on a logarithmic axis."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from .._dispatch import for_tensors_too
from .._errors import ArgumentError
from .._jacobian import Jacobian
from ._axes import axes, called, log_ticks, short, titled
from ._colours import BLUE, GREY, VERMILLION
from ._matrix import DENSE
from ._sample import numbers

ALL = 2000  # rows or columns up to which all singular values are computed
FEW = 20  # of a larger J


@for_tensors_too()
def singular_values(J: Any, *, ax: Axes | None = None) -> Axes:
    """σ_1 ≥ σ_2 ≥ … of J: how much J stretches along each of its singular directions, at most and at least.

    `J` is a `Jacobian`, an object that has `singular_values` (`jm.geometry(J)`), a 2-D array, or the values themselves.
    Of a `Jacobian` with more than 2000 rows and columns the 20 largest are drawn. Values up to eps·max(m, n)·σ_1 count
    as zero, as in `numpy.linalg.matrix_rank`: a dashed line, and below it they are hollow. Raises `ArgumentError`.
    """
    name = f"J of {called(J)}: " if isinstance(J, Jacobian) else ""
    s, shape, eps = _values(J)
    tolerance = eps * max(shape) * s[0]
    rank = int((s > tolerance).sum())
    ax = axes(ax)
    k = np.arange(1, s.size + 1)
    smallest = float(s[:rank].min()) if rank else 1.0
    shown = s > 0
    floor = min(smallest, float(tolerance) or smallest, float(s[shown].min()) if shown.any() else 1.0) / 10
    ax.set_yscale("log")
    size = 6 if s.size <= 60 else 3
    ax.plot(k[:rank], s[:rank], "o-", color=BLUE, markersize=size, linewidth=1, label="singular values")
    below = s[rank:]
    if below.size:
        zeros = int((below == 0).sum())
        label = f"count as zero: {below.size}" + (f", exactly zero: {zeros} (at the lower edge)" if zeros else "")
        at = np.where(below > 0, below, floor)
        ax.plot(k[rank:], at, "v", color=VERMILLION, markersize=size + 1, fillstyle="none", label=label)
        if tolerance:
            ax.axhline(tolerance, color=GREY, linestyle="--", linewidth=1, label=f"tolerance {short(float(tolerance))}")
    bottom, top = floor if below.size else smallest, max(float(s[0]), smallest)
    air = max((top / bottom) ** 0.05, 1.25)
    ax.set_ylim(bottom / air, top * air)
    ax.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
    ax.set_xlim(0.5, s.size + 0.5)
    ax.grid(True, which="major", color="0.9")
    ax.set_axisbelow(True)
    log_ticks(ax.yaxis)
    ax.set_xlabel("k, from the largest on")
    ax.set_ylabel("singular value σₖ: stretch of length")
    titled(ax, f"{name}{_said(s, rank, min(shape))}")
    if below.size:
        ax.legend(frameon=False)
    return ax


def _said(s: np.ndarray, rank: int, full: int) -> str:
    if s.size < full:
        return f"the {s.size} largest of {full:,} singular values"
    if rank < full:
        return f"rank {rank} of {full}, condition number ∞ up to rounding"
    return f"rank {rank} of {full}, condition number {short(float(s[0] / s[-1]))}"


def _values(J: Any) -> tuple[np.ndarray, tuple[int, int], float]:
    """(descending values, shape of the matrix, eps of its precision)."""
    found: Any = J
    if isinstance(J, Jacobian) and min(J.shape) <= ALL and J.shape[0] * J.shape[1] <= DENSE:
        J = np.asarray(J.dense())
    shape = tuple(J.shape) if hasattr(J, "shape") else np.shape(J)
    if isinstance(J, Jacobian):
        found = J.svd(FEW)[1]
    elif hasattr(J, "singular_values"):
        found = J.singular_values
    elif len(shape) == 2 and 0 not in shape:
        array = numbers(J, "J")
        if not np.isfinite(array).all():
            raise ArgumentError("J: got entries that are not finite, expected numbers; NaN has no singular values")
        found = np.linalg.svd(array, compute_uv=False)
    s = numbers(found, "J")
    if s.ndim != 1 or not s.size or not np.isfinite(s).all() or (s < 0).any():
        raise ArgumentError(
            f"J: got {type(J).__name__} of shape {np.shape(found)}, expected jm.linearize(f, x), jm.geometry(J), a 2-D "
            "array, or a vector of singular values, finite and not negative"
        )
    dtype = np.asarray(J if len(np.shape(J)) == 2 else found).dtype
    eps = float(np.finfo(dtype if dtype.kind == "f" else np.float64).eps)
    return np.sort(s)[::-1], (shape[0], shape[1]) if len(shape) == 2 else (s.size, s.size), eps
