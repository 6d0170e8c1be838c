"""Implicit layers: gradients against closed forms and differences, the bound on truncated solves, time by unrolling."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from _table import Row, Tick
from _timing import medians
from sklearn.datasets import load_diabetes

import jacmap as jm

Array = jax.Array


def rows(quick: bool, tick: Tick) -> Iterator[Row]:
    with jax.enable_x64(True), warnings.catch_warnings():
        warnings.simplefilter("ignore", jm.InaccurateGradientWarning)
        tick("implicit gradients")
        yield from converged()
        yield from truncated(quick, tick)
        yield from times(quick, tick)


# -- the problems --------------------------------------------------------------------------------------------------
FOUND = load_diabetes()
X = (FOUND.data - FOUND.data.mean(0)) / FOUND.data.std(0) / np.sqrt(len(FOUND.data))
Y = (FOUND.target - FOUND.target.mean()) / FOUND.target.std() / np.sqrt(len(FOUND.target))
RATE = float(1 / np.linalg.norm(X, 2) ** 2)


def ridge(w: Array, penalty: Array) -> Array:
    """Regression of scikit-learn's diabetes data (442 patients, 10 measurements)."""
    return jnp.sum((X @ w - Y) ** 2) / 2 + penalty * jnp.sum(w**2) / 2


def soft(w: Array, threshold: Array) -> Array:
    return jnp.sign(w) * jnp.maximum(jnp.abs(w) - threshold, 0)


def lasso(w: Array, penalty: Array) -> Array:
    """A step of proximal gradient descent, whose fixed point is the lasso's solution."""
    return soft(w - RATE * (X.T @ (X @ w - Y)), RATE * penalty)


def cell(z: Array, p: dict[str, Array]) -> Array:
    """A deep-equilibrium layer: z = tanh(W z + U x + b)."""
    return jnp.tanh(p["w"] @ z + p["u"] + p["b"])


def cell_parameters(seed: int, n: int, gain: float = 0.7) -> dict[str, Array]:
    draw = np.random.default_rng(seed)
    w = draw.standard_normal((n, n))
    return {
        "w": jnp.asarray(gain * w / np.linalg.norm(w, 2)),
        "u": jnp.asarray(draw.standard_normal(n)),
        "b": jnp.asarray(draw.standard_normal(n)),
    }


def kkt(s: dict[str, Array], p: dict[str, Array]) -> tuple[Array, Array, Array]:
    """min ½xᵀQx + qᵀx where A x = b and G x ≤ h; complementarity by Fischer and Burmeister's function."""
    slack = p["h"] - p["G"] @ s["x"]
    return (
        p["Q"] @ s["x"] + p["q"] + p["A"].T @ s["y"] + p["G"].T @ s["z"],
        p["A"] @ s["x"] - p["b"],
        s["z"] + slack - jnp.sqrt(s["z"] ** 2 + slack**2),
    )


def programme(seed: int, n: int = 10, equal: int = 3, below: int = 8) -> tuple[dict[str, Array], dict[str, Array]]:
    """A random strictly convex quadratic programme with a feasible point, and where to start."""
    draw = np.random.default_rng(seed)
    half, G, A, inside = (draw.standard_normal(s) for s in ((n, n), (below, n), (equal, n), (n,)))
    p = {"Q": half @ half.T / n + np.eye(n), "q": draw.standard_normal(n), "A": A, "b": A @ inside,
         "G": G, "h": G @ inside + draw.random(below)}  # fmt: skip
    start = {"x": jnp.zeros(n), "y": jnp.zeros(equal), "z": jnp.ones(below)}
    return start, {name: jnp.asarray(value) for name, value in p.items()}


# -- at convergence ------------------------------------------------------------------------------------------------
def converged() -> Iterator[Row]:
    penalty = jnp.asarray(0.05)
    closed = jax.jacfwd(lambda c: jnp.linalg.solve(X.T @ X + c * jnp.eye(10), X.T @ Y))(penalty)
    ours = jax.jacrev(lambda c: jm.implicit.argmin(ridge, jnp.zeros(10), c).value)(penalty)
    yield Row("gradient of ridge regression by its penalty, off the closed form", _off(ours, closed), "relative",
              1e-8, True)  # fmt: skip
    w = jm.implicit.fixed_point(lasso, jnp.zeros(10), penalty, max_steps=20_000).value
    active = np.flatnonzero(np.asarray(w))
    closed = jnp.zeros(10).at[active].set(-jnp.linalg.solve(X[:, active].T @ X[:, active], jnp.sign(w[active])))
    ours = jax.jacrev(lambda c: jm.implicit.fixed_point(lasso, jnp.zeros(10), c, max_steps=20_000).value)(penalty)
    yield Row(f"the same of the lasso ({active.size} of 10 active)", _off(ours, closed), "relative", 1e-8, True)

    p = cell_parameters(0, 50)

    def deep(p: Any) -> Array:
        return jnp.sum(jnp.sin(jm.implicit.fixed_point(cell, jnp.zeros(50), p).value))

    ours = jax.jit(jax.grad(deep))(p)
    unrolled = jax.jit(jax.grad(lambda p: jnp.sum(jnp.sin(unroll(p, 50, 300)))))(p)
    off = max(_off(ours[name], unrolled[name]) for name in p)
    yield Row("gradient of a deep-equilibrium layer, 50 units, off 300 unrolled steps", off, "relative", 1e-8, True)
    step = 1e-4
    along = cell_parameters(1, 50)
    shifted = [deep(jax.tree.map(lambda a, b, k=k: a + k * step * b, p, along)) for k in (1, -1, 2, -2)]
    difference = (8 * (shifted[0] - shifted[1]) - (shifted[2] - shifted[3])) / (12 * step)
    slope = sum(jnp.vdot(ours[name], along[name]) for name in p)
    yield Row("the same along a direction, off differences of fourth order", _off(slope, difference), "relative",
              1e-8, True)  # fmt: skip
    yield from quadratic()


