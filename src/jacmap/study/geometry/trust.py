"""How far f(x) + J h can be trusted: what it leaves out, measured along directions, both ways."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .kinks import INTERVALS, ROUGH, Kink, at_the_point, nearest
from .local import Local, lengths

RADII = 18  # distances that are tried, a factor of 4 apart, or of 2 in single precision
PROBES = 12  # second differences that show the rounding of f
SHORT = 0.01  # their steps, in units of their distance from the point
ROUNDING = 16.0  # roundings of a relative eps that a value or a product is allowed
SCATTER = 4.0  # times its typical size: what rounding may be
CLEAR = 10.0  # times the noise: an error that is looked at for its order
FITTED = 4  # errors in the fit of the order
SUDDEN = 8.0  # an order that no remainder of interest has: the error sets in at some distance
HALVINGS = 26
LARGEST_SEARCH = 2**25  # numbers that the search for kinks may hold


@dataclass(frozen=True, eq=False)
class Trust:
    """How the error of the linear model grows with the distance from the point.

    For k directions v of length 1 (columns of `directions` (n, k), named in `labels`) and the distances t in `radii`
    (R,), ascending: `remainders[i, j]` = ‖f(x ± t v) − f(x) ∓ t J v‖, the larger of both signs (2-norms over all
    outputs), and `relative[i, j]`, that over t‖J v‖. `gains` (k,) are ‖J v‖. Where J sends v to zero (`killed`: ‖J v‖ ≤
    eps·max(m, n)·s_max) there is nothing to be relative to: then it is over t·s_max, what the most effective step of
    that length does; where all of J is zero, any error counts.

    `reach` (k,): the distance up to which `relative` stays within `tolerance`, found by bisection between the distances
    tried; infinite where it was not exceeded up to `looked_at`; 0 where it is exceeded however close. `radius`: the
    smallest reach, in the units of x. `orders` (k,): the slope of log error over log distance at the smallest distances
    that stand clear of rounding: 2 for a smooth f, 3 and more where the second derivative vanishes, infinite where all
    that is left is rounding (affine along that line), 1 for a kink, 0 for a jump, NaN where too few errors are clear.
    `order`: the smallest of them.

    `noise`: the rounding of f at the point, measured; below `floor` the tolerance cannot be judged because of it.
    `kink`: where f bends or jumps, at the point or close to it, as far as the search met one; `searched` says why not
    where it was not made. `outside`: the distance at which f stops being finite along some direction, None if nowhere.
    """

    tolerance: float
    looked_at: float
    labels: tuple[str, ...]
    directions: np.ndarray
    gains: np.ndarray
    killed: np.ndarray
    radii: np.ndarray
    remainders: np.ndarray
    relative: np.ndarray
    reach: np.ndarray
    radius: float
    orders: np.ndarray
    order: float
    noise: float
    floor: float
    kink: Kink | None
    outside: float | None
    searched: str

    @property
    def worst(self) -> int:
        """The direction that is left first (its column)."""
        return int(np.argmin(self.reach))

    def __str__(self) -> str:
        from .words import of_trust

        return "\n".join(of_trust(self))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and words."""
        from .words import plain

        return plain(self)

    def plot(self, ax: Any = None) -> Any:
        """The errors over the distance, by direction (extra ``plot``)."""
        import jacmap

        plot: Any = jacmap.plot
        return plot.trust(self, ax=ax)


