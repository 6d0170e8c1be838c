"""Coupling layers: one part of x is transformed by what a network reads in the other part."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ._arguments import whole
from ._chain import Chain, Permutation
from ._elementwise import Affine, Elementwise, Spline

Activation = Callable[[jax.Array], jax.Array]


class Halves(eqx.Module):
    """What all couplings share: the first `kept` along the first axis pass, the others go through `elementwise`."""

    elementwise: eqx.AbstractVar[Elementwise]
    kept: eqx.AbstractVar[int]

    @abc.abstractmethod
    def parameters(self, kept: jax.Array) -> jax.Array:
        """The elementwise transform's parameters for each moved entry, from the part that passes."""

    def _parts(self, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        kept, moved = x[: self.kept], x[self.kept :]
        return kept, moved, self.parameters(kept).reshape(self.elementwise.parameters, *moved.shape)

    def __call__(self, x: jax.Array) -> jax.Array:
        """x -> z of the same shape."""
        kept, moved, raw = self._parts(x)
        return jnp.concatenate([kept, self.elementwise(moved, raw)])

    def inverse(self, z: jax.Array) -> jax.Array:
        """z -> x of the same shape."""
        kept, moved, raw = self._parts(z)
        return jnp.concatenate([kept, self.elementwise.inverse(moved, raw)])


class Coupling(Halves):
    """The first `kept` of n entries pass; the others go through `elementwise`, whose parameters come from a network.

    Dinh et al. 2017, "Density estimation using Real NVP" (`Affine`); Durkan et al. 2019 (`Spline`).
    """

    net: Callable[[jax.Array], jax.Array]
    elementwise: Elementwise
    kept: int = eqx.field(static=True)

    def __init__(self, n: int, *, key: jax.Array, elementwise: Elementwise | None = None, kept: int | None = None,
                 width: int = 50, depth: int = 1, activation: Activation = jax.nn.relu) -> None:  # fmt: skip
        n = whole("n", n, at_least=2)
        self.kept = n // 2 if kept is None else whole("kept", kept)
        self.elementwise = Affine() if elementwise is None else elementwise
        out = self.elementwise.parameters * (n - self.kept)
        self.net = eqx.nn.MLP(self.kept, out, width, depth, activation, key=key)

    def parameters(self, kept: jax.Array) -> jax.Array:
        """(kept,) -> (parameters · moved,)."""
        return self.net(kept)


def real_nvp(n: int, *, key: jax.Array, layers: int = 8, width: int = 50, depth: int = 1,
             activation: Activation = jax.nn.relu) -> Chain:  # fmt: skip
    """Affine couplings with a random permutation after each: a transform of (n,) to (n,)."""
    return _stack(n, layers, key, Affine(), width, depth, activation)


def neural_spline(n: int, *, key: jax.Array, layers: int = 8, width: int = 50, depth: int = 1, bins: int = 8,
                  interval: float = 4.0, activation: Activation = jax.nn.relu) -> Chain:  # fmt: skip
    """Spline couplings with a random permutation after each: a transform of (n,) to (n,)."""
    return _stack(n, layers, key, Spline(bins, interval), width, depth, activation)


def _stack(n: int, layers: int, key: jax.Array, elementwise: Elementwise, width: int, depth: int,
           activation: Activation) -> Chain:  # fmt: skip
    parts: list[Any] = []
    for own in jax.random.split(key, whole("layers", layers)):
        for_net, for_order = jax.random.split(own)
        layer = Coupling(n, key=for_net, elementwise=elementwise, width=width, depth=depth, activation=activation)
        parts.append(layer)
        parts.append(Permutation.random(n, key=for_order))
    return Chain(*parts)
