"""Black boxes: 20 analytic maps against their exact Jacobians and against `jacobi`, and a large banded one.

Each map is written once for NumPy and jax.numpy; the truth is `jax.jacfwd` of the latter in double precision. Errors
are those of an entry over the largest entry of its row. A map's figure is its worst entry, at least one rounding.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from _table import Row, named

import jacmap as jm

EPS = float(np.finfo(float).eps)


@dataclass(frozen=True)
class Map:
    """`f(xp, x)` in the operations of either library; `at` the point."""

    f: Callable[[Any, Any], Any]
    at: tuple[float, ...]

    def numpy(self, x: np.ndarray) -> np.ndarray:
        return self.f(np, x)

    def real(self, x: np.ndarray) -> np.ndarray:
        """The same without the complex step's way in."""
        return self.f(np, np.asarray(x, float))

    @property
    def truth(self) -> np.ndarray:
        with jax.enable_x64(True):
            return np.asarray(jax.jacfwd(lambda x: self.f(jnp, x))(jnp.asarray(self.at, float)))


def _softmax(xp: Any, x: Any) -> Any:
    e = xp.exp(x - 1.0)
    return e / xp.sum(e)


_W = np.cos(np.arange(40.0)).reshape(5, 8)


def _lorenz(xp: Any, x: Any) -> Any:
    """Forty Runge-Kutta steps of Lorenz's equations: an attractor that stretches what is close."""

    def rate(s: Any) -> Any:
        return xp.stack([10 * (s[1] - s[0]), s[0] * (28 - s[2]) - s[1], s[0] * s[1] - 8 / 3 * s[2]])

    h = 0.02
    for _ in range(40):
        a = rate(x)
        b = rate(x + h / 2 * a)
        c = rate(x + h / 2 * b)
        x = x + h / 6 * (a + 2 * b + 2 * c + rate(x + h * c))
    return x


def _arrhenius(xp: Any, x: Any) -> Any:
    """Rate constants of two reactions at a temperature (K), with activation energies (J/mol)."""
    t, e1, e2 = x
    return xp.stack([1e13 * xp.exp(-e1 / (8.314 * t)), 1e9 * xp.exp(-e2 / (8.314 * t))])


def _gravity(xp: Any, x: Any) -> Any:
    """The Earth's pull on a satellite, in SI units."""
    r = xp.sqrt(xp.sum(x * x))
    return -3.986004418e14 * x / r**3


MAPS: dict[str, Map] = {
    "complex square": Map(lambda xp, x: xp.stack([x[0] ** 2 - x[1] ** 2, 2 * x[0] * x[1]]), (1.5, 0.5)),
    "polar": Map(lambda xp, x: x[0] * xp.stack([xp.cos(x[1]), xp.sin(x[1])]), (2.0, 0.7)),
    "spherical": Map(
        lambda xp, x: x[0]
        * xp.stack([xp.sin(x[1]) * xp.cos(x[2]), xp.sin(x[1]) * xp.sin(x[2]), xp.cos(x[1])]),
        (2.0, 0.5, 1.0),
    ),
    "softmax": Map(_softmax, (0.3, -1.2, 2.0, 0.1, -0.5, 0.9)),
    "tanh layer": Map(lambda xp, x: xp.tanh(_W @ x), tuple(np.linspace(-1, 1, 8).tolist())),
    "Rosenbrock's residuals": Map(lambda xp, x: xp.stack([10 * (x[1] - x[0] ** 2), 1 - x[0]]), (-1.2, 1.0)),
    "Powell, badly scaled": Map(
        lambda xp, x: xp.stack([1e4 * x[0] * x[1] - 1, xp.exp(-x[0]) + xp.exp(-x[1]) - 1.0001]), (1.1e-5, 9.1)
    ),
    "Brown, badly scaled": Map(
        lambda xp, x: xp.stack([x[0] - 1e6, x[1] - 2e-6, x[0] * x[1] - 2]), (1.1e6, 2.3e-6)
    ),
    "Arrhenius": Map(_arrhenius, (600.0, 1.2e5, 0.7e5)),
    "gravity in SI units": Map(_gravity, (4.1e6, -3.3e6, 4.2e6)),
    "Runge": Map(lambda xp, x: 1 / (1 + 25 * x**2), (-0.8, 0.1, 0.3)),
    "log-sum-exp": Map(lambda xp, x: xp.log(xp.sum(xp.exp(x)))[None], (1.0, -3.0, 0.5, 2.0)),
    "Hill kinetics at 1e-9": Map(
        lambda xp, x: xp.stack([x[0] ** 2 / (4e-18 + x[0] ** 2), x[1] * x[0] / (3e-9 + x[0])]), (1.7e-9, 5e-3)
    ),
    "exp(50x)": Map(lambda xp, x: xp.exp(50 * x), (1.3, -0.4)),
    "tanh(10⁴x)": Map(lambda xp, x: xp.tanh(1e4 * x), (1e-5, 3e-5)),
    "sin(100x)": Map(lambda xp, x: xp.sin(100 * x), (3.0, 0.2, 1.1)),
    "log and sqrt near 0": Map(lambda xp, x: xp.stack([xp.log(x[0]), xp.sqrt(x[1]) * x[0]]), (1e-12, 2e-7)),
    "arcsin near 1": Map(lambda xp, x: xp.arcsin(x), (1 - 1e-6, 0.5)),
    "Lorenz, 40 steps": Map(_lorenz, (1.0, 2.0, 20.0)),
    "sin beside a small input": Map(lambda xp, x: xp.stack([xp.sin(x[0]) + 1, xp.cos(x[0]) * x[1]]), (1e-8, 1.2)),
}


