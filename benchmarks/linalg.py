"""`make bench-linalg`: log-determinants and the other linear algebra of a Jacobian, against what is written by hand.

Run times are ratios of medians, all contestants in one process, in turn: how much of the time of the hand-written code
ours takes (below 1 is faster). Written to benchmarks/out/linalg.json as rows of case, figure, unit, floor, holds.

    python benchmarks/linalg.py [--quick] [--only CASE] ...    (a partial run writes linalg-part.json)
"""

from __future__ import annotations

import importlib
import json
import math
import os
import statistics
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import _flow_cases
import _flowjax_flows
import _hessians
import jax
import jax.numpy as jnp
import numpy as np
from _flow_cases import Case
from _table import HERE, Row, Tick, main, named
from _table import Case as Measured
from _timing import medians

import jacmap as jm

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

SIZES = (16, 64)
BATCH = 256
ENTRIES = 2**14  # of all points of a batch whose dense Jacobians fit the memory
NARROW = ("planar", "Sylvester", "residual")  # judged apart: no triangle, but factors of low rank


# -- equal to the libraries' own -------------------------------------------------------------------------------


def libraries(quick: bool, tick: Tick) -> Iterator[Row]:
    """Every bijection of three libraries in float64: our log|det J| of the plain transform, and theirs."""
    for library in ("flowjax", "distrax", "numpyro"):
        with warnings.catch_warnings(), jax.enable_x64(True):
            warnings.simplefilter("ignore")
            table = importlib.import_module(f"bijections_{library}").CASES
            equal, wrong, different = 0, [], []
            for name, make in list(table.items())[:: 8 if quick else 1]:
                tick(f"{library}: {name}")
                for way, agree, excuse in _agreement(make()):
                    equal += agree
                    different += [f"{name}{way}"] * (not agree and not excuse)
                    wrong += [f"{name}{way}"] * bool(excuse)
        total = equal + len(different)
        case = f"{library}: bijections and their inverses, log-determinant equal to 1e-8{named(different)}"
        yield Row(case, equal, "of them", total)
        if wrong:
            yield Row(f"{library}: own log-determinant wrong, ours equal to dense NumPy{named(wrong)}", len(wrong), "")


def _agreement(bijection: Any) -> Iterator[tuple[str, bool, str]]:
    """Per direction: does ours equal the library's, or dense NumPy where the library is known to be wrong?"""
    ways = [("", bijection.forward, bijection.log_det, bijection.x)]
    if bijection.inverse is not None:
        y = bijection.forward(bijection.x)
        ways.append((", inverse", bijection.inverse, bijection.inverse_log_det, y))
    for way, transform, log_det, x in ways:
        true = _dense(transform, x) if bijection.wrong else float(jnp.sum(log_det(x)))
        try:
            ours = float(jm.slogdet(transform)(x)[1])
        except Exception as error:  # the sweep goes on; the row tells
            ours, way = math.nan, f"{way} ({type(error).__name__})"
        yield way, abs(ours - true) <= 1e-8 * max(1.0, abs(true)), bijection.wrong


def _dense(f: Callable[..., Any], x: Any, *rest: Any) -> float:
    matrix = np.asarray(jax.jacfwd(lambda flat: f(flat.reshape(jnp.shape(x)), *rest).ravel())(jnp.ravel(x)))
    return float(np.linalg.slogdet(matrix)[1])


# -- run time against hand-written log-determinants ------------------------------------------------------------


def flowjax(quick: bool, tick: Tick) -> Iterator[Row]:
    """flowjax's flows: value and training gradient against its own transform_and_log_det."""
    ratios: dict[str, float] = {}
    for n in SIZES[: 1 if quick else 2]:
        for exact, case in _twice(lambda n=n: _flowjax_flows.cases(n)):
            yield from _timed(exact, case, f"flowjax {case.name}, n = {n}", quick, tick, ratios)
    yield from _verdicts("flowjax's flows, batch 256, n = 16 and 64, value and gradient", ratios)


