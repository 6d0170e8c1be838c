"""A Lipschitz bound by the chain of f's segments: the product of their norms, neighbours merged where that is less."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._errors import ArgumentError
from .._flat import Flat
from .._segments import segments
from ._orders import interval_norm
from .intervals import Region, enclose
from .intervals.interval import Interval, contract

Array = jax.Array
BETWEEN = (2, np.inf)  # norms by which values between segments are measured
MERGED = 6  # at most so many neighbours become one


def product_bound(flat: Flat, region: Region, p: Any, q: Any) -> Array:
    """An upper bound of ‖J‖_{p→q} over the region; infinite where f is no chain of functions of one vector.

    Each segment, entrywise ones apart from products with matrices, is bounded over the box that its input can lie in:
    orthogonal layers with activations of slope one have bound one. Of k segments the best way to cut them into runs of
    neighbours is taken: a run counts with the norm of the product of its interval matrices.
    """
    unbounded = jnp.asarray(jnp.inf, flat.x.dtype)
    try:
        chain = segments(flat.vector, flat.point, every=True)
    except ArgumentError:  # f closes over values of an outer transformation: only the whole can be bounded
        return unbounded
    if any(len(link.given) > link.active[0] for link in chain):
        return unbounded  # something that carries no derivative travels along: what it may be is not known here
    matrices: list[Interval] = []
    for link, operands in zip(chain, chain.operands(flat.point), strict=True):
        run = link.on_vectors((), operands)
        found = enclose(lambda v, run=run: run(v)[0], region)  # type: ignore[misc]
        matrices.append(found.slope)
        region = Region.box(found.value.lo, found.value.hi)
    count = len(matrices)
    runs: list[list[Interval]] = []  # of each end, the product of its last 1, 2, ... segments
    for end in range(1, count + 1):
        merged = [matrices[end - 1]]
        for start in range(end - 2, max(-1, end - 1 - MERGED), -1):
            merged.append(contract(jnp.matmul, merged[-1].shape[1], merged[-1], matrices[start]))
        runs.append(merged)
    best = []
    for between in BETWEEN:
        least: list[Any] = [jnp.ones((), flat.x.dtype)]
        for end in range(1, count + 1):
            ways = []
            for length, part in enumerate(runs[end - 1], 1):
                start = end - length
                orders = (p if start == 0 else between, q if end == count else between)
                ways.append(least[start] * interval_norm(part.lo, part.hi, *orders))
            least.append(jnp.min(jnp.stack(ways)))
        best.append(least[-1])
    value = jnp.min(jnp.stack(best)) * (1 + 4 * count * jnp.finfo(flat.x.dtype).eps)
    return jnp.where(jnp.isnan(value), jnp.inf, value)
