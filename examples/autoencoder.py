"""An autoencoder 784-256-32-256-784: everything that it can say about an image passes through 32 numbers."""

import jax
import jax.numpy as jnp
import numpy as np

WIDTHS = (784, 256, 32, 256, 784)
GENERATOR = np.random.default_rng(0)


def orthogonal(rows: int, columns: int) -> jax.Array:
    """A random matrix that neither shrinks nor stretches what it does not drop."""
    tall, _ = np.linalg.qr(GENERATOR.standard_normal((max(rows, columns), min(rows, columns))))
    return jnp.asarray(tall if rows >= columns else tall.T)


WEIGHTS = [orthogonal(rows, columns) for rows, columns in zip(WIDTHS[:-1], WIDTHS[1:], strict=True)]
IMAGE = jnp.asarray(GENERATOR.random(WIDTHS[0]))


def reconstruct(x: jax.Array) -> jax.Array:
    for weight in WEIGHTS[:-1]:
        x = jnp.tanh(x @ weight)
    return x @ WEIGHTS[-1]


def point() -> jax.Array:
    return IMAGE
