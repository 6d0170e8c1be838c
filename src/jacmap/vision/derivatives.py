"""What a warp does to a small change: of its points, of its parameters, and of areas."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal

import jax
import jax.numpy as jnp

from .._errors import ArgumentError
from .._questions import jacobian
from .sampling import as_points

Array = jax.Array
Map = Callable[[Any, Any], Any]


def by_points(warp: Map, parameters: Any, points: Any) -> Array:
    """∂warp/∂point at each of points (…, 2): (…, 2, 2), rows are outputs.

    The Jacobian of the whole batch is block-diagonal, which `jm.plan(lambda x: warp(parameters, x), points,
    question="sparse")` shows, so it is read point by point: two passes for all. `warp` is one of this package or any
    function of (parameters, points). Compiled once per warp and shape.
    """
    return _by_points(warp)(parameters, as_points(points))


def by_parameters(warp: Map, parameters: Any, points: Any, form: Literal["dense", "sparse"] = "dense") -> Any:
    """∂warp/∂parameters at each of points (…, 2): (…, 2, *parameters.shape), planned for all points at once.

    ``form="sparse"``: one `BCOO` of (2 · points, size of parameters), for a `Flow` and whatever else has each parameter
    act in one place only.
    """
    points = as_points(points)
    if form == "sparse":
        return jacobian(lambda chosen: warp(chosen, points), form="sparse")(jnp.asarray(parameters))
    if form != "dense":
        raise ArgumentError(f'form: got {form!r}, expected "dense" or "sparse"')
    return _by_parameters(warp)(jnp.asarray(parameters), points)


def area(warp: Map, parameters: Any, points: Any) -> Array:
    """det ∂warp/∂point at each of points (…, 2), shape (…): by how much areas grow; negative where they turn over."""
    found = by_points(warp, parameters, points)
    return found[..., 0, 0] * found[..., 1, 1] - found[..., 0, 1] * found[..., 1, 0]


def orientation(warp: Map, parameters: Any, points: Any) -> Array:
    """+1 where the warp keeps orientation, −1 where it turns a neighbourhood over, 0 where it flattens it."""
    return jnp.sign(area(warp, parameters, points))


@lru_cache(maxsize=64)
def _by_points(warp: Map) -> Callable[[Any, Any], Any]:
    each = jax.vmap(jacobian(warp, argnums=1), (None, 0))
    return jax.jit(lambda parameters, points: each(parameters, points.reshape(-1, 2)).reshape(*points.shape, 2))


@lru_cache(maxsize=64)
def _by_parameters(warp: Map) -> Callable[[Any, Any], Any]:
    # Not per point: few parameters move all points at once, and one pass for each of them does.
    return jacobian(warp, argnums=0)
