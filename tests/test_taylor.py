"""Taylor models, Hessian-vector and Gauss-Newton products against closed forms and dense matrices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jacmap as jm

X = jnp.linspace(0.4, 1.1, 6)
V = jnp.cos(3 * X)
W = jnp.asarray(np.random.default_rng(0).standard_normal((6, 4)))


@jax.custom_vjp
def reverse_only(x):
    return jnp.sin(x)


reverse_only.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (g * jnp.cos(x),))


def residuals(x):
    return jnp.sin(x @ W)


def repeated(x):
    return jax.lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1] * jnp.sin(x)), (0, x))[1].sum()


@pytest.mark.parametrize(("order", "expected"), [(1, 2.0), (2, 3.0)])
def test_the_observed_order_is_one_more_than_the_models(order, expected):
    remainder = jm.taylor(residuals, X, order).remainder(0.3 * V)
    assert abs(remainder.order - expected) < 0.1
    assert remainder.error == remainder.errors[0] and "observed order" in str(remainder)


def test_a_model_is_the_truncated_series():
    step = 0.1 * V
    third = jnp.sum(step**3)
    model = jm.taylor(lambda x: jnp.sum(x**3), X, order=2)
    np.testing.assert_allclose(model(step), jnp.sum((X + step) ** 3) - third, rtol=1e-13)
    np.testing.assert_allclose(model.remainder(step).error, abs(third), rtol=1e-9)
    assert abs(model.remainder(step).order - 3) < 1e-3


def test_an_exact_model_has_no_remainder():
    assert jm.taylor(lambda x: x @ W, X).remainder(V).order == np.inf
    assert jm.taylor(lambda x: jnp.sum(x[0] * x), X, order=2).remainder(V).order == np.inf


def test_pytrees_and_reverse_mode_only():
    def f(tree):
        return {"y": reverse_only(tree["a"]) * tree["b"]}

    at = {"a": X[:3], "b": X[3:]}
    step = {"a": V[:3], "b": V[3:]}
    model = jm.taylor(f, at, order=2)
    first, second = jax.jvp(lambda t: jax.jvp(lambda t: jnp.sin(t["a"]) * t["b"], (t,), (step,))[1], (at,), (step,))
    np.testing.assert_allclose(model(step)["y"], f(at)["y"] + first + second / 2, rtol=1e-13)


@pytest.mark.parametrize("f", [lambda x: jnp.sum(residuals(x) ** 3), repeated, lambda x: jnp.sum(reverse_only(x) ** 3)])
def test_hessian_vector_products(f):
    twice = jax.jacfwd(jax.jacfwd(f)) if f is repeated else jax.jacrev(jax.jacrev(f))
    np.testing.assert_allclose(jm.hvp(f, X, V), twice(X) @ V, rtol=1e-12, atol=1e-13)


def test_hessian_vector_products_of_several_arguments():
    def f(a, b):
        return jnp.sum(a["u"] ** 3 * b)

    found = jm.hvp(f, ({"u": X}, V), ({"u": V}, X))
    np.testing.assert_allclose(found[0]["u"], 6 * X * V * V + 3 * X**2 * X, rtol=1e-13)
    np.testing.assert_allclose(found[1], 3 * X**2 * V, rtol=1e-13)
    single = jax.jit(lambda x: jm.hvp(lambda x: jnp.sum(x**3), x, np.ones(6)))(X.astype(jnp.float32))
    assert single.dtype == jnp.float32


@pytest.mark.parametrize("kind", ["none", "diagonal", "matrix", "function"])
def test_gauss_newton(kind):
    diagonal = jnp.arange(1.0, 5.0)
    weight = {"none": None, "diagonal": diagonal, "matrix": jnp.diag(diagonal), "function": lambda u: diagonal * u}[
        kind
    ]
    jacobian = jax.jacfwd(residuals)(X)
    expected = jacobian.T @ ((jnp.eye(4) if weight is None else jnp.diag(diagonal)) @ jacobian)
    operator = jm.gauss_newton(residuals, X, weight=weight)
    assert operator.shape == (6, 6)
    np.testing.assert_allclose(operator @ V, expected @ V, rtol=1e-12)
    np.testing.assert_allclose(operator.T @ jnp.eye(6), expected, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(operator.dense(), expected, rtol=1e-12, atol=1e-13)


def test_bad_input_is_told():
    for call, said in [
        (lambda: jm.hvp(jnp.sum, X, V[:2]), r"v\[0\]: got shape \(2,\), expected \(6,\)"),
        (lambda: jm.hvp(jnp.sum, X, V.astype(complex)), "complex"),
        (lambda: jm.hvp(jnp.sum, jnp.arange(6), V), "floating-point"),
        (lambda: jm.hvp(jnp.sin, X, V), "expected one real number"),
        (lambda: jm.hvp(jnp.sum, (X, V), (V,)), "expected the layout of primals"),
        (lambda: jm.taylor(jnp.sum, X, order=3), "order: got 3, expected 1 or 2"),
        (lambda: jm.taylor(2, X), "expected a function"),
        (lambda: jm.taylor(jnp.sum, X)(V[:2]), "got shape"),
        (lambda: jm.gauss_newton(residuals, X, weight=jnp.ones(3)), r"weight: got shape \(3,\), expected \(4,\)"),
    ]:
        with pytest.raises(jm.ArgumentError, match=said):
            call()
