"""How freely a link can be moved from a pose: figures, their gradients, and the ellipsoids behind them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp

from .._errors import ArgumentError
from ._jacobian import Reference
from ._robot import Robot

Array = jax.Array
Measure = Literal["yoshikawa", "inverse_condition", "smallest"]
Part = Literal["all", "translation", "rotation"]
ROWS = {"all": slice(0, 6), "translation": slice(0, 3), "rotation": slice(3, 6)}


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Ellipsoid:
    """What a ball of joint speeds (or torques) becomes: half-axes `lengths` (..., m) along the columns of `axes`
    (..., m, m), the longest first."""

    lengths: Array
    axes: Array


def manipulability(
    robot: Robot, q: Any, link: str, measure: Measure = "yoshikawa", part: Part = "all", point: Any = None
) -> Array:
    """(...): how far from singular the pose is; 0 at a singular one.

    `measure`: "yoshikawa", √det(J Jᵀ), the product of the singular values (Yoshikawa 1985), of fewer joints than rows
    √det(Jᵀ J); "inverse_condition", σ_min/σ_max, at most 1, where all directions are alike; "smallest", σ_min, the
    distance of J to the nearest matrix of lower rank, in speed of the link per unit speed of the joints. `part`: of the
    rows of "translation" or "rotation", or "all" six, where metres are weighed against radians. Works under `jit`,
    `vmap` and `grad`. Raises `ArgumentError`.
    """
    J = rows(robot, q, link, part, point)
    if measure not in get_args(Measure):
        raise ArgumentError(f"measure: got {measure!r}, expected one of {', '.join(map(repr, get_args(Measure)))}")
    return _measured(J, measure)


def manipulability_gradient(
    robot: Robot, q: Any, link: str, measure: Measure = "yoshikawa", part: Part = "all", point: Any = None
) -> Array:
    """(..., n): the gradient of `manipulability` with respect to q, finite at every pose.

    By dσ_i = u_iᵀ (dJ) v_i, which divides by no singular value. Where a measure has no gradient (a singular value that
    meets zero or another one) it is that of one of its branches. Raises `ArgumentError`.
    """
    q = robot.check_q(q)

    def gradient() -> Callable[..., Array]:  # no figure reads another pose's q, so one pass serves the whole batch
        return jax.jit(jax.grad(lambda q, *point: jnp.sum(manipulability(robot, q, link, measure, part, *point))))

    compiled = robot.kept(("gradient", link, measure, part, point is None), gradient)
    return compiled(q) if point is None else compiled(q, jnp.asarray(point, q.dtype))


def velocity_ellipsoid(robot: Robot, q: Any, link: str, part: Part = "translation", point: Any = None) -> Ellipsoid:
    """What unit joint speeds, ‖q̇‖ ≤ 1, make of the link's velocity, along the base's axes: singular values and left
    singular vectors of J. Raises `ArgumentError`."""
    u, s, _ = jnp.linalg.svd(rows(robot, q, link, part, point), full_matrices=True)
    return Ellipsoid(_padded(s, u.shape[-1]), u)


def force_ellipsoid(robot: Robot, q: Any, link: str, part: Part = "translation", point: Any = None) -> Ellipsoid:
    """What unit joint torques, ‖τ‖ ≤ 1, can hold: the same axes, with lengths 1/σ; infinite in a lost direction, which
    the structure bears. Raises `ArgumentError`."""
    speed = velocity_ellipsoid(robot, q, link, part, point)
    floor = 6 * jnp.finfo(speed.lengths).eps * speed.lengths[..., :1]
    lost = speed.lengths <= floor
    lengths = jnp.where(lost, jnp.inf, 1 / jnp.where(lost, 1.0, speed.lengths))
    return Ellipsoid(lengths[..., ::-1], speed.axes[..., ::-1])


def rows(robot: Robot, q: Any, link: str, part: Part, point: Any) -> Array:
    """The rows (..., 3 or 6, n) of J that a part of the twist has."""
    frame: Reference = "local_world_aligned"
    if part not in ROWS:
        raise ArgumentError(f"part: got {part!r}, expected one of {', '.join(map(repr, ROWS))}")
    return robot.jacobian(q, link, frame, point=point)[..., ROWS[part], :]


def _padded(s: Array, m: int) -> Array:
    """With zeros for the directions that fewer joints than rows leave out."""
    return jnp.concatenate([s, jnp.zeros((*s.shape[:-1], m - s.shape[-1]), s.dtype)], axis=-1)


def _measured(J: Array, measure: Measure) -> Array:
    s = jnp.linalg.svd(J, compute_uv=False)
    if not s.shape[-1]:
        return jnp.zeros(J.shape[:-2], J.dtype)
    if measure == "yoshikawa":
        return jnp.prod(s, axis=-1)
    least, most = s[..., -1], s[..., 0]
    return least if measure == "smallest" else least / jnp.where(most == 0, 1.0, most)
