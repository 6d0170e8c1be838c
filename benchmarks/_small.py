"""Ten small dense functions, m, n ≤ 50, as they come up: the bar is never to be slower than jacfwd or jacrev."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

RANDOM = np.random.default_rng(7)


def _matrix(rows: int, columns: int) -> jax.Array:
    return jnp.asarray(RANDOM.standard_normal((rows, columns)) / np.sqrt(columns))


def _point(n: int) -> jax.Array:
    return jnp.asarray(RANDOM.uniform(0.2, 0.9, n))


SQUARE, WIDE, TALL = _matrix(30, 30), _matrix(8, 50), _matrix(50, 6)
LAYERS = [_matrix(24, 16), _matrix(24, 24), _matrix(10, 24)]
LINKS = jnp.asarray([0.5, 0.4, 0.3, 0.25, 0.2, 0.1])
EXPONENTS = jnp.asarray(RANDOM.integers(0, 4, (12, 5)).astype(float))


def layer(x: jax.Array) -> jax.Array:
    return jnp.tanh(SQUARE @ x)


def network(x: jax.Array) -> jax.Array:
    for weight in LAYERS[:-1]:
        x = jax.nn.gelu(weight @ x)
    return LAYERS[-1] @ x


def rosenbrock_gradient(x: jax.Array) -> jax.Array:
    return jax.grad(lambda z: jnp.sum(100.0 * (z[1:] - z[:-1] ** 2) ** 2 + (1 - z[:-1]) ** 2))(x)


def arm(angles: jax.Array) -> jax.Array:
    """Position and heading of a planar arm of six links."""
    heading = jnp.cumsum(angles)
    return jnp.stack([LINKS @ jnp.cos(heading), LINKS @ jnp.sin(heading), heading[-1]])


def lorenz_step(state: jax.Array) -> jax.Array:
    """One Runge-Kutta step."""

    def rate(s: jax.Array) -> jax.Array:
        x, y, z = s
        return jnp.stack([10.0 * (y - x), x * (28.0 - z) - y, x * y - 8.0 / 3.0 * z])

    h = 0.01
    a = rate(state)
    b = rate(state + h / 2 * a)
    c = rate(state + h / 2 * b)
    d = rate(state + h * c)
    return state + h / 6 * (a + 2 * b + 2 * c + d)


def monomials(x: jax.Array) -> jax.Array:
    return jnp.exp(EXPONENTS @ jnp.log(x))


def wide(x: jax.Array) -> jax.Array:
    return jnp.sin(WIDE @ x) ** 2


def tall(x: jax.Array) -> jax.Array:
    return jnp.exp(-((TALL @ x) ** 2))


def of_parameters(p: dict[str, jax.Array]) -> jax.Array:
    return jax.nn.sigmoid(p["w"] @ jnp.linspace(-1.0, 1.0, 5) + p["b"]) * p["scale"]


FUNCTIONS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "tanh(W x), 30→30": (layer, _point(30)),
    "network 16-24-24-10": (network, _point(16)),
    "Rosenbrock's gradient, 40→40": (rosenbrock_gradient, _point(40)),
    "arm of six links, 6→3": (arm, _point(6)),
    "softmax, 20→20": (jax.nn.softmax, _point(20)),
    "Lorenz step, 3→3": (lorenz_step, _point(3)),
    "monomials, 5→12": (monomials, _point(5)),
    "wide, 50→8": (wide, _point(50)),
    "tall, 6→50": (tall, _point(6)),
    "of a dict of parameters, 25→4": (of_parameters, {"w": _matrix(4, 5), "b": _point(4), "scale": _point(1)}),
}
