"""sif2jax's nonlinear equations, n ≤ 5,000: solved or not, and how long, beside SciPy and optimistix."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any

import jax
import numpy as np
import optimistix
import scipy.optimize
from _cutest import LARGEST, load
from _table import Row, Tick, named
from jax.flatten_util import ravel_pytree

import jacmap as jm

Run = Callable[[Callable[..., Any], np.ndarray], Any]
DENSE = 500  # unknowns up to which SciPy and optimistix, which know no structure, are asked
EVALUATIONS = 1000


def rows(quick: bool, tick: Tick) -> Iterator[Row]:
    """Solved: a cost within 1e-6 of the best that anybody found, or ‖r‖∞ ≤ 1e-6. Each counts its compiling."""
    with jax.enable_x64(True):
        solved: dict[str, list[bool]] = {name: [] for name in CONTESTANTS}
        seconds: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
        worse, alone = [], []
        for problem in load().nonlinear_equations_problems[:: 16 if quick else 1]:
            x, unravel = ravel_pytree(problem.y0)
            if x.size > LARGEST:
                continue
            tick(problem.name)
            f = _residuals(problem, unravel)
            x = np.asarray(x, float)
            found, times = {}, {}
            for name, run in CONTESTANTS.items():
                if name == "jacmap" or x.size <= DENSE:
                    begin = perf_counter()
                    found[name] = _attempt(run, f, x)
                    times[name] = perf_counter() - begin
            ends = {name: np.asarray(jax.jit(f)(end)) for name, end in found.items()}
            costs = {name: float(r @ r) if np.isfinite(r).all() else np.inf for name, r in ends.items()}
            best = min(costs.values())
            good = {n: costs[n] <= best * (1 + 1e-6) or float(np.abs(ends[n]).max()) <= 1e-6 for n in costs}
            if x.size > DENSE:
                alone.append(good["jacmap"] and np.isfinite(best))
                continue
            for name in CONTESTANTS:
                solved[name].append(good[name])
                seconds[name].append(times[name])
            if not good["jacmap"] and any(good.values()):
                worse.append(problem.name)
        count = len(solved["jacmap"])
        rival = max(np.mean(solved[name]) for name in CONTESTANTS if name != "jacmap")
        for name in CONTESTANTS:
            floor = float(rival) if name == "jacmap" else None
            beaten = named(worse) if name == "jacmap" else ""
            case = f"nonlinear equations, n ≤ {DENSE}, {name}{beaten}"
            yield Row(case, float(np.mean(solved[name])), f"of {count}", floor)
            yield Row(f"the same, {name}: seconds in all, with compiling", sum(seconds[name]), "s")
        if alone:
            yield Row(f"the same, {DENSE} < n ≤ {LARGEST}: jacmap ended finite", float(np.mean(alone)), "share")


def _residuals(problem: Any, unravel: Callable[[Any], Any]) -> Callable[..., Any]:
    def f(x: Any) -> Any:
        return ravel_pytree(problem.constraint(unravel(x))[0])[0]

    return f


def _attempt(run: Run, f: Callable[..., Any], x: np.ndarray) -> np.ndarray:
    """Where it ends; NaN where it raises."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.asarray(run(f, x), float)
    except Exception:
        return np.full(x.shape, np.nan)


def _ours(f: Callable[..., Any], x: np.ndarray) -> Any:
    return jm.least_squares(f, x, ftol=1e-12, xtol=1e-12, gtol=1e-12, max_nfev=EVALUATIONS).x


def _scipy(f: Callable[..., Any], x: np.ndarray) -> Any:
    value, dense = jax.jit(f), jax.jit(jax.jacfwd(f))
    return scipy.optimize.least_squares(
        lambda x: np.asarray(value(x)), x, lambda x: np.asarray(dense(x)),
        x_scale="jac", ftol=1e-12, xtol=1e-12, gtol=1e-12, max_nfev=EVALUATIONS,
    ).x  # fmt: skip


def _optimistix(f: Callable[..., Any], x: np.ndarray) -> Any:
    solver = optimistix.LevenbergMarquardt(rtol=1e-12, atol=1e-12)
    start = jax.numpy.asarray(x)
    return optimistix.least_squares(lambda x, _: f(x), solver, start, max_steps=EVALUATIONS, throw=False).value


CONTESTANTS: dict[str, Run] = {"jacmap": _ours, "SciPy least_squares": _scipy, "optimistix": _optimistix}
