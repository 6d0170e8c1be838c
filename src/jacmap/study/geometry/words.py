"""The geometry of a Jacobian in words: what a reader who never heard of singular values can use."""

from __future__ import annotations

import dataclasses
import math
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from .kinks import ROUGH

if TYPE_CHECKING:
    from .geometry import Geometry
    from .kinds import Kind
    from .trust import Trust

WIDTH = 100
SHOWN = 4  # entries of a vector, axes of an ellipsoid
LARGEST_LISTED = 10_000  # entries of an array in a dictionary

SHAPES = {1: "an interval", 2: "an ellipse", 3: "an ellipsoid"}
VOLUMES = {1: "Lengths", 2: "Areas", 3: "Volumes"}


def of_geometry(geometry: Geometry) -> list[str]:
    """The lines that `print` shows."""
    m, n = geometry.shape
    lines = [
        f"Geometry of {geometry.J.name}: {m}×{n} ({_count(m, 'output')}, {_count(n, 'input')})",
        f"at {_vector(geometry.point)}, value {_vector(geometry.value)}",
    ]
    lines = [line[:WIDTH] for line in lines]
    for title, said in sentences(geometry).items():
        lines += ["", title, *(line for sentence in said for line in _wrapped(sentence))]
    return lines


def of_trust(trust: Trust) -> list[str]:
    """The lines of the trust alone."""
    return ["How far f(x) + J h can be trusted", *(line for said in _trust(trust) for line in _wrapped(said))]


def sentences(geometry: Geometry) -> dict[str, list[str]]:
    """Plain sentences by heading."""
    told: dict[str, list[str]] = {}
    if geometry.singular_values.size:
        parts = (_axes, _volume, _turning, _shear, _lost) if geometry.singular_values[0] else (_axes,)
        told["What a small step becomes"] = [said for part in parts for said in part(geometry)]
    if geometry.kinds:
        told["Special cases"] = _kinds(geometry.kinds)
    if geometry.trust is not None:
        told["How far f(x) + J h can be trusted"] = _trust(geometry.trust)
    if geometry.left_out:
        told["Not computed"] = list(geometry.left_out)
    return told


def _axes(geometry: Geometry) -> list[str]:
    m, n = geometry.shape
    s = geometry.singular_values
    if not s[0]:
        return ["To first order nothing moves: J is zero."]
    if min(m, n) == 1:
        what = "changes the output most" if m == 1 else "moves the outputs"
        way = "input" if m == 1 else "output"
        vector = geometry.right[:, 0] if m == 1 else geometry.left[:, 0]
        return [f"A step of length 1 {what} by {s[0]:.4g}, along the {way} direction {_vector(vector)}."]
    alike = geometry.rank == n and geometry.condition < 1 + 1e-9
    shape = SHAPES.get(geometry.rank or 0, "an ellipsoid" if (geometry.rank or 4) > 1 else "a point")
    sphere = "circle" if n == 2 else "sphere"
    shape = f"a {sphere}" if alike else shape
    said = [f"A small {sphere} of inputs becomes {shape}; its half axes, in units of the {sphere}'s radius:"]
    for k in range(min(SHOWN, s.size)):
        stretch = s[k] if geometry.rank is None or k < geometry.rank else 0.0
        axis, source = _vector(geometry.left[:, k]), _vector(geometry.right[:, k])
        said.append(f"  {stretch:.4g}× along {axis}, from the input {source}")
    if s.size > SHOWN:
        said.append(f"  ... {s.size - SHOWN} more, down to {s[-1]:.4g}×")
    if alike:
        said.append("Every direction is stretched alike.")
    elif geometry.rank == n:
        said.append(
            f"Steps of one length are stretched up to {geometry.condition:.4g} times more one way than another."
        )
    return said


