"""A pinhole camera with lens distortion: where points in space are seen, and what moves the picture of each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from .._errors import ArgumentError
from .._questions import jacobian
from .sampling import as_points
from .warps import distort

if TYPE_CHECKING:
    from jaxlie import SE3

Array = jax.Array
Side = Literal["left", "right"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Camera:
    """`intrinsics` (9,): fx, fy, cx, cy in pixels, then k₁, k₂, p₁, p₂, k₃ of `Lens`, as OpenCV orders them."""

    intrinsics: Array

    @classmethod
    def from_matrix(cls, matrix: Any, distortion: Any = (0.0, 0.0, 0.0, 0.0, 0.0)) -> Camera:
        """From OpenCV's camera matrix (3, 3) without skew, and up to five distortion coefficients."""
        matrix, distortion = jnp.asarray(matrix), jnp.ravel(jnp.asarray(distortion))
        if matrix.shape != (3, 3):
            raise ArgumentError(f"matrix: got shape {list(matrix.shape)}, expected [3, 3]")
        if distortion.size > 5:
            raise ArgumentError(f"distortion: got {distortion.size} numbers, expected at most k1, k2, p1, p2, k3")
        focal = jnp.stack([matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]])
        return cls(
            jnp.concatenate([focal, distortion.astype(focal.dtype), jnp.zeros(5 - distortion.size, focal.dtype)])
        )

    @property
    def matrix(self) -> Array:
        """OpenCV's camera matrix (3, 3)."""
        fx, fy, cx, cy = self.intrinsics[:4]
        one, zero = jnp.ones_like(fx), jnp.zeros_like(fx)
        return jnp.stack([jnp.stack([fx, zero, cx]), jnp.stack([zero, fy, cy]), jnp.stack([zero, zero, one])])

    @property
    def distortion(self) -> Array:
        """k₁, k₂, p₁, p₂, k₃."""
        return self.intrinsics[4:]


class Projection(NamedTuple):
    """`pixels` (…, 2), NaN where a point cannot be seen. `depth` (…): along the camera's axis.

    `in_front` (…): depth > 0. `unfolded` (…): the distortion still grows with the angle there; beyond, its polynomial
    turns back and would show a point at the rim inside the picture.
    """

    pixels: Array
    depth: Array
    in_front: Array
    unfolded: Array

    @property
    def seen(self) -> Array:
        return self.in_front & self.unfolded


class ProjectionJacobians(NamedTuple):
    """∂pixels by `pose` (…, 2, 6), by `points` (…, 2, 3), by `intrinsics` (…, 2, 9); NaN where a point is not seen.

    `side`: of the pose's tangent (v, ω), in jaxlie's order: "left", exp(ξ)·pose, moves in the camera's frame, "right",
    pose·exp(ξ), in the world's.
    """

    pose: Array
    points: Array
    intrinsics: Array
    side: str


def project(camera: Camera, pose: SE3, points: Any) -> Projection:
    """Where a camera sees points (…, 3) of the world; `pose` (one `jaxlie.SE3`) takes the world to the camera's frame.

    x right, y down, z forward, as in OpenCV. Points behind the camera, and those beyond the fold of the distortion, are
    flagged and NaN, never mirrored into the picture. Raises `ArgumentError`.
    """
    points = checked(camera, pose, points)
    return seen_at(in_camera(pose, points), camera.intrinsics.astype(points.dtype))


def projection_jacobians(camera: Camera, pose: SE3, points: Any, side: Side = "left") -> ProjectionJacobians:
    """∂pixels/∂(pose, point, intrinsics) of `project` at each of points (…, 3), planned per point and compiled once."""
    if side not in ("left", "right"):
        raise ArgumentError(f'side: got {side!r}, expected "left" (exp(ξ)·pose) or "right" (pose·exp(ξ))')
    points = checked(camera, pose, points)
    parts = _jacobians(side, pose, points.reshape(-1, 3), camera.intrinsics.astype(points.dtype))
    by_pose, by_points, by_intrinsics = (part.reshape(*points.shape[:-1], *part.shape[1:]) for part in parts)
    return ProjectionJacobians(by_pose, by_points, by_intrinsics, side)


