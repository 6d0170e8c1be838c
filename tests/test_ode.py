"""Jacobians for SciPy's stiff solvers: the forms against plain AD, the solutions against a Jacobian-free run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import jacmap as jm


def brusselator(t, y, rate):
    """u and v interleaved on a line (Hairer, Wanner, Solving ODEs II, IV.10)."""
    u, v = y[0::2], y[1::2]
    n = len(u)
    spread = rate * (n + 1) ** 2

    def second(w, edge):
        w = jnp.pad(w, 1, constant_values=edge)
        return spread * (w[2:] - 2 * w[1:-1] + w[:-2])

    return jnp.stack([1 + u**2 * v - 4 * u + second(u, 1.0), 3 * u - u**2 * v + second(v, 3.0)], 1).ravel()


def start(n):
    x = np.arange(1, n + 1) / (n + 1)
    return np.stack([1 + np.sin(2 * np.pi * x), np.full(n, 3.0)], 1).ravel()


RATE = 1.0  # so stiff that LSODA leaves its explicit method


@pytest.mark.parametrize("form", ["sparse", "dense", "banded", None])
def test_each_form_holds_the_entries_of_plain_ad(form) -> None:
    y, t = start(40) + 0.1 * np.random.default_rng(0).standard_normal(80), 0.3
    truth = np.asarray(jax.jacfwd(brusselator, argnums=1)(t, y, RATE))
    J = jm.ode_jacobian(brusselator, t, y, (RATE,), form=form)
    found = J(t, y, RATE)
    assert (J.lband, J.uband) == (2, 2) and (J.sparsity.toarray() >= (truth != 0)).all()
    if form == "banded":
        i, j = np.nonzero(J.sparsity.toarray())
        unpacked = np.zeros((80, 80))
        unpacked[i, j] = found[i - j + J.uband, j]
        found = unpacked
    elif form != "dense":
        assert found.format == "csc" and J.form == "sparse"
        found = found.toarray()
    assert np.allclose(found, truth, rtol=1e-13) and "JVPs" in repr(J)
    assert np.allclose(J(t, y).sum(), truth.sum()), "the args given at the start"


@pytest.mark.parametrize(("method", "form"), [("BDF", None), ("Radau", None), ("BDF", "dense"), ("LSODA", "banded")])
def test_scipys_solvers_take_it(method: str, form) -> None:
    y = start(40)
    f = jax.jit(brusselator)
    J = jm.ode_jacobian(brusselator, 0.0, y, (RATE,), form=form)
    calls = 0

    def counted(t, y, *args):
        nonlocal calls
        calls += 1
        return np.asarray(f(t, y, *args))

    bands = {"lband": J.lband, "uband": J.uband} if method == "LSODA" else {}
    tight = {"rtol": 1e-7, "atol": 1e-9}
    ours = solve_ivp(counted, (0, 2), y, method, jac=J, args=(RATE,), **tight, **bands)
    with_jacobian, calls = calls, 0
    theirs = solve_ivp(counted, (0, 2), y, method, args=(RATE,), **tight)
    assert ours.success and ours.njev > 0 and np.abs(ours.y[:, -1] - theirs.y[:, -1]).max() < 1e-5
    assert with_jacobian < calls


def test_a_full_small_system_is_dense() -> None:
    def robertson(t, y):
        a, b, c = 0.04 * y[0], 3e7 * y[1] ** 2, 1e4 * y[1] * y[2]
        return jnp.stack([-a + c, a - b - c, b])

    J = jm.ode_jacobian(robertson, 0.0, [1.0, 0.0, 0.0])
    f = jax.jit(robertson)
    found = solve_ivp(lambda t, y: np.asarray(f(t, y)), (0, 40), [1.0, 0, 0], "Radau", jac=J, rtol=1e-8, atol=1e-12)
    assert J.form == "dense" and np.allclose(found.y[:, -1], [0.7158270688, 9.185534765e-6, 0.2841637457], rtol=1e-6)


@pytest.mark.parametrize(
    ("f", "y", "form", "said"),
    [
        (lambda t, y: y, np.ones((2, 2)), None, r"y: got shape \(2, 2\)"),
        (lambda t, y: y[:1], np.ones(2), None, r"f: returned shape \(1,\), expected that of y, \(2,\)"),
        (lambda t, y: y, np.ones(2), "csr", "form: got 'csr', expected one of 'sparse'"),
        (lambda t, y: np.asarray(y) * 2, np.ones(2), None, "f: JAX cannot read it"),
    ],
)
def test_what_cannot_be_meant(f, y, form, said: str) -> None:
    with pytest.raises(jm.ArgumentError, match=said):
        jm.ode_jacobian(f, 0.0, y, form=form)