def _volume(geometry: Geometry) -> list[str]:
    m, n = geometry.shape
    if geometry.rank is None:
        return []
    small = min(m, n)
    volumes = VOLUMES.get(small, f"{small}-dimensional volumes")
    if geometry.rank < small:
        return [f"{volumes} collapse: {'det J' if m == n else 'the volume factor'} is 0 to working precision."]
    log = geometry.image.log_volume
    if abs(log) < 1e-9:
        growth = "are kept"
    elif abs(log) < 50:
        growth = f"{'grow to' if log > 0 else 'shrink to'} {geometry.volume:.6g}×"
    else:
        growth = f"{'grow' if log > 0 else 'shrink'} by e^{abs(log):.4g}"
    if m == n:
        number = f" (det J = {geometry.det:.6g})" if abs(log) < 50 else f" (log|det J| = {log:.6g})"
        return [f"{volumes} {growth}{number}; orientation is {'kept' if geometry.orientation == 1 else 'flipped'}."]
    if m > n:
        return [f"{volumes} {growth}, measured on the image in the space of outputs: √det(JᵀJ)."]
    return [f"{volumes} across the level sets {growth}: √det(JJᵀ), the coarea factor."]


def _turning(geometry: Geometry) -> list[str]:
    rotation, n = geometry.rotation, geometry.shape[1]
    if rotation is None or n not in (2, 3) or geometry.rank != n:
        return []
    kept = geometry.orientation == 1
    angle = math.atan2(rotation[1, 0], rotation[0, 0])
    if n == 2:
        way = (
            f"turned by {math.degrees(angle):.4g}°"
            if kept
            else f"mirrored at the line at {math.degrees(angle) / 2:.4g}°"
        )
    else:  # a reflection is a rotation after a change of every sign
        proper = rotation if kept else -rotation
        angle = math.acos(float(np.clip((np.trace(proper) - 1) / 2, -1, 1)))
        way = f"turned by {math.degrees(angle):.4g}°{'' if kept else ' after a change of every sign'}"
    stretches = ", ".join(f"{stretch:.4g}" for stretch in geometry.singular_values)
    return [f"That is a stretch by {stretches} along perpendicular inputs, {way} (polar decomposition)."]


def _shear(geometry: Geometry) -> list[str]:
    shear = geometry.shear
    if shear is None or len(shear) < 2:
        return []
    above = np.triu(shear, 1)
    i, j = np.unravel_index(int(np.abs(above).argmax()), above.shape)
    if abs(above[i, j]) < 1e-12:
        return ["No shear: the images of the inputs' axes are perpendicular."]
    return [f"Shear: the image of input {j} leans {above[i, j]:.4g} towards that of input {i}, the largest lean."]


def _lost(geometry: Geometry) -> list[str]:
    m, n = geometry.shape
    rank = geometry.rank
    if rank is None:
        return []
    said = []
    if rank < n:
        lost = f"{_count(n - rank, 'input direction')} of {n}"
        said.append(f"Lost to first order: {lost} move{'s' if n - rank == 1 else ''} nothing (rank {rank}).")
        null = geometry.null_space
        if null is not None and n <= 12:
            said += [f"  {_vector(null[:, k])}" for k in range(min(SHOWN, n - rank))]
    else:
        said.append(f"No input direction is lost: rank {rank}.")
    if rank < m:
        said.append(f"Small steps reach only {rank} of the {m} dimensions of the outputs.")
    if geometry.invertibility is not None:
        verdict = "f can be undone near this point" if geometry.invertibility else "f has no smooth inverse near here"
        if geometry.invertibility and geometry.trust and geometry.trust.kink and geometry.trust.kink.distance == 0:
            verdict = "J can be inverted, but it is not the slope on all sides: whether f can be undone is not known"
        s = geometry.singular_values
        said.append(f"{verdict}: singular values from {s[-1] if rank == n else 0:.3g} to {s[0]:.3g}.")
    return said


