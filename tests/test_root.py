"""Roots of systems against SciPy's and closed forms; singular, infinite and absent ones are told."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import jacmap as jm

METHODS = ("newton", "krylov", "lm")


def broyden(x):
    return (3 - 2 * x) * x + 1 - jnp.pad(x[:-1], (1, 0)) - 2 * jnp.pad(x[1:], (0, 1))


def plate(x):
    """Bratu's equation on a 25×25 grid: a sparse J that is not narrow."""
    u = jnp.pad(x.reshape(25, 25), 1)
    return (
        4 * u[1:-1, 1:-1] - u[2:, 1:-1] - u[:-2, 1:-1] - u[1:-1, 2:] - u[1:-1, :-2] - jnp.exp(u[1:-1, 1:-1]) / 256
    ).ravel()


def full(x):
    return x + jnp.sum(x**3) / 10 - jnp.arange(1.0, 6.0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("f", "x0", "kind"), [
    (broyden, -np.ones(60), "banded"), (plate, np.zeros(625), "SuperLU"), (full, np.zeros(5), "dense"),
])  # fmt: skip
def test_the_root_is_scipys(f, x0, kind: str, method: str) -> None:
    found = jm.root(f, x0, method=method)
    theirs = scipy.optimize.root(lambda x: np.asarray(f(x)), x0, jac=lambda x: np.asarray(jax.jacfwd(f)(x)), tol=1e-12)
    assert found.success and found.status == 1 and np.abs(found.fun).max() <= 1e-9
    assert np.allclose(found.x, theirs.x, atol=1e-7)
    assert method != "newton" or kind in str(found.plan)


def test_newton_is_quadratic() -> None:
    assert jm.root(broyden, -np.ones(60)).nfev <= 6


def test_krylov_without_room_for_factors() -> None:
    found = jm.root(plate, np.zeros(625), method="krylov", memory="10KB")
    assert found.success and "diagonal" in str(found.plan)


def test_pytrees_and_arguments() -> None:
    found = jm.root(
        lambda p, c: (p["a"] ** 2 - c, p["b"] - p["a"]), {"a": jnp.array(1.0), "b": jnp.array(0.0)}, args=(2.0,)
    )
    assert found.success and np.isclose(found.x["b"], np.sqrt(2))


def test_levenberg_takes_over_where_newton_is_stuck() -> None:
    # J is singular at the start: Newton has no step.
    found = jm.root(lambda x: jnp.stack([x[0] ** 2 + x[1] - 1, x[0] - x[1] ** 2 - 0.5]), np.array([0.5, -0.5]))
    singular = jm.root(lambda x: x**2 + x * 0 - 1, [0.0])
    assert found.success
    assert not singular.success and "local minimum" in singular.message


@pytest.mark.parametrize(
    ("f", "x0", "status", "word"),
    [
        (lambda x: x**2 + 1, [1.0], -4, "no root"),
        (lambda x: x**2, [1.0], 1, "solved"),
        (jnp.log, [-1.0], -2, "not finite at x0"),
        (lambda x: jnp.sqrt(x) - 1, [0.0], -3, "Jacobian is not finite"),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_why_it_stopped(f, x0, status: int, word: str, method: str) -> None:
    found = jm.root(f, x0, method=method)
    assert found.status == status and word in found.message and found.success == (status > 0)


def test_a_black_box_of_numpy() -> None:
    found = jm.root(lambda x: np.cos(np.asarray(x)) - x, [1.0])
    assert found.success and np.isclose(found.x[0], 0.7390851332151607)


def test_what_cannot_be_meant() -> None:
    with pytest.raises(jm.ArgumentError, match="got 2 equations for 1 unknowns.*least_squares"):
        jm.root(lambda x: jnp.concatenate([x, x]), [1.0])
    with pytest.raises(jm.ArgumentError, match="method: got 'hybr'"):
        jm.root(lambda x: x, [1.0], method="hybr")


def test_a_callback_sees_every_step_and_may_stop_the_run() -> None:
    seen = []

    def watch(x: Any, f: Any) -> None:
        seen.append((x, f))
        if len(seen) == 2:
            raise StopIteration

    for method in ("newton", "krylov", "lm"):
        seen.clear()
        found = jm.root(lambda x: jnp.tanh(x) + x**3 - 4, [3.0, 2.0], method=method, callback=watch)
        assert (found.status, found.success, len(seen)) == (-6, False, 2) and "by the callback" in found.message
        assert np.array_equal(seen[-1][0], found.x) and np.array_equal(seen[-1][1], found.fun)
