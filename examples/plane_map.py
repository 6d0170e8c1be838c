"""The plane map z -> z², written in real numbers: it turns and stretches, and doubles every angle."""

import jax
import jax.numpy as jnp


def f(p: jax.Array) -> jax.Array:
    x, y = p
    return jnp.stack([x**2 - y**2, 2 * x * y])


def point() -> jax.Array:
    return jnp.array([1.5, 0.5])
