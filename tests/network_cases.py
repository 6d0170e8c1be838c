"""Networks with planted faults, and healthy ones: what a diagnosis must find, at which segment, and where it must not.

Plain functions of one example and their weights, so that one study serves all seeds. Batches are drawn from N(0, 1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

BATCH = 32
Weights = list[jax.Array]


Draw = Callable[[np.random.Generator], tuple[jax.Array, Any]]


@dataclass(frozen=True)
class Planted:
    """`network(x, weights)` of one example; `draw(rng)` → (batch, weights). `faults`: kind → the segments (from 1)."""

    network: Callable[..., Any]
    draw: Draw
    faults: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def at(self, seed: int) -> tuple[jax.Array, Any]:
        return self.draw(np.random.default_rng(seed))


def gaussian(rng: np.random.Generator, depth: int, width: int, gain: float) -> Weights:
    return [jnp.asarray(rng.standard_normal((width, width)) * gain / width**0.5, jnp.float32) for _ in range(depth)]


def orthogonal(rng: np.random.Generator, depth: int, width: int) -> Weights:
    return [jnp.asarray(np.linalg.qr(rng.standard_normal((width, width)))[0], jnp.float32) for _ in range(depth)]


def batch_of(rng: np.random.Generator, *shape: int) -> jax.Array:
    return jnp.asarray(rng.standard_normal((BATCH, *shape)), jnp.float32)


def mlp(activation: Callable[[Any], Any]) -> Callable[..., Any]:
    """x ↦ φ(W_L ⋯ φ(W_1 x + b_1) ⋯ + b_L)."""

    def network(x: Any, weights: Any) -> Any:
        for w, b in zip(*weights, strict=True):
            x = activation(w @ x + b)
        return x

    return network


def unbiased(weights: Weights) -> tuple[Weights, Weights]:
    return weights, [jnp.zeros(w.shape[0], w.dtype) for w in weights]


def scaled_mlp(gain: float, depth: int = 50, width: int = 32) -> Draw:
    return lambda rng: (batch_of(rng, width), unbiased(gaussian(rng, depth, width, gain)))


def orthogonal_mlp(size: float) -> Draw:
    return lambda rng: (size * batch_of(rng, 32), unbiased(orthogonal(rng, 50, 32)))


def one_weak_layer(at: int, gain: float) -> Draw:
    """Segment `at` (from 1) of 12 multiplies by `gain`."""

    def draw(rng: np.random.Generator) -> Any:
        weights = orthogonal(rng, 12, 32)
        weights[at - 1] = gain * weights[at - 1]
        return batch_of(rng, 32), unbiased(weights)

    return draw


def dead_units(at: int, share: float) -> Draw:
    """A share of the units of segment `at` have a large negative bias: their ReLU never opens."""

    def draw(rng: np.random.Generator) -> Any:
        weights, biases = unbiased(gaussian(rng, 8, 64, 2**0.5))
        biases[at - 1] = biases[at - 1].at[rng.permutation(64)[: int(share * 64)]].set(-30.0)
        return batch_of(rng, 64), (weights, biases)

    return draw


def saturated(gain: float, at: int, shift: float) -> Draw:
    """Large biases at segment `at` of 8 drive all its units onto the flat part."""

    def draw(rng: np.random.Generator) -> Any:
        weights, biases = unbiased(gaussian(rng, 8, 32, gain))
        biases[at - 1] = jnp.asarray(shift * rng.choice([-1.0, 1.0], 32), jnp.float32)
        return batch_of(rng, 32), (weights, biases)

    return draw


def residual(x: Any, weights: Any) -> Any:
    """A stack of x + W relu(V x)."""
    for v, w in zip(*weights, strict=True):
        x = x + w @ jax.nn.relu(v @ x)
    return x


def residual_weights(rng: np.random.Generator, depth: int = 12, width: int = 32) -> Any:
    return batch_of(rng, width), (gaussian(rng, depth, width, 2**0.5), gaussian(rng, depth, width, depth**-0.5))


def convolutional(x: Any, weights: Any) -> Any:
    """A ResNet-like stack: x + conv(relu(conv(x))) of (channels, side, side), pooled, and a readout."""
    kernels, readout = weights
    for v, w in kernels:
        x = x + _convolve(jax.nn.relu(_convolve(x, v)), w)
    return readout @ x.mean(axis=(1, 2))


def _convolve(x: Any, kernel: Any) -> Any:
    return jax.lax.conv_general_dilated(x[None], kernel, (1, 1), "SAME")[0]


def kernels(rng: np.random.Generator, depth: int = 6, channels: int = 4, side: int = 4) -> Any:
    def kernel(gain: float) -> jax.Array:
        drawn = rng.standard_normal((channels, channels, 3, 3)) * gain / (9 * channels) ** 0.5
        return jnp.asarray(drawn, jnp.float32)

    readout = jnp.asarray(rng.standard_normal((5, channels)) / channels**0.5, jnp.float32)
    stack = [(kernel(2**0.5), kernel(depth**-0.5)) for _ in range(depth)]
    return batch_of(rng, channels, side, side), (stack, readout)


@dataclass(frozen=True)
class Transformer:
    """Blocks of causal attention and an MLP, pre-norm, residual; `embed` maps tokens to (T, d)."""

    weights: list[dict[str, jax.Array]]
    readout: jax.Array

    @staticmethod
    def random(rng: np.random.Generator, blocks: int, width: int, outputs: int) -> Transformer:
        def matrix(m: int, n: int, gain: float = 1.0) -> jax.Array:
            return jnp.asarray(rng.standard_normal((m, n)) * gain / m**0.5, jnp.float32)

        shapes = {"q": (width, width), "k": (width, width), "v": (width, width), "o": (width, width),
                  "up": (width, 4 * width), "down": (4 * width, width)}  # fmt: skip
        small = (2 * blocks) ** -0.5  # residual branches start small, as in GPT-2
        gains = {"o": small, "down": small}
        stack = [{name: matrix(*shape, gains.get(name, 1.0)) for name, shape in shapes.items()} for _ in range(blocks)]
        return Transformer(stack, matrix(width, outputs))

    def residual(self, x: Any) -> Any:
        """(T, d) → (T, d), before the readout."""
        for w in self.weights:
            with jax.named_scope("attention"):
                x = x + attention(normalised(x), w)
            with jax.named_scope("mlp"):
                x = x + jax.nn.gelu(normalised(x) @ w["up"]) @ w["down"]
        return x

    def __call__(self, x: Any) -> Any:
        """(T, d) → (T, outputs)."""
        x = self.residual(x)
        with jax.named_scope("readout"):
            return normalised(x) @ self.readout


def normalised(x: Any) -> Any:
    """Layer norm without scale and shift."""
    return (x - x.mean(axis=-1, keepdims=True)) / jnp.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)


def attention(x: Any, w: dict[str, jax.Array], heads: int = 2) -> Any:
    """Causal attention of (T, d)."""
    length, width = x.shape
    q, k, v = (jnp.moveaxis((x @ w[name]).reshape(length, heads, -1), 1, 0) for name in "qkv")
    scores = q @ jnp.swapaxes(k, 1, 2) / (width // heads) ** 0.5
    mixed = jax.nn.softmax(jnp.where(jnp.tril(jnp.ones((length, length), bool)), scores, -jnp.inf), axis=-1) @ v
    return jnp.moveaxis(mixed, 0, 1).reshape(length, width) @ w["o"]


def transformer(x: Any, weights: Any) -> Any:
    return Transformer(*weights)(x)


def transformer_weights(rng: np.random.Generator) -> Any:
    drawn = Transformer.random(rng, 4, 8, 12)
    return batch_of(rng, 4, 8), (drawn.weights, drawn.readout)


def scanned(x: Any, weights: Any) -> Any:
    """`mlp(jnp.tanh)` as one `jax.lax.scan` over its layers."""

    def layer(h: Any, w: Any) -> Any:
        return jnp.tanh(w @ h), None

    return jax.lax.scan(layer, x, weights)[0]


def scanned_weights(gain: float) -> Draw:
    return lambda rng: (batch_of(rng, 32), jnp.stack(gaussian(rng, 50, 32, gain)))


TANH, RELU, SIGMOID, LINEAR = mlp(jnp.tanh), mlp(jax.nn.relu), mlp(jax.nn.sigmoid), mlp(lambda z: z)
ALL50 = tuple(range(1, 51))

FAULTY: dict[str, Planted] = {
    "50 layers, weights too small": Planted(TANH, scaled_mlp(0.5), {"vanishing": ALL50}),
    "50 layers, weights too large": Planted(TANH, scaled_mlp(3.0), {"exploding": ALL50}),
    "50 layers in a scan, weights too small": Planted(scanned, scanned_weights(0.5), {"vanishing": ALL50}),
    "50 layers of sigmoids, weights 1/√n": Planted(SIGMOID, scaled_mlp(1.0), {"vanishing": ALL50}),
    "a layer of gain 1e-3": Planted(TANH, one_weak_layer(7, 1e-3), {"weak": (7,)}),
    "30 % dead units": Planted(RELU, dead_units(5, 0.3), {"dead": (5,)}),
    "saturated tanh": Planted(TANH, saturated(1.0, 4, 6.0), {"saturated": (4,)}),
    "saturated sigmoids": Planted(SIGMOID, saturated(4.0, 6, 12.0), {"saturated": (6,)}),
}

HEALTHY: dict[str, Planted] = {
    "50 layers of tanh, well scaled": Planted(TANH, scaled_mlp(1.1)),
    "50 layers of tanh, orthogonal": Planted(TANH, orthogonal_mlp(0.3)),
    "50 linear layers, orthogonal": Planted(LINEAR, orthogonal_mlp(1.0)),
    "10 layers of ReLU, well scaled": Planted(RELU, scaled_mlp(2**0.5, depth=10, width=64)),
    "residual stack": Planted(residual, residual_weights),
    "convolutional residual stack": Planted(convolutional, kernels),
    "transformer of 4 blocks": Planted(transformer, transformer_weights),
}
