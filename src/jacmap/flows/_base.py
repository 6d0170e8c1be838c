"""Base distributions: our own standard normal, and what any other object must offer."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .._errors import ArgumentError


class Normal(eqx.Module):
    """Independent standard normal entries of the given shape."""

    event_shape: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, shape: int | Sequence[int]) -> None:
        self.event_shape = (shape,) if isinstance(shape, int) else tuple(shape)

    def log_prob(self, z: jax.Array) -> jax.Array:
        """z (…, *event_shape) -> (…)."""
        axes = tuple(range(-len(self.event_shape), 0))
        constant = 0.5 * math.log(2 * math.pi) * math.prod(self.event_shape)
        return -0.5 * jnp.sum(z**2, axis=axes) - constant

    def sample(self, key: jax.Array, shape: Sequence[int] = ()) -> jax.Array:
        """Draws of shape (*shape, *event_shape)."""
        return jax.random.normal(key, (*shape, *self.event_shape))


def event_shape(base: Any) -> tuple[int, ...]:
    """The shape of one draw; raises ArgumentError where `base` is no distribution of one point each."""
    missing = [name for name in ("log_prob", "sample") if not callable(getattr(base, name, None))]
    shape = getattr(base, "event_shape", getattr(base, "shape", None))
    if missing or not isinstance(shape, tuple):
        lacks = " and ".join(missing) if missing else "event_shape"
        raise ArgumentError(
            f"base: got {type(base).__name__} without {lacks}, expected a distribution with log_prob(z), "
            "sample(key, shape) and event_shape, such as jm.flows.Normal(n) or one of numpyro or distrax"
        )
    if getattr(base, "batch_shape", ()):
        raise ArgumentError(
            f"base: got batch_shape {tuple(base.batch_shape)}, expected one distribution of whole points: "
            "numpyro's .to_event(), distrax's Independent"
        )
    return tuple(int(size) for size in shape)


def draw(base: Any, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Draws from base, by position as numpyro and flowjax take them, or by the name `seed` as distrax does."""
    if "seed" in inspect.signature(base.sample).parameters:
        return base.sample(seed=key, sample_shape=shape)
    return base.sample(key, shape)
