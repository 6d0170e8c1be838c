"""Masked autoregressive layers: entry k is transformed by what a network reads in the entries before it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ._arguments import whole
from ._chain import Chain, Permutation
from ._elementwise import Affine, Elementwise


class MADE(eqx.Module):
    """A network whose outputs for entry k read only entries before k: (n,) -> (parameters, n).

    Germain et al. 2015, "MADE". The masks follow from the sizes alone, so that a planner knows them.
    """

    weights: tuple[jax.Array, ...]
    biases: tuple[jax.Array, ...]
    n: int = eqx.field(static=True)
    parameters: int = eqx.field(static=True)
    activation: Callable[[jax.Array], jax.Array] = eqx.field(static=True)

    def __init__(self, n: int, parameters: int, *, key: jax.Array, width: int = 50, depth: int = 1,
                 activation: Callable[[jax.Array], jax.Array] = jax.nn.relu) -> None:  # fmt: skip
        self.n, self.parameters, self.activation = n, parameters, activation
        sizes = [n, *[width] * depth, parameters * n]
        keys = jax.random.split(key, 2 * len(sizes)).reshape(-1, 2)
        drawn = [_linear(k, inside, outside) for k, inside, outside in zip(keys, sizes[:-1], sizes[1:], strict=False)]
        self.weights, self.biases = (tuple(part) for part in zip(*drawn, strict=True))

    def __call__(self, x: jax.Array) -> jax.Array:
        """x (n,) -> raw (parameters, n)."""
        hidden = tuple(len(bias) for bias in self.biases[:-1])
        for k, mask in enumerate(masks(self.n, hidden, self.parameters)):
            if k:
                x = self.activation(x)
            x = jnp.where(mask, self.weights[k], 0) @ x + self.biases[k]
        return x.reshape(self.parameters, self.n)


@functools.cache
def masks(n: int, hidden: tuple[int, ...], parameters: int) -> tuple[np.ndarray, ...]:
    """Which weights (out × in) may be nonzero: a hidden unit of rank r reads up to entry r, output k ranks below k."""
    ranks = [np.arange(n), *(np.arange(width) % max(n - 1, 1) for width in hidden)]
    last = np.tile(np.arange(n), parameters)
    inner = [after[:, None] >= before for before, after in zip(ranks[:-1], ranks[1:], strict=True)]
    return (*inner, last[:, None] > ranks[-1])


def _linear(keys: jax.Array, inside: int, outside: int) -> tuple[jax.Array, jax.Array]:
    bound = 1 / np.sqrt(inside)
    weight = jax.random.uniform(keys[0], (outside, inside), minval=-bound, maxval=bound)
    return weight, jax.random.uniform(keys[1], (outside,), minval=-bound, maxval=bound)


class Autoregressive(eqx.Module):
    """z[k] = elementwise(x[k]) with parameters read in x[:k]. One pass forward, n passes for the inverse.

    Papamakarios et al. 2017, "Masked autoregressive flow". Read from noise to data it is Kingma et al. 2016's inverse
    autoregressive flow.
    """

    net: MADE
    elementwise: Elementwise

    def __init__(self, n: int, *, key: jax.Array, elementwise: Elementwise | None = None, width: int = 50,
                 depth: int = 1) -> None:  # fmt: skip
        self.elementwise = Affine() if elementwise is None else elementwise
        self.net = MADE(whole("n", n), self.elementwise.parameters, key=key, width=width, depth=depth)

    def __call__(self, x: jax.Array) -> jax.Array:
        """x (n,) -> z (n,)."""
        return self.elementwise(x, self.net(x))

    def inverse(self, z: jax.Array) -> jax.Array:
        """z (n,) -> x (n,): each pass makes one more entry right."""

        def better(x: jax.Array, _: None) -> tuple[jax.Array, None]:
            return self.elementwise.inverse(z, self.net(x)), None

        return jax.lax.scan(better, z, None, length=self.net.n)[0]


def maf(n: int, *, key: jax.Array, layers: int = 8, width: int = 50, depth: int = 1,
        elementwise: Elementwise | None = None) -> Chain:  # fmt: skip
    """Autoregressive layers with a random permutation after each: a transform of (n,) to (n,)."""
    parts: list[Any] = []
    for own in jax.random.split(key, whole("layers", layers)):
        for_net, for_order = jax.random.split(own)
        parts.append(Autoregressive(n, key=for_net, elementwise=elementwise, width=width, depth=depth))
        parts.append(Permutation.random(n, key=for_order))
    return Chain(*parts)
