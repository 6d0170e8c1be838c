"""How much f's own numbers waver: rounding, a float32 inside, a simulator's tolerance, chance.

ECnoise: Moré, Wild, "Estimating computational noise", SIAM J. Sci. Comput. 33 (2011): the k-th differences of values at
equally spaced points very close to each other hold nothing of a smooth f, only its noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import numpy as np

from .evaluate import Evaluator
from .steps import scales

POINTS = 7
ORDERS = (3, 4, 5)
# Between two points, relative to the inputs; the second where f stands still on the first (it rounds to float32, say).
SPACINGS = (2.0**-40, 2.0**-20)
# A first difference that is this many times the next largest is a jump, not noise.
LONE = 50.0
UNIT = 0.05  # of a first difference: what the units of a coarse function are at least reckoned to do


@dataclass(frozen=True, eq=False)
class Noise:
    """`size` (m,): the standard deviation of each output's noise; `jumps` (m,): does it jump right at the point?

    `still` (m,): outputs that did not move at all; those that move in larger steps are staircases.
    """

    size: np.ndarray
    jumps: np.ndarray
    still: np.ndarray


def noise(evaluate: Evaluator, x: np.ndarray, y: np.ndarray, eps: np.ndarray, seed: int) -> Noise:
    """The noise of each output along one random direction; `eps` (n,): the relative spacing of the inputs' types.

    An output that has no value nearby gets 0: there is nothing to tell by.
    """
    evaluate.phase = "noise"
    rng = np.random.default_rng(seed)
    towards = scales(x) * rng.uniform(0.5, 1.0, x.size) * rng.choice([-1.0, 1.0], x.size)
    found = _along(evaluate, x, y, np.maximum(SPACINGS[0], 16 * eps) * towards)
    if found.still.any() and SPACINGS[1] > 16 * eps.max():
        wider, still = _along(evaluate, x, y, SPACINGS[1] * towards, coarse=True), found.still
        size = np.where(still, wider.size, found.size)
        found = Noise(size, found.jumps | (still & wider.jumps), still & wider.still)
    return found


def _along(evaluate: Evaluator, x: np.ndarray, y: np.ndarray, step: np.ndarray, coarse: bool = False) -> Noise:
    """`coarse`: f is known to move in units that may happen to divide the steps, which hides them from differences."""
    middle = POINTS // 2
    around = [k for k in range(-middle, POINTS - middle) if k]
    values = evaluate.batch([x + k * step for k in around])
    values.insert(middle, y)
    table = np.stack(values)
    first = np.sort(np.abs(np.diff(table, axis=0)), axis=0)
    jumps = (first[-1] > LONE * first[-2]) & (first[-1] > 1e-9 * np.abs(y))
    found = []
    for order in range(1, max(ORDERS) + 1):
        table = np.diff(table, axis=0)
        if order in ORDERS:
            found.append(np.mean(table**2, axis=0) / comb(2 * order, order))  # the sum of squared binomials
    size = np.sqrt(np.mean(found, axis=0))
    if coarse:
        size = np.where(size > 0, size, UNIT * first[-1])
    still = (first[-1] == 0) & np.isfinite(y)
    return Noise(np.where(jumps | ~np.isfinite(size), 0.0, size), jumps, still)
