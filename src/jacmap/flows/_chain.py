"""Transforms one after another, and the order of the entries between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import numpy as np

from .._errors import ArgumentError
from ._arguments import whole


class Chain(eqx.Module):
    """x -> z through the layers in the order given; the inverse runs through their inverses in the opposite order."""

    layers: tuple[Any, ...]

    def __init__(self, *layers: Any) -> None:
        for k, layer in enumerate(layers):
            if not callable(layer):
                raise ArgumentError(f"layers[{k}]: got {type(layer).__name__}, expected a function x -> z")
        self.layers = layers

    def __call__(self, x: Any) -> Any:
        """x -> z."""
        for layer in self.layers:
            x = layer(x)
        return x

    @property
    def inverse(self) -> Any:
        """z -> x, or None where a layer has no inverse of its own."""
        if any(getattr(layer, "inverse", None) is None for layer in self.layers):
            return None
        return self._inverse

    def _inverse(self, z: Any) -> Any:
        for layer in reversed(self.layers):
            z = layer.inverse(z)
        return z

    def initialised(self, batch: Any) -> Chain:
        """With every layer that asks for it (`ActNorm`) set to what the batch looks like where it stands."""
        last = max((k for k, layer in enumerate(self.layers) if hasattr(layer, "initialised")), default=-1)
        ready = []
        for layer in self.layers[: last + 1]:
            if hasattr(layer, "initialised"):
                layer = layer.initialised(batch)
            ready.append(layer)
            batch = jax.vmap(layer)(batch)
        return Chain(*ready, *self.layers[last + 1 :])


class Inverted(eqx.Module):
    """The inverse of a transform that has one: calling it is `transform.inverse`, and the other way round."""

    transform: Any

    def __call__(self, x: Any) -> Any:
        """x -> z by the transform's inverse."""
        return self.transform.inverse(x)

    def inverse(self, z: Any) -> Any:
        """z -> x by the transform itself."""
        return self.transform(z)


class Permutation(eqx.Module):
    """z[k] = x[order[k]]. The order is fixed, hence part of what the planner knows."""

    order: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, order: Sequence[int]) -> None:
        self.order = tuple(int(k) for k in order)
        if sorted(self.order) != list(range(len(self.order))):
            raise ArgumentError(f"order: got {self.order[:8]}, expected each of 0 … {len(self.order) - 1} once")

    @classmethod
    def random(cls, n: int, *, key: jax.Array) -> Permutation:
        """One of the n! orders, each as likely as any other."""
        seed = np.asarray(jax.random.key_data(key)).ravel().tolist()
        return cls(np.random.default_rng(seed).permutation(whole("n", n)).tolist())

    @classmethod
    def reverse(cls, n: int) -> Permutation:
        """The last entry first."""
        return cls(range(whole("n", n) - 1, -1, -1))

    def __call__(self, x: jax.Array) -> jax.Array:
        """x (n, …) -> z (n, …)."""
        return x[np.array(self.order)]

    def inverse(self, z: jax.Array) -> jax.Array:
        """z (n, …) -> x (n, …)."""
        return z[np.argsort(self.order)]
