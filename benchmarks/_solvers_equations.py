"""sif2jax's nonlinear equations, n ≤ 5,000: solved or not, and how long, beside SciPy and optimistix."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import jax
import numpy as np
import optimistix
import scipy.optimize
from _cutest import LARGEST, load
from _table import Row, Tick, named
from jax.flatten_util import ravel_pytree
from scipy.sparse import csr_array

import jacmap as jm

DENSE = 600  # unknowns up to which optimistix and SciPy's dense methods, which know no structure, are asked
# Thousands of equations written out one by one, on which XLA spends minutes for each contestant.
LEFT_OUT = ("GENROSEBNE", "GENROSENE")
TOGETHER = 16  # problems whose programs are kept: those of all are more than a process may map into its memory
EVALUATIONS, PATIENCE = 1000, 30.0  # a run is stopped at its next step after so many seconds
TIGHT = {"ftol": 1e-12, "xtol": 1e-12, "gtol": 1e-12}


class OutOfPatienceError(Exception):
    """A run took longer than `PATIENCE`."""


@dataclass(frozen=True)
class System:
    """Residuals f of one flat vector, compiled by each contestant anew, from x."""

    name: str
    make: Callable[[], Callable[[Any], Any]]
    x: np.ndarray
    m: int

    @property
    def square(self) -> bool:
        return self.m == len(self.x)

    @property
    def small(self) -> bool:
        return len(self.x) <= DENSE


@dataclass(frozen=True)
class Contestant:
    run: Callable[[System], Any]  # where it ends
    takes: Callable[[System], bool]
    ours: bool = False


def rows(quick: bool, tick: Tick) -> Iterator[Row]:
    """Solved: ‖r‖∞ ≤ 1e-6, or a cost within 1e-6 of the least that anybody found. Compiling counts."""
    with jax.enable_x64(True):
        every = list(systems(16 if quick else 1))
        for where, small in (("n ≤ 600", True), ("600 < n ≤ 5,000", False)):
            outcomes = []
            for k, system in enumerate(s for s in every if s.small is small):
                outcomes.append(attempts(system, tick))
                if k % TOGETHER == TOGETHER - 1:
                    jax.clear_caches()
            if outcomes:
                yield from _table(where, outcomes)


Outcome = tuple[System, dict[str, float], dict[str, bool]]  # seconds and solved, by contestant


def systems(step: int) -> Iterator[System]:
    for problem in load().nonlinear_equations_problems[::step]:
        x, unravel = ravel_pytree(problem.y0)
        if x.size > LARGEST or problem.name in LEFT_OUT:
            continue

        make = functools.partial(_residuals, problem, unravel)
        yield System(problem.name, make, np.asarray(x, float), jax.eval_shape(make(), x).size)


def _residuals(problem: Any, unravel: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda x: ravel_pytree(problem.constraint(unravel(x))[0])[0]


def attempts(system: System, tick: Tick) -> Outcome:
    ends, seconds = {}, {}
    value = jax.jit(system.make())
    for name, contestant in CONTESTANTS.items():
        if contestant.takes(system):
            tick(f"{system.name}: {name}")
            begin = perf_counter()
            end = _attempt(contestant.run, system)
            seconds[name] = perf_counter() - begin
            ends[name] = np.asarray(value(end))
    costs = {name: float(r @ r) if np.isfinite(r).all() else np.inf for name, r in ends.items()}
    best = min(costs.values())
    solved = {
        name: bool(np.isfinite(costs[name]))
        and (costs[name] <= best * (1 + 1e-6) or float(np.abs(ends[name]).max()) <= 1e-6)
        for name in ends
    }
    return system, seconds, solved


def _table(where: str, outcomes: list[Outcome]) -> Iterator[Row]:
    """Each contestant's share and time, and each of ours against each peer."""
    for name, contestant in CONTESTANTS.items():
        mine = [o for o in outcomes if name in o[2]]
        share = [o[2][name] for o in mine]
        if not mine:
            continue
        missed = named([o[0].name for o in mine if not o[2][name]]) if contestant.ours else ""
        yield Row(f"equations, {where}, {name}{missed}", float(np.mean(share)), f"of {len(mine)}")
        yield Row(f"the same, {name}: seconds in all, with compiling", sum(o[1][name] for o in mine), "s")
        if contestant.ours:
            yield from _beside(name, mine)


