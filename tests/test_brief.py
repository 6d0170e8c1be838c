"""Programs compiled fast: the same numbers, and only for what is over soon."""

import jax
import jax.numpy as jnp
import numpy as np

import jacmap as jm
from jacmap.engine.backends.jax.brief import brief, entries_made

X = np.array([0.3, 0.2])


def small(x):
    return jnp.stack([jnp.exp(x[1]) * jnp.sin(x[0]), jnp.tanh(x @ x)])


def looped(x):
    return jax.lax.fori_loop(0, 50, lambda _, y: jnp.sin(y) + 0.1 * y, x) - 0.3


def chosen(x):
    return jax.lax.cond(x[0] > 0, jax.jit(lambda x: jnp.sin(x) * 2), lambda x: x, x)


def test_entries_made() -> None:
    def made(f) -> float:
        return entries_made(jax.make_jaxpr(f)(X))

    assert made(lambda x: jnp.sin(x) + 1) == 4
    assert made(lambda x: jnp.ones((300, 1)) * x) == 300 + 2 + 600
    assert made(looped) == made(jax.jit(looped)) == np.inf
    # x[0] in two steps, the comparison, the branch's number; sin and product in one branch.
    assert made(chosen) == 4 + 4


def test_the_numbers_are_those_of_an_optimised_program() -> None:
    for f in (small, looped):
        assert np.allclose(brief(f)(X), f(X), rtol=1e-14, atol=0)
        assert np.allclose(brief(jax.jacrev(f))(X), jax.jacfwd(f)(X), rtol=1e-14, atol=1e-16)


def test_a_solver_takes_both() -> None:
    for f in (small, looped):
        found = jm.least_squares(f, X)
        assert found.success and np.allclose(found.jac, jax.jacfwd(f)(found.x), rtol=1e-12, atol=1e-14)
