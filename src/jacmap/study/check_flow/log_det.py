"""What is wrong with a log-determinant written by hand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .report import Finding
from .subject import Subject, as_array

FACTORS = {2.0: "counted twice", 0.5: "halved", 1 / math.log(2): "in bits: log2 instead of log",
           1 / math.log(10): "log10 instead of log"}  # fmt: skip


def claimed(subject: Subject, log_det: Callable[..., Any]) -> tuple[np.ndarray | None, list[Finding]]:
    """What log_det gives for each point, and what is wrong with the shape of its answer."""
    count = len(subject.points)
    if subject.batched:
        whole = as_array(log_det(subject.points)).astype(float)
        if whole.shape == (count,):
            return whole, []
        return _of_another_shape(subject, whole, log_det)
    values = np.stack([as_array(log_det(point)).astype(float) for point in subject.points])
    if values.shape == (count,):
        return values, []
    return _summed(subject, values, "() for a point")


def _of_another_shape(subject: Subject, whole: np.ndarray, log_det: Callable[..., Any]) -> Any:
    """A batch's answer that is not one number per point."""
    count = len(subject.points)
    if whole.shape[:1] == (count,):
        return _summed(subject, whole, f"({count},) for {count} points")
    said = f"got shape {whole.shape} for {count} points, expected ({count},)"
    true = subject.determinants[1]
    if whole.size != 1:
        return None, [Finding("log_det", "batch", f"{said}: the axis of the batch is absent")]
    value = float(whole.reshape(()))
    few = count // 2
    lacking = value - true.sum()
    lacking_few = float(as_array(log_det(subject.points[:few])).reshape(())) - true[:few].sum()
    if _all(np.full(count, value), true, subject):
        text = f"{said}: the value is right for every point, but the axis of the batch is absent; broadcast it"
    elif _near(lacking, 0, true.sum(), subject):
        text = f"{said}: it is summed over the batch; sum over the entries of a point only"
    elif _near(lacking * (few - 1), lacking_few * (count - 1), lacking * count, subject):
        text = (
            f"{said}: it is summed over the batch, and a term of {-lacking / (count - 1):.6g} that is the same for "
            "every point is counted once instead of once per point; sum over the entries of a point only"
        )
    elif _near(value, true.mean(), value, subject):
        text = f"{said}: it is the mean over the batch; sum over the entries of a point only"
    else:
        text = f"{said}: the axis of the batch is absent"
    return None, [Finding("log_det", "batch", text)]


def _summed(subject: Subject, values: np.ndarray, expected: str) -> Any:
    """One array per point where there should be one number."""
    flat = values.reshape(len(values), -1)
    said = f"got shape {values.shape[1:]} per point, expected {expected}"
    if flat.shape[1] == 1:
        text = f"{said}: the last axis would broadcast a sum of log-densities to a matrix; squeeze it"
        return flat[:, 0], [Finding("log_det", "shape", text)]
    if _all(flat.sum(1), subject.determinants[1], subject):
        text = f"{said}: it is not summed over the entries of a point; their sum is right"
    else:
        text = f"{said}: it is not summed over the entries of a point"
    return None, [Finding("log_det", "shape", text)]


def of_values(subject: Subject, given: np.ndarray, inverse: Callable[..., Any] | None) -> Iterator[Finding]:
    """The simplest explanation of what log_det gives; nothing where it is right."""
    sign, true = subject.determinants
    usable = np.isfinite(true)
    bad = usable & ~np.isfinite(given)
    if bad.any():
        falling = (sign < 0)[bad].all()
        why = "; det J is negative there: take the logarithm of its absolute value" if falling else ""
        text = f"at {bad.sum()} of {len(given)} points, such as number {bad.argmax()}{why}"
        yield Finding("log_det", "not finite", text)
        usable &= ~bad
    if not usable.any() or _all(given[usable], true[usable], subject):
        return
    yield _explained(subject, given, true, sign, usable, inverse)


