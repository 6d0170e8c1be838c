"""How the integrand behaves at the region's faces: the power of the distance with which it vanishes or grows there.

Along lines into each face of the unit cube g is compared at distances 2⁻ᵏ. A power of −1 or less cannot be
integrated; a broken one can, but spoils every rule that trusts polynomials, until the axis is stretched.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from .pullback import Pullback

Array = np.ndarray
LINES = 8
WHOLE = 0.02  # a power is taken for a whole number this near to one
LARGEST = 12  # power of a stretch


@dataclass(frozen=True)
class Face:
    """A face of the unit cube, `upper` or lower in `axis`, that g meets as distance^power; None: as no power."""

    axis: int
    upper: bool
    power: float | None
    place: Array

    @property
    def divergent(self) -> bool:
        return self.power is not None and self.power <= -1 + WHOLE / 2

    @property
    def stretch(self) -> int:
        """The power p for which t^p makes g(t^p)·p·t^(p−1) a whole power, or at least a smooth one."""
        if self.power is None:
            return 4
        exact = Fraction(1 + self.power).limit_denominator(LARGEST)
        if abs(float(exact) - 1 - self.power) < WHOLE:
            return exact.denominator
        return int(min(LARGEST, np.ceil(3 / (1 + self.power))))


def find_faces(g: Pullback, seed: int) -> list[Face]:
    """The faces that need attention: those where g diverges or is a broken power of the distance."""
    random = np.random.default_rng(seed)
    far, middle, near = (6, 9, 12) if g.eps > 1e-10 else (14, 20, 26)
    lines = random.uniform(0.15, 0.85, (LINES, g.size))
    t = np.tile(lines, (g.size, 2, 3, 1, 1))
    for axis in range(g.size):
        for k, exponent in enumerate((far, middle, near)):
            t[axis, 0, k, :, axis] = 2.0**-exponent
            t[axis, 1, k, :, axis] = 1 - 2.0**-exponent
    size = np.max(np.abs(_values(g, t.reshape(-1, g.size))), axis=1).reshape(g.size, 2, 3, LINES)
    found = []
    for axis in range(g.size):
        for upper in (False, True):
            power = _power(size[axis, int(upper)], (far, middle, near))
            if power is not False:
                at = lines[0].copy()
                at[axis] = float(upper)
                found.append(Face(axis, upper, power, at))
    return found


def _values(g: Pullback, t: Array) -> Array:
    if not g.log:
        return g.values(t)
    logs = g.logs(t)
    return np.exp(np.clip(logs - np.max(logs[np.isfinite(logs)], initial=-np.inf), -600, 0))[:, None]


def _power(size: Array, exponents: tuple[int, int, int]) -> float | None | bool:
    """The power of the distance, None where it is none, False where there is nothing to mend."""
    far, middle, near = exponents
    alive = np.all(size > np.finfo(float).tiny, axis=0)
    if alive.sum() < LINES / 2:
        return False
    logs = np.log2(size[:, alive])
    first, second = (logs[0] - logs[1]) / (middle - far), (logs[1] - logs[2]) / (near - middle)
    power = float(np.median(second))
    if abs(power) > 50 or np.std(second) > WHOLE:  # vanishes faster than a power, oscillates, or differs along the face
        return False
    if abs(power) < WHOLE / 2:  # whatever a smooth function still changes by, near as this is
        return False
    if abs(np.median(first) - power) > WHOLE / 2 and power < 1:
        return None
    if power > -WHOLE and (abs(power - round(power)) < WHOLE or power > 3):
        return False
    return power
