"""Programs compiled fast: the same numbers, and only for what is over soon."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

import jacmap as jm
import jacmap.engine.backends.jax.brief as brief_module
from jacmap.engine.backends.jax.brief import FEWEST, brief, calls_until_even, entries_made

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
    assert made(lambda x: jnp.zeros(50).at[jnp.arange(2)].add(x)) >= 100
    # x[0] in two steps, the comparison, the branch's number; sin and product in one branch.
    assert made(chosen) == 4 + 4


def test_few_equations_that_make_many_numbers_are_soon_even() -> None:
    def until(f, passes: int = 1) -> float:
        return calls_until_even(jax.make_jaxpr(f)(X).jaxpr, passes)

    def long(x):
        for _ in range(100):
            x = jnp.sin(x)
        return x

    assert until(looped) == 0 and until(lambda x: x) == np.inf
    assert np.isclose(until(small, 10), until(small) / 10)
    # Twice the equations are twice as long to compile, and make twice the numbers: only the first part is shared.
    assert until(long) < until(jnp.sin) < 100 * until(long)
    assert until(jax.jit(long)) >= until(long)


def test_after_its_calls_a_program_is_compiled_well(monkeypatch) -> None:
    runs = []

    def jit(f, compiler_options=None):
        compiled = jax.jit(f, compiler_options=compiler_options)
        return lambda *args: (runs.append("brief" if compiler_options else "well"), compiled(*args))[1]

    options = brief_module._options()
    monkeypatch.setattr(brief_module, "_options", lambda: options)
    monkeypatch.setattr(brief_module, "jax", SimpleNamespace(jit=jit))
    often, rarely = brief(small, FEWEST + 1), brief(small, FEWEST - 1)
    found = [often(X) for _ in range(FEWEST + 3)]
    assert runs == ["brief" if options else "well"] * (FEWEST + 1) + ["well"] * 2
    assert np.allclose(found, small(X), rtol=1e-14, atol=0)
    rarely(X)
    assert runs[-1] == "well"


def test_the_numbers_are_those_of_an_optimised_program() -> None:
    for f in (small, looped):
        assert np.allclose(brief(f)(X), f(X), rtol=1e-14, atol=0)
        assert np.allclose(brief(jax.jacrev(f))(X), jax.jacfwd(f)(X), rtol=1e-14, atol=1e-16)


def test_a_solver_takes_both() -> None:
    for f in (small, looped):
        found = jm.least_squares(f, X)
        assert found.success and np.allclose(found.jac, jax.jacfwd(f)(found.x), rtol=1e-12, atol=1e-14)
