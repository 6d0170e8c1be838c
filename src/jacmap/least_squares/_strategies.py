"""How long a step may be: Levenberg-Marquardt, dogleg, Gauss-Newton with halving."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

# damping (n,) or None for the plain Gauss-Newton step -> p (n,), or None where no step can be had
Solve = Callable[[np.ndarray], np.ndarray | None]

TINY = 1e-14  # damping, relative to the column norms' squares, that stands for none: keeps rank-deficient J solvable
MOST = 1e16


class Strategy(Protocol):
    """`propose` a step; `learn` how it did: the ratio of the cost's fall to the predicted one, -1 for NaN."""

    name: str

    def propose(self, solve: Solve, gradient: np.ndarray, scale: np.ndarray, curvature: float) -> np.ndarray | None:
        """p (n,); `scale` D (n,), `curvature` ‖J D⁻² g‖²."""

    def learn(self, ratio: float, length: float) -> None:
        """`length` is ‖D p‖."""

    def refused(self) -> bool:
        """No step of any size is left to try."""


class Levenberg:
    """(JᵀJ + λD²) p = −g; λ by Nielsen's rule (1999, "Damping parameter in Marquardt's method", IMM-REP-1999-05)."""

    name = "lm"

    def __init__(self) -> None:
        self.damping, self.factor = 1e-3, 2.0

    def propose(self, solve: Solve, gradient: np.ndarray, scale: np.ndarray, curvature: float) -> np.ndarray | None:
        return solve(self.damping * scale**2)

    def learn(self, ratio: float, length: float) -> None:
        if ratio > 0:
            self.damping = max(self.damping * max(0.1, 1 - (2 * ratio - 1) ** 3), TINY)
            self.factor = 2.0
        else:
            self.damping = max(self.damping, 1e-12) * self.factor
            self.factor *= 2

    def refused(self) -> bool:
        return self.damping > MOST


class Dogleg:
    """Powell's path from the gradient's minimiser to the Gauss-Newton step, cut at the trust radius ‖D p‖ ≤ Δ."""

    name = "dogleg"

    def __init__(self) -> None:
        self.radius: float | None = None
        self.cut = False

    def propose(self, solve: Solve, gradient: np.ndarray, scale: np.ndarray, curvature: float) -> np.ndarray | None:
        newton = solve(TINY * scale**2)
        steepest = -gradient / scale**2
        slope = float(-gradient @ steepest)
        cauchy = steepest * (slope / curvature if curvature > 0 else 1.0)
        if newton is None:
            newton = cauchy
        reach = float(np.linalg.norm(scale * newton))
        if self.radius is None:
            self.radius = max(reach, 1e-12)
        self.cut = reach > self.radius
        if not self.cut:
            return newton
        short = float(np.linalg.norm(scale * cauchy))
        if short >= self.radius:
            return cauchy * (self.radius / short)
        return _crossing(cauchy, newton, scale, self.radius)

    def learn(self, ratio: float, length: float) -> None:
        assert self.radius is not None
        if ratio < 0.25:
            self.radius = 0.25 * min(self.radius, length) if length > 0 else 0.25 * self.radius
        elif ratio > 0.75 and self.cut:
            self.radius *= 2

    def refused(self) -> bool:
        return self.radius is not None and self.radius < 1e-300


class GaussNewton:
    """The full Gauss-Newton step, halved until the cost falls: fast near a good start, no safeguard far from one."""

    name = "gauss-newton"

    def __init__(self) -> None:
        self.share = 1.0

    def propose(self, solve: Solve, gradient: np.ndarray, scale: np.ndarray, curvature: float) -> np.ndarray | None:
        found = solve(TINY * scale**2)
        if found is None:
            found = -gradient / scale**2
        return self.share * found

    def learn(self, ratio: float, length: float) -> None:
        self.share = 1.0 if ratio > 0 else self.share / 2

    def refused(self) -> bool:
        return self.share < 1e-30


def _crossing(inner: np.ndarray, outer: np.ndarray, scale: np.ndarray, radius: float) -> np.ndarray:
    """The point between the two at which ‖D p‖ is the radius."""
    a, d = scale * inner, scale * (outer - inner)
    aa, ad, dd = float(a @ a), float(a @ d), float(d @ d)
    root = np.sqrt(max(ad**2 + dd * (radius**2 - aa), 0.0))
    t = (radius**2 - aa) / (ad + root) if ad > 0 else (root - ad) / dd
    return inner + min(max(t, 0.0), 1.0) * (outer - inner)


# SciPy's "trf" and "dogbox" name how bounds are met; here every method meets them alike.
STRATEGIES: dict[str, Callable[[], Strategy]] = {
    "lm": Levenberg,
    "trf": Levenberg,
    "dogleg": Dogleg,
    "dogbox": Dogleg,
    "gauss-newton": GaussNewton,
}
