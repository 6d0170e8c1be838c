"""Speeds and forces: joint speeds ↔ twists, joint torques ↔ wrenches."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._errors import ArgumentError
from ._jacobian import Reference
from ._robot import Robot

Array = jax.Array
DEFAULT: Reference = "local_world_aligned"


def twist(robot: Robot, q: Any, qd: Any, link: str, frame: Reference = DEFAULT, point: Any = None) -> Array:
    """V = J q̇ (..., 6): linear, then angular velocity of the link while the joints move with speeds qd (..., n).

    `frame` and `point` as in `Robot.jacobian`. Raises `ArgumentError`.
    """
    return _times(robot.jacobian(q, link, frame, point=point), robot.check_q(qd, "qd"))


def torques(robot: Robot, q: Any, wrench: Any, link: str, frame: Reference = DEFAULT, point: Any = None) -> Array:
    """τ = Jᵀ w (..., n): what the joints must hold for the link to exert the wrench (..., 6), force then moment.

    By virtual work, so w must be written in the `frame` of J: in "world" its moment is about the base's origin.
    Weight is not counted. Raises `ArgumentError`.
    """
    J = robot.jacobian(q, link, frame, point=point)
    return _times(jnp.swapaxes(J, -1, -2), _six(wrench, "wrench"))


def joint_speeds(
    robot: Robot,
    q: Any,
    twist: Any,
    link: str,
    frame: Reference = DEFAULT,
    point: Any = None,
    damping: float = 0.0,
) -> Array:
    """q̇ (..., n) with the smallest ‖J q̇ − V‖, and of these the smallest ‖q̇‖, for a twist V (..., 6).

    With `damping` λ > 0 the minimiser of ‖J q̇ − V‖² + λ²‖q̇‖² (damped least squares, Nakamura and Hanafusa 1986),
    whose speeds stay below ‖V‖/(2λ) at any pose; without, what a singular pose has lost (singular values below
    rounding) is left out, but near one the speeds grow without bound. Metres and radians are weighed alike. Raises
    `ArgumentError`.
    """
    J = robot.jacobian(q, link, frame, point=point)
    return _inverse(J, _six(twist, "twist"), damping)


def wrench(
    robot: Robot,
    q: Any,
    torques: Any,
    link: str,
    frame: Reference = DEFAULT,
    point: Any = None,
    damping: float = 0.0,
) -> Array:
    """w (..., 6) with the smallest ‖Jᵀ w − τ‖, and of these the smallest ‖w‖, for joint torques τ (..., n).

    Of six joints away from singular poses the wrench that these torques hold in balance; of more the nearest to it, and
    what is left of τ moves the arm. A direction that is lost bears any load without torque: its part of w is 0 here.
    `damping` as in `joint_speeds`. Raises `ArgumentError`.
    """
    J = robot.jacobian(q, link, frame, point=point)
    return _inverse(jnp.swapaxes(J, -1, -2), robot.check_q(torques, "torques"), damping)


def _times(matrix: Array, vector: Array) -> Array:
    return jnp.einsum("...ij,...j->...i", matrix, vector.astype(matrix.dtype))


def _six(value: Any, name: str) -> Array:
    value = jnp.asarray(value)
    if value.ndim == 0 or value.shape[-1] != 6:
        raise ArgumentError(
            f"{name}: got shape {list(value.shape)}, expected [..., 6]: three linear parts, three angular"
        )
    return value


@jax.jit
def _solved(matrix: Array, vector: Array, damping: Array) -> Array:
    """V diag(σ/(σ² + λ²)) Uᵀ b, without what is lost to rounding."""
    u, s, vt = jnp.linalg.svd(matrix, full_matrices=False)
    lost = s <= max(matrix.shape[-2:]) * jnp.finfo(s).eps * s[..., :1]
    weight = jnp.where(lost, 0.0, s / jnp.where(lost, 1.0, s * s + damping * damping))
    return jnp.einsum("...ji,...j->...i", vt, weight * jnp.einsum("...ji,...j->...i", u, vector))


def _inverse(matrix: Array, vector: Array, damping: float) -> Array:
    if not isinstance(damping, (int, float, np.number)) or not 0 <= damping < np.inf:
        raise ArgumentError(f"damping: got {damping!r}, expected a number from 0, in the units of J")
    shape = jnp.broadcast_shapes(matrix.shape[:-2], vector.shape[:-1])
    matrix = jnp.broadcast_to(matrix, (*shape, *matrix.shape[-2:]))
    vector = jnp.broadcast_to(vector, (*shape, vector.shape[-1])).astype(matrix.dtype)
    return _solved(matrix, vector, jnp.asarray(damping, matrix.dtype))