def quadratic() -> Iterator[Row]:
    """The KKT system of the active constraints is linear: its solution is differentiated as the closed form."""
    worst, failed = 0.0, 0
    for seed in range(20):
        start, p = programme(seed)
        found = jm.implicit.root(kkt, start, p)
        failed += not bool(found.converged)
        tight = np.flatnonzero(np.asarray(found.value["z"]) > 1e-6)

        def closed(q: Array, p: Any = p, tight: Any = tight) -> Array:
            rows = jnp.concatenate([p["A"], p["G"][tight]])
            zero = jnp.zeros((len(rows), len(rows)))
            whole = jnp.block([[p["Q"], rows.T], [rows, zero]])
            return jnp.linalg.solve(whole, jnp.concatenate([-q, p["b"], p["h"][tight]]))[:10]

        ours = jax.jacrev(lambda q, p=p, start=start: jm.implicit.root(kkt, start, {**p, "q": q}).value["x"])(p["q"])
        worst = max(worst, _off(ours, jax.jacfwd(closed)(p["q"])))
    yield Row("gradient of 20 quadratic programmes (10 unknowns, 3 =, 8 ≤), the worst off its closed form", worst,
              "relative", 1e-8, True)  # fmt: skip
    yield Row("the same, programmes not solved", failed, "of 20", 0, True)


def unroll(p: Any, n: int, steps: int) -> Array:
    return jax.lax.scan(lambda z, _: (cell(z, p), None), jnp.zeros(n), None, length=steps)[0]


def _off(ours: Array, theirs: Array) -> float:
    return float(jnp.linalg.norm(ours - theirs) / jnp.linalg.norm(theirs))


# -- truncated solves ----------------------------------------------------------------------------------------------
def truncated(quick: bool, tick: Tick) -> Iterator[Row]:
    """Is the true error of dx/dθ (Frobenius, dense) within the bound? Solves stopped after a random few steps."""
    each = 25 if quick else 250
    inside, claimed, ratios = 0, 0, []
    families: dict[str, Callable[[int, int], tuple[Any, Array, Array]]] = {
        "ridge": _ridge_case, "lasso": _lasso_case, "deep equilibrium": _deep_case, "quadratic programme": _kkt_case
    }  # fmt: skip
    for name, case in families.items():
        tick(f"1,000 truncated solves: {name}")
        held = 0
        for seed in range(each):
            solution, truncated_slope, true_slope = case(seed, seed % (3 if quick else 10) + 2 * quick)
            error = float(jnp.linalg.norm(truncated_slope - true_slope))
            found = float(solution.gradient_error)
            held += error <= found
            if np.isfinite(found):
                claimed += 1
                ratios.append(found / max(error, 1e-300))
        inside += held
        yield Row(f"truncated solves whose gradient is within its bound: {name}", held / each, f"of {each}")
    yield Row("the same, all", inside / (4 * each), f"of {4 * each}", 0.99)
    yield Row("the same, a bound was claimed (elsewhere: infinity)", claimed / (4 * each), f"of {4 * each}")
    yield Row("the same, bound over true error, median where claimed", float(np.median(ratios)), "×")


def _slope(layer: Callable[..., Any], f: Any, start: Any, theta: Array, pick: Any, **options: Any) -> Any:
    """(solution, dense dx/dθ by the truncated solve)."""
    key = (layer, f, pick, options.get("max_steps"))
    if key not in _COMPILED:

        def run(start: Any, theta: Array, data: Any) -> Any:
            solution = layer(f, start, theta, data, accept=jnp.inf, **options)
            return solution, jax.jacrev(
                lambda theta: pick(layer(f, start, theta, data, accept=jnp.inf, **options).value)
            )(theta)

        _COMPILED[key] = jax.jit(run)
    return _COMPILED[key]


_COMPILED: dict[Any, Any] = {}


def _vector(value: Any) -> Array:
    return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(value)])


def _ridge_data(w: Array, theta: Array, data: Any) -> Array:
    """Ten penalties, one for each weight."""
    return jnp.sum((data["X"] @ w - data["y"]) ** 2) / 2 + jnp.sum(theta**2 * w**2) / 2


