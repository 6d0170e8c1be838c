"""The complex step: Im f(x + ih)/h has no difference in it that could lose digits, where f is analytic.

Squire, Trapp, "Using complex variables to estimate derivatives of real functions", SIAM Review 40 (1998). Many
functions take complex numbers and are wrong for them (abs, .real, conjugates, comparisons): it is used only after f has
shown along a random direction that it agrees with differences and obeys the Cauchy-Riemann equations at a finite step.
"""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from .central import Found, Rough
from .evaluate import Evaluator
from .point import Group, Point
from .steps import power_of_two, scales

TINY = 2.0**-60
# The second of two steps is another one, from a point beside x by a rounding or two: all that f computes on the way is
# then rounded differently, and the difference shows what rounding does. No power of two lies between the steps.
STEPS = (TINY, 1.3 * TINY)
NUDGE = 2.0**-51
SAFETY = 8.0  # of a single difference, for what it would be on the whole
FINITE = 2.0**-12
LEAST = 1e-4  # how well differences must know a derivative before they can vouch for another


def why_not(
    evaluate: Evaluator, point: Point, towards: np.ndarray, along: np.ndarray, errors: np.ndarray, noisy: bool
) -> str:
    """Why the complex step cannot be used; empty when it can.

    `along` ± `errors` (m,): the derivative in the direction `towards` (n,) by differences.
    """
    if noisy:
        return "f is noisy"
    try:
        tiny = evaluate.complex(point.x + 1j * TINY * towards)
        finite = evaluate.complex(point.x + 1j * FINITE * towards)
    except Exception as error:  # whatever a function raises that was never meant for complex numbers
        return f"f does not take complex numbers ({type(error).__name__})"
    if tiny.dtype.kind != "c":
        return "f returns real numbers for complex ones"
    if tiny.shape != along.shape:
        return "f returns another shape for complex numbers"
    slope = tiny.imag / TINY
    known = errors <= LEAST * (np.abs(along) + 1e-3 * np.abs(point.y))
    room = 8 * errors + 64 * point.out_eps * np.abs(along)
    if not (known & (np.abs(slope - along) <= room)).all():
        return "it disagrees with differences" if known.all() else "differences are too rough here to vouch for it"
    above, below = evaluate.batch([point.x + FINITE * towards, point.x - FINITE * towards])
    # Re f(x + itv) = f − t²f″/2 + …, where the real second difference is t²f″; Im f(x + itv) = t f′ − ….
    bent = above - 2 * point.y + below
    waver = 64 * np.maximum(point.floor, point.out_eps * np.abs(point.y))
    small = 1e-2 * np.abs(bent) + 1e-6 * FINITE * np.abs(along) + waver
    analytic = np.abs(finite.real - point.y + bent / 2) <= small
    analytic &= np.abs(tiny.real - point.y) <= waver
    analytic &= np.abs(finite.imag / FINITE - along) <= room + 1e-2 * np.abs(along) + waver / FINITE
    return "" if analytic.all() else "f is not analytic (Cauchy-Riemann equations)"


class ComplexColumn:
    """The entries of one group by two complex steps, in the manner of `central.Column`."""

    def __init__(self, point: Point, group: Group):
        self.point, self.group = point, group

    def run(self) -> Generator[list[np.ndarray], list[np.ndarray], Found]:
        """Take the steps; the entries found are the generator's value."""
        point, group = self.point, self.group
        size = power_of_two(scales(point.x))[group.columns]
        signs = np.where(np.random.default_rng(int(group.columns[0])).random(point.x.size) < 0.5, -1.0, 1.0)
        beside = point.x + signs * np.maximum(NUDGE, 2 * point.eps) * np.abs(point.x)
        points = []
        for x, step in zip((point.x, beside), STEPS, strict=True):
            moved = x.astype(complex)
            moved[group.columns] += 1j * step * size
            points.append(moved)
        one, other = (np.imag(value) / step for value, step in zip((yield points), STEPS, strict=True))
        outside = one != 0
        outside[group.rows] = False
        one, other = (slopes[group.rows] / size[group.owner] for slopes in (one, other))
        values = one
        errors = SAFETY * np.abs(one - other) + 4 * point.out_eps[group.rows] * np.abs(values)
        errors[np.isnan(errors)] = np.inf
        bad = ~np.isfinite(point.y[group.rows])
        values[bad], errors[bad] = np.nan, np.inf
        return Found(group, values, errors, np.full(values.size, Rough.SMOOTH), np.flatnonzero(outside))
