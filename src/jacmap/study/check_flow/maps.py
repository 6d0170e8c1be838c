"""What is wrong with f and with its inverse."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..._errors import JacmapError
from ..._jacobian import linearize
from .report import Finding
from .subject import Subject, as_array

PAIRS = 200  # of points between which a fold is looked for
BISECTIONS = 30


def of_f(subject: Subject) -> Iterator[Finding]:
    """Points where f's Jacobian is singular, and folds: where det J changes its sign."""
    if subject.batched:
        yield from _batch(subject)
    sign, log = subject.determinants
    singular = (sign == 0) | _flat(subject)
    if singular.any():
        yield Finding("f", "singular", f"det J is zero at {singular.sum()} of {len(sign)} points, such as number "
                      f"{singular.argmax()}: f cannot be inverted there")  # fmt: skip
    if (sign > 0).any() and (sign < 0).any():
        ends = subject.flat[(sign > 0).argmax()], subject.flat[(sign < 0).argmax()]
        yield _fold(subject, *ends)
    elif not singular.any():
        yield from _searched(subject, sign[0])


def _batch(subject: Subject) -> Iterator[Finding]:
    whole = as_array(subject.f(subject.points)).reshape(len(subject.points), -1).astype(float)
    apart = np.abs(whole - subject.images).max()
    if apart > 100 * subject.eps**0.75 * (1 + np.abs(whole).max()):
        text = (
            f"the points of a batch change each other (by up to {apart:.2g}): what is found here is for batches of "
            "one; batch normalisation must use fixed averages"
        )
        yield Finding("f", "batch", text)


def _flat(subject: Subject) -> np.ndarray:
    """Is the smallest singular value rounding?"""
    values = np.linalg.svd(subject.matrices, compute_uv=False)
    return values[:, -1] <= 4 * len(values[0]) * subject.eps * values[:, 0]


