"""Along which directions a linear model is tried: those given, or those in which it is likely to be worst."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._errors import ArgumentError
from .local import Local

ALL_UP_TO = 4  # inputs: every right singular vector is tried; beyond, the first and last two
RANDOM = 3
ASCENT = 12  # steps towards the strongest curvature


def given(directions: Any, local: Local) -> tuple[np.ndarray, tuple[str, ...]]:
    """Columns (n, k) of length 1, and their names, from what a caller gave: (n,) or (n, k)."""
    try:
        columns = np.asarray(directions, float)
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            f"directions: got {type(directions).__name__}, expected numbers of shape ({local.n},) or ({local.n}, k)"
        ) from error
    if columns.ndim not in (1, 2) or columns.shape[0] != local.n or not columns.size:
        raise ArgumentError(
            f"directions: got shape {columns.shape}, expected ({local.n},) or ({local.n}, k): one direction per "
            "column, one entry per input"
        )
    columns = columns.reshape(local.n, -1)
    lengths = np.linalg.norm(columns, axis=0)
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        bad = int(np.argmin(np.isfinite(lengths) & (lengths > 0)))
        raise ArgumentError(f"directions: column {bad} has length {lengths[bad]:g}, expected a positive, finite one")
    return columns / lengths, tuple(f"given direction {k}" for k in range(columns.shape[1]))


def worst(local: Local, right: np.ndarray, gains: np.ndarray, seed: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Columns (n, k) of length 1, and their names.

    `right` (n×k): right singular vectors, by descending gain. The model's relative error is likely to be large where J
    does little (the last ones), where many things happen at once (random ones), and where f curves most: steps of
    v ← ∇½‖d²f[v, v]‖², normalised, from the best start, the higher-order power method (Kofidis and Regalia, SIAM J.
    Matrix Anal. Appl. 23, 2002); the best that was met is kept, which need not be the very worst.
    """
    count = right.shape[1]
    chosen = list(range(count)) if count <= ALL_UP_TO else [0, 1, count - 2, count - 1]
    names = [f"singular direction {k + 1} (gain {gains[k]:.3g})" for k in chosen]
    random = np.random.default_rng(seed).standard_normal((local.n, RANDOM))
    random /= np.linalg.norm(random, axis=0)
    columns = [right[:, k] for k in chosen]
    if local.n > 1:
        columns += list(random.T)
        names += [f"random direction {k + 1}" for k in range(RANDOM)]
        curved = _most_curved(local, np.array(columns))
        if curved is not None:
            columns.append(curved)
            names.append("direction of strong curvature")
    return np.array(columns).T, tuple(names)


def _most_curved(local: Local, starts: np.ndarray) -> np.ndarray | None:
    """The direction (n,) of the largest ‖d²f[v, v]‖ met; None where there is no curvature, or none can be computed."""
    try:
        sizes, gradients = local.bends(starts)
    except (TypeError, ValueError, NotImplementedError):  # an operation without one of the two AD modes
        return None
    if not np.isfinite(sizes).all() or not sizes.max() > 0:
        return None
    at = int(sizes.argmax())
    best, size, gradient = starts[at], sizes[at], gradients[at]
    v = best
    for _ in range(ASCENT):
        length = float(np.linalg.norm(gradient))
        if not np.isfinite(length) or length == 0:
            break
        v = gradient / length
        (new,), (gradient,) = local.bends(v[None])
        if new > size:
            best, size = v, new
    return best
