"""What must be measured in a process of its own: ``_linalg_process.py WHAT`` prints seconds and peak memory as JSON.

WHAT is `real_nvp` or `glow` (planning a log-determinant) or `svd` (five singular values of a sparse Jacobian).
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import _flow_cases
import jax
import jax.numpy as jnp
import numpy as np


def real_nvp() -> dict[str, float]:
    flow, params = _flow_cases.plain.real_nvp(64, layers=64)
    return planned(flow, jnp.zeros(64), params)


def glow() -> dict[str, float]:
    flow, params = _flow_cases.image_flows.glow(12, steps=4, hidden=64)
    return planned(flow, jnp.zeros((32, 32, 12)), params)


def planned(flow: Callable[..., Any], *point: Any) -> dict[str, float]:
    """Tracing, reading and planning; not the compilation that running it takes."""
    from jacmap._determinant.transforms import Determinant

    start = perf_counter()
    plan = Determinant(flow).unprobed_plan(*point)
    return {"seconds": perf_counter() - start, "n": plan.shape[0], "passes": plan.passes}


def svd() -> dict[str, float]:
    """Of the Brusselator on a 100×100 grid, n = 20,000, beside SciPy's svds of the sparse matrix."""
    import brusselator
    from scipy.sparse import csr_array
    from scipy.sparse.linalg import svds

    import jacmap as jm

    x = jnp.asarray(np.random.default_rng(2).uniform(0.5, 1.5, brusselator.point().size))
    jacobian = jm.linearize(brusselator.rhs, x)
    start = perf_counter()
    ours = np.asarray(jacobian.svd(k=5)[1])
    seconds = perf_counter() - start
    matrix = jacobian.sparse()
    rows, columns = np.asarray(matrix.indices).T
    start = perf_counter()
    theirs = svds(csr_array((np.asarray(matrix.data), (rows, columns)), shape=matrix.shape), k=5,
                  return_singular_vectors=False)  # fmt: skip
    scipy_seconds = perf_counter() - start
    difference = np.max(np.abs(np.sort(ours) - np.sort(theirs))) / np.max(theirs)
    return {"seconds": seconds, "scipy": scipy_seconds, "difference": float(difference), "n": x.size}


def peak() -> int:
    """Bytes. Linux counts into ru_maxrss what the parent held when it started this process; VmHWM does not."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    found = {"real_nvp": real_nvp, "glow": glow, "svd": svd}[sys.argv[1]]()
    print(json.dumps({**found, "peak": peak()}))


if __name__ == "__main__":
    main()
