"""How a decoder's surface bends: sectional curvature by Gauss's equation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from .._errors import ArgumentError
from .._flat import Flat

Array = jax.Array


def curvature(f: Callable[[Any], Any], z: Any, u: Any, v: Any) -> Array:
    """The sectional curvature at z of the surface f(z), in the plane of the latent directions u and v.

    K = (⟨II(u,u), II(v,v)⟩ − |II(u,v)|²) / (|u|²|v|² − ⟨u,v⟩²), lengths in the pullback metric, II(a,b) the part of
    D²f[a,b] normal to the surface (Gauss's equation; do Carmo, Riemannian Geometry, 6.2). 1/r² on a sphere of radius
    r, 0 on a plane or cylinder. NaN where u and v are parallel. Forms J (m×n), once. Raises `ArgumentError` where a
    direction's shape is not z's.
    """
    flat = Flat.at(f, z, "z")
    directions = []
    for name, given in (("u", u), ("v", v)):
        given = jnp.asarray(given, flat.x.dtype)
        if given.shape != flat.x.shape:
            raise ArgumentError(f"{name}: got shape {list(given.shape)}, expected {list(flat.x.shape)}, the shape of z")
        directions.append(given.ravel())
    x = flat.x.ravel()
    basis = jnp.linalg.qr(jax.vmap(flat.push, out_axes=1)(jnp.eye(flat.n, dtype=x.dtype)))[0]

    def second(a: Array, b: Array) -> Array:
        bent = jax.jvp(lambda y: jax.jvp(flat.vector, (y,), (a,))[1], (x,), (b,))[1]
        return bent - basis @ (basis.T @ bent)

    a, b = directions
    ja, jb = flat.push(a), flat.push(b)
    area = (ja @ ja) * (jb @ jb) - (ja @ jb) ** 2
    bend = second(a, a) @ second(b, b) - jnp.sum(second(a, b) ** 2)
    return jnp.where(area > 0, bend / jnp.where(area > 0, area, 1), jnp.nan)
