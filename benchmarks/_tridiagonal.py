"""Pattern and colouring of a tridiagonal function of a million unknowns; prints seconds and peak memory as JSON.

Run as a process of its own, so that the memory is its own.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from time import perf_counter

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import _planning
import jax
import jax.numpy as jnp

N = 10**6


def diffusion(x: jax.Array) -> jax.Array:
    padded = jnp.pad(x, 1)
    return padded[:-2] - 2 * x + padded[2:] + x**3


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    x = jnp.ones(N)
    start = perf_counter()
    found = _planning.ours(diffusion, x)
    seconds = perf_counter() - start
    assert found == _planning.Found(3 * N - 2, 3), found
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    print(json.dumps({"seconds": seconds, "peak": peak}))


if __name__ == "__main__":
    main()
