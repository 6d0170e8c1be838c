"""Units that pass no derivative on: dead over the whole batch, or saturated."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from scipy import stats

from ..._segments import Segment
from .network import Network

# Bounded operations, and their slope over the largest slope that they have.
SLOPES: dict[str, Any] = {
    "tanh": lambda z: 1 - jnp.tanh(z) ** 2,
    "logistic": lambda z: 4 / ((1 + jnp.exp(-z)) * (1 + jnp.exp(z))),
    "erf": lambda z: jnp.exp(-(z**2)),
    "erfc": lambda z: jnp.exp(-(z**2)),
}
FLAT = 0.05  # of the largest slope: below it a unit counts as saturated
# What switches a unit off: `jax.nn.relu` and its kin are custom rules, or a maximum.
SWITCHES = ("max", "custom_jvp_call", "clamp", "select_n")


def bounded(segment: Segment) -> bool:
    """Does the segment hold an operation that can saturate?"""
    return any(node.op in SLOPES for node in segment.nodes)


def saturated(network: Network, k: int, state: Any) -> float:
    """The share of (unit, example) pairs of the segment's bounded operations at which the slope is nearly 0."""
    if not bounded(network.chain[k]):
        return 0.0
    every = np.arange(network.size)
    return float(np.mean(np.asarray(network.at_examples("saturated", k, _share, state, every))))


def _share(segment: Segment, along: Any, operands: Any, x: Any) -> Any:
    flat = [jnp.ravel(SLOPES[op](z)) < FLAT for op, z in read_by(segment, tuple(SLOPES), along, operands, x)]
    return jnp.mean(jnp.concatenate(flat))


def read_by(segment: Segment, ops: tuple[str, ...], along: Any, operands: Any, x: Any) -> list[tuple[str, Any]]:
    """(operation, what it reads first) for every one of these operations in the segment, in order."""
    seen: list[tuple[str, Any]] = []

    def look(op: str, values: list[Any]) -> list[Any]:
        if op in ops:
            seen.append((op, values[0]))
        return values

    segment.on_vectors(along, operands, look)(x)
    return seen


def expected_dead(alike: float, examples: int) -> float:
    """The share of rectified units that is off at all examples though nothing is wrong: because the examples are alike.

    A unit without bias sees √c z + √(1−c) e_i at example i, with z, e_i ~ N(0, 1) and c the examples' mean cosine; it
    is off at all of them when the largest is negative. The largest of B normal numbers is taken at its mean.
    """
    c = float(np.clip(alike, 0.0, 1.0))
    if examples == 1 or c >= 1:
        return 0.5
    if c <= 0:
        return 0.5**examples
    top = float(stats.norm.ppf((examples - 0.375) / (examples + 0.25)))  # Blom (1958)
    return float(stats.norm.cdf(-top * np.sqrt((1 - c) / c)))
