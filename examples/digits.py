"""A classifier of handwritten digits, 8×8 pixels to 10 logits, trained in a second when it is imported."""

import jax
import jax.numpy as jnp
from jax import lax
from sklearn.datasets import load_digits

HIDDEN = 48
STEPS = 300
RATE = 0.01
DECAY = 1e-4  # so that pixels that are never inked do not keep the random weights they began with

digits = load_digits()
IMAGES = jnp.asarray(digits.data / 16.0)
LABELS = jnp.asarray(digits.target)


def initial() -> list[jax.Array]:
    first, second = jax.random.split(jax.random.key(0))
    return [
        jax.random.normal(first, (64, HIDDEN)) * (2 / 64) ** 0.5,
        jnp.zeros(HIDDEN),
        jax.random.normal(second, (HIDDEN, 10)) * (1 / HIDDEN) ** 0.5,
        jnp.zeros(10),
    ]


def network(weights: list[jax.Array], x: jax.Array) -> jax.Array:
    w1, b1, w2, b2 = weights
    return jnp.tanh(x @ w1 + b1) @ w2 + b2


def loss(weights: list[jax.Array]) -> jax.Array:
    log_probabilities = jax.nn.log_softmax(network(weights, IMAGES))
    size = sum(jnp.sum(w**2) for w in jax.tree.leaves(weights))
    return -jnp.mean(jnp.take_along_axis(log_probabilities, LABELS[:, None], axis=1)) + DECAY * size


@jax.jit
def trained() -> list[jax.Array]:
    """Adam on the whole data set."""

    def step(state, t):
        weights, mean, square = state
        gradient = jax.grad(loss)(weights)
        mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mean, gradient)
        square = jax.tree.map(lambda s, g: 0.999 * s + 0.001 * g**2, square, gradient)

        def moved(w, m, s):
            return w - RATE * (m / (1 - 0.9**t)) / (jnp.sqrt(s / (1 - 0.999**t)) + 1e-8)

        return (jax.tree.map(moved, weights, mean, square), mean, square), None

    start = initial()
    zeros = jax.tree.map(jnp.zeros_like, start)
    (weights, _, _), _ = lax.scan(step, (start, zeros, zeros), jnp.arange(1.0, STEPS + 1))
    return weights


WEIGHTS = trained()


def logits(image: jax.Array) -> jax.Array:
    """How much an 8×8 image looks like each of the ten digits."""
    return network(WEIGHTS, image.ravel())


def point() -> jax.Array:
    """The first image of the data set: a zero."""
    return IMAGES[0].reshape(8, 8)
