"""Coordinates of a pose, whose plain derivatives are the analytic Jacobians."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from ._frames import Tree, stacked, total
from ._model import Model

Array = jax.Array
Coordinates = Literal["rpy", "quaternion"]


def coordinates(model: Model, link: str, kind: Coordinates, q: Array, point: Array | None = None) -> Array:
    """(..., 6) position and roll, pitch, yaw (the rotation is Rz(yaw)·Ry(pitch)·Rx(roll), URDF's rpy), or (..., 7)
    position and quaternion w, x, y, z."""
    end = Tree(model, [link], q).frame(link)
    place = end.position if point is None else end.moved(point).position
    if kind == "quaternion":
        return stacked([*place, *end.turn], q)
    x, y, z = (end.column(k) for k in range(3))
    level = jnp.sqrt(stacked([total((1.0, y[2], y[2]), (1.0, z[2], z[2]))], q)[..., 0])
    ratios = stacked([y[2], z[2], total((-1.0, x[2], 1.0)), x[1], x[0]], q)
    roll = jnp.arctan2(ratios[..., 0], ratios[..., 1])
    pitch = jnp.arctan2(ratios[..., 2], level)
    yaw = jnp.arctan2(ratios[..., 3], ratios[..., 4])
    return stacked([*place, roll, pitch, yaw], q)
