"""The derivative of all outputs along one direction, by the same differences as a column."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .central import Column, Found, lockstep
from .evaluate import Evaluator
from .point import Point, single
from .steps import scales


def random_direction(x: np.ndarray, seed: int) -> np.ndarray:
    """A direction (n,) with something of every input, each by its own size."""
    rng = np.random.default_rng(seed)
    return scales(x) * rng.uniform(0.5, 1.0, x.size) * rng.choice([-1.0, 1.0], x.size)


def along(evaluate: Evaluator, point: Point, towards: np.ndarray, tolerance: float | None) -> Found:
    """d/dt f(x + t·towards) at t = 0: (m,) with estimated errors."""

    def values(points: Sequence[np.ndarray]) -> list[np.ndarray]:
        return evaluate.batch([point.x + t[0] * towards for t in points])

    line = Point(np.zeros(1), point.y, np.zeros(1), (), point.out_eps, point.floor, point.still)
    first = np.array([2.0**-9 if tolerance is not None else 2.0**-3])
    return lockstep([Column(line, single(0, point.y.size), first, tolerance)], values)[0]
