"""Under vmap the mode is chosen for a batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jacmap as jm
from jacmap import _modes
from jacmap._transforms import Transform
from jacmap.engine.plan.question import Question


def homography(p, x):
    w = 1 + p[6] * x[0] + p[7] * x[1]
    return jnp.stack([p[0] * x[0] + p[1] * x[1] + p[2], p[3] * x[0] + p[4] * x[1] + p[5]]) / w


P, X = jnp.linspace(0.1, 0.4, 8), jnp.asarray(np.random.default_rng(0).uniform(0, 1, (300, 2)))


@pytest.mark.parametrize("order", [1, -1], ids=["first", "last"])
@pytest.mark.parametrize("under", [lambda f: f, jax.jit], ids=["vmap", "jit of vmap"])
def test_the_clock_chooses_at_the_sizes_of_the_batch(monkeypatch, order, under):
    seen = []

    def clock(runs, values):
        seen.append([np.shape(value) for value in values])
        for run in runs:
            assert np.isfinite(jax.tree_util.tree_leaves(run(*values))[0]).all()
        return list(range(len(runs)))[::order]

    monkeypatch.setattr(_modes, "times", clock)
    transform = Transform(homography, Question("dense"))
    f = under(jax.vmap(transform.function(), (None, 0)))
    np.testing.assert_allclose(f(P, X), jax.vmap(jax.jacfwd(homography), (None, 0))(P, X), rtol=1e-12)
    (entry,) = transform.entries.values()
    names = [recipe.name for recipe, _ in transform._contenders(transform._signature((P, X[0]), {}))]
    assert len(names) == 2 and entry.mapped.name == names[0 if order == 1 else -1]
    assert seen == [[(8,), (300, 2)]]
    f(P + 1, X)
    assert len(seen) == 1  # once


def surface(x):
    return jnp.stack([jnp.sin(x[0] * x[1]), x[0] + x[1] ** 2, jnp.exp(x[0])])


def test_calls_alone_and_over_a_batch_keep_their_own_ways(monkeypatch):
    f, expected = jm.jacobian(surface), jax.vmap(jax.jacfwd(surface))(X)
    np.testing.assert_allclose(f(X[0]), expected[0], rtol=1e-12)
    asked = []
    monkeypatch.setattr(_modes, "times", lambda runs, values: asked.append(values) or [1.0] * len(runs))
    np.testing.assert_allclose(jax.vmap(f)(X), expected, rtol=1e-12)
    assert len(asked) == 1  # the quick way for calls alone does not swallow tracers
    np.testing.assert_allclose(f(X[1]), expected[1], rtol=1e-12)
    twice = jax.vmap(jax.vmap(f))(X.reshape(3, 100, 2))
    np.testing.assert_allclose(twice, expected.reshape(3, 100, 3, 2), rtol=1e-12)


def test_pytrees_axes_and_keys():
    def model(params, x, key):
        return jnp.tanh(params["w"] @ x) + params["b"] + 0 * jax.random.normal(key, (2,))

    params = {"w": jnp.ones((2, 3)), "b": jnp.arange(2.0)}
    x, keys = jnp.linspace(0, 1, 15).reshape(3, 5), jax.random.split(jax.random.key(0), 5)
    ours = jax.vmap(jm.jacobian(model), ({"w": None, "b": None}, 1, 0))(params, x, keys)
    theirs = jax.vmap(jax.jacrev(model), ({"w": None, "b": None}, 1, 0))(params, x, keys)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), ours, theirs)


def test_a_loop_that_depends_on_the_values_is_not_tried_at_others():
    def root(x):
        return jax.lax.while_loop(lambda y: jnp.any(jnp.abs(y**2 - x) > 1e-12), lambda y: (y + x / y) / 2, x)

    x = jnp.asarray([[4.0, 9.0], [16.0, 25.0]])
    J = jax.vmap(jm.jacobian(root))(x)
    np.testing.assert_allclose(J, jax.vmap(jax.jacfwd(root))(x), rtol=1e-10)
