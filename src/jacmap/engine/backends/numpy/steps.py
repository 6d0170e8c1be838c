"""Where to step: sizes that are powers of two, so that x ± h and its halvings are exact in floating point."""

from __future__ import annotations

import numpy as np

# The first step relative to the input where the tableau is refined until rounding stops it: large, because high orders
# of extrapolation profit from it.
WIDE = 2.0**-2
# And where two levels must do: near eps^(1/5), where the error of fourth order meets that of rounding.
NARROW = 2.0**-9
SHARE = 2.0**-4  # of the median input, below which no narrow step is taken


def scales(x: np.ndarray) -> np.ndarray:
    """A typical size of each input: its own, that of the others where it is zero, 1 where all are."""
    size = np.abs(np.where(np.isfinite(x), x, 0.0))
    nonzero = size[size > 0]
    return np.where(size > 0, size, np.median(nonzero) if nonzero.size else 1.0)


def power_of_two(size: np.ndarray) -> np.ndarray:
    """The largest power of two up to each size."""
    return np.exp2(np.floor(np.log2(size)))


def first_steps(x: np.ndarray, eps: np.ndarray, narrow: bool) -> np.ndarray:
    """The first step of each input (n,); `eps` is the relative spacing of its floating-point type."""
    size = scales(x)
    if not narrow:
        return power_of_two(size * WIDE)
    # Among many inputs one that is close to zero is so by chance: its step need not be.
    return power_of_two(np.maximum(size, SHARE * np.median(size)) * np.maximum(eps ** (1 / 5), NARROW))
