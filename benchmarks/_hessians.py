"""Second derivatives beside asdex and folx: patterns of the sif2jax unconstrained problems, run times.

`patterns`, `rosenbrock` and `laplacians` return plain data. Alone: ``python benchmarks/_hessians.py [--quick]``. As
``_hessians.py --worker START EVERY`` it is the process that reads the problems, and that can be stopped.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import _cutest
import _timing
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy.sparse import csr_array

SECONDS = 60.0  # a problem that takes longer is left out, and said so
DENSE_UP_TO = 200  # unknowns of a problem that is compared with jax.hessian, entry by entry
POINTS = 6
TOLERANCE = 1e-10
COPIES = 6


@dataclass
class Problem:
    """Entries of each pattern; `true`: those that are not exactly 0.0 at some of several points.

    They are entries of jax.hessian for small n, of our own sparse Hessian for large n (which products confirm).
    `missed`: nonzeros outside our pattern (must be 0). `looser`: entries that ours has and theirs has not.
    `difference`: largest error of our sparse Hessian relative to the largest entry of jax.hessian (small n) or of a
    product with a random vector.
    """

    name: str
    n: int = 0
    ours: int = -1
    theirs: int = -1
    true: int | None = None
    missed: int = 0
    theirs_missed: int = 0
    looser: int = 0
    difference: float = float("nan")
    ours_colours: int = -1
    theirs_colours: int = -1
    error: str = ""
    theirs_error: str = ""


def patterns(quick: bool = False, seconds: float = SECONDS) -> Iterator[Problem]:
    """Every unconstrained problem with at most `_cutest.LARGEST` unknowns (one in eight of them when `quick`)."""
    every, start = 8 if quick else 1, 0
    while start >= 0:
        start = yield from _until_stuck(start, every, seconds)


def _until_stuck(start: int, every: int, seconds: float) -> Iterator[Problem]:
    """The results of one worker; returns the number of the problem to go on with, -1 at the end."""
    command = [sys.executable, __file__, "--worker", str(start), str(every)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    lines: queue.Queue[str | None] = queue.Queue()

    def pump() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=pump, daemon=True).start()
    begun: dict[str, Any] | None = None
    partial: dict[str, Any] | None = None
    try:
        while True:
            try:
                line = lines.get(timeout=seconds if begun else 300.0)
            except queue.Empty:
                line = None
            if line is None:
                if begun is None:
                    return -1
                why = f"took more than {seconds:.0f} s, or crashed"
                if partial is None:
                    yield Problem(begun["name"], begun["n"], error=why)
                else:
                    yield Problem(**{**partial, "theirs_error": why})
                return int(begun["number"]) + 1
            record = json.loads(line)
            if "number" in record:
                begun, partial = record, None
            elif "partial" in record:
                partial = record["partial"]
            else:
                begun = None
                yield Problem(**record)
    finally:
        process.kill()
        process.wait()


def _worker(start: int, every: int) -> None:
    jax.config.update("jax_enable_x64", True)
    sif2jax = _cutest.load()
    for number, problem in enumerate(sif2jax.unconstrained_minimisation_problems):
        if number < start or number % every:
            continue
        x, unravel = ravel_pytree(problem.y0)
        x = jnp.asarray(x, jnp.float64)
        if x.size > _cutest.LARGEST:
            continue
        print(json.dumps({"number": number, "name": problem.name, "n": x.size}), flush=True)

        def f(x: Any, problem: Any = problem, unravel: Any = unravel) -> Any:
            return problem.objective(unravel(x), problem.args)

        result = Problem(problem.name, x.size)
        try:
            _compare(f, x, result)
        except Exception as error:  # the sweep goes on; the row tells
            result.error = f"{type(error).__name__}: {str(error)[:200]}"
        print(json.dumps(asdict(result)), flush=True)


def _compare(f: Any, x: Any, result: Problem) -> None:
    import asdex

    import jacmap as jm

    sparse = jm.hessian(f, form="sparse")
    plan = sparse.plan(x)
    ours = plan.planned.pattern.tocsr()
    rows = np.repeat(np.arange(x.size), np.diff(ours.indptr))
    result.ours = ours.nnz
    result.ours_colours = min(c.forward + c.reverse for c in plan.planned.candidates)
    rng = np.random.default_rng(0)
    points = [x, *(x * (1 + 0.1 * d) + 0.3 * d for d in rng.standard_normal((POINTS - 1, x.size)))]
    true = np.zeros((x.size, x.size), bool)
    dense = jax.jit(jax.hessian(f)) if x.size <= DENSE_UP_TO else None
    product = jax.jit(lambda x, v: jax.jvp(jax.grad(f), (x,), (v,))[1])
    worst = []
    for point in points:
        data = np.asarray(sparse(point).data)
        got = csr_array((data, ours.indices, ours.indptr), shape=ours.shape)
        if dense is not None:
            matrix = np.asarray(dense(point))
            true |= matrix != 0
            error, size = np.abs(got.toarray() - matrix), np.abs(matrix)
        else:
            v = rng.standard_normal(x.size)
            true[rows[data != 0], ours.indices[data != 0]] = True
            expected = np.asarray(product(point, v))
            error, size = np.abs(got @ v - expected), np.abs(got) @ np.abs(v) + np.abs(expected)
        if np.isfinite(error).all():
            worst.append(float(error.max(initial=0.0) / max(size.max(initial=0.0), 1e-300)))
    result.difference = max(worst, default=float("nan"))
    result.true = int(true.sum())
    result.missed = int((true & ~ours.toarray()).sum())
    print(json.dumps({"partial": asdict(result)}), flush=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sparsity = asdex.hessian_sparsity(f, x)
            coloured = asdex.hessian_coloring_from_sparsity(sparsity)
    except Exception as error:
        result.theirs_error = f"{type(error).__name__}: {str(error)[:100]}"
        return
    mask = np.zeros(x.size**2, bool)
    mask[np.asarray(sparsity.rows, np.int64) * x.size + np.asarray(sparsity.cols)] = True
    result.theirs, result.theirs_colours = int(mask.sum()), coloured.num_colors
    result.looser = int((~mask[rows * x.size + ours.indices]).sum())
    result.theirs_missed = int((true & ~mask.reshape(true.shape)).sum())


def summary(found: list[Problem]) -> dict[str, Any]:
    """The two figures of the bar, and what stands behind them.

    `over`: problems where asdex's pattern strictly contains the true one; `tighter`: of these, where ours is smaller.
    """
    both = [p for p in found if p.theirs >= 0 and p.ours >= 0]
    over = [p for p in both if p.true is not None and p.theirs_missed == 0 and p.theirs > p.true]
    tighter = [p for p in over if p.ours < p.theirs]
    return {
        "problems": len(found),
        "compared": len(both),
        "missed": [p.name for p in found if p.missed],
        "wrong": [p.name for p in found if not p.difference <= TOLERANCE and not p.error],
        "looser": [p.name for p in both if p.looser and not p.theirs_missed],
        "more_colours": [p.name for p in both if p.ours_colours > p.theirs_colours],
        "over": len(over),
        "tighter": len(tighter),
        "exact": sum(p.ours == p.true for p in over),
        "errors": {p.name: p.error for p in found if p.error},
        "theirs_errors": {p.name: p.theirs_error for p in found if p.theirs_error},
    }


def rosenbrock(n: int = 10_000, rounds: int = 61) -> dict[str, float]:
    """Seconds per sparse Hessian of Rosenbrock's function: ours, asdex's (compiled, with its colouring given)."""
    import asdex

    import jacmap as jm

    def f(x: Any) -> Any:
        return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)

    x = jnp.linspace(0.1, 1.3, n)
    runs: dict[str, Any] = {}
    first: dict[str, list[float]] = {"ours": [], "asdex": []}
    for copy in range(COPIES):  # two copies of one program differ by some per cent, whoever's they are
        start = perf_counter()
        hessian = jm.hessian(f, form="sparse")
        jax.block_until_ready(hessian(x).data)
        first["ours"].append(perf_counter() - start)
        start = perf_counter()
        theirs = jax.jit(asdex.hessian_from_coloring(f, asdex.hessian_coloring(f, x)))
        jax.block_until_ready(theirs(x).data)
        first["asdex"].append(perf_counter() - start)
        assert np.allclose(hessian(x).data, theirs(x).data, rtol=1e-12)
        runs[f"ours {copy}"] = lambda hessian=hessian: hessian(x).data
        runs[f"asdex {copy}"] = lambda theirs=theirs: theirs(x).data
    measured = _timing.medians(runs, rounds, 0.01)
    times = {who: float(np.median([measured[f"{who} {copy}"] for copy in range(COPIES)])) for who in first}
    planned, compiled = (min(first[who]) for who in ("ours", "asdex"))
    return {**times, "ratio": times["asdex"] / times["ours"], "ours_first": planned, "asdex_first": compiled}


def laplacians(quick: bool = False) -> Iterator[dict[str, Any]]:
    """Seconds per Laplacian: ours, folx's dense and with tangents sparse up to 6 inputs; the ratio to the better."""
    import folx

    import jacmap as jm

    rng = np.random.default_rng(0)

    def network(n: int, width: int) -> Any:
        sizes = [n, width, width, 1]
        weights = [jnp.asarray(rng.standard_normal(ab) / ab[0] ** 0.5) for ab in zip(sizes, sizes[1:], strict=False)]

        def f(x: Any) -> Any:
            for w in weights[:-1]:
                x = jnp.tanh(x @ w)
            return (x @ weights[-1])[0]

        return f

    def local(x: Any) -> Any:
        return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)

    cases = [(f"network 64 → {w} → {w} → 1", network(64, w), 64) for w in (64, 256, 512)[: 1 if quick else 3]]
    cases.append(("local terms, n = 2000", local, 200 if quick else 2000))
    for name, f, n in cases:
        x = jnp.asarray(rng.uniform(0.5, 1.0, n))
        ours = jm.laplacian(f)
        runs = {"ours": lambda ours=ours, x=x: ours(x)}
        for threshold in (0, 6):
            theirs = folx.forward_laplacian(f, sparsity_threshold=threshold)
            compiled = jax.jit(lambda x, theirs=theirs: theirs(x).laplacian)
            assert np.allclose(compiled(x), ours(x), rtol=1e-9), name
            runs[f"folx {threshold}"] = lambda compiled=compiled, x=x: compiled(x)
        times = _timing.medians(runs, 11 if quick else 41, 0.02)
        best = min(times["folx 0"], times["folx 6"])
        yield {"case": name, "n": n, **times, "ratio": best / times["ours"], "plan": ours.plan(x).summary}


def main() -> None:
    quick = "--quick" in sys.argv
    jax.config.update("jax_enable_x64", True)
    print("rosenbrock", rosenbrock(rounds=21 if quick else 61))
    for row in laplacians(quick):
        print("laplacian", row)
    found = []
    for problem in patterns(quick):
        found.append(problem)
        print(problem, flush=True)
    print(json.dumps(summary(found), indent=1))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        _worker(int(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
