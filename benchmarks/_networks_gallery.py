"""The gallery of layers and backpropagation, as rows of `make bench-networks`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from _table import Case, Row, Tick

import jacmap as jm

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

import layers


def gallery(quick: bool, tick: Tick) -> Iterator[Row]:
    """Every closed form against the engine, inputs and weights."""
    with jax.enable_x64(True):
        for layer in layers.GALLERY[: 4 if quick else None]:
            tick(f"gallery: {layer.name}")
            worst = 0.0
            for name, exact in layer.closed(*layer.args).items():
                worst = max(worst, float(np.abs(np.asarray(layer.jacobian(name).dense()) - exact).max()))
            case = f"{layer.name}, by {', '.join(layer.arguments)}: closed form against the engine"
            yield Row(case, worst, "difference", 1e-10, at_most=True)


def kronecker(quick: bool, tick: Tick) -> Iterator[Row]:
    """The weights of a large linear layer: Jᵀu is the outer product, and no matrix is formed."""
    n = 512 if quick else 4096
    tick(f"linear layer {n}×{n}, by its weights")
    with jax.enable_x64(True):
        x, u = (jnp.asarray(v) for v in np.random.default_rng(0).standard_normal((2, n)))
        J = jm.linearize(layers.linear, x, jnp.zeros((n, n)), jnp.zeros(n), argnums=1)
        off = float(jnp.abs((J.T @ u).reshape(n, n) - jnp.outer(x, u)).max())
        yield Row(f"linear layer {n}×{n} by its weights: Jᵀu against x uᵀ", off, "difference", 1e-10, at_most=True)
        yield Row("the same: J as a matrix, which is never formed", J.shape[0] * J.shape[1] * 8 / 1e9, "GB")


def backprop(quick: bool, tick: Tick) -> Iterator[Row]:
    """The gradient that arises step by step against jax.grad, and the multiplications of both modes."""
    tick("backpropagation of a 2-layer network, number by number")

    def loss(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        return -jax.nn.log_softmax(jnp.tanh(x @ params["w1"] + params["b1"]) @ params["w2"])[1]

    with jax.enable_x64(True):
        random = np.random.default_rng(0)
        shapes = {"w1": (4, 8), "b1": (8,), "w2": (8, 3)}
        params = {name: jnp.asarray(random.standard_normal(shape)) for name, shape in shapes.items()}
        found = jm.backprop(loss, params, jnp.asarray(random.standard_normal(4)))
    case = "network 4-8-3, backprop step by step: difference from jax.grad"
    yield Row(case, found.difference, "relative", 1e-10, at_most=True)
    counts = found.multiplications
    ratio = counts["gradient by forward mode"] / counts["gradient by reverse mode"]
    yield Row(f"the same: multiplications of forward over reverse mode, {found.size} parameters", ratio, "×")


CASES: dict[str, Case] = {"gallery": gallery, "kronecker": kronecker, "backprop": backprop}