def _kinds(kinds: tuple[Kind, ...]) -> list[str]:
    from .kinds import SCOPES

    main = [kind for kind in kinds if not kind.follows_from]
    said = [f"{kind.name}: {kind.meaning} [{kind.evidence}; {SCOPES[kind.scope]}]" for kind in main]
    rest = [kind.name for kind in kinds if kind.follows_from]
    return [*said, *([f"and so also {', '.join(rest)}"] if rest else [])]


def _trust(trust: Trust) -> list[str]:
    percent = f"{100 * trust.tolerance:.3g} %"
    label = trust.labels[trust.worst]
    if trust.radius == math.inf:
        said = [f"Within {percent} of the predicted change at every distance looked at, up to {trust.looked_at:.4g}."]
    elif trust.radius == 0:
        tried = f"from {trust.radii[0]:.2g} on, the least distance tried"
        every = tried if trust.kink is None else "however small the step"
        said = [f"Not at all along {label}: {every}, J h is off by more than {percent} of it."]
    else:
        said = [f"Off by {percent} of the predicted change from distance {trust.radius:.4g} on, first along {label}."]
    if trust.radius < math.inf and trust.killed[trust.worst]:
        said.append("J sends that direction to zero: what counts there is the largest change of a step of that length.")
    said.append(_order(trust))
    if trust.outside is not None:
        said.append(
            f"f is NaN or infinite at distance {trust.outside:.4g} (among the distances tried): its domain ends."
        )
    if trust.kink is not None:
        outputs = ", ".join(str(k) for k in trust.kink.outputs)
        said.append(f"{trust.kink} (outputs: {outputs}).")
    elif trust.searched:
        said.append(f"Kinks: {trust.searched}.")
    else:
        said.append(f"No kink was met up to distance {trust.looked_at:.4g} (a search along lines, not a proof).")
    given = _count(len(trust.labels), "direction")
    noise = f"f's rounding is about 1e{round(math.log10(trust.noise))}" if trust.noise else "f shows no rounding"
    said.append(f"Measured along {given} both ways, up to {trust.looked_at:.4g}; {noise} here.")
    if trust.floor > 0:
        said.append(f"Rounding hides whether steps below {trust.floor:.1g} keep the tolerance.")
    return said


def _order(trust: Trust) -> str:
    order = trust.order
    if math.isnan(order):
        return "The order of the remainder cannot be told: too few errors stand clear of rounding."
    if math.isinf(order):
        return "What J leaves out is rounding alone, close to the point: f is affine there."
    exponent = f"The error shrinks as distance^{abs(order):.1f}"
    if order < ROUGH and trust.kink is not None and trust.kink.distance == 0:
        return f"{exponent}, no faster than the step itself: J is not the slope of f on all sides."
    if order < ROUGH:
        return (
            f"{exponent} where it can be seen, as for kinks, or strong curvature, that are close but not at the point."
        )
    if order < 2.5:
        return f"{exponent}: half the step, a quarter of the error, as for any smooth f."
    return f"{exponent}: faster than for most smooth f, the second derivative vanishes along the directions tried."


def _vector(vector: np.ndarray) -> str:
    rounded = [f"{entry:.4g}" for entry in np.where(np.abs(vector[: 2 * SHOWN]) < 5e-16, 0.0, vector[: 2 * SHOWN])]
    if vector.size == 1:
        return rounded[0]
    return f"({', '.join(rounded)})" if vector.size <= 2 * SHOWN else f"({', '.join(rounded[:3])}, ...)"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _wrapped(sentence: str) -> list[str]:
    indent = len(sentence) - len(sentence.lstrip()) + 2
    return textwrap.wrap(sentence.strip(), WIDTH, initial_indent=" " * indent, subsequent_indent=" " * (indent + 2))


def plain(value: Any) -> Any:
    """Plain Python: arrays as lists (None beyond 10,000 entries), result objects as dictionaries with their words."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {**fields, "words": str(value)}
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(entry) for entry in value]
    if isinstance(value, np.ndarray):
        return value.tolist() if value.size <= LARGEST_LISTED else None
    return value.item() if isinstance(value, np.generic) else value
