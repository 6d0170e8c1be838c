"""Product Gauss-Legendre quadrature with its own number of nodes in each axis, as lines along the axes ask for."""

from __future__ import annotations

import numpy as np

from .._errors import ArgumentError
from .integral import Outcome
from .peak import Peak
from .pullback import Pullback
from .tolerance import Goal

Array = np.ndarray
NODES = (2, 3, 4, 6, 8, 10, 12, 15, 19, 24, 30, 38, 48, 60, 76, 96, 124)
RULES = [np.polynomial.legendre.leggauss(count) for count in NODES]
LINES = 4
SEEN = 0.1  # of the peak's height that the nodes of the line through it must see
CHUNK = 2**16
ROUNDING = 16  # units of rounding of ∫|g| below which no difference of two rules means anything


def gauss(g: Pullback, goal: Goal, peak: Peak) -> Outcome:
    """The nodes that lines along each axis need, then a grid and that with the next fewer nodes in every axis.

    Their difference is the error estimate: that of the *coarser* grid. Where it is too large, all axes are raised.
    Raises `ArgumentError` where two nodes in each axis are more than the evaluations given.
    """
    if 2.0**g.size > goal.evaluations:
        raise ArgumentError(
            f"method: 'gauss' needs more than 2^{g.size} points in {g.size} dimensions, expected at most "
            f"{goal.evaluations:,} (evaluations=); 'quasi' does not grow with the dimension"
        )
    goal.tracker.begin("product Gauss")
    levels = _levels(g, goal, peak)
    if levels is None:
        return _failed("no number of Gauss nodes up to 124 is enough along the axes: the integrand is not smooth", g)
    coarse: Array | None = None
    while True:
        for each in [levels] if coarse is not None else [[k - 1 for k in levels], levels]:
            cost = np.prod([float(NODES[k]) for k in each])
            if g.evaluations + cost > goal.evaluations:
                return _failed(f"a Gauss grid of {_named(each)} nodes has more points than evaluations are allowed", g)
            fine, absolute = _summed(g, goal, each)
            error = np.full_like(fine, np.inf) if coarse is None else np.abs(fine - coarse)
            coarse = fine
        floor = ROUNDING * g.eps * absolute
        if goal.met(fine, error, floor):
            return Outcome(fine, np.maximum(error, floor), True, f"product Gauss, {_named(levels)} nodes")
        levels = [k + 1 for k in levels]
        if max(levels) >= len(NODES):
            note = f"a Gauss grid of {_named([k - 1 for k in levels])} nodes leaves an error above the tolerance"
            return Outcome(fine, np.maximum(error, floor), False, "product Gauss", (note,))


def _levels(g: Pullback, goal: Goal, peak: Peak) -> list[int] | None:
    """Per axis the first level that changes no line's integral any more; None where some axis has none.

    Lines through the integrand's peak, and through random points.
    """
    base = np.vstack([peak.at, np.random.default_rng(goal.seed).random((LINES - 1, g.size))])
    found = []
    for axis in range(g.size):
        before: Array | None = None
        for level, (nodes, weights) in enumerate(RULES):
            t = np.repeat(base[:, None], len(nodes), axis=1)
            t[:, :, axis] = (1 + nodes) / 2
            values = g.values(t.reshape(-1, g.size)).reshape(len(base), len(nodes), -1)
            now = np.einsum("lpk,p->lk", values, weights / 2)
            absolute = np.max(np.einsum("lpk,p->lk", np.abs(values), weights / 2))
            allowed = max(goal.rtol / 2, ROUNDING * g.eps) * absolute
            seen = np.max(np.abs(values[0])) >= SEEN * peak.height
            if before is not None and seen and np.max(np.abs(now - before)) <= allowed:
                found.append(level)
                break
            before = now
        else:
            return None
    return found


def _summed(g: Pullback, goal: Goal, levels: list[int]) -> tuple[Array, float]:
    """The grid's sum, and that of absolute values."""
    shape = tuple(NODES[k] for k in levels)
    count = int(np.prod(shape))
    total, absolute = np.zeros(g.width), np.zeros(g.width)
    for start in range(0, count, CHUNK):
        index = np.unravel_index(np.arange(start, min(start + CHUNK, count)), shape)
        rules = [RULES[k] for k in levels]
        t = np.stack([(1 + nodes[k]) / 2 for (nodes, _), k in zip(rules, index, strict=True)], axis=1)
        weight = np.prod([weights[k] / 2 for (_, weights), k in zip(rules, index, strict=True)], axis=0)
        part = weight[:, None] * g.values(t)
        total += part.sum(axis=0)
        absolute += np.abs(part).sum(axis=0)
        goal.tracker.calls(g.evaluations)
    return total, float(np.max(absolute))


def _failed(note: str, g: Pullback) -> Outcome:
    nothing = np.full(g.width, np.nan)
    return Outcome(nothing, np.full(g.width, np.inf), False, "product Gauss", (note,))


def _named(levels: list[int]) -> str:
    return "×".join(str(NODES[k]) for k in levels)
