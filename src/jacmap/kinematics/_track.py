"""A path of poses followed by the joints, step by step."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import jaxlie
import numpy as np

from .._errors import ArgumentError
from ._control import Method, bounded, check_dt, check_method, limits_of, springs_of
from ._inverse import rotation_left
from ._jacobian import pose_and_jacobian
from ._model import Model
from ._robot import Robot

Array = jax.Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Track:
    """A path followed. `q` (T, n): the joints at every pose of the path; `qd` (T, n): the speeds that led there.
    `position_error`, `rotation_error` (T,): metres and radians to the path's pose. `given_up` (T, 6): of
    the twist wanted, along the base's axes. `limited` (T, n): joints held at a limit; `smallest` (T,): the smallest
    singular value of J."""

    q: Array
    qd: Array
    position_error: Array
    rotation_error: Array
    given_up: Array
    limited: Array
    smallest: Array

    def __str__(self) -> str:
        size = np.linalg.norm(self.given_up, axis=1)
        worst = int(np.argmax(self.position_error))
        said = f"{len(self.q)} poses, off by up to {float(self.position_error[worst]):.3g} m (pose {worst})"
        some = np.flatnonzero(size > 1e-3)
        if len(some):
            said += f"; something of the twist was given up at {len(some)} poses, from pose {some[0]} on"
        return f"{said}; smallest singular value {float(np.min(self.smallest)):.3g}"


def track(
    robot: Robot, q: Any, path: Any, link: str, *, dt: float = 0.01, method: Method = "damped", centre: float = 0.0
) -> Track:
    """Follow `path`, poses (T,) of the link as a `jaxlie.SE3`, one every `dt` seconds, from the joints q (n,).

    Resolved-rate control (Whitney 1969): at every step the twist that would lead from where the link is to the path's
    next pose, given to the joints by `control` with its damping and limits; so errors do not add up, speeds stay
    bounded near singular poses, and what is given up there is told and made good later where that is possible.
    `centre`: the gain of a null-space task towards the middle of the limits (`centring`). The first pose is met as
    well as one step allows: begin near it (`inverse_kinematics`). Raises `ArgumentError`.
    """
    robot.check_link(link)
    check_method(method)
    q = robot.check_q(q)
    numbers = jnp.asarray(getattr(path, "wxyz_xyz", path), q.dtype)
    if numbers.ndim != 2 or numbers.shape[1] != 7 or not isinstance(path, jaxlie.SE3) or q.ndim != 1:
        raise ArgumentError(
            f"path, q: got {type(path).__name__} of {list(numbers.shape)} and q of {list(q.shape)}, expected a "
            "jaxlie.SE3 of T poses, and joints (n,)"
        )
    check_dt(dt)
    limits = limits_of(robot, q.dtype)
    middles, weight = springs_of(robot, q.dtype)
    function = functools.partial(_track, robot._model, link, method)
    program = robot.kept(("track", link, method), lambda: jax.jit(function))
    return program(q, numbers, middles, centre * weight, *limits, jnp.asarray(dt, q.dtype))


def _track(
    model: Model, link: str, method: Method, q: Array, path: Array, middles: Array, springs: Array,
    lower: Array, upper: Array, speed: Array, dt: Array,
) -> Track:  # fmt: skip
    def off(goal: Array, now: Array, place: Array) -> tuple[Array, Array]:
        return goal[4:] - place, rotation_left(goal[:4], now)

    def step(state: tuple[Array, Array, Array, Array], goal: Array) -> tuple[Any, tuple[Array, ...]]:
        q, now, place, J = state
        error = jnp.concatenate(off(goal, now, place))
        found = bounded(method, J, error / dt, springs * (middles - q), q, lower, upper, speed, dt)
        q = q + dt * found.qd
        now, place, J = pose_and_jacobian(model, link, q)
        sizes = (jnp.linalg.norm(left) for left in off(goal, now, place))
        return (q, now, place, J), (q, found.qd, *sizes, found.given_up, found.limited, found.smallest)

    return Track(*jax.lax.scan(step, (q, *pose_and_jacobian(model, link, q)), path)[1])
