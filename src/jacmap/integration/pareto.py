"""The tail of importance weights: a generalised Pareto distribution fitted to the largest of them."""

from __future__ import annotations

import numpy as np

Array = np.ndarray
TRUSTED = 0.5  # beyond, the tail has no variance


def pareto_k(weights: Array) -> float:
    """The shape k of the tail of non-negative weights; 1/k moments exist. −inf where the largest are all alike.

    The fit of Zhang and Stephens, Technometrics 51 (2009), to the largest min(n/5, 3√n) weights, drawn to 1/2 by ten
    observations' worth, as Vehtari, Simpson, Gelman, Yao and Gabry do, JMLR 25 (2024), appendix C.
    """
    ordered = np.sort(np.asarray(weights, float))
    count = int(min(len(ordered) / 5, 3 * np.sqrt(len(ordered))))
    if count < 5:
        return float("inf")
    excess = ordered[-count:] - ordered[-count - 1]
    if excess[-1] <= 1e-12 * ordered[-1]:
        return float("-inf")
    excess = excess[excess > 0]
    m, quartile = len(excess), excess[(len(excess) - 1) // 4]
    grid = 30 + int(np.sqrt(m))
    b = 1 / excess[-1] + (1 - np.sqrt(grid / (np.arange(1, grid + 1) - 0.5))) / (3 * quartile)
    k = np.mean(np.log1p(-b[:, None] * excess), axis=1)
    likelihood = m * (np.log(-b / k) - k - 1)
    posterior = 1 / np.sum(np.exp(np.clip(likelihood - likelihood[:, None], -700, 700)), axis=1)
    shape = float(np.mean(np.log1p(-np.sum(b * posterior) * excess)))
    return (m * shape + 10 * 0.5) / (m + 10)


def heavy(weights: Array) -> tuple[float, tuple[str, ...]]:
    """(k, what to tell where the error cannot be trusted); weights that are not smoothed need a variance."""
    k = pareto_k(weights)
    if k <= TRUSTED:
        return k, ()
    return k, (
        f"the weights' tail is heavy (Pareto k {k:.2f}, trusted up to {TRUSTED}): the error may be far larger than "
        "stated. Take more draws, a proposal with wider tails, or one trained longer",
    )
