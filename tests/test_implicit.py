"""Implicit layers against closed forms, unrolled solvers and finite differences."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest
from scipy.linalg import solve_banded

import jacmap as jm
from jacmap.implicit import argmin, fixed_point, root


def cubic(x, a):
    return x**3 + x - a


def cubic_slope(x):
    return 1 / (3 * x**2 + 1)


A = jnp.linspace(1.0, 3.0, 5)


# --- derivatives ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("mode", [jax.jacfwd, jax.jacrev])
def test_a_root_has_the_derivative_of_its_closed_form(mode):
    found = root(cubic, jnp.ones(5), A)
    assert bool(found.converged) and float(jnp.abs(cubic(found.value, A)).max()) < 1e-14
    J = mode(lambda a: root(cubic, jnp.ones(5), a).value)(A)
    np.testing.assert_allclose(J, jnp.diag(cubic_slope(found.value)), atol=1e-14)


def test_second_and_third_derivatives():
    def layer(a):
        return root(cubic, jnp.array([1.0]), a[None]).value[0]

    a = jnp.array(2.0)  # x = 1
    x, p = 1.0, 1 / 4
    second = -6 * x * p**3
    third = -6 * p**4 - 18 * x * p**2 * second
    assert float(jax.grad(jax.grad(layer))(a)) == pytest.approx(second, rel=1e-13)
    assert float(jax.jacfwd(jax.jacrev(layer))(a)) == pytest.approx(second, rel=1e-13)
    assert float(jax.grad(jax.grad(jax.grad(layer)))(a)) == pytest.approx(third, rel=1e-12)


def test_under_jit_and_vmap_and_by_what_f_closes_over():
    def total(a):
        return root(cubic, jnp.ones(5), a).value.sum()

    def closed(a):
        return root(lambda x: x**3 + x - a, jnp.ones(5)).value.sum()

    batch = jnp.stack([A, A + 1, A**2])
    truth = cubic_slope(root(cubic, jnp.ones((3, 5)), batch).value)
    np.testing.assert_allclose(jax.jit(jax.vmap(jax.grad(total)))(batch), truth, rtol=1e-13)
    np.testing.assert_allclose(jax.grad(closed)(A), truth[0], rtol=1e-13)
    np.testing.assert_allclose(jax.jit(jax.grad(closed))(A), truth[0], rtol=1e-13)
    solutions = jax.vmap(lambda a: root(cubic, jnp.ones(5), a))(batch)
    assert solutions.gradient_error.shape == (3,) and solutions.value.shape == (3, 5)


def test_trees_and_integers_among_the_arguments():
    def f(x, p, k):
        return {"u": x["u"] ** 2 - p["a"][k], "v": x["v"] * x["u"] - p["b"]}

    start = {"u": jnp.ones(()), "v": jnp.ones(2)}
    p = {"a": jnp.array([4.0, 9.0]), "b": jnp.array([2.0, 6.0])}
    found = root(f, start, p, 1)
    np.testing.assert_allclose(found.value["v"], [2 / 3, 2.0], rtol=1e-14)
    slopes = jax.grad(lambda p: root(f, start, p, 1).value["v"].sum())(p)
    np.testing.assert_allclose(slopes["a"], [0, -8 / 2 / 27], atol=1e-14)  # v = b / √a
    np.testing.assert_allclose(slopes["b"], [1 / 3, 1 / 3], rtol=1e-13)


def dense(x, a):
    mixing = jnp.sin(jnp.arange(36.0).reshape(6, 6)) / 4
    return x + jnp.tanh(mixing @ x) - a


def triangular(x, a):
    return 2 * x + jnp.cumsum(jnp.sin(x)) / 3 - a


def tridiagonal(x, a):
    return 3 * x + 0.3 * x**3 - jnp.pad(x[1:], (0, 1)) - jnp.pad(x[:-1], (1, 0)) - a


def blocks(x, a):
    pairs = x.reshape(-1, 2)
    return (pairs @ jnp.array([[2.0, 1.0], [-1.0, 2.0]]) + pairs**3 / 5).ravel() - a


@pytest.mark.parametrize("f", [cubic, dense, triangular, tridiagonal, blocks])
def test_every_structure_forward_reverse_and_twice(f):
    a = jnp.linspace(0.5, 1.5, 6)
    x = root(f, jnp.zeros(6), a).value

    def layer(a):
        return root(f, jnp.zeros(6), a).value

    truth = -jnp.linalg.solve(jax.jacrev(f)(x, a), jax.jacrev(f, 1)(x, a))
    np.testing.assert_allclose(jax.jit(jax.jacfwd(layer))(a), truth, atol=1e-13)
    np.testing.assert_allclose(jax.jit(jax.jacrev(layer))(a), truth, atol=1e-13)
    second = jax.jit(jax.hessian(lambda a: jnp.sum(jnp.sin(layer(a)))))(a)
    step = 1e-5
    gradient = jax.jit(jax.grad(lambda a: jnp.sum(jnp.sin(layer(a)))))
    differences = jnp.stack([(gradient(a + step * e) - gradient(a - step * e)) / (2 * step) for e in jnp.eye(6)])
    np.testing.assert_allclose(second, differences, atol=1e-8)


def test_a_large_tridiagonal_system_is_never_a_matrix():
    n = 20_000  # dense: 3.2 GB
    a = jnp.linspace(0.5, 1.5, n)
    gradient = jax.jit(jax.grad(lambda a: root(tridiagonal, jnp.zeros(n), a).value.sum()))(a)
    x = root(tridiagonal, jnp.zeros(n), a).value
    band = np.stack([np.full(n, -1.0), 3 + 0.9 * np.asarray(x) ** 2, np.full(n, -1.0)])
    np.testing.assert_allclose(gradient, solve_banded((1, 1), band, np.ones(n)), rtol=1e-11)  # J is symmetric


def test_large_dense_systems_go_by_products(monkeypatch):
    monkeypatch.setattr("jacmap.implicit._system.DENSE", 10)
    mixing = jax.random.normal(jax.random.key(0), (60, 60)) / 20
    mixing_symmetric = mixing + mixing.T

    def coupled(x, a):
        return x + jnp.tanh(mixing @ x) - a

    def energy(x, a):
        return jnp.sum(x**2 + jnp.cosh(mixing_symmetric @ x)) - x @ a

    a = jnp.linspace(0.5, 1.5, 60)
    for layer, equations, finder in ((root, coupled, coupled), (argmin, jax.grad(energy), energy)):
        x = layer(finder, jnp.zeros(60), a).value
        gradient = jax.jit(jax.grad(lambda a, layer=layer, f=finder: layer(f, jnp.zeros(60), a).value.sum()))(a)
        truth = -jax.jacrev(equations, 1)(x, a).T @ jnp.linalg.solve(jax.jacrev(equations)(x, a).T, jnp.ones(60))
        np.testing.assert_allclose(gradient, truth, rtol=1e-9)


def test_a_fixed_point_equals_its_unrolled_iteration():
    weights = 0.5 * jax.random.normal(jax.random.key(0), (20, 20)) / jnp.sqrt(20.0)

    def cell(z, p):
        return jnp.tanh(p["w"] @ z + p["b"])

    p = {"w": weights, "b": jnp.linspace(-1.0, 1.0, 20)}

    def unrolled(p):
        return jax.lax.fori_loop(0, 200, lambda _, z: cell(z, p), jnp.zeros(20)).sum()

    ours = jax.grad(lambda p: fixed_point(cell, jnp.zeros(20), p).value.sum())(p)
    theirs = jax.grad(unrolled)(p)
    for name in p:
        np.testing.assert_allclose(ours[name], theirs[name], atol=1e-11)
    newton = fixed_point(cell, jnp.zeros(20), p, solver=optx.Newton(1e-12, 1e-12))
    assert bool(newton.converged) and int(newton.steps) < 10


def test_ridge_regression_against_its_closed_form():
    draw = np.random.default_rng(0)
    X, y = jnp.asarray(draw.standard_normal((30, 6))), jnp.asarray(draw.standard_normal(30))

    def loss(w, penalty):
        return jnp.sum((X @ w - y) ** 2) + penalty * jnp.sum(w**2)

    def closed(penalty):
        return jnp.linalg.solve(X.T @ X + penalty * jnp.eye(6), X.T @ y)

    found = argmin(loss, jnp.zeros(6), 0.7)
    np.testing.assert_allclose(found.value, closed(0.7), atol=1e-13)
    ours = jax.jacrev(lambda c: argmin(loss, jnp.zeros(6), c).value)(0.7)
    np.testing.assert_allclose(ours, jax.jacfwd(closed)(0.7), atol=1e-13)


def test_modules_and_solvers_that_hold_arrays():
    class Cell(eqx.Module):
        w: jax.Array

        def __call__(self, z, a):
            return jnp.tanh(self.w @ z + a)

    w = jnp.eye(3) / 2
    a = jnp.array([0.1, 0.2, 0.3])
    descent = optx.GradientDescent(learning_rate=0.3, rtol=1e-13, atol=1e-13)
    z = fixed_point(Cell(w), jnp.zeros(3), a).value
    slope = 1 - z**2
    ours = jax.grad(lambda cell: fixed_point(cell, jnp.zeros(3), a).value.sum())(Cell(w))
    np.testing.assert_allclose(ours.w, jnp.outer(slope / (1 - slope / 2), z), rtol=1e-10)
    least = argmin(lambda x, a: jnp.sum((x - a) ** 2), jnp.zeros(3), a, solver=descent)
    np.testing.assert_allclose(least.value, a, atol=1e-12)


def test_float32():
    found = root(cubic, jnp.ones(5, jnp.float32), A.astype(jnp.float32))
    assert found.value.dtype == jnp.float32 and bool(found.converged)
    slope = jax.grad(lambda a: root(cubic, jnp.ones(5, jnp.float32), a).value.sum())(A.astype(jnp.float32))
    np.testing.assert_allclose(slope, cubic_slope(root(cubic, jnp.ones(5), A).value), rtol=1e-5)


# --- the arguments ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: root(3, jnp.ones(2)), "f: got int"),
        (lambda: root(lambda x: x[:1], jnp.ones(2)), "expected 2 equations"),
        (lambda: root(lambda x: x, jnp.ones(2, int)), "x0: got int64"),
        (lambda: root(lambda x: x, jnp.ones(2, complex)), "x0: got complex128"),
        (lambda: root(lambda x, a: x, jnp.ones(2), "no"), "args: got str"),
        (lambda: fixed_point(lambda x: x[None], jnp.ones(2)), "expected the shapes of x0"),
        (lambda: argmin(lambda x: x, jnp.ones(2)), "expected one number"),
        (lambda: root(lambda x: x, jnp.ones(2), max_steps=0), "max_steps: got 0"),
        (lambda: root(lambda x: x, jnp.ones(2), accept=-1.0), "accept"),
        (lambda: root(lambda x: x.astype(jnp.float32), jnp.ones(2)), "expected float64"),
    ],
)
def test_what_does_not_fit_is_told(call, said):
    with pytest.raises(jm.ArgumentError, match=said.replace("[", r"\[")):
        call()