@dataclass(frozen=True, eq=False)
class _Model:
    """Errors of the linear model at points around x; `largest` is J's largest singular value."""

    local: Local
    push: Callable[[np.ndarray], np.ndarray]
    largest: float
    noise: float

    def errors(self, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(‖f(x+h) − f(x) − J h‖, its rounding, ‖J h‖), each (k,), for the steps h (k, n) as rounding leaves them."""
        real, values = self.local.values(self.local.point + steps)
        change = self.push(real.T).T
        with np.errstate(invalid="ignore", over="ignore"):
            error = lengths(values - self.local.value - change)
            size = lengths(values) + self.largest * lengths(real)
        error, size = np.where(np.isfinite(error), error, np.inf), np.where(np.isfinite(error), size, 0.0)
        return error, SCATTER * self.noise + ROUNDING * self.local.eps * size, lengths(change)


def trust(
    local: Local,
    push: Callable[[np.ndarray], np.ndarray],
    largest: float,
    directions: tuple[np.ndarray, tuple[str, ...]],
    tolerance: float,
    looked_at: float,
    straight: bool,
) -> Trust:
    """Measure the model; `push` multiplies (n, k) by J, `straight` says that f is known to be affine."""
    columns, labels = directions
    model = _Model(local, push, largest, _noise(local, push, looked_at))
    gains = lengths(push(columns).T)
    killed = gains <= local.eps * max(local.m, local.n) * largest
    ratio = 4.0 if local.eps < 1e-10 else 2.0
    radii = looked_at * ratio ** np.arange(1.0 - RADII, 1.0)
    signed = np.concatenate([columns, -columns], axis=1).T  # (2k, n)
    lost = np.concatenate([killed, killed])

    parts = [model.errors(np.outer(radii, v)) for v in signed]  # a line at a time: n may be a million
    error, noise, change = (np.array(part) for part in zip(*parts, strict=True))
    reference = np.where(lost[:, None], largest * radii, change)
    wrong = error - noise > tolerance * reference
    judged = noise <= tolerance * reference
    orders = np.array([_order(radii, e, s) for e, s in zip(error, noise, strict=True)])
    corner, searched = None, "not looked for: f has no forward mode"
    if local.forward:
        corner, searched = at_the_point(local, push, signed, labels, radii, error, CLEAR * noise, orders, largest), ""
    reach = _reach(model, signed, lost, radii, error, wrong, tolerance)
    if corner is not None:
        # Its error shrinks no faster than the step: where it is first seen, rounding alone hid it before.
        hidden = ~(judged & (np.cumsum(wrong, axis=1) == 0)).any(1)
        reach[wrong.any(1) & (orders < ROUGH) & hidden] = 0.0
    if corner is None and not searched:
        corner, searched = _ahead(local, signed, labels, looked_at, straight)

    def both(a: np.ndarray) -> np.ndarray:
        return a.reshape(2, len(gains), *a.shape[1:])  # forwards, backwards

    remainders = both(error).max(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = both(np.where(error > noise, error, 0.0) / reference).max(0)
    relative = np.where(np.isnan(relative), 0.0, relative)
    finite = np.isfinite(error)
    unjudged = ~judged.any(0) & (reference > 0).any(0)
    return Trust(
        tolerance=tolerance,
        looked_at=looked_at,
        labels=labels,
        directions=columns,
        gains=gains,
        killed=killed,
        radii=radii,
        remainders=remainders,
        relative=relative,
        reach=both(reach).min(0),
        radius=float(reach.min()),
        orders=_least(both(orders)),
        order=float(_least(orders)),
        noise=model.noise,
        floor=float(radii[unjudged].max()) if unjudged.any() else 0.0,
        kink=corner,
        outside=None if finite.all() else float(radii[~finite.all(0)].min()),
        searched=searched,
    )


def _noise(local: Local, push: Callable[[np.ndarray], np.ndarray], looked_at: float) -> float:
    """The size of f's rounding near the point, from second differences over short steps.

    As in Moré and Wild (SIAM J. Sci. Comput. 33, 2011), with few differences: they are taken a little away from the
    point, where a kink at the point takes no part, over steps so short that what is left of a smooth f is below its
    rounding. J removes what x + h loses when it is rounded. The upper quartile: a result of few digits often does not
    change at all, and a difference across a kink is rare.
    """
    random = np.random.default_rng(0)
    away, step = random.standard_normal((2, PROBES, local.n))
    length = max(local.eps**0.5 * looked_at, 1e3 * local.eps * float(np.abs(local.point).max()))
    centre = local.point + length * away / np.linalg.norm(away, axis=1, keepdims=True)
    step *= SHORT * length / np.linalg.norm(step, axis=1, keepdims=True)
    rests = []
    for shift in (step, 0, -step):
        real, values = local.values(centre + shift)
        rests.append(values - local.value - push(real.T).T)
    sizes = lengths(rests[0] - 2 * rests[1] + rests[2]) / 6**0.5
    return float(np.quantile(sizes[np.isfinite(sizes)], 0.75)) if np.isfinite(sizes).any() else 0.0


def _order(radii: np.ndarray, errors: np.ndarray, noise: np.ndarray) -> float:
    """The slope of log error over log distance where errors are clear of rounding, nearest to the point."""
    finite = np.isfinite(errors)
    clear = np.flatnonzero(finite & (errors > CLEAR * noise))
    if not clear.size:
        return math.inf if finite.any() else math.nan
    run = clear[:FITTED]  # the smallest distances: at larger ones further terms take part
    run = run[run == run[0] + np.arange(run.size)]
    slope = math.nan
    if run.size > 1:
        slope = float(np.polyfit(np.log(radii[run]), np.log(errors[run]), 1)[0])
    first = int(run[0])
    if first:
        ends = math.log(radii[first] / radii[first - 1])
        least = math.log(errors[first] / (CLEAR * max(noise[first - 1], np.finfo(float).tiny))) / ends
        if least > max(SUDDEN, 0.0 if math.isnan(slope) else slope + 2):
            return math.inf  # exact up to some distance, then suddenly not
    return slope


def _least(orders: np.ndarray) -> np.ndarray:
    """The smallest along the first axis, unknown ones aside."""
    known = np.where(np.isnan(orders), np.inf, orders).min(0)
    return np.where(np.isnan(orders).all(0), np.nan, known)


def _reach(
    model: _Model,
    signed: np.ndarray,
    lost: np.ndarray,
    radii: np.ndarray,
    error: np.ndarray,
    wrong: np.ndarray,
    tolerance: float,
) -> np.ndarray:
    """(2k,) where the tolerance is first exceeded, by bisection between two of the distances; 0 below all of them."""
    reach = np.full(len(signed), np.inf)
    first = wrong.argmax(1)
    leaves = wrong.any(1)
    below = leaves & (first == 0)
    reach[below] = 0.0
    inside = np.flatnonzero(leaves & ~below)
    if inside.size:
        low, high = np.log(radii[first[inside] - 1]), np.log(radii[first[inside]])
        for _ in range(HALVINGS if model.local.eps < 1e-10 else HALVINGS // 2):
            middle = (low + high) / 2
            distance = np.exp(middle)
            e, noise, change = model.errors(signed[inside] * distance[:, None])
            bad = e - noise > tolerance * np.where(lost[inside], model.largest * distance, change)
            low, high = np.where(bad, low, middle), np.where(bad, middle, high)
        reach[inside] = np.exp(low)
    return reach


def _ahead(
    local: Local, signed: np.ndarray, labels: tuple[str, ...], looked_at: float, straight: bool
) -> tuple[Kink | None, str]:
    """The nearest kink away from the point, or why none was looked for."""
    if straight:
        return None, "f is affine"
    possible = LARGEST_SEARCH // (2 * INTERVALS * local.m)
    if possible < 2:
        return None, f"not looked for: f has {local.m} outputs"
    names = (*(f"{label}, forwards" for label in labels), *(f"{label}, backwards" for label in labels))
    lines = sorted(range(len(signed)), key=lambda line: -(line % len(labels)))[:possible]  # the random ones first
    return nearest(local, signed[lines], tuple(names[line] for line in lines), looked_at), ""
