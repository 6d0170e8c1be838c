"""What the mistakes in a hand-written Jacobian look like."""

from __future__ import annotations

from typing import Any

import numpy as np

SHOWN = 8
FACTORS = (-1.0, 2.0, 0.5, -2.0, -0.5)  # what is forgotten or doubled most often: a sign, the 2 of a square


def of_shape(ours: np.ndarray, theirs: np.ndarray, allowed: np.ndarray) -> tuple[str, ...]:
    m, n = ours.shape
    if theirs.shape == (n, m):
        agrees = bool((np.abs(theirs.T - ours) <= allowed).all())
        return (f"it is transposed: inputs × outputs{', and right otherwise' if agrees else ''}; return its transpose",)
    if theirs.ndim == 2 and theirs.shape[1] == n and theirs.shape[0] < m:
        return (f"{m - theirs.shape[0]} of {m} rows (outputs) are missing",)
    if theirs.ndim == 2 and theirs.shape[0] == m and theirs.shape[1] < n:
        return (f"{n - theirs.shape[1]} of {n} columns (inputs) are missing",)
    return ()


def of_entries(ours: np.ndarray, theirs: np.ndarray, allowed: np.ndarray, mask: np.ndarray) -> tuple[str, ...]:
    """What the mistakes have in common, the simplest explanation of all first, else one per row or column."""

    def fits(other: np.ndarray, at: Any = slice(None)) -> bool:
        return bool((np.abs(theirs - other) <= 4 * allowed)[at].all())

    m, n = ours.shape
    if m == n and m > 1 and fits(ours.T):
        return ("it is transposed: inputs × outputs; return its transpose",)
    for factor in FACTORS:
        if fits(factor * ours):
            return (f"all of it is {_factor(factor)}",)
    hints = []
    spots = set(zip(*np.nonzero(mask), strict=True))
    for axis, what in ((0, "row"), (1, "column")):
        for k in sorted({int(spot[axis]) for spot in spots}):
            line = (k, slice(None)) if axis == 0 else (slice(None), k)
            inside = {spot for spot in spots if spot[axis] == k}
            if len(inside) < 2 or not np.count_nonzero(np.abs(ours[line]) > allowed[line]):
                continue
            if not theirs[line].any():
                hints.append(f"{what} {k} is missing: all zero")
                spots -= inside
                continue
            fitting = [c for c in FACTORS if fits(c * ours, line)]
            if fitting:
                hints.append(f"{what} {k} is {_factor(fitting[0])}")
                spots -= inside
    for i, j in sorted(spots):
        hints.append(_entry(int(i), int(j), ours, theirs, allowed))
    return tuple(hint for hint in hints if hint)[:SHOWN]


def _entry(i: int, j: int, ours: np.ndarray, theirs: np.ndarray, allowed: np.ndarray) -> str:
    one, other, room = ours[i, j], theirs[i, j], 4 * allowed[i, j]
    if other == 0 and abs(one) > room:
        return f"entry ({i}, {j}) is missing: zero"
    for factor in FACTORS:
        if abs(other - factor * one) <= room:
            return f"entry ({i}, {j}) is {_factor(factor)}"
    if abs(one) <= room:
        return f"entry ({i}, {j}) should be zero"
    return f"entry ({i}, {j}) lacks a term, or has one too many, of size {abs(other - one):.3g}"


def _factor(factor: float) -> str:
    return "negated: a sign is wrong" if factor == -1 else f"{factor:g} times what it should be"
