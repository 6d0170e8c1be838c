"""Benign or malignant? A small network on 30 measurements of cell nuclei, trained in a second when it is imported."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from sklearn.datasets import load_breast_cancer

HIDDEN = 16
STEPS = 300
RATE, MOMENTUM, DECAY = 0.3, 0.9, 3e-3

data = load_breast_cancer()
NAMES = [str(name) for name in data.feature_names]
X = jnp.asarray(data.data)  # in the units of the measurements
MALIGNANT = jnp.asarray(1.0 - data.target)
TRAINING = np.arange(len(X)) % 4 != 0  # every fourth case is held out
MEAN, DEVIATION = X[TRAINING].mean(axis=0), X[TRAINING].std(axis=0)

Weights = list[jax.Array]


def initial() -> Weights:
    first, second = jax.random.split(jax.random.key(0))
    w1 = jax.random.normal(first, (30, HIDDEN)) / 30**0.5
    return [w1, jnp.zeros(HIDDEN), jax.random.normal(second, (HIDDEN,)) / HIDDEN**0.5, jnp.zeros(())]


def network(weights: Weights, x: jax.Array) -> jax.Array:
    """The log-odds of malignant, for one case or for many."""
    w1, b1, w2, b2 = weights
    return jnp.tanh((x - MEAN) / DEVIATION @ w1 + b1) @ w2 + b2


def loss(weights: Weights) -> jax.Array:
    """Mean negative log-likelihood, and a pull of the weights towards 0."""
    odds, sick = network(weights, X[TRAINING]), MALIGNANT[TRAINING]
    return jnp.mean(jnp.logaddexp(0.0, odds) - sick * odds) + DECAY * sum(jnp.sum(w**2) for w in weights)


@jax.jit
def trained() -> Weights:
    """Gradient descent with momentum on all training cases."""

    def step(state, _):
        weights, speed = state
        speed = [MOMENTUM * s - RATE * g for s, g in zip(speed, jax.grad(loss)(weights), strict=True)]
        return ([w + s for w, s in zip(weights, speed, strict=True)], speed), None

    start = initial()
    (weights, _), _ = lax.scan(step, (start, [jnp.zeros_like(w) for w in start]), length=STEPS)
    return weights


WEIGHTS = trained()


def log_odds(x: jax.Array) -> jax.Array:
    """Of a tumour being malignant, given its 30 measurements: above 0 is more likely than not."""
    return network(WEIGHTS, x)


def accuracy() -> float:
    """The share of the held-out cases that are told right."""
    return float(jnp.mean((log_odds(X[~TRAINING]) > 0) == (MALIGNANT[~TRAINING] > 0)))


def point() -> jax.Array:
    """The first case: malignant."""
    return X[0]
