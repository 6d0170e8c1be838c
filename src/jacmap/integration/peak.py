"""Where the integrand is largest, and how much of a sample carries it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .pullback import Pullback
from .sampling import effective_size

Array = np.ndarray
ROUNDS, TRIES = 24, 64
NARROW = 64.0  # carrying points of the sample below which adaptive cubature is started at the peak


@dataclass(frozen=True)
class Peak:
    """`at`: in the unit cube; `height`: |g| there; `carriers`: the effective number of the `size` sample points that carry the integral."""

    at: Array
    height: float
    carriers: float
    size: int

    @property
    def narrow(self) -> bool:
        return self.carriers < NARROW


def find_peak(g: Pullback, points: Array, values: Array, seed: int) -> Peak:
    """The best of the sample, climbed from by random steps that shrink where they do not lead up."""
    random = np.random.default_rng(seed)
    height = np.max(np.abs(values), axis=1)
    best, top, reach = points[np.argmax(height)], float(np.max(height)), 0.1
    for _ in range(ROUNDS):
        tries = np.clip(best + reach * random.standard_normal((TRIES, g.size)), 1e-9, 1 - 1e-9)
        found = np.max(np.abs(g.values(tries)), axis=1)
        if np.max(found) > top:
            best, top = tries[np.argmax(found)], float(np.max(found))
        else:
            reach /= 2
    return Peak(best, top, effective_size(height), len(points))
