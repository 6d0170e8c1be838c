"""Where f bends or jumps: at the point, or close to it along a few lines."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .local import Local

ROUGH = 1.5  # orders of the remainder below this belong to no differentiable f
JUMP, BEND = 0.3, 0.8  # orders below: the value jumps; no line fits; else a bend
DIFFERENT = 0.1  # of the largest change of slope: an output that takes part

# The search along a line: intervals that a factor of √2 apart end, each halved towards its larger change.
INTERVALS = 40
ROUND = 4  # halvings after which a smooth change has shrunk to 1/16
KEPT_FIRST, KEPT = 0.1, 0.5  # share of a change that must remain after a round, the first one and the others
STEEPER = 10.0  # times the slopes on both sides: what a value changes by only if it jumps
ROUNDS = (6, 3)  # in double and in single precision


@dataclass(frozen=True, eq=False)
class Kink:
    """A place where f has no derivative, `distance` from the point along `direction` (n,), called `label`.

    `what` is "bend" (the slope differs before and behind), "jump" (the value does), "steep" (no line fits), or "slope":
    the derivative that JAX gives is not the slope of f (a custom rule, a stop-gradient). `outputs`: those that take
    part, at most ten. `before` and `behind`: the slope along the direction, on the two sides, of the output in which it
    differs most; for "slope" what J says and what f does; NaN for the others.
    """

    what: str
    distance: float
    label: str
    direction: np.ndarray
    outputs: tuple[int, ...]
    before: float
    behind: float

    def __str__(self) -> str:
        where = "at the point itself" if self.distance == 0 else f"at distance {self.distance:.4g}"
        return f"f {WORDS[self.what].format(before=self.before, behind=self.behind)} {where}, along {self.label}"

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and words."""
        from .words import plain

        return plain(self)


WORDS = {
    "bend": "has a kink (slope {before:.3g} before, {behind:.3g} behind)",
    "jump": "jumps",
    "steep": "is steeper than any line",
    "slope": "has slope {behind:.3g} where J, from a derivative rule of its own, says {before:.3g},",
}


def at_the_point(
    local: Local,
    push: Callable[[np.ndarray], np.ndarray],
    signed: np.ndarray,
    labels: tuple[str, ...],
    radii: np.ndarray,
    error: np.ndarray,
    clear: np.ndarray,
    orders: np.ndarray,
) -> Kink | None:
    """The kink that low orders of the remainder betray, along the direction that shows it best.

    `signed` (2k, n) are the directions and their opposites, `labels` (k,) their names, `error` (2k, R) the errors at
    the distances `radii` and `clear` whether they are clear of rounding.
    """
    rough = np.flatnonzero(orders < ROUGH)
    if not rough.size:
        return None
    closest = clear[rough].argmax(1)
    line = int(rough[(error[rough, closest] / radii[closest]).argmax()])
    order, v, label = orders[line], signed[line], labels[line % len(labels)]
    t = radii[clear[line].argmax()]
    steps, values = local.values(local.point + np.array([t * v, -t * v]))
    ahead, back = (values - local.value) / np.linalg.norm(steps, axis=1)[:, None]
    slope, stated = -back, push(v[:, None])[:, 0]
    if order < BEND:
        what = "jump" if order < JUMP else "steep"
        return Kink(what, 0.0, label, v, _taking_part(ahead - stated), np.nan, np.nan)
    if np.linalg.norm(ahead - slope) > DIFFERENT * np.linalg.norm(ahead - stated):
        return Kink("bend", 0.0, label, v, _taking_part(ahead - slope), *_most_different(slope, ahead))
    return Kink("slope", 0.0, label, v, _taking_part(ahead - stated), *_most_different(stated, ahead))


