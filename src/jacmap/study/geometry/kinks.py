"""Where f bends or jumps: at the point, or close to it along a few lines."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .local import Local, lengths

ROUGH = 1.5  # orders of the remainder below this belong to no differentiable f
BEND = 0.8  # and below this no line fits on one side
STEP = 64.0  # roundings of x to the nearest place beside the point that is compared with it
FARTHER = 8.0  # how much farther away each further place is
MOVING = 0.1  # of the largest entry of a direction: entries of x that must feel the step
SURE = 10.0  # times what rounding and slopes explain: a change that is a jump
DIFFERENT = 0.1  # of the largest: a difference that takes part

# The search along a line: each interval ends at twice the distance of the one before, and is halved towards the larger
# change.
INTERVALS = 24
ROUND = 4  # halvings after which a smooth change has shrunk to 1/16
KEPT_FIRST, KEPT = 0.1, 0.5  # share of a change that must remain after a round, the first one and the others
ROUNDS = (12, 5)  # in double and in single precision: down to neighbouring numbers


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
    noise: np.ndarray,
    orders: np.ndarray,
    largest: float,
) -> Kink | None:
    """The kink that low orders of the remainder betray, along the direction that shows it best.

    `signed` (2k, n) are the directions and their opposites, `labels` (k,) their names, `error` and its `noise` (2k, R)
    are those at the distances `radii`, `largest` is J's largest singular value. An order alone may come from a kink
    that is merely close: so the values or the slopes a few roundings of x away must differ from those at x; or, for a
    rule of its own, agree with J while f does not.
    """
    clear = np.isfinite(error) & (error > noise)
    rough = np.flatnonzero((orders < ROUGH) & clear.any(1))
    if not rough.size:
        return None
    closest = clear[rough].argmax(1)
    rough = rough[np.argsort(-error[rough, closest] / radii[closest], kind="stable")]
    for line in rough:
        t = float(radii[clear[line].argmax()])
        what, before, behind = _sides(local, push, signed[line], orders[line], noise[line, 0], t, largest)
        if what:
            shown = (math.nan, math.nan) if what in ("jump", "steep") else _most_different(before, behind)
            return Kink(what, 0.0, labels[line % len(labels)], signed[line], _taking_part(behind - before), *shown)
    return None


def _sides(
    local: Local,
    push: Callable[[np.ndarray], np.ndarray],
    v: np.ndarray,
    order: float,
    noise: float,
    t: float,
    largest: float,
) -> tuple[str, np.ndarray, np.ndarray]:
    """What happens at the point along v ("" for nothing), and the changes or slopes (m,) that show it, on both sides.

    `t` is a distance at which the error is clear of rounding.
    """
    steps = _near(local, v)
    offsets = np.array([*steps, *-steps, t, -t])
    values, slopes = local.slopes(local.point + np.outer(offsets, v), np.tile(v, (offsets.size, 1)))
    stated, changes = push(v[:, None])[:, 0], values - local.value
    size = max(largest, *lengths(slopes[:-2]))
    ends = [steps.size - 1, 2 * steps.size - 1]  # the farthest of the places beside the point, on both sides
    if lengths(changes[ends]).max() > SURE * (noise + steps[-1] * size):
        return "jump", changes[ends[1]], changes[ends[0]]
    apart = lengths(slopes[:-2] - stated).reshape(2, steps.size)
    if (bend := _sudden(apart, local.eps**0.5 * size)) is not None:
        return ("steep" if order < BEND else "bend"), slopes[steps.size + bend], slopes[bend]
    found = (changes[-2] - changes[-1]) / (2 * t)
    if lengths(slopes - stated).max() < DIFFERENT * size < lengths((found - stated)[None])[0]:
        return "slope", stated, found
    return "", stated, stated


def _near(local: Local, v: np.ndarray) -> np.ndarray:
    """Distances along v at which entries of x begin to move, the smallest entries first, each FARTHER than the last."""
    moving = np.abs(v) >= MOVING * np.abs(v).max()
    sizes = np.abs(local.point[moving])
    felt = (sizes / np.abs(v[moving]))[sizes > 0] if sizes.any() else 1 / np.abs(v[moving])
    least, most = STEP * local.eps * felt.min(), STEP * local.eps * felt.max() * FARTHER
    return np.asarray(least * FARTHER ** np.arange(math.ceil(math.log(most / least, FARTHER)) + 1))


def _sudden(apart: np.ndarray, least: float) -> int | None:
    """The first of several distances at which a slope has left J's at once, not little by little; None for none.

    `apart` (2, S): by how much the slopes differ from J's, forwards and backwards, at distances that grow by FARTHER.
    Where f is smooth the difference grows with the distance; from a bend on it stays.
    """
    before = np.concatenate([np.zeros((2, 1)), apart[:, :-2]], axis=1)
    here, behind = apart[:, :-1], apart[:, 1:]
    found = (here > least) & (before < here / FARTHER**1.5) & (behind < here * FARTHER**0.5)
    return int(found.any(axis=0).argmax()) if found.any() else None


def nearest(local: Local, signed: np.ndarray, names: tuple[str, ...], upto: float) -> Kink | None:
    """The closest kink that is met on the lines x + t v, 0 < t <= upto, for the directions v (k, n).

    A change of f or of its slope over an interval halves with the interval where f is smooth, and stays where it bends
    or jumps. Of several kinks in one interval one is found; a bend much weaker than the smooth change around it is not.
    """
    lines = _Lines(local, signed)
    grid = np.concatenate([[0.0], upto * 2.0 ** np.arange(2.0 - INTERVALS, 1)])
    along = np.repeat(np.arange(len(signed)), grid.size)
    signals = lines.scaled(lines.at(along, np.tile(grid, len(signed))).reshape(len(signed), grid.size, -1))
    for k in range(INTERVALS - 1):  # from the nearest outwards
        found = _narrowed(lines, signals[:, k], signals[:, k + 1], grid[k], grid[k + 1])
        if found is not None:
            line, ends, at_low, at_high = found
            return lines.kink(line, ends, at_low, at_high, names)
    return None


def _narrowed(
    lines: _Lines, at_low: np.ndarray, at_high: np.ndarray, low: float, high: float
) -> tuple[int, tuple[float, float], np.ndarray, np.ndarray] | None:
    """The interval on which a change stays, halved as far as it goes: (line, its ends, the signals there)."""
    line = np.arange(len(at_low))
    ends = np.tile([low, high], (line.size, 1))
    for number in range(-1, ROUNDS[0] if lines.local.eps < 1e-10 else ROUNDS[1]):
        before = _change(at_low, at_high)
        for _ in range(ROUND if number >= 0 else 0):
            middle = ends.mean(1)
            at_middle = lines.scaled(lines.at(line, middle))
            nearer = _change(at_low, at_middle) >= _change(at_middle, at_high)
            ends = np.where(nearer[:, None], np.stack([ends[:, 0], middle], 1), np.stack([middle, ends[:, 1]], 1))
            at_low = np.where(nearer[:, None], at_low, at_middle)
            at_high = np.where(nearer[:, None], at_middle, at_high)
        share = KEPT if number > 0 else KEPT_FIRST
        now = _change(at_low, at_high)
        stays = (now >= share * before) & (now > lines.noise)
        if not stays.any():
            return None
        line, ends, at_low, at_high = line[stays], ends[stays], at_low[stays], at_high[stays]
    first = int(ends[:, 1].argmin())
    return int(line[first]), (float(ends[first, 0]), float(ends[first, 1])), at_low[first], at_high[first]


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
        if np.abs(values).max() > SURE * steepest * (ends[1] - ends[0]) + units * self.noise:
            return Kink("jump", ends[1], label, v, _taking_part(values), math.nan, math.nan)
        if steepest * ends[1] > units * self.local.eps**-0.5:  # a pole
            return Kink("steep", ends[1], label, v, _taking_part(behind - before), math.nan, math.nan)
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
