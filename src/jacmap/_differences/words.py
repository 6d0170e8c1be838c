"""What is told of a black box that does not behave: where it has no value, where it is noisy, kinked or jumps."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from .._errors import NotFiniteWarning, NotSmoothWarning
from .._tell import warn
from ..engine.backends.numpy.central import Found, Rough
from ..engine.backends.numpy.noise import Noise
from ..engine.backends.numpy.point import Point
from ..engine.backends.numpy.steps import scales
from .answer import Answer

SHOWN = 4  # places that are named
LOUD = 1e-10  # noise, relative to what the output is and does, from which it is told

FAULTS = {
    Rough.JUMP: "jumps at the point: there is no derivative",
    Rough.KINK: "has a kink at the point: the entry is the mean of its two sides",
    Rough.UNSETTLED: "is not smooth near the point: differences do not settle",
}


def tell(name: str, answer: Answer, found: list[Found], point: Point, noise: Noise) -> list[str]:
    """Warn of what the user must know; the notes for the plan."""
    notes = []
    if bad := _list(f"{answer.outputs[i]} = {point.y[i]:.6g}" for i in _where(~np.isfinite(point.y))):
        warn(f"{name}: is not finite at the point ({bad}): the rows of these outputs are NaN", NotFiniteWarning)
        notes.append(f"not finite at the point: {bad}")
    elif (unknown := np.flatnonzero(~np.isfinite(answer.values))).size:
        where = _entries(answer, unknown)
        warn(f"{name}: has no finite values close to the point ({where}): these entries are NaN", NotFiniteWarning)
        notes.append(f"no finite values close to the point: {where}")
    if loud := _noisy(answer, point, noise):
        warn(f"{name}: is noisy ({loud}): J can only be as good as its error estimates say", NotSmoothWarning)
        notes.append(f"noisy: {loud}")
    for fault, text in FAULTS.items():
        places = [(int(i), int(j)) for f in found for i, j in _places(f, fault)]
        if places:
            where = _list(f"{answer.outputs[i]} by {answer.inputs[j]}" for i, j in places)
            warn(f"{name}: {text} ({where})", NotSmoothWarning)
            notes.append(f"{text} ({where})")
    stairs = noise.still & (np.bincount(answer.rows, answer.values != 0, answer.shape[0]) > 0)
    if stairs.any():
        where = _list(answer.outputs[i] for i in _where(stairs))
        text = "stands still for small steps and moves for large ones: J is that of a staircase seen from far"
        warn(f"{name}: {text} ({where})", NotSmoothWarning)
        notes.append(f"{text} ({where})")
    if one_sided := [(int(i), int(j)) for f in found for i, j in _places(f, Rough.ONE_SIDED)]:
        where = _list(f"{answer.outputs[i]} by {answer.inputs[j]}" for i, j in one_sided)
        notes.append(f"one-sided differences, for f has values on one side only ({where})")
    if rows := np.flatnonzero(noise.jumps & np.isfinite(point.y)).size:
        notes.append(f"{rows} output{'s' * (rows > 1)} jumped along a random direction right at the point")
    return notes


def _noisy(answer: Answer, point: Point, noise: Noise) -> str:
    """The noisy outputs, with the digits that the noise leaves of what they are and do."""
    slope = np.abs(answer.values) + answer.errors  # an error that a kink makes counts as something that f does
    moved = np.where(np.isfinite(slope), slope, 0.0) * scales(point.x)[answer.columns]
    size = np.abs(np.where(np.isfinite(point.y), point.y, 0.0)) + np.bincount(answer.rows, moved, answer.shape[0])
    with np.errstate(all="ignore"):
        share = np.where(noise.size > 0, noise.size / size, 0.0)
    loud = _where(share > np.maximum(LOUD, 100 * point.out_eps))
    return _list(f"{answer.outputs[i]} wavers by {noise.size[i]:.1e}" for i in loud)


def _where(mask: np.ndarray) -> list[int]:
    return [int(i) for i in np.flatnonzero(mask)]


def _places(found: Found, fault: Rough) -> list[tuple[int, int]]:
    at = found.rough == fault
    return list(zip(found.group.rows[at], found.group.places[at], strict=True))


def _entries(answer: Answer, which: np.ndarray) -> str:
    return _list(f"{answer.outputs[int(answer.rows[k])]} by {answer.inputs[int(answer.columns[k])]}" for k in which)


def _list(parts: Iterable[str]) -> str:
    named = list(parts)
    more = f" and {len(named) - SHOWN} more" if len(named) > SHOWN else ""
    return ", ".join(named[:SHOWN]) + more