def by_hand(quick: bool, tick: Tick) -> Iterator[Row]:
    """The same for flows written as plain functions, with hand-written code beside them."""
    ratios: dict[str, float] = {}
    for exact, case in _twice(lambda: [*_flow_cases.cases(16 if quick else 64), *_flow_cases.image_cases()]):
        yield from _timed(exact, case, f"{case.name}, {_size(case)}", quick, tick, ratios)
    yield from _verdicts("plain functions, batch 256, value and gradient", ratios, asked=False)


def _twice(make: Callable[[], Iterable[Case]]) -> Iterator[tuple[Case, Case]]:
    """Each case in float64 and in float32: made twice, since JAX confuses the two when a function serves both."""
    with jax.enable_x64(True):
        exact = list(make())
    yield from zip(exact, make(), strict=True)


def _timed(exact: Case, case: Case, name: str, quick: bool, tick: Tick, ratios: dict[str, float]) -> Iterator[Row]:
    tick(name)
    _equal(exact, name)
    xs, params = case.points(BATCH), case.params
    both = jm.value_and_slogdet(case.flow)

    def ours(x: Any, params: Any) -> Any:
        y, (_, log) = both(x, params)
        return y, log

    for what, wrapped in (("value", _values), ("gradient", _slopes)):
        tick(f"{name}: {what}")
        runs = {"ours": jax.jit(wrapped(ours)), "theirs": jax.jit(wrapped(case.by_hand))}
        times = medians(
            {who: lambda run=run: run(params, xs) for who, run in runs.items()},  # type: ignore[misc]
            rounds=9 if quick else 41,
            sample=0.02,
        )
        ratios[f"{name}, {what}"] = ratio = times["ours"] / times["theirs"]
        yield Row(f"{name}: {what} ({1e3 * times['theirs']:.2g} ms by hand)", ratio, "of its time")


def _values(run: Callable[..., Any]) -> Callable[..., Any]:
    return lambda params, xs: jax.vmap(run, (0, None))(xs, params)


def _slopes(run: Callable[..., Any]) -> Callable[..., Any]:
    """Of the negative log-likelihood of a batch under a normal base: what training computes at each step."""

    def loss(params: Any, xs: Any) -> Any:
        ys, logs = jax.vmap(run, (0, None))(xs, params)
        return jnp.mean(0.5 * jnp.sum(ys.reshape(len(xs), -1) ** 2, axis=1) - logs)

    return jax.grad(loss)


def _verdicts(case: str, ratios: dict[str, float], asked: bool = True) -> Iterator[Row]:
    def mean(some: Iterable[float]) -> float:
        return math.exp(statistics.fmean(math.log(ratio) for ratio in some))

    blocks = {name: ratio for name, ratio in ratios.items() if "block autoregressive" in name}
    narrow = {name: ratio for name, ratio in ratios.items() if any(word in name for word in NARROW)}
    rest = {name: ratio for name, ratio in ratios.items() if name not in blocks | narrow}
    yield Row(f"{case}: geometric mean", mean(ratios.values()), "of hand-written", 1.0 if asked else None, True)
    yield Row("the same without block autoregressive and planar-like", mean(rest.values()), "of hand-written")
    for what, some, floor in (("the worst", rest, 1.15), ("planar-like, the worst", narrow, 1.5),
                              ("block autoregressive, the worst", blocks, 0.5)):  # fmt: skip
        if some:
            worst = max(some, key=lambda name: some[name])  # noqa: B023
            limit = floor if asked else None
            yield Row(f"{case}: {what} ({worst})", some[worst], "of hand-written", limit, at_most=True)


def _equal(case: Case, name: str) -> None:
    """Raises if ours and the hand-written one differ in float64: a fast wrong answer is no figure."""
    with jax.enable_x64(True):
        x = case.points(1)[0]
        y, theirs = jax.jit(case.by_hand)(x, case.params)
        value, (_, ours) = jm.value_and_slogdet(case.flow)(x, case.params)
        difference = max(float(abs(ours - theirs)) / max(1.0, abs(float(theirs))), float(jnp.max(jnp.abs(value - y))))
    if not difference <= 1e-8:
        raise SystemExit(f"{name}: ours and the hand-written one differ by {difference:.1e}")


