"""Geometric warps: from the pixels of one image to those of another. All zero parameters are the identity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from .._errors import ArgumentError
from .sampling import Order, as_points, sample

Array = jax.Array


class Warp(Protocol):
    """What every warp is: `size` parameters, all zero for the identity; points (…, 2) to points (…, 2) in pixels."""

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> int: ...

    def __call__(self, parameters: Any, points: Any) -> Array: ...


class GroupWarp:
    """A warp by a 3×3 matrix of homogeneous coordinates; its matrices are closed under product and inverse."""

    name: ClassVar[str]
    size: ClassVar[int]

    def matrix(self, parameters: Any) -> Array:
        """The matrix (3, 3) of parameters (size,)."""
        raise NotImplementedError

    def parameters_of(self, matrix: Any) -> Array:
        """The parameters (size,) of a matrix (3, 3) of this kind, at any scale."""
        raise NotImplementedError

    def __call__(self, parameters: Any, points: Any) -> Array:
        """The points (…, 2) warped by parameters (size,)."""
        parameters, points = given(self, parameters, points)
        m, x, y = self.matrix(parameters), points[..., 0], points[..., 1]
        return jnp.stack([m[0, 0] * x + m[0, 1] * y + m[0, 2], m[1, 0] * x + m[1, 1] * y + m[1, 2]], axis=-1)

    def compose(self, a: Any, b: Any) -> Array:
        """The parameters of x ↦ warp(a, warp(b, x))."""
        return self.parameters_of(self.matrix(a) @ self.matrix(b))

    def inverse(self, a: Any) -> Array:
        """The parameters that undo a."""
        m = self.matrix(a)
        # The adjugate: parameters_of takes any scale, and no call of LAPACK is needed in the middle of a loop.
        columns = [jnp.cross(m[1], m[2]), jnp.cross(m[2], m[0]), jnp.cross(m[0], m[1])]
        return self.parameters_of(jnp.stack(columns, axis=1))


@dataclass(frozen=True)
class Translation(GroupWarp):
    """(x + a, y + b); parameters (a, b)."""

    name: ClassVar[str] = "translation"
    size: ClassVar[int] = 2

    def matrix(self, parameters: Any) -> Array:
        a, b = numbers(self, parameters)
        return _rows([[1, 0, a], [0, 1, b], [0, 0, 1]], a.dtype)

    def parameters_of(self, matrix: Any) -> Array:
        m = _normal(matrix)
        return m[:2, 2]


@dataclass(frozen=True)
class Euclidean(GroupWarp):
    """A turn by θ (from x towards y) about the pixel (0, 0), then a translation; parameters (θ, a, b)."""

    name: ClassVar[str] = "euclidean"
    size: ClassVar[int] = 3

    def matrix(self, parameters: Any) -> Array:
        angle, a, b = numbers(self, parameters)
        c, s = jnp.cos(angle), jnp.sin(angle)
        return _rows([[c, -s, a], [s, c, b], [0, 0, 1]], a.dtype)

    def parameters_of(self, matrix: Any) -> Array:
        m = _normal(matrix)
        return jnp.stack([jnp.arctan2(m[1, 0], m[0, 0]), m[0, 2], m[1, 2]])


@dataclass(frozen=True)
class Similarity(GroupWarp):
    """[[1 + p, −q], [q, 1 + p]] and a translation; parameters (p, q, a, b)."""

    name: ClassVar[str] = "similarity"
    size: ClassVar[int] = 4

    def matrix(self, parameters: Any) -> Array:
        p, q, a, b = numbers(self, parameters)
        return _rows([[1 + p, -q, a], [q, 1 + p, b], [0, 0, 1]], a.dtype)

    def parameters_of(self, matrix: Any) -> Array:
        m = _normal(matrix)
        return jnp.stack([m[0, 0] - 1, m[1, 0], m[0, 2], m[1, 2]])


@dataclass(frozen=True)
class Affine(GroupWarp):
    """The identity plus [[p₀, p₁, p₂], [p₃, p₄, p₅]] on (x, y, 1)."""

    name: ClassVar[str] = "affine"
    size: ClassVar[int] = 6

    def matrix(self, parameters: Any) -> Array:
        p = numbers(self, parameters)
        return _rows([[1 + p[0], p[1], p[2]], [p[3], 1 + p[4], p[5]], [0, 0, 1]], p.dtype)

    def parameters_of(self, matrix: Any) -> Array:
        m = _normal(matrix)
        return (m - jnp.eye(3, dtype=m.dtype))[:2].ravel()


@dataclass(frozen=True)
class Homography(GroupWarp):
    """The identity plus [[p₀, p₁, p₂], [p₃, p₄, p₅], [p₆, p₇, 0]] on (x, y, 1), divided by the third coordinate w.

    Where w ≤ 0 the point lies on or beyond the line that is mapped to infinity: `area` is negative there.
    """

    name: ClassVar[str] = "homography"
    size: ClassVar[int] = 8

    def matrix(self, parameters: Any) -> Array:
        p = numbers(self, parameters)
        return _rows([[1 + p[0], p[1], p[2]], [p[3], 1 + p[4], p[5]], [p[6], p[7], 1]], p.dtype)

    def parameters_of(self, matrix: Any) -> Array:
        m = _normal(matrix)
        return (m - jnp.eye(3, dtype=m.dtype)).ravel()[:8]

    def __call__(self, parameters: Any, points: Any) -> Array:
        """The points (…, 2) warped by parameters (8,)."""
        parameters, points = given(self, parameters, points)
        m, w = self.matrix(parameters), 1 + parameters[6] * points[..., 0] + parameters[7] * points[..., 1]
        x, y = points[..., 0], points[..., 1]
        above = [m[0, 0] * x + m[0, 1] * y + m[0, 2], m[1, 0] * x + m[1, 1] * y + m[1, 2]]
        return jnp.stack(above, axis=-1) / w[..., None]


@dataclass(frozen=True)
class ThinPlate:
    """The thin-plate spline through displaced control points (Bookstein 1989): the least bent map that moves them so.

    `control` (k, 2): pixels of which at least three are not on a line. Parameters (2k,): how far each control point
    moves, one (Δx, Δy) after another. Raises `ArgumentError` where the control points do not determine a spline.
    """

    control: Sequence[Sequence[float]]
    name: ClassVar[str] = "thin-plate"

    def __post_init__(self) -> None:
        control = np.asarray(self.control, float)
        if control.ndim != 2 or control.shape[1] != 2 or not np.isfinite(control).all():
            raise ArgumentError(f"control: got shape {list(control.shape)}, expected finite (x, y) in rows: (k, 2)")
        # As tuples, so that equal warps are equal and compiled functions can be kept by them.
        object.__setattr__(self, "control", tuple(map(tuple, control.tolist())))
        _spline(self.control)

    @property
    def size(self) -> int:
        return 2 * len(self.control)

    def __call__(self, parameters: Any, points: Any) -> Array:
        """The points (…, 2) warped by parameters (2k,)."""
        parameters, points = given(self, parameters, points)
        basis = _plate(points[..., None, :] - jnp.asarray(self.control, points.dtype))
        terms = jnp.concatenate([basis, jnp.ones_like(points[..., :1]), points], axis=-1)
        return points + terms @ (jnp.asarray(_spline(self.control), points.dtype) @ parameters.reshape(-1, 2))


@dataclass(frozen=True)
class Flow:
    """Dense optical flow: a displacement (Δx, Δy) per pixel of an image of `shape` (H, W), sampled between.

    Parameters (2HW,) or (H, W, 2). `order` as in `sample`; "cubic" makes the warp C¹ everywhere. Beyond the image the
    displacement goes on linearly; where it is NaN, so is the point.
    """

    shape: tuple[int, int]
    order: Order = "cubic"
    name: ClassVar[str] = "flow"

    @property
    def size(self) -> int:
        return 2 * self.shape[0] * self.shape[1]

    def __call__(self, parameters: Any, points: Any) -> Array:
        """The points (…, 2) displaced by parameters (2HW,) or (H, W, 2)."""
        parameters, points = given(self, jnp.ravel(jnp.asarray(parameters)), points)
        field = parameters.reshape(*self.shape, 2)
        most = jnp.asarray([self.shape[1] - 1, self.shape[0] - 1], points.dtype)
        rim = jnp.clip(points, 0, most)
        moved, beyond, known = jax.jvp(lambda at: sample(field, at, self.order), (rim,), (points - rim,), has_aux=True)
        return jnp.where(known[..., None], points + moved + beyond, jnp.nan)


@dataclass(frozen=True)
class Lens:
    """Lens distortion by Brown and Conrady as in OpenCV: from where a pinhole would see a point to where a lens does.

    `focal` (fx, fy) and `centre` (cx, cy) in pixels. Parameters (5,): k₁, k₂, p₁, p₂, k₃.
    """

    focal: tuple[float, float]
    centre: tuple[float, float]
    name: ClassVar[str] = "lens"
    size: ClassVar[int] = 5

    def __call__(self, parameters: Any, points: Any) -> Array:
        """The points (…, 2) distorted by parameters (5,)."""
        parameters, points = given(self, parameters, points)
        focal, centre = jnp.asarray(self.focal, points.dtype), jnp.asarray(self.centre, points.dtype)
        return distort(parameters, (points - centre) / focal) * focal + centre


def distort(parameters: Array, points: Array) -> Array:
    """Brown and Conrady's distortion by (k₁, k₂, p₁, p₂, k₃) of points (…, 2) at focal length 1.

    x(1 + k₁r² + k₂r⁴ + k₃r⁶) + 2p₁xy + p₂(r² + 2x²), and y likewise with p₁ and p₂ exchanged (OpenCV's documentation of
    `calib3d`).
    """
    k1, k2, p1, p2, k3 = parameters
    x, y = points[..., 0], points[..., 1]
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    return jnp.stack(
        [
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
        ],
        axis=-1,
    )


GROUPS: dict[str, GroupWarp] = {
    warp.name: warp for warp in (Translation(), Euclidean(), Similarity(), Affine(), Homography())
}


def group_warp(warp: str | GroupWarp) -> GroupWarp:
    """The warp of that name, or the warp itself; `ArgumentError` where it is neither."""
    if isinstance(warp, GroupWarp):
        return warp
    if warp not in GROUPS:
        raise ArgumentError(f"warp: got {warp!r}, expected one of {', '.join(map(repr, GROUPS))}")
    return GROUPS[warp]


def numbers(warp: Any, parameters: Any) -> Array:
    """The parameters as a float array (size,); `ArgumentError` else."""
    parameters = jnp.asarray(parameters)
    if parameters.shape != (warp.size,):
        raise ArgumentError(
            f"parameters: got shape {list(parameters.shape)}, expected [{warp.size}] for the warp {warp.name!r}; "
            "use jax.vmap for several"
        )
    return parameters if jnp.issubdtype(parameters.dtype, jnp.floating) else parameters.astype(float)


def given(warp: Any, parameters: Any, points: Any) -> tuple[Array, Array]:
    """Parameters and points, checked, in their common dtype."""
    parameters, points = numbers(warp, parameters), as_points(points)
    common = jnp.promote_types(parameters.dtype, points.dtype)
    return parameters.astype(common), points.astype(common)


def _rows(rows: list[list[Any]], dtype: Any) -> Array:
    return jnp.stack([jnp.stack([jnp.asarray(entry, dtype) for entry in row]) for row in rows])


def _normal(matrix: Any) -> Array:
    """The matrix at the scale that makes its last entry 1."""
    m = jnp.asarray(matrix)
    return m / m[2, 2]


def _plate(apart: Array) -> Array:
    """r² log r of differences (…, 2), with value and slope 0 at r = 0."""
    squared = jnp.sum(apart**2, axis=-1)
    away = squared > 0
    return jnp.where(away, 0.5 * squared * jnp.log(jnp.where(away, squared, 1)), 0)


@lru_cache(maxsize=64)
def _spline(control: tuple[tuple[float, float], ...]) -> np.ndarray:
    """(k + 3, k): from the displacements of the control points to the weights of r² log r, 1, x and y."""
    points, k = np.asarray(control), len(control)
    squared = np.sum((points[:, None] - points) ** 2, axis=-1)
    bends = 0.5 * squared * np.log(np.where(squared > 0, squared, 1))
    plane = np.column_stack([np.ones(k), points])
    system = np.block([[bends, plane], [plane.T, np.zeros((3, 3))]])
    spread = np.linalg.svd(points - points.mean(0), compute_uv=False) if k >= 3 else np.zeros(2)
    if spread[-1] <= 1e-9 * max(spread[0], 1e-300) or len(set(control)) < k:
        raise ArgumentError(f"control: got {k} points, expected at least three, different, and not all on a line")
    return np.linalg.solve(system, np.eye(k + 3)[:, :k])
