"""Solvers of optimistix through `least_squares` and `root`: the same optimum, an honest status, clear refusals."""

import re

import jax
import jax.numpy as jnp
import jaxlie
import numpy as np
import optimistix as optx
import pytest

import jacmap as jm

T = np.linspace(0.0, 3.0, 40)
Y = 2.5 * np.exp(-1.3 * T) + 0.5 + 0.05 * np.random.default_rng(0).standard_normal(40)
TIGHT = {"rtol": 1e-10, "atol": 1e-10}


def decay(p, t, y):
    return {"fit": p["a"] * jnp.exp(-p["b"][0] * t) + p["b"][1] - y}


START = {"a": jnp.array(2.0), "b": jnp.array([1.0, 0.4])}
SOLVERS = [optx.LevenbergMarquardt, optx.Dogleg, optx.GaussNewton, optx.BFGS]


@pytest.mark.parametrize("solver", SOLVERS)
def test_they_find_our_optimum_and_optimistixs_own(solver) -> None:
    found = jm.least_squares(decay, START, args=(T, Y), method=solver(**TIGHT))
    ours = jm.least_squares(decay, START, args=(T, Y), ftol=1e-14, xtol=1e-14, gtol=1e-12)
    assert found.success and found.status == 4 and "met its rtol and atol" in found.message
    assert found.method == f"optimistix.{solver.__name__}" and found.nfev > 1 and "took the steps" in str(found.plan)
    assert np.allclose(found.x["b"], ours.x["b"], rtol=1e-6) and np.isclose(found.cost, ours.cost, rtol=1e-10)
    assert np.allclose(found.covariance(), ours.covariance(), rtol=1e-4) and found.optimality < 1e-5
    with jax.numpy_dtype_promotion("standard"):
        theirs = optx.least_squares(lambda p, args: decay(p, *args), solver(**TIGHT), START, (T, Y), throw=False)
    assert np.allclose(found.x["b"], theirs.value["b"], rtol=1e-12)


@pytest.mark.parametrize(
    ("f", "x0", "limit", "status", "word"),
    [
        (jnp.log, [-1.0], 50, -2, "not finite at x0 .1 NaN"),
        (lambda x: jnp.stack([10 * (x[1] - x[0] ** 2), 1 - x[0]]), [-1.2, 1.0], 3, 0, "max_nfev = 3 steps"),
        (lambda x: jnp.exp(-x), [1.0], 60, -5, "no minimum in reach"),
        (lambda x: jnp.where(x == 1.0, x, jnp.nan), [1.0], 20, -4, "optimistix.Gauss"),
    ],
)
def test_why_it_stopped(f, x0, limit: int, status: int, word: str) -> None:
    solver = optx.GaussNewton(rtol=1e-1, atol=1e-8)
    found = jm.least_squares(f, np.array(x0), method=solver, max_nfev=limit)
    assert found.status == status and re.search(word, found.message) and found.success == (status > 0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"bounds": (0, 5)}, "bounds: given with method=optimistix.Dogleg"),
        ({"loss": "huber"}, "loss: given with"),
        ({"ftol": 1e-12}, "ftol: given with"),
        ({"x_scale": 2.0}, "x_scale: given with"),
        ({"linear_solver": "dense"}, "linear_solver: given with"),
        ({"method": optx.Newton(**TIGHT)}, "a root finder, expected a least-squares solver; use jacmap.root"),
    ],
)
def test_what_they_cannot_do_is_refused(arguments, said: str) -> None:
    with pytest.raises(jm.ArgumentError, match=said):
        jm.least_squares(decay, START, args=(T, Y), **{"method": optx.Dogleg(**TIGHT), **arguments})


def test_manifolds_and_black_boxes_are_refused() -> None:
    with jax.numpy_dtype_promotion("standard"), pytest.raises(jm.ArgumentError, match="manifold: given with"):
        jm.least_squares(lambda r: r.log(), jaxlie.SO3.from_x_radians(1.0), method=optx.Dogleg(**TIGHT))
    with pytest.raises(jm.ArgumentError, match="Dogleg for a function that JAX cannot read"):
        jm.least_squares(lambda x: np.cos(np.asarray(x)) - x, [1.0], method=optx.Dogleg(**TIGHT))


def circle(p, radius):
    return {"on": p["x"] ** 2 + p["y"] ** 2 - radius**2, "line": p["x"] - p["y"]}


@pytest.mark.parametrize("solver", [optx.Newton, optx.Chord, optx.Dogleg])
def test_roots(solver) -> None:
    start = {"x": jnp.array(1.0), "y": jnp.array(0.8)}
    found = jm.root(circle, start, args=(1.5,), method=solver(**TIGHT))
    assert found.success and found.method == f"optimistix.{solver.__name__}" and found.nfev > 1
    assert np.isclose(found.x["y"], np.sqrt(1.125)) and np.abs(found.jac @ np.ones(2)).max() > 1


@pytest.mark.parametrize(
    ("f", "solver", "limit", "status", "word"),
    [
        (lambda x: x**2 + 1, optx.Newton(**TIGHT), 40, 0, "max_nfev = 40 steps"),
        (lambda x: x**2 - 2, optx.Newton(rtol=0.3, atol=0.3), None, -4, "its rtol and atol are met; give"),
        (lambda x: jnp.log(x) + 5, optx.Newton(**TIGHT), None, -4, "optimistix.Newton says"),
        (lambda x: jnp.log(-x), optx.Newton(**TIGHT), None, -2, "not finite at x0"),
    ],
)
def test_a_root_that_is_none_is_told(f, solver, limit, status: int, word: str) -> None:
    found = jm.root(f, [3.0], method=solver, max_nfev=limit)
    assert found.status == status and not found.success and re.search(word, found.message)
