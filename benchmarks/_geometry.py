"""Geometry against closed forms worked out by hand: the rows of `bench-meaning` on maps of the plane and of space."""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jacmap as jm

A, B, C, D = 1 + 2j, 0.5 - 1j, 0.3 + 0.1j, 2 - 1j  # the Möbius map z ↦ (A z + B) / (C z + D)
Z = 1.5 + 0.5j


@dataclass(frozen=True)
class Map:
    """A map, a point, and what is known there: singular values (descending), det, turn of the plane in radians."""

    f: Callable[[Any], Any]
    at: tuple[float, ...]
    singular_values: tuple[float, ...]
    det: float
    turn: float | None = None


def _moebius(p: Any) -> Any:
    z = jax.lax.complex(p[0], p[1])
    w = (A * z + B) / (C * z + D)
    return jnp.stack([w.real, w.imag])


_slope = (A * D - B * C) / (C * Z + D) ** 2

MAPS: dict[str, Map] = {
    "complex square at (1.5, 0.5)": Map(
        lambda p: jnp.stack([p[0] ** 2 - p[1] ** 2, 2 * p[0] * p[1]]),
        (Z.real, Z.imag), (2 * abs(Z), 2 * abs(Z)), 4 * abs(Z) ** 2, cmath.phase(Z),
    ),
    "polar": Map(
        lambda p: p[0] * jnp.stack([jnp.cos(p[1]), jnp.sin(p[1])]), (2.0, 0.7), (2.0, 1.0), 2.0, 0.7,
    ),
    "spherical": Map(
        lambda p: p[0]
        * jnp.stack([jnp.sin(p[1]) * jnp.cos(p[2]), jnp.sin(p[1]) * jnp.sin(p[2]), jnp.cos(p[1])]),
        (2.0, 0.5, 1.0), (2.0, 1.0, 2 * math.sin(0.5)), 4 * math.sin(0.5),
    ),
    "Möbius": Map(
        _moebius, (Z.real, Z.imag), (abs(_slope), abs(_slope)), abs(_slope) ** 2, cmath.phase(_slope),
    ),
    "fold (x², y) at x = 0": Map(lambda p: jnp.stack([p[0] ** 2, p[1]]), (0.0, 1.0), (1.0, 0.0), 0.0),
    "flip (3y, x)": Map(lambda p: jnp.stack([3 * p[1], p[0]]), (0.4, 0.5), (3.0, 1.0), -3.0),
}  # fmt: skip


def difference(known: Map) -> float:
    """The largest difference of `jm.geometry` from what is known."""
    found = jm.geometry(jm.linearize(known.f, jnp.asarray(known.at)))
    assert found.det is not None
    far = [abs(found.det - known.det), abs(found.volume - abs(known.det))]
    far += np.abs(found.singular_values - np.asarray(known.singular_values)).tolist()
    if known.turn is not None:
        c, s = math.cos(known.turn), math.sin(known.turn)
        assert found.rotation is not None
        far.append(float(np.abs(found.rotation - [[c, -s], [s, c]]).max()))
    return max(far)


def told() -> dict[str, bool]:
    """What must be said in words: a fold, a flip of orientation, a kink at the point."""
    fold, flip = (
        jm.geometry(jm.linearize(MAPS[name].f, jnp.asarray(MAPS[name].at)))
        for name in ("fold (x², y) at x = 0", "flip (3y, x)")
    )
    kink = jm.geometry(jm.linearize(jax.nn.relu, jnp.zeros(1)))
    return {
        "fold": fold.orientation == 0 and any(kind.name == "singular" for kind in fold.kinds),
        "flip": flip.orientation == -1,
        "kink": kink.trust is not None and kink.trust.kink is not None and kink.trust.kink.distance == 0,
    }