def nearest(local: Local, signed: np.ndarray, names: tuple[str, ...], upto: float) -> Kink | None:
    """The closest kink that is met on the lines x + t v, 0 < t <= upto, for the directions v (k, n).

    A change of f or of its slope over an interval halves with the interval where f is smooth, and stays where it bends
    or jumps. Of several kinks in one interval one is found; a bend much weaker than the smooth change around it is not.
    """
    lines = _Lines(local, signed)
    grid = np.concatenate([[0.0], upto * 2.0 ** (np.arange(1 - INTERVALS, 1) / 2)])
    along = np.repeat(np.arange(len(signed)), grid.size)
    signals = lines.at(along, np.tile(grid, len(signed))).reshape(len(signed), grid.size, -1)
    signals = lines.scaled(signals)
    line, left = np.nonzero(_change(signals[:, :-1], signals[:, 1:]) > lines.noise)
    low, high = grid[left], grid[left + 1]
    at_low, at_high = signals[line, left], signals[line, left + 1]
    for number in range(ROUNDS[0] if local.eps < 1e-10 else ROUNDS[1]):
        if not line.size:
            return None
        before = _change(at_low, at_high)
        for _ in range(ROUND):
            middle = (low + high) / 2
            at_middle = lines.scaled(lines.at(line, middle))
            nearer = (_change(at_low, at_middle) >= _change(at_middle, at_high))[:, None]
            low, high = np.where(nearer[:, 0], low, middle), np.where(nearer[:, 0], middle, high)
            at_low, at_high = np.where(nearer, at_low, at_middle), np.where(nearer, at_middle, at_high)
        now = _change(at_low, at_high)
        stays = (now > (KEPT if number else KEPT_FIRST) * before) & (now > lines.noise)
        line, low, high = line[stays], low[stays], high[stays]
        at_low, at_high = at_low[stays], at_high[stays]
    if not line.size:
        return None
    first = int(high.argmin())
    return lines.kink(int(line[first]), (low[first], high[first]), at_low[first], at_high[first], names)


class _Lines:
    """f and its slope along lines through the point, as one signal (f, slope) per place, scaled to sizes of 1."""

    def __init__(self, local: Local, signed: np.ndarray):
        self.local, self.signed = local, signed
        self.scales: tuple[float, float] | None = None
        self.noise = 1e4 * local.eps

    def at(self, line: np.ndarray, distance: np.ndarray) -> np.ndarray:
        """The signals (k, 2m) at the distances (k,) on the lines (k,)."""
        v = self.signed[line]
        value, slope = self.local.slopes(self.local.point + distance[:, None] * v, v)
        return np.concatenate([value, slope], axis=1)

    def scaled(self, signals: np.ndarray) -> np.ndarray:
        """Values and slopes in units of the largest change of value and the largest slope of the first call."""
        m = self.local.m
        if self.scales is None:
            values, slopes = signals[..., :m] - self.local.value, signals[..., m:]
            largest = [float(np.abs(part[np.isfinite(part)]).max(initial=0.0)) for part in (values, slopes)]
            # A value known to few digits is compared in units that hide the others.
            coarse = float(np.abs(self.local.value[np.isfinite(self.local.value)]).max(initial=0.0))
            self.scales = max(largest[0], 1e-3 * coarse) or 1.0, largest[1] or 1.0
        units = np.repeat(self.scales, m)
        return signals / units

    def kink(
        self, line: int, ends: tuple[float, float], at_low: np.ndarray, at_high: np.ndarray, names: tuple[str, ...]
    ) -> Kink:
        """What lies between the ends of an interval that cannot be halved much further."""
        assert self.scales is not None
        m, (units, slopes) = self.local.m, self.scales
        values, before, behind = units * (at_high - at_low)[:m], slopes * at_low[m:], slopes * at_high[m:]
        steepest = max(np.abs(before).max(), np.abs(behind).max())
        v, label = self.signed[line], names[line]
        if np.abs(values).max() > STEEPER * steepest * (ends[1] - ends[0]) + units * self.noise:
            return Kink("jump", ends[1], label, v, _taking_part(values), math.nan, math.nan)
        return Kink("bend", ends[1], label, v, _taking_part(behind - before), *_most_different(before, behind))


def _change(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The largest difference over the last axis; 0 where one side is not finite."""
    with np.errstate(invalid="ignore"):
        change = np.abs(b - a).max(-1)
    return np.where(np.isfinite(change), change, 0.0)


def _taking_part(difference: np.ndarray) -> tuple[int, ...]:
    sizes = np.abs(difference)
    return tuple(int(k) for k in np.flatnonzero(sizes > DIFFERENT * sizes.max(initial=0.0))[:10])


def _most_different(before: np.ndarray, behind: np.ndarray) -> tuple[float, float]:
    output = int(np.abs(behind - before).argmax())
    return float(before[output]) + 0.0, float(behind[output]) + 0.0  # no -0
