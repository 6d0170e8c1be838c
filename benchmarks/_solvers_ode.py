"""The Brusselator on a line, stiff: SciPy's BDF and diffrax' Kvaerno5, with our Jacobian and left to themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from _table import Row, Tick
from _timing import medians
from scipy.integrate import solve_ivp

import jacmap as jm

RATE = 0.02
FEW, MANY = 250, 1000  # points; two unknowns each
TOLERANCES = {"rtol": 1e-5, "atol": 1e-8}
END = 10.0


def brusselator(t: Any, y: jax.Array) -> jax.Array:
    """u and v interleaved, diffusion 1/50 (Hairer, Wanner, Solving Ordinary Differential Equations II, IV.10)."""
    u, v = y[0::2], y[1::2]
    spread = RATE * (len(u) + 1) ** 2

    def second(w: jax.Array, edge: float) -> jax.Array:
        w = jnp.pad(w, 1, constant_values=edge)
        return spread * (w[2:] - 2 * w[1:-1] + w[:-2])

    return jnp.stack([1 + u**2 * v - 4 * u + second(u, 1.0), 3 * u - u**2 * v + second(v, 3.0)], 1).ravel()


def rows(quick: bool, tick: Tick) -> Iterator[Row]:
    """Both, each with its dense way beside ours."""
    with jax.enable_x64(True):
        yield from by_scipy(quick, tick)
        yield from by_diffrax(quick, tick)


def start(points: int) -> np.ndarray:
    """The initial values of the book."""
    x = np.arange(1, points + 1) / (points + 1)
    return np.stack([1 + np.sin(2 * np.pi * x), np.full(points, 3.0)], 1).ravel()


def by_diffrax(quick: bool, tick: Tick) -> Iterator[Row]:
    """Kvaerno5 with VeryChord, compiled: the dense LU it takes by itself, and the banded one of `linear_solver()`."""
    import diffrax
    import equinox

    points = FEW // 10 if quick else FEW // 2
    y = jnp.asarray(start(points))
    case = f"Brusselator, {2 * points} unknowns, diffrax Kvaerno5"

    @equinox.filter_jit
    def solve(y: Any, linear: dict[str, Any]) -> Any:
        finder = diffrax.VeryChord(rtol=1e-5, atol=1e-8, **linear)
        control = diffrax.PIDController(**TOLERANCES)
        term, method = diffrax.ODETerm(lambda t, y, args: brusselator(t, y)), diffrax.Kvaerno5(root_finder=finder)
        return diffrax.diffeqsolve(term, method, 0.0, END, 1e-3, y, stepsize_controller=control)

    banded = {"linear_solver": jm.ode_jacobian(brusselator, 0.0, y).linear_solver()}
    hints: dict[str, dict[str, Any]] = {"banded by jacmap": banded, "by itself": {}}
    ends = {}

    def run(name: str) -> Callable[[], Any]:
        def go() -> Any:
            tick(f"{case}: {name}")
            ends[name] = solve(y, hints[name]).ys
            return ends[name]

        return go

    seconds = medians({name: run(name) for name in hints}, 3 if quick else 1)
    for name, taken in seconds.items():
        yield Row(f"{case}: {name}", taken, "s")
    apart = float(jnp.abs(ends["by itself"] - ends["banded by jacmap"]).max())
    yield Row(f"{case}: the two ends apart", apart, "", 1e-6, at_most=True)
    yield Row(f"{case}: faster than by itself", seconds["by itself"] / seconds["banded by jacmap"], "×", 1.0)


def by_scipy(quick: bool, tick: Tick) -> Iterator[Row]:
    """One compiled f for all; our planning and compiling are told apart. "by itself" is SciPy without any hint."""
    points = FEW if quick else MANY
    y = start(points)
    f = jax.jit(brusselator)
    case = f"Brusselator, {2 * points} unknowns, BDF"
    tick(f"{case}: planning")
    begin = perf_counter()
    J = jm.ode_jacobian(brusselator, 0.0, y)
    J(0.0, y)
    yield Row(f"{case}: our planning and compiling", perf_counter() - begin, "s")
    hints: dict[str, dict[str, Any]] = {"jacmap": {"jac": J}, "pattern alone": {"jac_sparsity": J.sparsity}}
    if quick:
        hints["by itself"] = {}
    found = {}

    def run(name: str, hint: dict[str, Any]) -> Callable[[], None]:
        def solve() -> None:
            tick(f"{case}: {name}")
            with np.errstate(invalid="ignore"):  # BDF subtracts an array that it has not filled yet
                found[name] = solve_ivp(lambda t, y: np.asarray(f(t, y)), (0, END), y, "BDF", **hint, **TOLERANCES)

        return solve

    seconds = medians({name: run(name, hint) for name, hint in hints.items()}, 3)
    if not quick:  # minutes: once
        begin = perf_counter()
        run("by itself", {})()
        seconds["by itself"] = perf_counter() - begin
    for name, taken in seconds.items():
        yield Row(f"{case}: {name}", taken, "s")
        yield Row(f"{case}: {name}, evaluations of f", found[name].nfev, "calls")
        yield Row(f"{case}: {name}, Jacobians and factorisations", found[name].njev + found[name].nlu, "")
    apart = np.abs(found["jacmap"].y[:, -1] - found["by itself"].y[:, -1]).max()
    yield Row(f"{case}: the two ends apart", float(apart), "", 1e-3, at_most=True)
    yield Row(f"{case}: faster than by itself", seconds["by itself"] / seconds["jacmap"], "×", 1.0)
    yield Row(f"{case}: faster than with the pattern alone", seconds["pattern alone"] / seconds["jacmap"], "×")
