"""Programs compiled fast: the same numbers, and only for what is over soon."""

import jax
import jax.numpy as jnp
import numpy as np

import jacmap as jm
from jacmap._transforms import Transform
from jacmap.engine.backends.jax.brief import brief, is_light
from jacmap.engine.graph import Graph
from jacmap.engine.plan.question import Question

X = np.array([0.3, 0.2])


def small(x):
    return jnp.stack([jnp.exp(x[1]) * jnp.sin(x[0]), jnp.tanh(x @ x)])


def looped(x):
    return jax.lax.fori_loop(0, 50, lambda _, y: jnp.sin(y) + 0.1 * y, x) - 0.3


def large(x):
    return (jnp.ones((4000, 4000)) * x[0]).sum() * x


def graph(f) -> Graph:
    return Transform(f, Question("dense")).unprobed_plan(X).graph


def test_only_what_is_over_soon_is_light() -> None:
    assert is_light(graph(small))
    assert not is_light(graph(looped)) and not is_light(graph(large))
    assert is_light(graph(small), passes=2, limit=1000) and not is_light(graph(small), passes=10**6, limit=1000)


def test_the_numbers_are_those_of_an_optimised_program() -> None:
    for f in (small, looped):
        assert np.allclose(brief(f)(X), f(X), rtol=1e-14, atol=0)
        assert np.allclose(brief(jax.jacrev(f))(X), jax.jacfwd(f)(X), rtol=1e-14, atol=1e-16)


def test_a_solver_takes_both() -> None:
    for f in (small, looped):
        found = jm.least_squares(f, X)
        assert found.success and np.allclose(found.jac, jax.jacfwd(f)(found.x), rtol=1e-12, atol=1e-14)