def _size(case: Case) -> str:
    return "×".join(map(str, case.shape)) if len(case.shape) > 1 else f"n = {case.shape[0]}"


# -- against the dense determinant -------------------------------------------------------------------------------


def dense(quick: bool, tick: Tick) -> Iterator[Row]:
    """Whole flows: exact, and how many times faster than slogdet(jacfwd)."""
    for n in (64,) if quick else (64, 784):
        for exact, case in _twice(lambda n=n: _flow_cases.cases(n)):
            if case.name in ("RealNVP, 8 layers", "MADE stack with permutations"):
                yield from _against_dense(exact, case, tick)
    for exact, case in _twice(_flow_cases.image_cases):
        yield from _against_dense(exact, case, tick)


def _against_dense(exact: Case, case: Case, tick: Tick) -> Iterator[Row]:
    name = f"{case.name}, {_size(case)}"
    tick(f"{name}: exact?")
    with jax.enable_x64(True):
        x = exact.points(1)[0]
        true = _dense(exact.flow, x, exact.params)
        difference = abs(float(jm.slogdet(exact.flow)(x, exact.params)[1]) - true) / max(1.0, abs(true))
    yield Row(f"{name}: difference from dense NumPy", difference, "relative", 1e-9, at_most=True)
    tick(f"{name}: against slogdet(jacfwd)")
    xs, shape = case.points(BATCH), case.shape
    few = xs[: ENTRIES // math.prod(shape)]

    def whole(flat: Any, params: Any) -> Any:
        return jnp.linalg.slogdet(jax.jacfwd(lambda v: case.flow(v.reshape(shape), params).ravel())(flat))

    ours = jax.jit(_values(jm.slogdet(case.flow)))
    slow = jax.jit(_values(whole))
    flat = few.reshape(len(few), -1)
    times = medians({"ours": lambda: ours(case.params, few), "dense": lambda: slow(case.params, flat)}, rounds=5)
    batch = medians({"ours": lambda: ours(case.params, xs)}, rounds=9)["ours"]
    yield Row(f"{name}: batch of {len(few)}", times["dense"] / times["ours"], "× slogdet(jacfwd)", 10.0)
    yield Row(f"{name}: batch of {BATCH}, milliseconds", 1e3 * batch, "ms")


# -- plans -------------------------------------------------------------------------------------------------------


def passes(quick: bool, tick: Tick) -> Iterator[Row]:
    """One tangent per factor where a permutation makes the factors triangular; the others explained."""
    more, told = [], []
    theirs = (replace(case, name=f"flowjax {case.name}") for case in _flowjax_flows.cases(16))
    for case in (*_flow_cases.cases(16), *_flow_cases.image_cases(4, 2), *theirs):
        tick(f"passes: {case.name}")
        plan = jm.slogdet(case.flow).plan(case.points(1)[0], case.params)
        if case.triangular:
            more += [f"{case.name} {plan.passes}"] * (plan.passes > 1)
        else:
            told += [f"{case.name}: {plan.passes}"]
            if any(word in case.name for word in NARROW):
                explained = "rank" in str(plan)
                yield Row(f"{case.name}: the plan names its low rank, {plan.summary}", int(explained), "", 1)
    yield Row(f"triangular flows that need more than one tangent per factor{named(more)}", len(more), "flows", 0, True)
    yield Row(f"passes of the others{named(told)}", len(told), "flows")
    tick("passes: hidden order")
    flow, params = _flow_cases.plain.hidden_order(64)
    plan = jm.slogdet(flow).plan(jnp.ones(64), params)
    yield Row("autoregressive order permuted inside an opaque function, n = 64", plan.passes, "passes", 1, at_most=True)


def narrow(quick: bool, tick: Tick) -> Iterator[Row]:
    """No triangle: planar, Sylvester, residual flows, equal to dense NumPy."""
    worst = 0.0
    with jax.enable_x64(True):
        for case in _flow_cases.cases(64):
            if not case.triangular:
                tick(f"narrow: {case.name}")
                x = case.points(1)[0]
                true = _dense(case.flow, x, case.params)
                worst = max(worst, abs(float(jm.slogdet(case.flow)(x, case.params)[1]) - true) / max(1.0, abs(true)))
    yield Row("planar, Sylvester, residual flows, n = 64: difference from dense NumPy", worst, "relative", 1e-9, True)


def planning(quick: bool, tick: Tick) -> Iterator[Row]:
    for what, case, seconds, peak in (
        ("real_nvp", "RealNVP, 64 layers, n = 64", 2.0, None),
        ("glow", "Glow on 32×32×12, n = 12,288", 3.0, 1.0),
    ):
        tick(f"planning {case}")
        runs = [_process(what) for _ in range(1 if quick else 3)]
        yield Row(f"planning {case}", statistics.median(run["seconds"] for run in runs), "s", seconds, at_most=True)
        memory = max(run["peak"] for run in runs) / 1e9
        yield Row("the same: peak memory of the process", memory, "GB", peak, at_most=True)


def _process(what: str) -> dict[str, float]:
    """What `_linalg_process.py` measures in a process of its own."""
    done = subprocess.run([sys.executable, HERE / "_linalg_process.py", what], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"_linalg_process.py {what} ended with status {done.returncode}: {done.stderr[-500:]}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


# -- singular values, Hessians -----------------------------------------------------------------------------------


def svd(quick: bool, tick: Tick) -> Iterator[Row]:
    tick("svd(k=5) of the Brusselator 100×100×2")
    found = _process("svd")
    case = "svd(k=5) of the Brusselator 100×100×2 (20,000 × 20,000)"
    yield Row(f"{case}: difference from SciPy's svds", found["difference"], "relative", 1e-8, at_most=True)
    yield Row("the same: peak memory (a dense J alone is 3.2 GB)", found["peak"] / 1e9, "GB", 1.5, at_most=True)
    yield Row("the same, planning and compilation included", found["seconds"], "s")
    yield Row("the same, SciPy's svds of the finished matrix", found["scipy"], "s")


def hessians(quick: bool, tick: Tick) -> Iterator[Row]:
    """Patterns of the sif2jax unconstrained problems beside asdex; Rosenbrock's sparse Hessian."""
    found = []
    with jax.enable_x64(True):
        for problem in _hessians.patterns(quick):
            found.append(problem)
            tick(f"Hessian patterns: {len(found)}, {problem.name}")
        told = _hessians.summary(found)
        tick("sparse Hessian of Rosenbrock's function")
        times = _hessians.rosenbrock(rounds=21 if quick else 61)
    case = f"Hessian patterns of {told['compared']} unconstrained problems of sif2jax"
    yield Row(f"{case}: an entry missed{named(told['missed'])}", len(told["missed"]), "problems", 0, at_most=True)
    yield Row(f"{case}: wrong values{named(told['wrong'])}", len(told["wrong"]), "problems", 0, at_most=True)
    yield Row(f"{case}: looser than asdex's{named(told['looser'])}", len(told["looser"]), "problems", 0, at_most=True)
    share = told["tighter"] / max(1, told["over"])
    yield Row(f"{case}: tighter, of the {told['over']} where asdex over-estimates", share, "of them", 0.25)
    yield Row("sparse Hessian of Rosenbrock's function, n = 10,000, run time", times["ratio"], "× asdex", 1.0)


CASES: dict[str, Measured] = {
    "libraries": libraries,
    "flowjax": flowjax,
    "by_hand": by_hand,
    "dense": dense,
    "passes": passes,
    "narrow": narrow,
    "planning": planning,
    "svd": svd,
    "hessians": hessians,
}

if __name__ == "__main__":
    sys.exit(main("linalg", "linear algebra", CASES, "fewer repeats, n = 16 only, every 8th bijection and problem"))
