"""Where passes one after another are quicker than a batch of them."""

from __future__ import annotations

import math
from typing import Any

import jax

from ...graph import Graph

# On two cores, 100,000 products of a 3×3 matrix with a vector: nine at once (86 MB) 28 ms, one after another 11 ms;
# four at once (38 MB) 3 ms, one after another 6 ms. Between them lie the caches, and glibc's largest threshold: beyond
# 32 MiB of scratch every call takes fresh pages from the system, half of the time of bundle adjustment's J.
LARGEST_BATCH = 4e7
MANY, SMALL = 10_000, 8


def batch_bytes(graph: Graph) -> float:
    """Bytes of tangents that a batch should hold at most: bounded where f multiplies many small matrices on a CPU."""
    if jax.default_backend() != "cpu":
        return math.inf
    return LARGEST_BATCH if any(_many_small_products(node.payload) for node in graph.active_nodes) else math.inf


def _many_small_products(eqn: Any) -> bool:
    if eqn.primitive.name != "dot_general":
        return False
    (contracted, _), (batch, _) = eqn.params["dimension_numbers"]
    left, right, out = (v.aval for v in (*eqn.invars, *eqn.outvars))
    count = math.prod(left.shape[d] for d in batch)
    inner = math.prod(left.shape[d] for d in contracted)
    return count >= MANY and max(left.size, right.size, out.size, count * inner) <= count * SMALL**2
