"""z and log|det ∂z/∂x| of any transform: found in its graph, but where a layer knows better (continuous flows)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .._errors import ArgumentError
from ._chain import Chain
from ._split import determinant, split


class WithLogDet(NamedTuple):
    """`value`: what the transform gives. `log`: log|det|; `variance`: that of its estimate, 0 where it is exact."""

    value: Any
    log: Any
    variance: Any


def with_logdet(transform: Any, x: Any, key: jax.Array | None) -> WithLogDet:
    """At one point. `key` seeds the layers that estimate; raises ArgumentError where one is needed and missing."""
    log: Any = 0.0
    variance: Any = 0.0
    for k, piece in enumerate(pieces(transform)):
        if hasattr(piece, "with_logdet"):
            found = piece.with_logdet(x, None if key is None else jax.random.fold_in(key, k))
        else:
            params, static = split(piece)
            value, (_, own) = determinant(static)(x, params)
            found = WithLogDet(value, own, jnp.zeros_like(own))
        x, log, variance = found.value, log + found.log, variance + found.variance
    return WithLogDet(x, log, variance)


def pieces(transform: Any) -> Iterator[Any]:
    """The transform as few pieces as possible: layers that bring their determinant, and all that lies between them."""
    plain: list[Any] = []
    for layer in _layers(transform):
        if not hasattr(layer, "with_logdet"):
            plain.append(layer)
            continue
        if plain:
            yield Chain(*plain)
            plain = []
        yield layer
    if plain:
        yield Chain(*plain) if len(plain) > 1 else plain[0]


def _layers(transform: Any) -> Iterator[Any]:
    if isinstance(transform, Chain):
        for layer in transform.layers:
            yield from _layers(layer)
    else:
        yield transform


def probes(transform: Any) -> int | None:
    """The fewest probes that a layer of the transform averages over; None where all is exact."""
    counts = [layer.probes for layer in _layers(transform) if getattr(layer, "probes", None)]
    return min(counts, default=None)


def need_key(key: Any) -> Any:
    """`key`; an error that says what to do where it is missing."""
    if key is None:
        raise ArgumentError(
            "key: got None, expected a JAX random key: this flow estimates its log-determinant (trace=\"hutchinson\"); "
            "pass key=jax.random.key(0), or build the flow with trace=\"exact\""
        )
    return key
