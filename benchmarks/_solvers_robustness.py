"""Robustness: O-Net's true convolution norms, certified bounds against attacks on digits, training by the Jacobian."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _table import Row, Tick
from _timing import medians
from sklearn.datasets import load_digits

from jacmap import robustness

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

SIZES = {"conv1": 48, "conv2": 23, "conv3": 10, "conv4": 4}  # the images that O-Net's convolutions see
DENSE = ("conv3", "conv4")  # small enough for an SVD of the true matrix as they are; the others on a part of the image
PART = 10
SMALL, RADII = 0.001, (0.001, 0.01, 0.05)
BATCH = 100


def rows(quick: bool, tick: Tick) -> Iterator[Row]:
    with jax.enable_x64(False):  # which sif2jax, imported for another case, turns on for the whole process
        yield from _in_single_precision(quick, tick)


def _in_single_precision(quick: bool, tick: Tick) -> Iterator[Row]:
    yield from convolutions(quick, tick)
    weights, network = trained((64, 64, 64, 10), dense_layers)
    yield from certified("digits", lambda x: network(weights, x), 100 if quick else 1000, tick, 3.0)
    kernels, convnet = trained((8, 8, 10), conv_layers)
    yield from certified("digits, conv net", lambda x: convnet(kernels, x), 20 if quick else 100, tick)
    yield from training(quick, tick)
    yield from penalties(weights, network, quick, tick)


# -- convolutions ------------------------------------------------------------------------------------------------------
def convolutions(quick: bool, tick: Tick) -> Iterator[Row]:
    import onet

    errors, ratios = [], []
    for name, side in SIZES.items():
        tick(f"norm of {name}")
        kernel = np.asarray(onet.WEIGHTS[f"{name}.weight"], float)
        at = side if name in DENSE else PART
        truth = np.linalg.norm(matrix(kernel, at), 2)
        errors.append(abs(float(robustness.conv_norm(kernel, (at, at), padding="VALID")) / truth - 1))
        true_norm = float(robustness.conv_norm(kernel, (side, side), padding="VALID"))
        reshaped = np.linalg.norm(kernel.reshape(len(kernel), -1), 2)
        ratios.append(true_norm / reshaped)
        cheap = float(robustness.conv_norm(kernel, (side, side), padding="VALID", method="fft"))
        yield Row(f"O-Net {name}: true norm over that of the reshaped kernel", ratios[-1], "×")
        yield Row(f"O-Net {name}: bound by frequencies over the true norm", cheap / true_norm, "×", 1.0)
    yield Row("O-Net convolution norms, worst error against the dense SVD", max(errors), "", 1e-6, at_most=True)
    kernel = np.asarray(onet.WEIGHTS["conv4.weight"], float)
    runs = {
        "ours": lambda: robustness.conv_norm(kernel, (8, 8), padding="VALID"),
        "dense": lambda: np.linalg.norm(matrix(kernel, 8), 2),
    }
    tick("time of a norm")
    times = medians(runs, 1 if quick else 3)
    ratio = times["dense"] / times["ours"]
    yield Row("norm of conv4 on 8×8 (6272×4096), against forming the matrix and its SVD", ratio, "×")


def matrix(kernel: np.ndarray, side: int) -> np.ndarray:
    """The true matrix, by the entries of the kernel themselves."""
    out, channels, *window = kernel.shape
    sides = [side - k + 1 for k in window]
    found = np.zeros((out, *sides, channels, side, side))
    rows, columns = np.indices(sides)
    for i in range(window[0]):
        for j in range(window[1]):
            found[:, rows, columns, :, rows + i, columns + j] = kernel[None, None, :, :, i, j]
    return found.reshape(out * sides[0] * sides[1], -1)


# -- certificates ------------------------------------------------------------------------------------------------------
def digits() -> tuple[jax.Array, jax.Array]:
    data = load_digits()
    return jnp.asarray(data.data / 16, jnp.float32), jnp.asarray(data.target)


def dense_layers(sizes: tuple[int, ...], key: jax.Array) -> tuple[Any, Callable[[Any, Any], Any]]:
    keys = jax.random.split(key, len(sizes))
    weights = [
        (jax.random.normal(k, (b, a)) * np.sqrt(2 / a), jnp.zeros(b))
        for k, a, b in zip(keys, sizes, sizes[1:], strict=False)
    ]

    def network(weights: Any, x: Any) -> Any:
        for w, b in weights[:-1]:
            x = jax.nn.relu(w @ x + b)
        return weights[-1][0] @ x + weights[-1][1]

    return weights, network


def conv_layers(sizes: tuple[int, ...], key: jax.Array) -> tuple[Any, Callable[[Any, Any], Any]]:
    """Two convolutions with a max pool between, then one dense layer."""
    one, two, three = jax.random.split(key, 3)
    a, b, classes = sizes
    weights = [
        jax.random.normal(one, (a, 1, 3, 3)) / 3,
        jax.random.normal(two, (b, a, 3, 3)) / np.sqrt(9 * a),
        jax.random.normal(three, (classes, b * 16)) / np.sqrt(b * 16),
    ]

    def network(weights: Any, x: Any) -> Any:
        x = jax.nn.relu(jax.lax.conv(x.reshape(1, 1, 8, 8), weights[0], (1, 1), "SAME"))
        x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
        x = jax.nn.relu(jax.lax.conv(x, weights[1], (1, 1), "SAME"))
        return weights[2] @ x.ravel()

    return weights, network


def loss_of(network: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def loss(weights: Any, x: Any, y: Any) -> Any:
        scores = jax.vmap(lambda z: network(weights, z))(x)
        return optax.softmax_cross_entropy_with_integer_labels(scores, y).mean()

    return loss


def trained(sizes: tuple[int, ...], layers: Callable[..., Any], steps: int = 400) -> tuple[Any, Any]:
    """Weights after Adam on all digits, and the network."""
    weights, network = layers(sizes, jax.random.key(0))
    x, y = digits()
    optimiser, loss = optax.adam(3e-3), loss_of(network)

    @jax.jit
    def step(weights: Any, state: Any, key: jax.Array) -> Any:
        at = jax.random.randint(key, (128,), 0, len(x))
        change, state = optimiser.update(jax.grad(loss)(weights, x[at], y[at]), state)
        return optax.apply_updates(weights, change), state

    state = optimiser.init(weights)
    for k in range(steps):
        weights, state = step(weights, state, jax.random.key(k))
    return weights, network


def attacked_slope(f: Callable[[Any], Any], x: jax.Array, radius: Any, p: Any, key: jax.Array) -> jax.Array:
    """The largest ‖f(a) − f(x)‖_p / ‖a − x‖_p met by a plain projected gradient ascent from three random starts.

    Written for this comparison, with nothing of the library: what the certified bound must never be below. Less what
    rounding may add to a difference of two values.
    """
    order = np.inf if p == np.inf else 2
    origin = f(x)

    def walk(key: jax.Array) -> jax.Array:
        def step(move: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
            g = jax.grad(lambda d: jnp.linalg.norm(f(x + d) - origin, order))(move)
            g = jnp.sign(g) if order == np.inf else g / (jnp.linalg.norm(g) + 1e-20)
            move = move + radius / 4 * g
            size = jnp.linalg.norm(move, order)
            move = jnp.clip(move, -radius, radius) if order == np.inf else move * jnp.minimum(1, radius / size)
            values = f(x + move)
            noise = 64 * jnp.finfo(x.dtype).eps * (jnp.linalg.norm(values, order) + jnp.linalg.norm(origin, order))
            change = jnp.linalg.norm(values - origin, order) - noise
            return move, change / jnp.linalg.norm((x + move) - x, order)

        start = radius * jax.random.uniform(key, x.shape, x.dtype, -1, 1) / (1 if order == np.inf else np.sqrt(x.size))
        return jnp.max(jax.lax.scan(step, start, None, length=20)[1])

    return jnp.max(jax.vmap(walk)(jax.random.split(key, 3)))


def certified(what: str, f: Callable[[Any], Any], count: int, tick: Tick, most: float | None = None) -> Iterator[Row]:
    """`most`: what the ratio may be at the small radius; None, told alone: black pixels sit on kinks of max pools."""
    x, y = (part[:count] for part in digits())
    keys = jax.random.split(jax.random.key(1), count)
    below = 0
    for p in (2, np.inf):
        bounds = jax.jit(jax.vmap(lambda z, r, k, p=p: robustness.lipschitz(f, z, r, norm=p, key=k), (0, None, 0)))
        slopes = jax.jit(jax.vmap(lambda z, r, k, p=p: attacked_slope(f, z, r, p, k), (0, None, 0)))
        for radius in RADII:
            tick(f"{what}: slopes in the {p}-norm, radius {radius}")
            parts = [slice(k, k + BATCH) for k in range(0, count, BATCH)]
            found = [bounds(x[part], radius, keys[part]) for part in parts]
            bound = np.concatenate([np.asarray(b.bound) for b in found])
            inside = np.concatenate([np.asarray(b.found) for b in found])
            slope = np.concatenate([np.asarray(slopes(x[part], radius, keys[part])) for part in parts])
            best = np.maximum(inside, slope)
            below += int((best > bound).sum())
            ratio = bound / best
            case = f"{what}, {count} samples, {p}-norm, radius {radius}: certified slope over the best found"
            yield Row(f"{case}, median", float(np.median(ratio)), "×")
            yield Row(f"{case}, worst", float(ratio.max()), "×", most if radius == SMALL else None, at_most=True)
    yield Row(f"{what}, {count} samples: certified slopes below one found", below, "", 0, at_most=True)
    broken, proved = 0, []
    certify = jax.jit(jax.vmap(lambda z, c, k, r: robustness.certify(f, z, c, r, key=k, restarts=2), (0, 0, 0, None)))
    for radius in (0.01, 0.03):
        tick(f"{what}: certificates, radius {radius}")
        certificates = certify(x, y, keys, radius)
        broken += int((certificates.certified & certificates.broken).sum())
        proved.append(float(certificates.certified.mean()))
        yield Row(f"{what}, ∞-ball of {radius}: certified", 100 * proved[-1], "% of samples")
        yield Row(f"{what}, ∞-ball of {radius}: broken by PGD", 100 * float(certificates.broken.mean()), "% of samples")
    yield Row(f"{what}, {count} samples: certified classes that PGD broke", broken, "", 0, at_most=True)


# -- training ----------------------------------------------------------------------------------------------------------
def training(quick: bool, tick: Tick) -> Iterator[Row]:
    """The same start, the same batches of 128, the same number of steps; the learning rates are the best of a few."""
    steps = 10 if quick else 40
    x, y = digits()
    start, network = dense_layers((64, 32, 10), jax.random.key(3))
    loss = loss_of(network)
    whole = jax.jit(loss)

    def first_order(optimiser: Any) -> Any:
        @jax.jit
        def step(weights: Any, state: Any, at: Any) -> Any:
            change, state = optimiser.update(jax.grad(loss)(weights, x[at], y[at]), state)
            return optax.apply_updates(weights, change), state

        return step, optimiser.init(start)

    ours = robustness.natural_gradient(network)

    @jax.jit
    def natural(weights: Any, state: Any, at: Any) -> Any:
        change, state = ours.update(weights, state, x[at], y[at])
        return optax.apply_updates(weights, change), state

    kinds: dict[str, list[Any]] = {
        "natural gradient": [(natural, ours.init(start))],
        "Adam": [first_order(optax.adam(rate)) for rate in (3e-3, 1e-2, 3e-2, 1e-1)],
        "SGD with momentum": [first_order(optax.sgd(rate, momentum=0.9)) for rate in (0.03, 0.1, 0.3)],
    }
    batches = [jax.random.randint(jax.random.key(k), (128,), 0, len(x)) for k in range(steps)]
    seconds = {}
    for name, attempts in kinds.items():
        tick(f"training by {name}")
        reached = []
        for step, state in attempts:
            weights = start
            for at in batches:
                weights, state = step(weights, state, at)
            reached.append(float(whole(weights, x, y)))
        step, state = attempts[0]
        seconds[name] = medians({name: lambda s=step, t=state: s(start, t, batches[0])}, 3)[name]
        yield Row(f"digits, loss after {steps} steps of {name} (best rate)", min(reached), "nats")
        yield Row(f"the same: time of a step of {name}", 1e3 * seconds[name], "ms")


def penalties(weights: Any, network: Callable[[Any, Any], Any], quick: bool, tick: Tick) -> Iterator[Row]:
    """The gradient by the weights of the penalty over a batch, exact and by one projection, over that of the loss."""
    tick("penalties")
    x, y = (part[:128] for part in digits())
    loss, key = loss_of(network), jax.random.key(0)

    def model(z: Any, w: Any) -> Any:
        return network(w, z)

    def penalty(w: Any, **options: Any) -> Any:
        return jnp.mean(jax.vmap(lambda z: robustness.jacobian_penalty(model, z, w, **options))(x))

    plain = jax.jit(jax.grad(lambda w: loss(w, x, y)))
    exact = jax.jit(jax.grad(penalty))
    rough = jax.jit(jax.grad(lambda w: penalty(w, key=key, projections=1)))
    runs = {"plain": lambda: plain(weights), "exact": lambda: exact(weights), "rough": lambda: rough(weights)}
    times = medians(runs, 3 if quick else 15)
    ratio = times["exact"] / times["plain"]
    yield Row("Jacobian penalty of a batch of 128, gradient, exact: over one of the loss", ratio, "×")
    yield Row("the same by one random projection", times["rough"] / times["plain"], "×")