def _searched(subject: Subject, expected: float) -> Iterator[Finding]:
    """Points between the given ones where det J has another sign."""
    random = np.random.default_rng(2)
    ends = subject.flat[random.integers(len(subject.flat), size=(PAIRS, 2))]
    between = ends[:, 0] + random.uniform(size=(PAIRS, 1)) * (ends[:, 1] - ends[:, 0])
    for point in between[: PAIRS if between.shape[1] <= 16 else PAIRS // 8]:
        if _sign(subject, point) == -expected:
            yield _fold(subject, subject.flat[0], point)
            return


def _sign(subject: Subject, flat: np.ndarray) -> float:
    J = subject.linear.at(subject.like(flat[None])[0])
    return float(np.linalg.slogdet(as_array(J.dense()).astype(float))[0])


def _fold(subject: Subject, one: np.ndarray, other: np.ndarray) -> Finding:
    """A place between two points of opposite orientation."""
    first = _sign(subject, one)
    for _ in range(BISECTIONS):
        middle = (one + other) / 2
        if _sign(subject, middle) == first:
            one = middle
        else:
            other = middle
    place = ", ".join(f"{entry:.4g}" for entry in other[:6]) + (", …" if len(other) > 6 else "")
    return Finding("f", "fold", f"det J changes its sign near x = ({place}): f is not one-to-one around there, and "
                   "the density is wrong on both sides")  # fmt: skip


# -- the inverse ---------------------------------------------------------------------------------------------------
def of_inverse(subject: Subject, inverse: Callable[..., Any]) -> tuple[float | None, list[Finding]]:
    """The largest |inverse(f(x)) − x|, and what is wrong with the inverse."""
    x, z = subject.flat, subject.images
    back = _applied(subject, inverse, z)
    if back.shape != x.shape:
        return None, [Finding("inverse", "shape", f"gives {back.shape[1]} numbers per point, expected {x.shape[1]}")]
    bad = ~np.isfinite(back).all(axis=1) & np.isfinite(z).all(axis=1)
    if bad.any():
        text = f"at {bad.sum()} of {len(bad)} points, such as number {bad.argmax()}"
        return None, [Finding("inverse", "not finite", text)]
    apart = float(np.abs(back - x).max(initial=0.0))
    if _close(subject, back, x).all():
        return apart, []
    return apart, [_named(subject, inverse, x, z, back)]


def _named(subject: Subject, inverse: Callable[..., Any], x: np.ndarray, z: np.ndarray, back: np.ndarray) -> Finding:
    def found(kind: str, text: str) -> Finding:
        return Finding("inverse", kind, text)

    returned = _applied(subject, subject.f, back)
    wrong = ~_close(subject, back, x)
    if _close(subject, returned, z).all():
        text = (
            f"inverse(f(x)) is another point with the same f at {wrong.any(1).sum()} of {len(x)} points: f maps both "
            "to one, so that it has no inverse and no density this way"
        )
        return found("not one-to-one", text)
    for values, target, what in ((back, x, "inverse(f(x)) is x"), (_again(subject, inverse), x, "f(inverse(x)) is x")):
        order = _order(subject, values, target)
        if order is not None:
            moved = [k for k, source in enumerate(order) if k != source][:4]
            told = ", ".join(f"entry {k} is x[{order[k]}]" for k in moved)
            return found("permutation", f"{what} in another order ({told}): a permutation is applied where its inverse "
                         "(its transpose, np.argsort of its indices) should be")  # fmt: skip
    if 0 < wrong.any(0).sum() < x.shape[1]:
        rows = np.flatnonzero(wrong.any(0))
        listed = ", ".join(map(str, rows[:8])) + (" …" if len(rows) > 8 else "")
        rest = _affine(subject, x[:, rows], back[:, rows])
        return found("entries", f"entries {listed} come back wrong, by up to {np.abs(back - x).max():.3g}; the others "
                     f"are right{rest and ': ' + rest}")  # fmt: skip
    if how := _affine(subject, x, back):
        return found(how.split()[0], f"inverse(f(x)) is {how}, off by up to {np.abs(back - x).max():.3g}")
    place = _where(subject, inverse)
    kind = "permutation" if "permutation" in place else "other"
    return found(kind, f"inverse(f(x)) differs from x by up to {np.abs(back - x).max():.3g}{place}")


def _applied(subject: Subject, function: Callable[..., Any], flat: np.ndarray) -> np.ndarray:
    """`function` at points (k, n), shaped as f's images or as its points are."""
    shape = as_array(subject.one(subject.f, subject.points[0])).shape if function is not subject.f else None
    points = subject.like(flat)
    if shape is not None:
        points = points.reshape(len(flat), *shape)
    return np.stack([as_array(subject.one(function, point)).ravel().astype(float) for point in points])


def _again(subject: Subject, inverse: Callable[..., Any]) -> np.ndarray:
    """f(inverse(x)), the points taken as noise."""
    with np.errstate(all="ignore"):
        return _applied(subject, subject.f, _applied(subject, inverse, subject.flat))


def _close(subject: Subject, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Equal but for rounding, which an ill-conditioned map magnifies."""
    values = np.linalg.svd(subject.matrices, compute_uv=False)
    spread = np.minimum(values[:, 0] / np.maximum(values[:, -1], 1e-300), 0.01 / subject.eps)
    room = 100 * subject.eps * (1 + spread[:, None]) + 30 * subject.eps**0.75
    return np.abs(one - other) <= room * (1 + np.abs(other).max(axis=1, keepdims=True))


def _order(subject: Subject, values: np.ndarray, target: np.ndarray) -> list[int] | None:
    """order with values[:, k] = target[:, order[k]], each once and not all in place; None where there is none."""
    if not np.isfinite(values).all():
        return None
    order = [int(np.abs(target - column[:, None]).max(axis=0).argmin()) for column in values.T]
    proper = sorted(order) == list(range(len(order))) and order != sorted(order)
    return order if proper and _close(subject, values, target[:, order]).all() else None


def _affine(subject: Subject, x: np.ndarray, back: np.ndarray) -> str:
    """x shifted, scaled or mixed by a matrix; empty where it is none of them."""
    room = 100 * subject.eps**0.6 * (1 + np.abs(x).max() + np.abs(back).max())
    shift = (back - x).mean(0)
    if np.abs(back - x - shift).max() <= room:
        return f"shift of x by ({_few(shift)}): a shift is missing, or added where it should be taken away"
    centred = x - x.mean(0)
    scale = (centred * (back - back.mean(0))).sum(0) / np.maximum((centred**2).sum(0), 1e-300)
    if np.abs(back - back.mean(0) - scale * centred).max() <= room:
        return f"scale of x by ({_few(scale)}), entry by entry: a scale is missing, or applied the wrong way round"
    if len(x) > x.shape[1] + 1:
        full = np.concatenate([x, np.ones((len(x), 1))], axis=1)
        matrix = np.linalg.lstsq(full, back, rcond=None)[0]
        if np.abs(back - full @ matrix).max() <= room:
            return "linear in x, but not x: a matrix is undone wrongly (transposed, or applied instead of its inverse)"
    return ""


def _few(values: np.ndarray) -> str:
    return ", ".join(f"{value:.4g}" for value in values[:6]) + (", …" if len(values) > 6 else "")


def _where(subject: Subject, inverse: Callable[..., Any]) -> str:
    """The first segment of the inverse whose result is nothing that f passes through, in whatever order of entries."""

    def passed(J: Any) -> list[tuple[str, np.ndarray]]:
        return [(part.name, np.sort(as_array(part.value).ravel().astype(float))) for part in J.chain]

    point = subject.points[0]
    try:
        z = subject.one(subject.f, point)
        back = passed(linearize(lambda z: subject.one(inverse, z), z))
        known = [np.sort(subject.flat[0]), *(state for _, state in passed(subject.linear.at(point)))]
    except (JacmapError, AttributeError, TypeError, ValueError):
        return ""
    for k, (name, state) in enumerate(back):
        near = [other for other in known if other.shape == state.shape]
        if not any(np.abs(other - state).max() <= 1e3 * subject.eps * (1 + np.abs(other).max()) for other in near):
            return f"; it first goes wrong in part {k} of {len(back)} of the inverse, {name}"
    return "; every part of the inverse passes through the right values, so that a permutation is likely to be wrong"
