"""Steps inside bounds: unknowns that would leave are set on their bound and the rest is solved again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .._errors import ArgumentError

ROUNDS = 10


def bounds_of(bounds: Any, x: np.ndarray, flat: Callable[[Any, str], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(lower, upper), (n,) each, from a pair as SciPy takes it: numbers, arrays or pytrees like x0."""
    if hasattr(bounds, "lb") and hasattr(bounds, "ub"):  # scipy.optimize.Bounds
        bounds = bounds.lb, bounds.ub
    if not isinstance(bounds, (tuple, list)) or len(bounds) != 2:
        raise ArgumentError(f"bounds: got {type(bounds).__name__}, expected a pair (lower, upper)")
    low, high = flat(bounds[0], "bounds[0]"), flat(bounds[1], "bounds[1]")
    if np.isnan(low).any() or np.isnan(high).any():
        raise ArgumentError("bounds: got NaN, expected numbers; ±inf stands for no bound")
    crossed = np.flatnonzero(low > high)
    if crossed.size:
        k = int(crossed[0])
        raise ArgumentError(
            f"bounds: inconsistent, unknown {k} has lower bound {low[k]:g} above its upper bound {high[k]:g} "
            f"({crossed.size} such); expected lower ≤ upper"
        )
    outside = np.flatnonzero((x < low) | (x > high))
    if outside.size:
        k = int(outside[0])
        raise ArgumentError(
            f"x0: infeasible, unknown {k} is {x[k]:g}, outside [{low[k]:g}, {high[k]:g}] ({outside.size} such); "
            "start inside, for example at numpy.clip(x0, lower, upper)"
        )
    return low, high


def free_of(x: np.ndarray, gradient: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """(n,) mask: not on a bound that the descent direction would leave through."""
    return ~(((x <= low) & (gradient >= 0)) | ((x >= high) & (gradient <= 0)))


def optimality(x: np.ndarray, gradient: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    """‖x − P(x − g)‖∞: zero exactly where the first-order conditions hold; ‖g‖∞ without bounds."""
    with np.errstate(invalid="ignore"):
        step = np.clip(x - gradient, low, high) - x
    # Far from a bound the step is −g but for the rounding of x − g.
    inside = (x - gradient > low) & (x - gradient < high)
    return float(np.abs(np.where(inside, gradient, step)).max(initial=0))


def active_mask(x: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """−1 on the lower bound, 1 on the upper, 0 between: SciPy's convention."""
    return np.where(x <= low, -1, np.where(x >= high, 1, 0))


def boxed_step(
    solve: Callable[[np.ndarray, np.ndarray], np.ndarray | None],
    push: Callable[[np.ndarray], np.ndarray],
    r: np.ndarray,
    free: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
) -> np.ndarray | None:
    """A step p with lower ≤ p ≤ upper from ``solve(residuals, free)``; what would leave is fixed, the rest re-solved.

    After `ROUNDS` the rest is cut at the bounds: p still falls, since large damping turns it to the scaled projected
    gradient (Kanzow, Yamashita, Fukushima 2004, J. Comput. Appl. Math. 172, 375-397).
    """
    fixed, p = np.zeros(len(free)), None
    for _ in range(ROUNDS):
        p = solve(r + push(fixed) if fixed.any() else r, free)
        if p is None:
            return None
        p = np.where(free, p, fixed)
        out = free & ((p < lower) | (p > upper))
        if not out.any():
            return p
        fixed = np.where(out, np.clip(p, lower, upper), fixed)
        free = free & ~out
    return None if p is None else np.clip(p, lower, upper)
