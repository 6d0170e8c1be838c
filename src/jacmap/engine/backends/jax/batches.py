"""Where passes one after another are quicker than a batch of them."""

from __future__ import annotations

import math

import jax

from ...graph import Graph
from .products import many_small

# On two cores, 100,000 products of a 3×3 matrix with a vector: nine at once (86 MB) 28 ms, one after another 11 ms;
# four at once (38 MB) 3 ms, one after another 6 ms. Between them lie the caches, and glibc's largest threshold: beyond
# 32 MiB of scratch every call takes fresh pages from the system, half of the time of bundle adjustment's J.
LARGEST_BATCH = 4e7


def batch_bytes(graph: Graph) -> float:
    """Bytes of tangents that a batch should hold at most: bounded where f multiplies many small matrices on a CPU."""
    if jax.default_backend() != "cpu":
        return math.inf
    return LARGEST_BATCH if any(many_small(node.payload) for node in graph.active_nodes) else math.inf
