"""Adaptive cubature, by SciPy."""

from __future__ import annotations

import numpy as np

from .integral import Outcome
from .peak import Peak
from .pullback import Pullback
from .tolerance import Goal

RULES = {1: ("gk21", 21), 2: ("gk21", 441)}  # beyond, Genz-Malik's rule of degree 7 needs far fewer points
SAFETY = 4.0  # the difference of two rules is an estimate: across kinks the error was seen to be 1.6 times as large


def cubature(g: Pullback, goal: Goal, peak: Peak) -> Outcome:
    """Boxes are halved in every axis where the error estimate is largest: kinks and peaks in few dimensions.

    A narrow peak gets a box of its own from the start: the rules would else look past it.
    """
    from scipy import integrate

    goal.tracker.begin("adaptive cubature")
    n = g.size
    rule, points = RULES.get(n, ("genz-malik", 2**n + 2 * n * n + 2 * n + 1))
    started = g.evaluations
    floor = 0.0

    def values(t: np.ndarray) -> np.ndarray:
        nonlocal floor
        goal.tracker.calls(g.evaluations)
        found = g.values(t)
        floor = max(floor, 16 * g.eps * float(np.mean(np.abs(found))))
        return found

    values(np.random.default_rng(goal.seed).random((1024, n)))  # what rounding does, before SciPy asks for a tolerance
    result = integrate.cubature(
        values, np.zeros(n), np.ones(n), rule=rule, rtol=goal.rtol / SAFETY,
        atol=max(goal.atol / SAFETY, floor),
        max_subdivisions=max(1, (goal.evaluations - started) // (points * 2**n)),
        points=peak.corners,
    )  # fmt: skip
    value, error = np.asarray(result.estimate, float), SAFETY * np.asarray(result.error, float)
    how = f"adaptive cubature ({rule}, {result.subdivisions} subdivisions)"
    converged = result.status == "converged" or goal.met(value, error, floor)
    notes = () if converged else (f"{result.subdivisions} subdivisions leave an error above the tolerance",)
    return Outcome(value, np.maximum(error, floor), converged, how, notes)
