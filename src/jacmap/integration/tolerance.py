"""When an error is small enough, and how much work may be done for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._progress import Tracker

Array = np.ndarray


@dataclass(frozen=True)
class Goal:
    """Every error ≤ max(atol, rtol·largest |entry|), within `evaluations`; `stops`: was a tolerance asked for?"""

    rtol: float
    atol: float
    evaluations: int
    stops: bool
    seed: int
    tracker: Tracker

    def allowed(self, value: Array) -> float:
        return max(self.atol, self.rtol * float(np.max(np.abs(value))))

    def met(self, value: Array, error: Array, floor: float = 0.0) -> bool:
        """`floor`: what rounding alone may do, below which no method gets."""
        return bool(np.all(error <= max(self.allowed(value), floor)))
