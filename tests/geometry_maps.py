"""Maps whose geometry is known in closed form, each measured once."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.numpy import cos, sin

import jacmap as jm

A, B, C, D = 1 + 2j, 0.5 - 1j, 0.3 + 0.1j, 2 - 1j  # a Möbius map (A z + B)/(C z + D)


def moebius(x: Any) -> Any:
    z = jax.lax.complex(x[0], x[1])
    w = (A * z + B) / (C * z + D)
    return jnp.stack([w.real, w.imag])


@jax.custom_jvp
def straight_through(x: Any) -> Any:
    return jnp.round(3 * x)


straight_through.defjvps(lambda dx, y, x: dx)


@jax.custom_vjp
def reverse_only(x: Any) -> Any:
    return x**2


reverse_only.defvjp(lambda x: (x**2, x), lambda x, u: (2 * x * u,))

MATRIX = jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, -6.0]])

MAPS: dict[str, tuple[Callable[[Any], Any], list[float]]] = {
    "complex square": (lambda x: jnp.stack([x[0] ** 2 - x[1] ** 2, 2 * x[0] * x[1]]), [1.5, 0.5]),
    "polar": (lambda p: jnp.stack([p[0] * cos(p[1]), p[0] * sin(p[1])]), [2.0, 0.7]),
    "spherical": (
        lambda p: p[0] * jnp.stack([sin(p[1]) * cos(p[2]), sin(p[1]) * sin(p[2]), cos(p[1])]),
        [2.0, 0.5, 1.0],
    ),
    "moebius": (moebius, [0.4, -0.3]),
    "fold": (lambda x: jnp.stack([x[0] ** 2, x[1]]), [0.0, 1.0]),
    "flip": (lambda x: x[::-1] * jnp.array([1.0, 3.0]), [0.4, 0.5]),
    "mirror": (lambda x: x[::-1], [0.4, 0.5]),
    "sphere surface": (lambda p: jnp.stack([sin(p[0]) * cos(p[1]), sin(p[0]) * sin(p[1]), cos(p[0])]), [0.6, 1.1]),
    "torus surface": (
        lambda p: jnp.stack([(3 + cos(p[1])) * cos(p[0]), (3 + cos(p[1])) * sin(p[0]), sin(p[1])]),
        [0.3, 0.8],
    ),
    "radius and height": (lambda x: jnp.stack([jnp.linalg.norm(x[:2]), 2 * x[2]]), [3.0, 4.0, 5.0]),
    "affine": (lambda x: MATRIX @ x + 1, [1.0, 2.0]),
    "softmax": (jax.nn.softmax, [0.1, 0.5, -0.3]),
    "cubic": (lambda x: x + x**3, [0.0, 0.0]),
    "relu": (jax.nn.relu, [0.0]),
    "relu, many": (lambda x: jax.nn.relu(x) + x, [1.0, 0.0, -1.0]),
    "abs": (lambda x: jnp.abs(x) + x**2, [0.0, 1.0]),
    "tie": (lambda x: jnp.max(x) * jnp.ones(1), [1.0, 1.0]),
    "step": (lambda x: jnp.floor(x) + x, [1.0]),
    "root": (lambda x: x + jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1.0)), 0.0), [0.0]),
    "kink ahead": (lambda x: jnp.sin(x) + 0.5 * jax.nn.relu(x - 0.3), [0.0]),
    "jump ahead": (lambda x: x + jnp.where(x > 0.4, 1.0, 0.0), [0.0]),
    "logarithm": (jnp.log, [0.2]),
    "custom rule": (straight_through, [0.1, 0.2]),
    "reverse only": (reverse_only, [1.0, 2.0]),
    "constant": (lambda x: 0 * x, [1.0, 2.0]),
    "whirl": (lambda x: jnp.stack([-x[1], x[0]]), [0.3, 0.4]),
    "shear flow": (lambda x: jnp.stack([x[0] + x[1] ** 2, x[1]]), [0.3, 1.0]),
    "quarter turn": (lambda x: jnp.stack([-x[1], x[0]]) + 5, [0.3, 0.4]),
}


@functools.cache
def geometry_of(name: str) -> jm.Geometry:
    f, at = MAPS[name]
    return jm.geometry(jm.linearize(f, jnp.array(at)))
