"""How long a step may be: Levenberg-Marquardt, dogleg, Gauss-Newton with halving."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

# damping (n,) or None for the plain Gauss-Newton step -> p (n,), or None where no step can be had
Solve = Callable[[np.ndarray], np.ndarray | None]

TINY = 1e-14  # damping, relative to the column norms' squares, that stands for none: keeps rank-deficient J solvable
FIRST = 0.3  # the first trust radius, as a share of ‖D x0‖
WITHIN = 1.1  # the length of a damped step over the trust radius, or its inverse, that is near enough
MOST_SOLVES = 12
LEAST = 1e-300  # a trust radius below which no step is left
MOST = 1e16  # damping above which none is
NOTICED = 100.0  # times the damping that stands for none: where it begins again after a step was refused


class Strategy(Protocol):
    """`propose` a step; `learn` how it did: the ratio of the cost's fall to the predicted one, -1 for NaN."""

    name: str

    def begin(self, reach: float) -> None:
        """`reach` is ‖D x0‖, or ‖r‖ where that is zero: they have the same units."""

    def propose(
        self, solve: Solve, gradient: np.ndarray, scale: np.ndarray, curvature: float, least: float
    ) -> np.ndarray | None:
        """p (n,); `scale` D (n,), `curvature` ‖J D⁻² g‖²; `least`: `solve` tells no λ below it from none."""

    def learn(self, ratio: float, length: float) -> None:
        """`length` is ‖D p‖."""

    def refused(self) -> bool:
        """No step of any size is left to try."""


class Damped:
    """(JᵀJ + λD²) p = −g, one solve a step; λ by Nielsen's rule (1999, "Damping parameter in Marquardt's method").

    For many unknowns: a solve is dear there, and damping holds each unknown by its own curvature, where one radius for
    all would be used up by the few that the data hardly hold (a landmark seen from one side).
    """

    name = "lm"

    def __init__(self) -> None:
        self.damping, self.factor = 1e-3, 2.0
        self.least = 0.0

    def begin(self, reach: float) -> None:
        """There is no radius."""

    def propose(
        self, solve: Solve, gradient: np.ndarray, scale: np.ndarray, curvature: float, least: float
    ) -> np.ndarray | None:
        # D remembers the longest columns: where those have shrunk by orders, much smaller λ still damp.
        self.least = least
        return solve(self.damping * scale**2)

    def learn(self, ratio: float, length: float) -> None:
        if ratio > 0:
            self.damping = max(self.damping * max(0.1, 1 - (2 * ratio - 1) ** 3), self.least)
            self.factor = 2.0
        else:
            self.damping = max(self.damping, NOTICED * self.least) * self.factor
            self.factor *= 2

    def refused(self) -> bool:
        return self.damping > MOST


class Levenberg:
    """(JᵀJ + λD²) p = −g, with λ = 0 where that step is within the trust radius, else such that ‖D p‖ is the radius.

    Moré 1978, "The Levenberg-Marquardt algorithm: implementation and theory". λ is found by the secant of 1/‖D p(λ)‖,
    which is nearly straight (Hebden 1973), kept between bounds. For ways whose step with another λ is cheap beside
    J, or that must step without any damping.
    """

    name = "lm"

    def __init__(self) -> None:
        self.radius, self.damping = 1.0, 0.0
        self.cut = False
        self.newton: tuple[np.ndarray | None, float] | None = None  # the undamped step of this J, and its length

    def begin(self, reach: float) -> None:
        self.radius = FIRST * reach or 1.0

    def propose(
        self, solve: Solve, gradient: np.ndarray, scale: np.ndarray, curvature: float, least: float
    ) -> np.ndarray | None:
        self.newton = p, length = self.newton or _step(solve, 0.0, scale)
        self.cut = length > WITHIN * self.radius
        largest = float(np.linalg.norm(gradient / scale)) / self.radius  # λ at which any J's step is short enough
        if not self.cut or not 0 < largest < np.inf:
            self.damping = 0.0
            return p
        low, high = 0.0, largest
        damping = self.damping if 0 < self.damping < largest else 1e-3 * largest
        before = (0.0, 1 / length) if 0 < length < np.inf else None
        for _ in range(MOST_SOLVES):
            self.damping = damping
            p, length = _step(solve, damping, scale)
            if self.radius <= WITHIN * length and length <= WITHIN * self.radius:
                break
            low, high = (damping, high) if length > self.radius else (low, damping)
            now = (damping, 1 / length) if 0 < length < np.inf else None
            damping = _secant(before, now, 1 / self.radius)
            before = now or before
            if not low < damping < high:
                damping = max(np.sqrt(low * high), 1e-3 * high)
        return p

    def learn(self, ratio: float, length: float) -> None:
        if ratio > 0:
            self.newton = None
        if ratio < 0.25:
            self.radius = 0.25 * (min(self.radius, length) if length > 0 else self.radius)
        elif ratio > 0.75 and self.cut:
            self.radius *= 2

    def refused(self) -> bool:
        return self.radius < LEAST


def _step(solve: Solve, damping: float, scale: np.ndarray) -> tuple[np.ndarray | None, float]:
    p = solve(damping * scale**2)
    return p, np.inf if p is None else float(np.linalg.norm(scale * p))


def _secant(first: tuple[float, float] | None, second: tuple[float, float] | None, goal: float) -> float:
    """Where the line through two points reaches the goal; NaN where there are no two."""
    if first is None or second is None or first[1] == second[1]:
        return np.nan
    return second[0] + (goal - second[1]) * (second[0] - first[0]) / (second[1] - first[1])


class Dogleg:
    """Powell's path from the gradient's minimiser to the Gauss-Newton step, cut at the trust radius ‖D p‖ ≤ Δ."""

    name = "dogleg"

    def __init__(self) -> None:
        self.radius: float | None = None
        self.cut = False

    def begin(self, reach: float) -> None:
        """The first radius is the length of the first Gauss-Newton step."""

    def propose(
        self, solve: Solve, gradient: np.ndarray, scale: np.ndarray, curvature: float, least: float
    ) -> np.ndarray | None:
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
        return self.radius is not None and self.radius < LEAST


class GaussNewton:
    """The full Gauss-Newton step, halved until the cost falls: fast near a good start, no safeguard far from one."""

    name = "gauss-newton"

    def __init__(self) -> None:
        self.share = 1.0

    def begin(self, reach: float) -> None:
        """There is no radius."""

    def propose(
        self, solve: Solve, gradient: np.ndarray, scale: np.ndarray, curvature: float, least: float
    ) -> np.ndarray | None:
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


def levenberg(repeats: bool) -> Strategy:
    """Levenberg-Marquardt: are solves with other dampings cheap?"""
    return Levenberg() if repeats else Damped()


# By `Way.repeats`. SciPy's "trf" and "dogbox" name how bounds are met; here every method meets them alike.
STRATEGIES: dict[str, Callable[[bool], Strategy]] = {
    "lm": levenberg,
    "trf": levenberg,
    "dogleg": lambda repeats: Dogleg(),
    "dogbox": lambda repeats: Dogleg(),
    "gauss-newton": lambda repeats: GaussNewton(),
}
