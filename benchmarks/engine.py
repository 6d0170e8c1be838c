"""`make bench-engine`: the engine against jax.jacfwd, jax.jacrev and asdex 0.5.1, on everything it promises.

Every contestant of a case runs in the same process, in turn, and the figure is a ratio of medians: how many times
faster jacmap is. Written to benchmarks/out/engine.json as rows of case, figure, unit, floor, holds. pytest-benchmark
times one function after another, which a busy machine turns into a false ratio; so it is not used here.

    python benchmarks/engine.py [--quick] [--only WORD] ...
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["JAX_ENABLE_X64"] = "1"  # before any module below makes an array

# TEMP


import _small
import asdex
import jax
import jax.numpy as jnp
import numpy as np
from _timing import medians, write
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import jacmap as jm
from jacmap.engine.backends.jax.trace import graph_of
from jacmap.engine.graph import jacobian_pattern

HERE = Path(__file__).parent
OUT = HERE / "out" / "engine.json"

warnings.filterwarnings("ignore", category=asdex.DenseColoringWarning)

console = Console()
Tick = Callable[[str], None]


@dataclass(frozen=True)
class Row:
    """`floor`: what the figure must reach, or must not exceed where `at_most`; None: told, not asked for."""

    case: str
    figure: float
    unit: str
    floor: float | None = None
    at_most: bool = False

    @property
    def holds(self) -> bool | None:
        if self.floor is None:
            return None
        return self.figure <= self.floor if self.at_most else self.figure >= self.floor

    def record(self) -> dict[str, Any]:
        fields = asdict(self)
        del fields["at_most"]
        return {**fields, "holds": self.holds}


# -- run time against plain AD -----------------------------------------------------------------------------


def small(quick: bool, tick: Tick) -> Iterator[Row]:
    ratios = {}
    for name, (f, x) in _small.FUNCTIONS.items():
        tick(name)
        ours, forward, reverse = jm.jacobian(f), jax.jit(jax.jacfwd(f)), jax.jit(jax.jacrev(f))
        _same(ours(x), reverse(x), name)
        ours(x)
        times = medians(
            {"ours": lambda: ours(x), "jacfwd": lambda: forward(x), "jacrev": lambda: reverse(x)},  # noqa: B023
            rounds=20 if quick else 75,
            sample=0.004,
        )
        ratios[name] = min(times["jacfwd"], times["jacrev"]) / times["ours"]
        yield Row(f"small: {name}", ratios[name], "× better of jacfwd, jacrev")
    worst = min(ratios, key=lambda name: ratios[name])
    yield Row(f"10 small dense functions, the worst ({worst})", ratios[worst], "× better of jacfwd, jacrev", 0.95)
    mean = math.exp(sum(map(math.log, ratios.values())) / len(ratios))
    yield Row("10 small dense functions, geometric mean", mean, "× better of jacfwd, jacrev", 0.95)


def autoencoder(quick: bool, tick: Tick) -> Iterator[Row]:
    tick("autoencoder")
    widths = (784, 256, 32, 256, 784)
    weights = _weights(widths)
    x = _floats(784)

    def reconstruct(x: jax.Array) -> jax.Array:
        for weight in weights[:-1]:
            x = jnp.tanh(x @ weight)
        return x @ weights[-1]

    ours, forward, reverse = jm.jacobian(reconstruct), jax.jit(jax.jacfwd(reconstruct)), jax.jit(jax.jacrev(reconstruct))
    _same(ours(x), reverse(x), "autoencoder", 1e-5)
    times = medians(
        {"ours": lambda: ours(x), "jacfwd": lambda: forward(x), "jacrev": lambda: reverse(x)},
        rounds=15 if quick else 60,
    )
    ratio = min(times["jacfwd"], times["jacrev"]) / times["ours"]
    yield Row("autoencoder 784-256-32-256-784", ratio, "× better of jacfwd, jacrev", 5.0)
    yield Row("autoencoder, milliseconds", 1e3 * times["ours"], "ms")


def batch(quick: bool, tick: Tick) -> Iterator[Row]:
    tick("whole batch")
    weights = _weights((784, 512, 512, 10))
    x = _floats(64, 784)

    def single(x: jax.Array) -> jax.Array:
        for weight in weights[:-1]:
            x = jax.nn.relu(x @ weight)
        return x @ weights[-1]

    ours = jm.jacobian(single, form="sparse")  # the same text reads a vector or a whole batch
    whole, by_hand = jax.jit(jax.jacrev(single)), jax.jit(jax.vmap(jax.jacrev(single)))
    blocks = by_hand(x)
    _same(ours(x).data.reshape(blocks.shape), blocks, "whole batch", 1e-5)
    near = medians(
        {"ours": lambda: ours(x), "by hand": lambda: by_hand(x)}, rounds=20 if quick else 80
    )
    far = medians({"ours": lambda: ours(x), "jacrev": lambda: whole(x)}, rounds=3 if quick else 7)
    yield Row("whole batch of 64, MLP 784-512-512-10, vs jacrev", far["jacrev"] / far["ours"], "× jacrev", 40.0)
    ratio = near["ours"] / near["by hand"]
    yield Row("the same, time over hand-written vmap(jacrev)", ratio, "of its time", 1.1, at_most=True)
    yield Row("the same, milliseconds", 1e3 * near["ours"], "ms")


# -- patterns ----------------------------------------------------------------------------------------------


def patterns(quick: bool, tick: Tick) -> Iterator[Row]:
    tick("pattern of the Brusselator 300×300×2")
    yield from _pattern_row("pattern of the Brusselator 300×300×2", brusselator(300), jnp.ones(180_000), 15.0, 2 if quick else 3)
    tick("pattern of two convolutions")
    yield from _pattern_row(
        "pattern of two 3×3 convolutions on 64×64", convolutions(), jnp.ones(64 * 64), 20.0, 5 if quick else 9
    )


def _pattern_row(case: str, f: Callable[..., Any], x: jax.Array, floor: float, rounds: int) -> Iterator[Row]:
    ours, theirs = pattern_of(f, x), asdex.jacobian_sparsity(f, x)
    if ours.nnz > theirs.nnz:
        yield Row(f"{case}: entries more than asdex's", ours.nnz - theirs.nnz, "entries", 0, at_most=True)
    # A fresh function each time: what JAX remembers of tracing the last one helps neither.
    times = medians(
        {
            "ours": lambda: pattern_of(_fresh(f), x).nnz,
            "asdex": lambda: asdex.jacobian_sparsity(_fresh(f), x).nnz,
        },
        rounds=rounds,
    )
    yield Row(case, times["asdex"] / times["ours"], "× asdex", floor)
    yield Row(f"{case}, milliseconds", 1e3 * times["ours"], "ms")


def pattern_of(f: Callable[..., Any], x: Any) -> Any:
    """Trace, graph, pattern as a matrix: what asdex.jacobian_sparsity does."""
    closed = jax.make_jaxpr(f)(x)
    return jacobian_pattern(graph_of(closed.jaxpr, closed.consts, [True])).tocsr()


def _fresh(f: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x: f(x)


def brusselator(n: int) -> Callable[[jax.Array], jax.Array]:
    a = 0.1 * (n - 1) ** 2

    def laplacian(w: jax.Array) -> jax.Array:
        return jnp.roll(w, 1, 0) + jnp.roll(w, -1, 0) + jnp.roll(w, 1, 1) + jnp.roll(w, -1, 1) - 4 * w

    def rhs(state: jax.Array) -> jax.Array:
        u, v = state.reshape(2, n, n)
        du = 1 + u**2 * v - 4.4 * u + a * laplacian(u)
        dv = 3.4 * u - u**2 * v + a * laplacian(v)
        return jnp.stack([du, dv]).ravel()

    return rhs


def convolutions() -> Callable[[jax.Array], jax.Array]:
    kernels = [jnp.asarray(np.random.default_rng(1).standard_normal(shape)) for shape in ((3, 3, 1, 4), (3, 3, 4, 1))]

    def net(x: jax.Array) -> jax.Array:
        y = x.reshape(1, 64, 64, 1)
        for kernel in kernels:
            y = jax.nn.relu(jax.lax.conv_general_dilated(y, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")))
        return y.ravel()

    return net


# -- compressed Jacobians ----------------------------------------------------------------------------------


def compressed(quick: bool, tick: Tick) -> Iterator[Row]:
    tick("compressed Jacobian of the Brusselator 100×100×2")
    n = 100
    f, x = brusselator(n), jnp.asarray(np.random.default_rng(2).uniform(0.5, 1.5, 2 * n * n))
    ours = jm.jacobian(f, form="sparse")
    best: dict[str, float] = {}
    runs: dict[str, Callable[[], Any]] = {"ours": lambda: ours(x).data}
    for mode in ("fwd", "rev"):
        coloring = asdex.jacobian_coloring(f, x, mode=mode)
        whole = jax.jit(asdex.jacobian_from_coloring(f, coloring))
        passes = jax.jit(asdex.compressed_jacobian_from_coloring(f, coloring))
        _same(_csr(ours(x)).data, _csr(whole(x)).data, "Brusselator")
        runs[f"asdex {mode}"] = lambda whole=whole: whole(x)
        runs[f"asdex {mode}, passes only"] = lambda passes=passes: passes(x)
    best = medians(runs, rounds=50 if quick else 300)
    ratio = min(best["asdex fwd"], best["asdex rev"]) / best["ours"]
    yield Row("sparse Jacobian of the Brusselator 100×100×2, both to BCOO, run time", ratio, "× asdex's better mode", 1.0)
    ratio = min(best["asdex fwd, passes only"], best["asdex rev, passes only"]) / best["ours"]
    yield Row("the same to BCOO, vs asdex's passes before it reads the entries off", ratio, "× asdex")
    yield Row("the same, milliseconds", 1e3 * best["ours"], "ms")


def _csr(matrix: Any) -> Any:
    from scipy.sparse import coo_array

    rows, columns = np.asarray(matrix.indices).T
    return coo_array((np.asarray(matrix.data), (rows, columns)), shape=matrix.shape).tocsr()


def _weights(widths: tuple[int, ...]) -> list[jax.Array]:
    random = np.random.default_rng(0)
    pairs = zip(widths[:-1], widths[1:], strict=True)
    return [jnp.asarray(random.standard_normal((a, b)) / math.sqrt(a), jnp.float32) for a, b in pairs]


def _floats(*shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(3).random(shape), jnp.float32)


def _same(ours: Any, theirs: Any, case: str, tolerance: float = 1e-10) -> None:
    """Raises if the answers differ: a fast wrong answer is no figure."""
    for a, b in zip(jax.tree_util.tree_leaves(ours), jax.tree_util.tree_leaves(theirs), strict=True):
        difference = float(np.max(np.abs(np.asarray(a) - np.asarray(b)), initial=0.0))
        if not difference <= tolerance * max(1.0, float(np.max(np.abs(np.asarray(b)), initial=0.0))):
            raise SystemExit(f"{case}: jacmap and JAX differ by {difference:.1e}")
