"""`jm.laplacian` against the trace of `jax.hessian`."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jacmap as jm
from jacmap.engine.backends.jax import laplace

RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.uniform(0.5, 1.0, 12))
W = jnp.asarray(RNG.standard_normal((12, 5)))


@jax.custom_vjp
def reverse_only(x):
    return jnp.sin(x)


reverse_only.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (g * jnp.cos(x),))


def rosenbrock(x):
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


FUNCTIONS = {
    "local terms": rosenbrock,
    "a network": lambda x: jnp.sum(jnp.tanh(jnp.tanh(x @ W) @ W.T) ** 2),
    "products of both sides": lambda x: jnp.tanh(x @ W) @ jnp.exp(-x @ W),
    "matrix products": lambda x: jnp.trace(x[:9].reshape(3, 3) @ jnp.sin(x[3:].reshape(3, 3))),
    "a reduction": jax.nn.logsumexp,
    "a loop": lambda x: jax.lax.scan(lambda c, a: (jnp.sin(c * a) + a, None), x[0], x)[0],
    "a branch": lambda x: jax.lax.cond(x[0] > 0, lambda x: jnp.sum(x**3), lambda x: x[0], x),
    "masks": lambda x: jnp.sum(jax.nn.relu(x - 0.7) ** 3) + jnp.sum(jnp.sort(x)[:3] ** 2 * x[0]),
    "a solve": lambda x: jnp.linalg.solve(4 * jnp.eye(3) + x[:9].reshape(3, 3), x[9:]) @ x[:3],
    "a harmonic function": lambda x: jnp.exp(x[0]) * jnp.sin(x[1]),
    "an affine function": lambda x: 3.0 * x[0],
    "reverse mode only": lambda x: jnp.sum(reverse_only(x) ** 2 * x[::-1]),
}


def truth(f, x):
    return jax.jit(lambda x: jnp.trace(jax.hessian(f)(x)))(x)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_scalar_function(name):
    f = FUNCTIONS[name]
    np.testing.assert_allclose(jm.laplacian(f)(X), truth(f, X), rtol=1e-11, atol=1e-12)


def test_directions_are_shared_where_inputs_do_not_meet():
    plan = jm.laplacian(rosenbrock).plan(jnp.linspace(0.1, 1.0, 400))
    assert plan.summary == "forward Laplacian: 2 directions (instead of 400)"
    assert plan.probed is not None and plan.probed < 1e-10
    assert "400×400 Hessian" in str(plan)


def test_the_laplacian_of_every_output():
    def f(x):
        return {"a": jnp.sin(x[:3] * x[3:6]), "b": jnp.sum(x**4), "c": x[:2]}

    found = jm.laplacian(f)(X)
    expected = jax.tree_util.tree_map(lambda h: jnp.trace(h, axis1=-2, axis2=-1), jax.jit(jax.hessian(f))(X))
    jax.tree_util.tree_map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12), found, expected)


def test_several_arguments_and_single_precision():
    def f(a, scale, b):
        return scale * jnp.sum(a["u"] ** 3 * b)

    a, b, scale = {"u": X[:4].astype(jnp.float32)}, X[4:8].astype(jnp.float32), jnp.float32(2)
    found = jm.laplacian(f, argnums=(0, 2))(a, scale, b)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, 12 * jnp.sum(a["u"] * b), rtol=1e-6)


def test_under_jit_vmap_and_grad():
    ours = jm.laplacian(rosenbrock)
    batch = jnp.stack([X, 2 * X])
    np.testing.assert_allclose(jax.jit(jax.vmap(ours))(batch), [truth(rosenbrock, x) for x in batch], rtol=1e-12)
    np.testing.assert_allclose(jax.grad(ours)(X), jax.grad(lambda x: truth(rosenbrock, x))(X), rtol=1e-10)


def test_without_forward_mode_several_outputs_are_refused():
    with pytest.raises(jm.ModeError, match="custom_vjp_call"):
        jm.laplacian(reverse_only)(X)
    with pytest.raises(jm.ArgumentError, match="expected a function"):
        jm.laplacian(1.0)


def test_a_wrong_sweep_is_caught(monkeypatch):
    right = laplace._entry_by_entry

    def wrong(node, x, mine):
        values, (moving,) = right(node, x, mine)
        return values, [laplace.Moving(moving.along, moving.tangents, 1.5 * moving.laplacian)]

    monkeypatch.setattr(laplace, "_entry_by_entry", wrong)
    with pytest.raises(jm.StructureError, match="nested JVPs"):
        jm.laplacian(rosenbrock)(X)


def test_a_wrongly_shared_direction_is_caught(monkeypatch):
    module = importlib.import_module("jacmap._second.laplacian")  # its function hides it in the package
    monkeypatch.setattr(module, "directions", lambda pattern: np.zeros(12, np.int32))
    with pytest.raises(jm.StructureError, match="cut in two"):
        jm.laplacian(rosenbrock)(X)
