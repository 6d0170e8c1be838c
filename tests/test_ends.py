"""Functions that begin or end entry by entry: J = diag(b) M diag(a), against plain AD."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jacmap as jm
from jacmap.engine.plan import ends
from jacmap.engine.plan.recipe import Scaled

RANDOM = np.random.default_rng(11)
A, B, C = (jnp.asarray(RANDOM.standard_normal(shape)) for shape in ((9, 6), (9, 9), (5, 9)))
MEAN, SPREAD = jnp.asarray(RANDOM.standard_normal(6)), jnp.asarray(RANDOM.uniform(1, 2, 6))
X = jnp.asarray(RANDOM.standard_normal(6))


def normalised(x):
    return jnp.tanh(B @ jnp.tanh(A @ ((x - MEAN) / SPREAD)))


def probabilities(x):
    return jax.nn.sigmoid(C @ jnp.tanh(A @ x))


def both(x):
    return jnp.exp(C @ jnp.sin(B @ (A @ (x * jax.nn.sigmoid(x)))))


def monomials(x):
    return jnp.exp(A @ jnp.log(1 + x**2))


def image(x):
    return jax.nn.softplus(jnp.einsum("ij,jk->ik", B, (x.reshape(3, 2).repeat(3, 0) ** 3)))


def softmax_of_layer(x):
    return jax.nn.softmax(A @ (x / SPREAD))


def entrywise(x):
    return jnp.sin(x) * x


def two_paths(x):
    h = x / SPREAD
    return jnp.tanh(A @ h + jnp.concatenate([h, h[:3]]))


def permuted(x):
    return jnp.exp(A @ jnp.tanh(x)[::-1])


SCALED = {
    normalised: {"scaled forward", "scaled reverse"},
    probabilities: {"scaled reverse"},
    both: {"scaled forward", "scaled reverse"},
    monomials: {"scaled constant"},
    image: set(),
    softmax_of_layer: {"scaled forward"},
    entrywise: set(),
    two_paths: set(),
    permuted: set(),
}


@pytest.mark.parametrize("f", SCALED, ids=lambda f: f.__name__)
def test_candidates_and_values(f):
    plan = jm.plan(f, X)
    scaled = [recipe for recipe in plan.planned.candidates if isinstance(recipe, Scaled)]
    if SCALED[f]:
        assert {recipe.name for recipe in scaled} == SCALED[f]
    expected = jax.jacfwd(f)(X)
    np.testing.assert_allclose(jm.jacobian(f)(X), expected, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(plan(X), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("f", [f for f in SCALED if SCALED[f]], ids=lambda f: f.__name__)
def test_every_scaled_candidate_is_right(f, monkeypatch):
    names = SCALED[f]
    for name in names:
        monkeypatch.setattr(
            "jacmap.engine.plan.planner._ranked",
            lambda found, name=name: sorted(found, key=lambda recipe: (recipe.name != name, recipe.cost)),
        )
        monkeypatch.setattr("jacmap._modes.TIMED", 0.0)
        ours = jm.jacobian(f)
        assert ours.plan(X).chosen.name == name
        np.testing.assert_allclose(ours(X), jax.jacfwd(f)(X), rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(
            jax.vmap(ours)(jnp.stack([X, X + 1]))[1], jax.jacfwd(f)(X + 1), rtol=1e-12, atol=1e-13
        )
        np.testing.assert_allclose(jax.jacrev(ours)(X), jax.jacfwd(jax.jacfwd(f))(X), rtol=1e-10, atol=1e-12)


def test_weights_that_are_arguments_are_not_constants():
    def layer(x, weights):
        return jnp.tanh(weights @ (x / SPREAD))

    plan = jm.plan(layer, X, A)
    assert not any(isinstance(recipe, Scaled) for recipe in plan.planned.candidates)
    np.testing.assert_allclose(jm.jacobian(layer)(X, A), jax.jacfwd(layer)(X, A), rtol=1e-12)


def test_functions_of_two_precisions_are_not_taken_apart():
    single, weights = X.astype(jnp.float32), A.astype(jnp.float32)

    def f(x):
        wide = (weights @ jnp.tanh(x)).astype(jnp.float64)
        return jnp.exp(wide).astype(jnp.float32)

    assert not any(isinstance(recipe, Scaled) for recipe in jm.plan(f, single).planned.candidates)
    np.testing.assert_allclose(jm.jacobian(f)(single), jax.jacfwd(f)(single), rtol=1e-6)


def test_a_wrong_end_is_caught_by_the_probe(monkeypatch):
    monkeypatch.setattr(ends, "_diagonal", lambda pattern: pattern is None or pattern.shape[0] == pattern.shape[1])
    monkeypatch.setattr("jacmap._modes.TIMED", 0.0)

    def f(x):
        return jnp.tanh(B[:6] @ jnp.sin(A @ jnp.cumsum(x)))

    with pytest.raises(jm.StructureError):
        jm.jacobian(f)(X)
