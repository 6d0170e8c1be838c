"""Residual layers: z = x + g(x) with g contracting, so that they can be undone by iteration."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .._errors import ArgumentError
from ._arguments import whole
from ._chain import Chain


class Residual(eqx.Module):
    """z = x + g(x), g a network with weights of spectral norm at most `contraction` < 1 altogether.

    Behrmann et al. 2019, "Invertible residual networks", with exact norms instead of power iteration. The determinant
    is that of an n×n matrix, or of a `width`×`width` one where the hidden layer is narrower.
    """

    net: eqx.nn.MLP
    contraction: float = eqx.field(static=True)

    def __init__(self, n: int, *, key: jax.Array, width: int = 50, depth: int = 1, contraction: float = 0.9) -> None:
        if not 0 < contraction < 1:
            raise ArgumentError(f"contraction: got {contraction!r}, expected a number between 0 and 1")
        self.contraction = float(contraction)
        self.net = eqx.nn.MLP(whole("n", n), n, width, depth, activation=jnp.tanh, key=key)

    def contracting(self) -> eqx.nn.MLP:
        """The network with weights scaled down to the norm allowed, where they exceed it."""
        share = self.contraction ** (1 / len(self.net.layers))

        def tamed(weight: jax.Array) -> jax.Array:
            return weight / jnp.maximum(1.0, jnp.linalg.norm(weight, 2) / share)

        weights = [layer.weight for layer in self.net.layers]
        return eqx.tree_at(lambda net: [layer.weight for layer in net.layers], self.net, [tamed(w) for w in weights])

    def __call__(self, x: jax.Array) -> jax.Array:
        """x (n,) -> z (n,)."""
        return x + self.contracting()(x)

    def inverse(self, z: jax.Array) -> jax.Array:
        """z (n,) -> x (n,), the fixed point of x = z − g(x), to rounding; differentiable as an implicit function."""
        net = self.contracting()
        small = 4 * float(jnp.finfo(z.dtype).eps)

        def searched(f: Any, start: jax.Array) -> jax.Array:
            def unfinished(state: tuple[jax.Array, jax.Array, int]) -> jax.Array:
                x, step, k = state
                return (k < 1000) & (jnp.max(jnp.abs(step)) > small * (1 + jnp.max(jnp.abs(x))))

            def nearer(state: tuple[jax.Array, jax.Array, int]) -> tuple[jax.Array, jax.Array, int]:
                x, _, k = state
                new = z - net(x)
                return new, new - x, k + 1

            return jax.lax.while_loop(unfinished, nearer, (start, jnp.ones_like(start), 0))[0]

        def tangent(g: Any, seed: jax.Array) -> jax.Array:
            return jnp.linalg.solve(jax.jacobian(g)(jnp.zeros_like(seed)), seed)

        return jax.lax.custom_root(lambda x: x + net(x) - z, z, searched, tangent)


def residual(n: int, *, key: jax.Array, layers: int = 8, width: int = 50, depth: int = 1,
             contraction: float = 0.9) -> Chain:  # fmt: skip
    """Residual layers one after another: a transform of (n,) to (n,)."""
    keys = jax.random.split(key, whole("layers", layers))
    return Chain(*(Residual(n, key=own, width=width, depth=depth, contraction=contraction) for own in keys))
