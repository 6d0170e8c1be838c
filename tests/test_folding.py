"""What the compiled answer computes ahead: the values are JAX's, and the work is gone from the program."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jacmap as jm
from jacmap.engine.backends.jax import folding
from jacmap.engine.backends.jax.folding import folded

RANDOM = np.random.default_rng(3)
WEIGHTS = jnp.asarray(RANDOM.standard_normal((7, 5)))
X = jnp.asarray(RANDOM.standard_normal(5))


def operations(function, *args):
    """Names of the equations of the function, inner calls included."""
    names = []

    def walk(jaxpr):
        for eqn in jaxpr.eqns:
            inner = [p for p in eqn.params.values() if hasattr(p, "jaxpr")]
            names.extend([] if inner else [eqn.primitive.name])
            for p in inner:
                walk(p.jaxpr)

    walk(jax.make_jaxpr(function)(*args).jaxpr)
    return names


def layer(x):
    return jnp.exp(-((WEIGHTS @ x) ** 2))


@pytest.mark.parametrize("mode", [jax.jacfwd, jax.jacrev])
def test_tangents_of_a_first_layer_are_a_constant(mode):
    both = mode(lambda x: WEIGHTS @ layer_of_five(x)) if mode is jax.jacrev else mode(layer)
    ours = lambda x: folded(both, x)  # noqa: E731
    assert operations(ours, X).count("dot_general") == operations(both, X).count("dot_general") - 1
    np.testing.assert_allclose(ours(X), both(X), rtol=1e-14)
    np.testing.assert_allclose(jax.jit(ours)(X), both(X), rtol=1e-14)


def layer_of_five(x):
    return jnp.tanh(x) * x


def test_inside_a_jitted_function_too():
    wrapped = jax.jit(layer)
    ours = lambda x: folded(jax.jacfwd(wrapped), x)  # noqa: E731
    assert operations(ours, X).count("dot_general") == 1
    np.testing.assert_allclose(ours(X), jax.jacfwd(layer)(X), rtol=1e-14)


def test_tables_that_the_function_makes():
    def f(x):
        table = jnp.linalg.inv(WEIGHTS.T @ WEIGHTS)
        return jnp.sin(table @ x)

    ours = lambda x: folded(f, x)  # noqa: E731
    assert operations(ours, X).count("dot_general") == 1 and "lu" not in operations(ours, X)
    np.testing.assert_allclose(ours(X), f(X), rtol=1e-13)


def test_nothing_large_is_kept(monkeypatch):
    monkeypatch.setattr(folding, "LARGEST", 34)
    both = jax.jacfwd(layer)
    ours = lambda x: folded(both, x)  # noqa: E731
    assert operations(ours, X).count("dot_general") == operations(both, X).count("dot_general")
    np.testing.assert_array_equal(ours(X), both(X))


def test_other_arguments_and_values_of_an_outer_transformation_are_not_known():
    def loss(weights):
        return jnp.sum(jm.jacobian(lambda x: jnp.tanh(weights @ x))(X) ** 2)

    def plain(weights):
        return jnp.sum(jax.jacfwd(lambda x: jnp.tanh(weights @ x))(X) ** 2)

    expected = jax.grad(plain)(WEIGHTS)
    for answer in (jax.grad(loss), jax.jit(jax.grad(loss))):
        np.testing.assert_allclose(answer(WEIGHTS), expected, rtol=1e-12, atol=1e-14 * np.abs(expected).max())
    ours = jm.jacobian(lambda x, w: jnp.tanh(w @ x))
    for weights in (WEIGHTS, 2 * WEIGHTS):
        expected = jax.jacfwd(lambda x, w=weights: jnp.tanh(w @ x))(X)
        # 1 - tanh² cancels where tanh is near one: rounding is relative to the largest entry.
        np.testing.assert_allclose(ours(X, weights), expected, rtol=1e-13, atol=1e-14 * np.abs(expected).max())


def test_derivatives_of_the_answer():
    ours, theirs = jm.jacobian(layer), jax.jacfwd(layer)
    np.testing.assert_allclose(jax.jacfwd(ours)(X), jax.jacfwd(theirs)(X), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(jax.jacrev(ours)(X), jax.jacfwd(theirs)(X), rtol=1e-12, atol=1e-14)
    points = jnp.stack([X, 2 * X])
    np.testing.assert_allclose(jax.vmap(ours)(points), jax.vmap(theirs)(points), rtol=1e-13)


def test_random_keys_pytrees_and_several_outputs():
    def f(p):
        noise = jax.random.normal(jax.random.key(4), (5,))
        return {"a": p["x"] * noise, "b": (WEIGHTS @ p["x"], p["y"] ** 2)}

    p = {"x": X, "y": jnp.asarray(2.0)}
    for a, b in zip(jax.tree.leaves(folded(f, p)), jax.tree.leaves(f(p)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-14)
    assert jax.tree.structure(folded(f, p)) == jax.tree.structure(f(p))
    assert "threefry2x32" not in operations(lambda p: folded(f, p), p)


def test_functions_with_effects_are_left_as_they_are(capfd):
    def f(x):
        jax.debug.print("seen {}", x[0])
        return WEIGHTS @ x

    np.testing.assert_allclose(folded(f, X), WEIGHTS @ X, rtol=1e-14)
    jax.effects_barrier()
    assert capfd.readouterr().out.count("seen") == 1


def test_many_constants_are_left_to_the_compiler():
    """XLA took minutes to compile a program with a hundred of them."""

    def tables(x):
        return jnp.stack([(WEIGHTS[k % 7] @ WEIGHTS[k % 5]) * x[0] for k in range(40)])

    ours = lambda x: folded(tables, x)  # noqa: E731
    assert operations(ours, X).count("dot_general") == operations(tables, X).count("dot_general")
    np.testing.assert_allclose(ours(X), tables(X), rtol=1e-13)