@partial(jax.jit, static_argnums=0)
def _jacobians(side: str, pose: SE3, points: Array, intrinsics: Array) -> tuple[Array, Array, Array]:
    def pixel(tangent: Array, point: Array, intrinsics: Array) -> Array:
        def moved(x: Array) -> Array:
            # exp(ξ) x to first order: at ξ = 0 it has the exponential's derivative, without a series to differentiate.
            return x + tangent[:3] + jnp.cross(tangent[3:], x)

        there = moved(in_camera(pose, point)) if side == "left" else in_camera(pose, moved(point))
        return seen_at(there, intrinsics, blank=0.0).pixels

    found = jax.vmap(jacobian(pixel, argnums=(0, 1, 2)), (None, 0, None))(
        jnp.zeros(6, points.dtype), points, intrinsics
    )
    seen = seen_at(in_camera(pose, points), intrinsics).seen
    return tuple(jnp.where(seen[:, None, None], part, jnp.nan) for part in found)  # type: ignore[return-value]


def in_camera(pose: SE3, points: Array) -> Array:
    """The points (…, 3) of the world in the camera's frame."""
    turn = pose.rotation().as_matrix().astype(points.dtype)
    x, y, z = (points[..., k, None] for k in range(3))
    return x * turn[:, 0] + y * turn[:, 1] + z * turn[:, 2] + pose.translation().astype(points.dtype)


def seen_at(points: Array, intrinsics: Array, blank: float = jnp.nan) -> Projection:
    """The picture of points (…, 3) in the camera's frame; `blank` where they cannot be seen."""
    depth = points[..., 2]
    in_front = depth > 0
    flat = points[..., :2] / jnp.where(in_front, depth, 1)[..., None]
    unfolded = grows(intrinsics[4:], flat)
    seen = (in_front & unfolded)[..., None]
    pixels = distort(intrinsics[4:], jnp.where(seen, flat, 0)) * intrinsics[:2] + intrinsics[2:4]
    return Projection(jnp.where(seen, pixels, blank), depth, in_front, unfolded)


def grows(distortion: Array, points: Array) -> Array:
    """Whether the radial distortion r(1 + k₁r² + k₂r⁴ + k₃r⁶) rises all the way from the centre to points (…, 2).

    Its slope 1 + 3k₁s + 5k₂s² + 7k₃s³ (s = r²) is least at the ends or where its own slope is 0.
    """
    k1, k2, _, _, k3 = distortion
    s = jnp.sum(points**2, axis=-1)

    def slope(s: Array) -> Array:
        return 1 + s * (3 * k1 + s * (5 * k2 + 7 * s * k3))

    # The roots of 3k₁ + 10k₂s + 21k₃s², in the form that loses no digits and holds for k₃ = 0.
    root = jnp.sqrt(jnp.maximum(25 * k2**2 - 63 * k1 * k3, 0))
    half = -(5 * k2 + jnp.where(k2 < 0, -root, root))
    rising = slope(s) > 0
    for over, under in ((half, 21 * k3), (3 * k1, half)):
        turning = jnp.where(under == 0, 0, over / jnp.where(under == 0, 1, under))
        rising &= slope(jnp.clip(turning, 0, s)) > 0
    return rising


def checked(camera: Camera, pose: Any, points: Any) -> Array:
    """The points as floats (…, 3); refuses what is no camera, no single pose, no point."""
    try:
        from jaxlie import SE3
    except ModuleNotFoundError as error:
        raise ImportError("poses need jaxlie: pip install 'jacmap[vision]'") from error
    if not isinstance(camera, Camera) or jnp.shape(camera.intrinsics) != (9,):
        raise ArgumentError(f"camera: got {type(camera).__name__}, expected a Camera of nine numbers")
    if not isinstance(pose, SE3) or pose.get_batch_axes() != ():
        raise ArgumentError(f"pose: got {type(pose).__name__}, expected one jaxlie.SE3; use jax.vmap for several")
    return as_points(points, last=3)