def _explained(subject: Subject, given: np.ndarray, true: np.ndarray, sign: np.ndarray, usable: np.ndarray,
               inverse: Callable[..., Any] | None) -> Finding:  # fmt: skip
    def fits(other: np.ndarray) -> bool:
        good = usable & np.isfinite(other)
        return bool(good.sum() >= max(1, usable.sum() // 2)) and _all(given[good], other[good], subject)

    def found(kind: str, text: str) -> Finding:
        return Finding("log_det", kind, text)

    size = subject.flat.shape[1]
    if fits(np.zeros_like(true)):
        return found("zero", f"it is zero, where log|det J| is {true[usable][0]:.6g}: the term is missing")
    if fits(-true):
        return found("sign", "it is -log|det ∂z/∂x|, of the opposite sign (or the inverse's at z); turn the sign round")
    if fits(subject.log_dets_at(subject.images)):
        return found("wrong point", "it is log|det J| at z = f(x) instead of at x; evaluate it where the map starts")
    if inverse is not None and fits(subject.log_dets_at(subject.flat, inverse)):
        return found("direction", "it is the log-determinant of the inverse, taken at x; use that of f at x")
    with np.errstate(over="ignore"):
        if fits(np.exp(true)) or fits(sign * np.exp(true)):
            return found("no logarithm", "it is the determinant itself; take the logarithm of its absolute value")
    for factor, why in {**FACTORS, 1 / size: "the mean over the entries instead of the sum"}.items():
        if fits(factor * true):
            return found("factor", f"it is {factor:.4g} times what it should be: {why}")
    return _terms(subject, given, true, usable) or found(
        "other",
        f"it differs from log|det J| by {_range((given - true)[usable])}, in no way known here; jm.slogdet(f) gives it",
    )


def _terms(subject: Subject, given: np.ndarray, true: np.ndarray, usable: np.ndarray) -> Finding | None:
    """Whole terms that are missing, doubled or of the wrong sign: a constant, layers, entries, a common factor."""
    apart = (given - true)[usable]
    size = subject.flat.shape[1]
    room = _room(subject, true)

    def explained(parts: list[tuple[Any, np.ndarray]], about_means: bool = False) -> dict[int, int]:
        whole = apart - apart.mean() if about_means else apart
        return _whole_parts(whole, [values[usable] for _, values in parts], room)

    layers = subject.layers if len(subject.layers) > 1 else []
    if parts := explained(layers):
        told = (f"layer {j} of {len(layers)}, {layers[j][0]}, {_times(a)}" for j, a in parts.items())
        return Finding("log_det", "layer", "; ".join(told))
    # A layer's segment may hold constants (a scale after it) that the mistake leaves alone: centred, they drop out.
    centred = [(name, values - values[usable].mean()) for name, values in layers]
    if np.ptp(apart) > room and (parts := explained(centred, about_means=True)):
        told = (f"layer {j} of {len(layers)}, {layers[j][0]}, {_times(a)}, constants aside" for j, a in parts.items())
        return Finding("log_det", "layer", "; ".join(told))
    if np.ptp(apart) <= room:
        value = float(apart.mean())
        each = f"{value / size:+.6g} per entry, a scale of {math.exp(abs(value) / size):.6g}"
        text = (
            f"it is off by {value:+.6g} at every point ({each}): a layer that scales by constants (a matrix, an "
            "actnorm, a scaling of the data) is missing or counted wrongly"
        )
        return Finding("log_det", "constant", text)
    slopes = subject.slopes
    if parts := explained(slopes):
        by_count: dict[int, list[int]] = {}
        for j, a in parts.items():
            by_count.setdefault(a, []).append(slopes[j][0])
        told = (f"the terms of entries {_listed(sorted(rows))} are {_many(a)}" for a, rows in by_count.items())
        return Finding("log_det", "entries", "; ".join(told))
    ratio = given[usable] / np.where(true[usable] == 0, np.nan, true[usable])
    if np.isfinite(ratio).all() and np.ptp(ratio) <= room * abs(ratio).max() and len(ratio) > 2 and np.ptp(true) > room:
        return Finding("log_det", "factor", f"it is {ratio.mean():.6g} times what it should be")
    return None


def _whole_parts(apart: np.ndarray, parts: list[np.ndarray], room: float) -> dict[int, int]:
    """{part: how often it is counted too much}, from −2 (its sign is wrong) to 1, that explain the difference."""
    if not parts or not all(np.isfinite(part).all() for part in parts):
        return {}
    for count in (1, 2):
        for chosen in itertools.combinations(range(len(parts)), count):
            if count == 2 and len(parts) > 40:
                break
            for times in itertools.product((-1, -2, 1), repeat=count):
                rest = apart - sum(a * parts[j] for j, a in zip(chosen, times, strict=True))
                if np.abs(rest).max() <= room:
                    return dict(zip(chosen, times, strict=True))
    if len(parts) >= len(apart):
        return {}
    matrix = np.stack(parts, axis=1)
    found = np.round(np.linalg.lstsq(matrix, apart, rcond=None)[0]).astype(int)
    if np.abs(found).max() > 2 or not found.any() or np.abs(apart - matrix @ found).max() > room:
        return {}
    return {j: int(a) for j, a in enumerate(found) if a}


def of_gradient(subject: Subject, log_det: Callable[..., Any]) -> Iterator[Finding]:
    """Right values whose derivative is not: a constant was taken where there is none (JAX only)."""
    try:
        import jax

        def given(point: Any) -> Any:
            return subject.one(log_det, point)

        point = subject.points[0]
        theirs = as_array(jax.grad(given)(point)).ravel().astype(float)
    except (TypeError, ValueError, ImportError):
        return  # not a function of JAX, or one that it cannot differentiate
    step = subject.eps ** (1 / 3)
    direction = np.random.default_rng(1).standard_normal(theirs.size)
    direction /= np.linalg.norm(direction)
    scale = step * max(1.0, float(np.abs(subject.flat[0]).max(initial=0)))
    moved = np.stack([subject.flat[0] + scale * direction, subject.flat[0] - scale * direction])
    moved = as_array(subject.like(moved)).reshape(2, -1).astype(float)
    up, down = subject.log_dets_at(moved)
    true = (up - down) / (2 * scale)
    if np.isfinite(true) and abs(theirs @ direction - true) > 0.05 * max(abs(true), abs(theirs @ direction), 0.05):
        yield Finding(
            "log_det", "gradient", f"its values are right, but along a random direction its derivative is "
            f"{theirs @ direction:.4g} where that of log|det J| is {true:.4g}: training would go wrong; "
            "look for stop_gradient or values taken out of the graph"
        )  # fmt: skip


# -- numbers -------------------------------------------------------------------------------------------------------
def _room(subject: Subject, true: np.ndarray) -> float:
    """What rounding may do to the difference of two sums of n logarithms."""
    finite = true[np.isfinite(true)]
    return 30 * subject.eps**0.75 * (1 + float(np.abs(finite).max(initial=0.0)) + subject.flat.shape[1] ** 0.5)


def _all(given: np.ndarray, true: np.ndarray, subject: Subject) -> bool:
    return bool(np.abs(given - true).max(initial=0.0) <= _room(subject, true))


def _near(one: float, other: float, scale: float, subject: Subject) -> bool:
    return abs(one - other) <= 30 * subject.eps**0.75 * (1 + abs(scale)) * len(subject.points)


def _range(values: np.ndarray) -> str:
    return f"{values.min():.4g} to {values.max():.4g}"


def _listed(rows: list[int]) -> str:
    return ", ".join(map(str, rows[:8])) + (f" and {len(rows) - 8} more" if len(rows) > 8 else "")


def _times(count: int) -> str:
    known = {-1: "is missing", -2: "has the wrong sign", 1: "is counted twice", 2: "is counted three times"}
    return known.get(count, f"is counted {count + 1} times")


def _many(count: int) -> str:
    known = {-1: "missing", -2: "of the wrong sign", 1: "counted twice", 2: "counted three times"}
    return known.get(count, f"counted {count + 1} times")
