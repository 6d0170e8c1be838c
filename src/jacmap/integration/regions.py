"""Regions of integration: each the image of a box under a map, from which |det J| is found."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import jax.numpy as jnp
import numpy as np

from .._errors import ArgumentError


class Region(Protocol):
    """What `integrate` asks of a region: the points map(u) for u in `box`.

    `proof` says in a phrase why the map meets no point of the region twice (but for boundaries); None: not known, so
    that it is tested.
    """

    @property
    def box(self) -> Box: ...

    @property
    def proof(self) -> str | None: ...

    def map(self, u: Any) -> Any: ...


class Box:
    """All x with lower ≤ x ≤ upper, entry by entry. Limits may be infinite.

    `lower` and `upper` are numbers (then the points are numbers, too) or arrays of one shape, which is that of the
    points; a number beside an array counts for each entry. Raises `ArgumentError` where lower < upper fails.
    """

    proof = "a box maps to itself"

    def __init__(self, lower: Any, upper: Any):
        try:
            low, high = np.broadcast_arrays(np.asarray(lower, float), np.asarray(upper, float))
        except (TypeError, ValueError) as error:
            raise ArgumentError(f"Box: got {lower!r}, {upper!r}, expected arrays of numbers of one shape") from error
        if low.size == 0:
            raise ArgumentError("Box: got limits without an entry, expected one or more")
        bad = np.flatnonzero(~(low < high))
        if bad.size:
            at = bad[0]
            raise ArgumentError(
                f"Box: got lower {low.flat[at]:g} and upper {high.flat[at]:g} in entry {at}, expected lower < upper; "
                "for the opposite orientation, change the sign of the integral"
            )
        self.lower, self.upper = low.copy(), high.copy()

    @property
    def box(self) -> Box:
        return self

    def map(self, u: Any) -> Any:
        return u

    @property
    def size(self) -> int:
        """The number of coordinates."""
        return int(self.lower.size)

    def __repr__(self) -> str:
        return f"Box({_limits(self.lower)}, {_limits(self.upper)})"


@dataclass(frozen=True, repr=False)
class Mapped:
    """The points map(u) for u in `box`: `map` is a JAX function with as many outputs as inputs.

    Nothing about its determinant is written by hand. It must be one-to-one inside of the box; `integrate` tests that.
    """

    map: Callable[[Any], Any]
    box: Box
    proof: str | None = None

    def __repr__(self) -> str:
        return f"{getattr(self.map, '__name__', 'map')} of {self.box!r}"


@dataclass(frozen=True)
class Spherical:
    """Spherical coordinates in any dimension n ≥ 2 (n = 2: polar), all directions unless `angles` says otherwise.

    u = (r, θ₁, …, θₙ₋₂, φ) with x = (r sin θ cos φ, r sin θ sin φ, r cos θ) for n = 3 and x = (r cos φ, r sin φ) for
    n = 2; each further dimension puts an angle in front: (sin θ₁ · direction, cos θ₁). Blumenson, American
    Mathematical Monthly 67 (1960). `angles`: n − 1 pairs (from, to), by default (0, π) each and (0, 2π) the last.
    """

    size: int
    radius: tuple[float, float] = (0.0, 1.0)
    angles: tuple[tuple[float, float], ...] | None = None
    center: Any = 0.0

    def __post_init__(self) -> None:
        _check_size(self.size)
        if self.angles is not None and len(self.angles) != self.size - 1:
            raise ArgumentError(f"angles: got {len(self.angles)} pairs, expected {self.size - 1} (one less than size)")
        _check_center(self.center, self.size)

    @property
    def box(self) -> Box:
        angles = self.angles or ((0.0, math.pi),) * (self.size - 2) + ((0.0, 2 * math.pi),)
        return Box(*zip(self.radius, *angles, strict=True))

    @property
    def proof(self) -> str | None:
        """Known where the radius keeps its sign, the polar angles lie in [0, π] and the last one turns once."""
        low, high = self.box.lower, self.box.upper
        once = high[-1] - low[-1] <= 2 * math.pi * (1 + 1e-15)
        if low[0] >= 0 and once and np.all(low[1:-1] >= 0) and np.all(high[1:-1] <= math.pi):
            return "spherical coordinates within their ranges"
        return None

    def map(self, u: Any) -> Any:
        cosines, sines = jnp.cos(u[1:]), jnp.sin(u[1:])
        direction = jnp.stack([cosines[-1], sines[-1]])
        for k in range(self.size - 3, -1, -1):
            direction = jnp.append(sines[k] * direction, cosines[k])
        return u[0] * direction + jnp.asarray(self.center, u.dtype)


@dataclass(frozen=True)
class Ball:
    """All x with |x − center| ≤ radius in `size` dimensions.

    Entries are taken in pairs, as in the Hopf coordinates of a sphere: r ηₖ (cos φₖ, sin φₖ), where η = (cos ψ₁,
    sin ψ₁ cos ψ₂, …) is a direction in the positive octant; in odd dimensions θ comes first and the last entry is
    r cos θ. u = (r, θ, ψ₁, …, φ₁, …). Smooth everywhere, and half of the angles go round: a product rule needs fewer
    nodes than with spherical coordinates, which these are for n = 2 and n = 3.
    """

    size: int
    radius: float = 1.0
    center: Any = 0.0

    proof = "Hopf coordinates within their ranges"

    def __post_init__(self) -> None:
        _check_size(self.size)
        if not self.radius > 0:
            raise ArgumentError(f"radius: got {self.radius!r}, expected a number above 0")
        _check_center(self.center, self.size)

    @property
    def box(self) -> Box:
        odd, pairs = self.size % 2, self.size // 2
        upper = [self.radius, *[math.pi] * odd, *[math.pi / 2] * (pairs - 1), *[2 * math.pi] * pairs]
        return Box(np.zeros(self.size), upper)

    def map(self, u: Any) -> Any:
        odd, pairs = self.size % 2, self.size // 2
        shares, turns = u[1 + odd : odd + pairs], u[odd + pairs :]
        one = jnp.ones((1,), u.dtype)
        radii = jnp.append(jnp.cos(shares), one) * jnp.append(one, jnp.cumprod(jnp.sin(shares)))
        x = jnp.ravel(jnp.stack([radii * jnp.cos(turns), radii * jnp.sin(turns)], axis=1))
        if odd:
            x = jnp.append(jnp.sin(u[1]) * x, jnp.cos(u[1]))
        return u[0] * x + jnp.asarray(self.center, u.dtype)


class Simplex:
    """The simplex with the given vertices ((n + 1)×n), or {x ≥ 0, Σ x ≤ 1} in n dimensions for a number n.

    A cube is mapped onto it by xᵢ = uᵢ ∏ⱼ﹤ᵢ (1 − uⱼ) (stick breaking, the map of Duffy's quadrature, SIAM J. Numer.
    Anal. 19 (1982)), whose determinant is a polynomial. Raises `ArgumentError` where the vertices lie in a plane.
    """

    proof = "stick breaking is one-to-one inside of the cube"

    def __init__(self, vertices: Any):
        corners = np.asarray(vertices, float)
        if corners.ndim == 0:
            corners = np.vstack([np.zeros(int(corners)), np.eye(int(corners))])
        if corners.ndim != 2 or corners.shape[0] != corners.shape[1] + 1 or not corners.size:
            raise ArgumentError(f"vertices: got shape {corners.shape}, expected (n + 1, n), or the number n")
        self.vertices = corners
        self._edges = corners[1:] - corners[0]
        if np.linalg.matrix_rank(self._edges) < len(self._edges):
            raise ArgumentError("vertices: all lie in one plane, expected n + 1 points in general position")
        self.box = Box(np.zeros(len(self._edges)), 1.0)

    def map(self, u: Any) -> Any:
        left = jnp.append(jnp.ones((1,), u.dtype), jnp.cumprod(1 - u)[:-1])
        return jnp.asarray(self.vertices[0], u.dtype) + (u * left) @ jnp.asarray(self._edges, u.dtype)

    def __repr__(self) -> str:
        return f"Simplex in {len(self._edges)} dimensions"


def _check_size(size: Any) -> None:
    if not isinstance(size, int) or size < 2:
        raise ArgumentError(f"size: got {size!r}, expected a dimension of 2 or more; for 1 take a Box")


def _check_center(center: Any, size: int) -> None:
    if np.shape(center) not in ((), (size,)):
        raise ArgumentError(f"center: got shape {np.shape(center)}, expected ({size},) or a number")


def _limits(values: np.ndarray) -> str:
    flat = np.ravel(values)
    if flat.size == 1 and values.ndim == 0:
        return f"{flat[0]:g}"
    if flat.size > 6 and np.all(flat == flat[0]):
        return f"{flat[0]:g} ×{flat.size}"
    shown = ", ".join(f"{v:g}" for v in flat[:6])
    return f"[{shown}{', …' if flat.size > 6 else ''}]"