def relative(found: np.ndarray, true: np.ndarray) -> float:
    """The worst error of an entry over the largest entry of its row; one rounding at least."""
    apart = np.abs(found - true) / np.abs(true).max(axis=1, keepdims=True)
    return float(max(np.where(np.isfinite(apart), apart, 1.0).max(), EPS))


@dataclass(frozen=True)
class Outcome:
    """How a map went: ours with its coverage, by differences alone, and `jacobi`'s; calls of f."""

    ours: float
    central: float
    theirs: float
    inside: int
    inside_central: int
    entries: int
    calls: int
    calls_central: int
    calls_theirs: int


def outcome(case: Map) -> Outcome:
    """Measure one map in the three ways."""
    import jacobi

    x, true = np.asarray(case.at), case.truth
    counted = 0

    def f(x: np.ndarray) -> np.ndarray:
        nonlocal counted
        counted += 1
        return case.real(x)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours = jm.linearize(case.numpy, x, differences=jm.Differences(method="auto"))
        central = jm.linearize(case.real, x, differences=jm.Differences(method="central"))
        theirs = np.asarray(jacobi.jacobi(f, x)[0]).reshape(true.shape)

        def inside(J: Any) -> int:
            # The truth is itself rounded: two units in the last place are its own.
            return int((np.abs(J.dense() - true) <= J.error + 2 * EPS * np.abs(true)).sum())

        return Outcome(
            relative(ours.dense(), true), relative(central.dense(), true), relative(theirs, true),
            inside(ours), inside(central), true.size,
            sum(ours.calls.values()), sum(central.calls.values()), counted,
        )  # fmt: skip


def tridiagonal(x: np.ndarray) -> np.ndarray:
    """A reaction with diffusion, in place as simulators are written."""
    x = np.asarray(x, float)
    y = np.sin(x) * np.exp(-x)
    y[1:] += np.exp(-0.5 * x[:-1]) * x[1:]
    y[:-1] += x[1:] ** 3 / (1 + x[:-1] ** 2)
    return y


def tridiagonal_truth(x: np.ndarray) -> np.ndarray:
    """Its Jacobian by hand: the three diagonals, below, on and above, (3, n)."""
    found = np.zeros((3, x.size))
    found[1] = (np.cos(x) - np.sin(x)) * np.exp(-x)
    found[1, 1:] += np.exp(-0.5 * x[:-1])
    found[1, :-1] -= x[1:] ** 3 * 2 * x[:-1] / (1 + x[:-1] ** 2) ** 2
    found[0, 1:] = -0.5 * np.exp(-0.5 * x[:-1]) * x[1:]
    found[2, :-1] = 3 * x[1:] ** 2 / (1 + x[:-1] ** 2)
    return found


def rows(quick: bool = False, tick: Callable[[str], None] = lambda what: None) -> list[Row]:
    """The figures of the black boxes, with their floors."""
    outcomes = {}
    for name, case in MAPS.items():
        tick(name)
        outcomes[name] = outcome(case)
    found = list(outcomes.values())
    entries = sum(o.entries for o in found)

    def share(counts: list[int]) -> float:
        return 100 * sum(counts) / entries

    def mean(values: list[float]) -> float:
        return float(np.exp(np.mean(np.log(values))))

    worse = [name for name, o in outcomes.items() if o.ours > 2 * o.theirs]
    worse_central = [name for name, o in outcomes.items() if o.central > 2 * o.theirs]
    tick("tridiagonal")
    x = np.linspace(0.1, 2.0, 200 if quick else 2000)
    J = jm.linearize(tridiagonal, x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jm.BlackBoxWarning)
        matrix = J.sparse()
    below, on, above = tridiagonal_truth(x)
    apart = [matrix.diagonal() - on, matrix.diagonal(-1) - below[1:], matrix.diagonal(1) - above[:-1]]
    calls = J.calls
    return [
        Row("20 maps: true error within the estimate", share([o.inside for o in found]), "%", 98),
        Row("the same, central differences alone", share([o.inside_central for o in found]), "%", 98),
        Row("20 maps: error over jacobi's (geometric mean)", mean([o.ours / o.theirs for o in found]), "×", 1, True),
        Row("the same, central differences alone", mean([o.central / o.theirs for o in found]), "×", 1, True),
        Row(f"maps where ours is more than 2× jacobi's{named(worse)}", len(worse), "maps"),
        Row(f"the same, central differences alone{named(worse_central)}", len(worse_central), "maps"),
        Row("calls of f, over jacobi's (geometric mean)", mean([o.calls / o.calls_theirs for o in found]), "×"),
        Row("the same, central differences alone", mean([o.calls_central / o.calls_theirs for o in found]), "×"),
        Row(f"tridiagonal black box, n = {x.size}: calls beyond probing", calls["differences"], "calls", 12, True),
        Row("the same, for value, noise, method and probing", sum(calls.values()) - calls["differences"], "calls"),
        Row("the same, largest error", max(float(np.abs(a).max()) for a in apart), "", 1e-7, True),
    ]