def _beside(name: str, mine: list[Outcome]) -> Iterator[Row]:
    """Against each peer that is asked the same, a root or a minimum, on the problems that both take."""
    for peer, contestant in CONTESTANTS.items():
        if ("root" in peer) is not ("root" in name):
            continue
        both = [o for o in mine if peer in o[2]]
        if both and not contestant.ours:
            ahead = sum(o[2][name] for o in both) - sum(o[2][peer] for o in both)
            yield Row(f"{name} beside {peer}: more problems solved", ahead, f"of {len(both)}", 0)
            yield Row("the same, its time over ours, compiling counted", _ratio(both, peer, name), "×")
            # Who gives up soon is quick: on what both solve that is no merit.
            solved = [o for o in both if o[2][name] and o[2][peer]]
            if solved:
                yield Row(f"the same, on the {len(solved)} that both solve", _ratio(solved, peer, name), "×")


def _ratio(outcomes: list[Outcome], peer: str, name: str) -> float:
    return sum(o[1][peer] for o in outcomes) / sum(o[1][name] for o in outcomes)


def _attempt(run: Callable[[System], Any], system: System) -> np.ndarray:
    """Where it ends; NaN where it raises."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.asarray(run(system), float)
    except Exception:
        return np.full(system.x.shape, np.nan)


def _patience() -> Callable[..., None]:
    """A callback for ours; SciPy's methods have not all one, so theirs are stopped in f."""
    begin = perf_counter()

    def look(*_: Any) -> None:
        if perf_counter() - begin > PATIENCE:
            raise OutOfPatienceError

    return look


def _impatient(f: Callable[[Any], Any]) -> Callable[[Any], np.ndarray]:
    value, look = jax.jit(f), _patience()

    def call(x: Any) -> np.ndarray:
        look()
        return np.asarray(value(x))

    return call


def _ours(system: System) -> Any:
    return jm.least_squares(system.make(), system.x, max_nfev=EVALUATIONS, callback=_patience(), **TIGHT).x


def _our_root(system: System) -> Any:
    return jm.root(system.make(), system.x, max_nfev=EVALUATIONS, callback=_patience()).x


def _scipy(system: System, **how: Any) -> Any:
    f = system.make()
    dense = jax.jit(jax.jacfwd(f))
    return scipy.optimize.least_squares(
        _impatient(f), system.x, lambda x: np.asarray(dense(x)), x_scale="jac", max_nfev=EVALUATIONS, **TIGHT, **how
    ).x


def _scipy_sparse(system: System) -> Any:
    """With jacmap's sparse J: SciPy has none of its own."""
    f = system.make()
    matrix = jm.jacobian(f, form="sparse")

    def sparse(x: np.ndarray) -> Any:
        found = matrix(x)
        return csr_array((np.asarray(found.data), np.asarray(found.indices).T), shape=found.shape)

    return scipy.optimize.least_squares(
        _impatient(f), system.x, sparse, x_scale="jac", max_nfev=EVALUATIONS, **TIGHT
    ).x


def _scipy_root(system: System) -> Any:
    f = system.make()
    dense = jax.jit(jax.jacfwd(f))
    return scipy.optimize.root(_impatient(f), system.x, jac=lambda x: np.asarray(dense(x)), method="hybr", tol=1e-12).x


def _scipy_krylov(system: System) -> Any:
    return scipy.optimize.root(_impatient(system.make()), system.x, method="krylov", tol=1e-9).x


def _optimistix(system: System) -> Any:
    f, solver = system.make(), optimistix.LevenbergMarquardt(rtol=1e-12, atol=1e-12)
    start = jax.numpy.asarray(system.x)
    return optimistix.least_squares(lambda x, _: f(x), solver, start, max_steps=EVALUATIONS, throw=False).value


CONTESTANTS: dict[str, Contestant] = {
    "jm.least_squares": Contestant(_ours, lambda s: True, ours=True),
    "SciPy least_squares (trf)": Contestant(_scipy, lambda s: s.small),
    "SciPy least_squares (lm)": Contestant(
        lambda s: _scipy(s, method="lm"), lambda s: s.small and s.m >= len(s.x)
    ),
    "optimistix LevenbergMarquardt": Contestant(_optimistix, lambda s: s.small),
    "SciPy least_squares (sparse J of jacmap's)": Contestant(_scipy_sparse, lambda s: not s.small),
    "jm.root": Contestant(_our_root, lambda s: s.square, ours=True),
    "SciPy root (hybr)": Contestant(_scipy_root, lambda s: s.square and s.small),
    "SciPy root (krylov)": Contestant(_scipy_krylov, lambda s: s.square and not s.small),
}  # fmt: skip
