"""Networks with planted faults, and healthy ones: what a diagnosis must find, at which segment, and where it must not.

Plain functions of one example. Every builder takes a seed; every batch is drawn from N(0, 1).
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


@dataclass(frozen=True)
class Planted:
    """`build(seed)` → (function of one example, batch). `faults`: kind → the segments (from 1) that it must name."""

    build: Callable[[int], tuple[Callable[[Any], Any], jax.Array]]
    faults: dict[str, tuple[int, ...]] = field(default_factory=dict)


def gaussian(rng: np.random.Generator, depth: int, width: int, gain: float) -> Weights:
    return [jnp.asarray(rng.standard_normal((width, width)) * gain / width**0.5, jnp.float32) for _ in range(depth)]


def orthogonal(rng: np.random.Generator, depth: int, width: int) -> Weights:
    return [jnp.asarray(np.linalg.qr(rng.standard_normal((width, width)))[0], jnp.float32) for _ in range(depth)]


def batch_of(rng: np.random.Generator, *shape: int) -> jax.Array:
    return jnp.asarray(rng.standard_normal((BATCH, *shape)), jnp.float32)


def mlp(weights: Weights, activation: Callable[[Any], Any], biases: Weights | None = None) -> Callable[[Any], Any]:
    """x ↦ φ(W_L ⋯ φ(W_1 x + b_1) ⋯ + b_L)."""
    shifts: Any = biases or [jnp.zeros(w.shape[0], w.dtype) for w in weights]

    def network(x: Any) -> Any:
        for w, b in zip(weights, shifts, strict=True):
            x = activation(w @ x + b)
        return x

    return network


def scaled_mlp(gain: float, activation: Any = jnp.tanh, depth: int = 50, width: int = 32) -> Any:
    def build(seed: int) -> Any:
        rng = np.random.default_rng(seed)
        return mlp(gaussian(rng, depth, width, gain), activation), batch_of(rng, width)

    return build


def orthogonal_mlp(seed: int) -> Any:
    rng = np.random.default_rng(seed)
    return mlp(orthogonal(rng, 50, 32), jnp.tanh), batch_of(rng, 32) * 0.3


def linear_orthogonal(seed: int) -> Any:
    rng = np.random.default_rng(seed)
    return mlp(orthogonal(rng, 50, 32), lambda z: z), batch_of(rng, 32)


def one_weak_layer(at: int, gain: float) -> Any:
    """Segment `at` (from 1) of 12 multiplies by `gain`."""

    def build(seed: int) -> Any:
        rng = np.random.default_rng(seed)
        weights = orthogonal(rng, 12, 32)
        weights[at - 1] = gain * weights[at - 1]
        return mlp(weights, jnp.tanh), batch_of(rng, 32)

    return build


def dead_units(at: int, share: float) -> Any:
    """A share of the units of segment `at` have a large negative bias: their ReLU never opens."""

    def build(seed: int) -> Any:
        rng = np.random.default_rng(seed)
        weights = gaussian(rng, 8, 64, 2**0.5)
        biases = [jnp.zeros(64, jnp.float32) for _ in weights]
        biases[at - 1] = biases[at - 1].at[rng.permutation(64)[: int(share * 64)]].set(-30.0)
        return mlp(weights, jax.nn.relu, biases), batch_of(rng, 64)

    return build


def saturated(activation: Any, at: int, shift: float) -> Any:
    """Large biases at segment `at` drive all units onto the flat part."""

    def build(seed: int) -> Any:
        rng = np.random.default_rng(seed)
        weights = gaussian(rng, 8, 32, 1.0 if activation is jnp.tanh else 4.0)
        biases = [jnp.zeros(32, jnp.float32) for _ in weights]
        biases[at - 1] = jnp.asarray(shift * rng.choice([-1.0, 1.0], 32), jnp.float32)
        return mlp(weights, activation, biases), batch_of(rng, 32)

    return build


def residual_mlp(seed: int, depth: int = 12, width: int = 32) -> Any:
    """x + W₂ relu(W₁ norm(x)) / √depth, a stack of pre-activation blocks."""
    rng = np.random.default_rng(seed)
    first, second = gaussian(rng, depth, width, 2**0.5), gaussian(rng, depth, width, depth**-0.5)

    def network(x: Any) -> Any:
        for v, w in zip(first, second, strict=True):
            x = x + w @ jax.nn.relu(v @ x)
        return x

    return network, batch_of(rng, width)


def convolutional(seed: int, depth: int = 6, channels: int = 4, side: int = 6) -> Any:
    """A ResNet-like stack of 3×3 convolutions with residual connections, pooled, and a readout of 5."""
    rng = np.random.default_rng(seed)
    shape = (channels, channels, 3, 3)
    kernels = [
        [jnp.asarray(rng.standard_normal(shape) * (2 / (9 * channels)) ** 0.5, jnp.float32) for _ in range(2)]
        for _ in range(depth)
    ]
    readout = jnp.asarray(rng.standard_normal((5, channels)) / channels**0.5, jnp.float32)

    def convolve(x: Any, kernel: Any) -> Any:
        return jax.lax.conv_general_dilated(x[None], kernel, (1, 1), "SAME")[0]

    def network(x: Any) -> Any:
        for v, w in kernels:
            x = x + convolve(jax.nn.relu(convolve(x, v)), w) * depth**-0.5
        return readout @ x.mean(axis=(1, 2))

    return network, batch_of(rng, channels, side, side)


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


def transformer(seed: int) -> Any:
    rng = np.random.default_rng(seed)
    return Transformer.random(rng, 4, 16, 20), batch_of(rng, 6, 16)


def scanned(gain: float) -> Any:
    """The MLP of `scaled_mlp` as one `jax.lax.scan` over its layers."""

    def build(seed: int) -> Any:
        rng = np.random.default_rng(seed)
        weights = jnp.stack(gaussian(rng, 50, 32, gain))

        def network(x: Any) -> Any:
            return jax.lax.scan(lambda h, w: (jnp.tanh(w @ h), None), x, weights)[0]

        return network, batch_of(rng, 32)

    return build


ALL50 = tuple(range(1, 51))

FAULTY: dict[str, Planted] = {
    "50 layers, weights too small": Planted(scaled_mlp(0.5), {"vanishing": ALL50}),
    "50 layers, weights too large": Planted(scaled_mlp(3.0), {"exploding": ALL50}),
    "50 layers in a scan, weights too small": Planted(scanned(0.5), {"vanishing": ALL50}),
    "50 layers of sigmoids, weights 1/√n": Planted(scaled_mlp(1.0, jax.nn.sigmoid), {"vanishing": ALL50}),
    "a layer of gain 1e-3": Planted(one_weak_layer(7, 1e-3), {"weak": (7,)}),
    "30 % dead units": Planted(dead_units(5, 0.3), {"dead": (5,)}),
    "saturated tanh": Planted(saturated(jnp.tanh, 4, 6.0), {"saturated": (4,)}),
    "saturated sigmoids": Planted(saturated(jax.nn.sigmoid, 6, 12.0), {"saturated": (6,)}),
}

HEALTHY: dict[str, Planted] = {
    "50 layers of tanh, well scaled": Planted(scaled_mlp(1.1)),
    "50 layers of tanh, orthogonal": Planted(orthogonal_mlp),
    "50 linear layers, orthogonal": Planted(linear_orthogonal),
    "10 layers of ReLU, well scaled": Planted(scaled_mlp(2**0.5, jax.nn.relu, depth=10, width=64)),
    "residual stack": Planted(residual_mlp),
    "convolutional residual stack": Planted(convolutional),
    "transformer of 4 blocks": Planted(transformer),
}