def _sample(seed: int) -> dict[str, Array]:
    chosen = np.random.default_rng(seed).choice(442, 100)
    return {"X": jnp.asarray(X[chosen] * 2), "y": jnp.asarray(Y[chosen] * 2)}


def _ridge_case(seed: int, kind: int) -> Any:
    data, theta = _sample(seed), jnp.asarray(np.random.default_rng(seed).random(10) + 0.3)

    def closed(theta: Array) -> Array:
        return jnp.linalg.solve(data["X"].T @ data["X"] + jnp.diag(theta**2), data["X"].T @ data["y"])

    run = _slope(jm.implicit.argmin, _ridge_data, None, theta, _vector, solver=DESCENT, max_steps=2 + 2 * kind)
    return *run(jnp.zeros(10), theta, data), jax.jacfwd(closed)(theta)


DESCENT = optx.GradientDescent(learning_rate=0.3, rtol=1e-12, atol=1e-12)


def _lasso_step(w: Array, theta: Array, data: Any) -> Array:
    rate = 1 / jnp.linalg.norm(data["X"]) ** 2
    return soft(w - rate * (data["X"].T @ (data["X"] @ w - data["y"])), rate * jnp.abs(theta))


def _lasso_case(seed: int, kind: int) -> Any:
    data, theta = _sample(seed), jnp.asarray(0.1 * np.random.default_rng(seed).random(10) + 0.02)
    long = _slope(jm.implicit.fixed_point, _lasso_step, None, theta, _vector, max_steps=50_000, tolerance=1e-15)
    short = _slope(jm.implicit.fixed_point, _lasso_step, None, theta, _vector, max_steps=2 ** (2 + kind))
    return *short(jnp.zeros(10), theta, data), long(jnp.zeros(10), theta, data)[1]


def _deep_step(z: Array, theta: Array, data: Any) -> Array:
    return jnp.tanh(data["w"] @ z + theta)


def _deep_case(seed: int, kind: int) -> Any:
    data = cell_parameters(seed, 20, 0.9)
    theta = data.pop("u")
    long = _slope(jm.implicit.fixed_point, _deep_step, None, theta, _vector, max_steps=1000, tolerance=1e-15)
    short = _slope(jm.implicit.fixed_point, _deep_step, None, theta, _vector, max_steps=1 + 2 * kind)
    return *short(jnp.zeros(20), theta, data), long(jnp.zeros(20), theta, data)[1]


def _kkt_theta(s: Any, theta: Array, data: Any) -> Any:
    return kkt(s, {**data, "q": theta})


def _kkt_case(seed: int, kind: int) -> Any:
    start, data = programme(seed)
    theta = data.pop("q")
    long = _slope(jm.implicit.root, _kkt_theta, None, theta, _vector)
    short = _slope(jm.implicit.root, _kkt_theta, None, theta, _vector, max_steps=1 + kind)
    return *short(start, theta, data), long(start, theta, data)[1]


# -- time ----------------------------------------------------------------------------------------------------------
def times(quick: bool, tick: Tick) -> Iterator[Row]:
    """A gradient of a deep-equilibrium layer that contracts fast, and of one that does slowly; to the same accuracy."""
    n = 100
    fast = cell_parameters(0, n, 0.9)
    w = fast["w"] + fast["w"].T
    slow = {"w": 0.99 * w / jnp.linalg.norm(w, 2), "u": fast["u"] / 30, "b": fast["b"] / 30}
    for p in (fast, slow):
        steps = int(jm.implicit.fixed_point(cell, jnp.zeros(n), p, max_steps=10_000).steps)
        name = f"gradient of a deep-equilibrium layer, {n} units, {steps} steps"
        tick(name)
        found = medians(
            {key: (lambda run=run, p=p: run(p)) for key, run in _runs(n, steps).items()}, 5 if quick else 20
        )
        for peer in ("unrolled", "optimistix"):
            yield Row(f"{name}: time of {peer} over ours", found[peer] / found["ours"], "×")
            yield Row(f"{name}: the same, without our bound (accept=inf)", found[peer] / found["no bound"], "×")


def _runs(n: int, steps: int) -> dict[str, Callable[[Any], Any]]:
    def ours(p: Any, accept: float = 1e-2) -> Array:
        return jnp.sum(jm.implicit.fixed_point(cell, jnp.zeros(n), p, max_steps=10_000, accept=accept).value)

    def by_optimistix(p: Any) -> Array:
        iteration: Any = optx.FixedPointIteration(2e-12, 2e-12)
        return jnp.sum(optx.fixed_point(cell, iteration, jnp.zeros(n), p, max_steps=10_000).value)

    return {
        "ours": jax.jit(jax.grad(ours)),
        "no bound": jax.jit(jax.grad(lambda p: ours(p, float("inf")))),
        "unrolled": jax.jit(jax.grad(lambda p: jnp.sum(unroll(p, n, steps)))),
        "optimistix": jax.jit(jax.grad(by_optimistix)),
    }
