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


# SciPy's BDF subtracts an array that it has not filled yet.
@pytest.mark.filterwarnings("ignore:invalid value encountered in subtract:RuntimeWarning")
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


@pytest.mark.parametrize("stacked", [False, True])
def test_the_solver_for_diffrax_is_a_banded_lu(stacked: bool) -> None:
    lx = pytest.importorskip("lineax")
    n = 24

    def f(t, y):
        y = y.reshape(2, n).T.ravel() if stacked else y
        out = brusselator(t, y, 30.0) + 40 * jnp.pad(y[3:], (0, 3))
        return out.reshape(n, 2).T.ravel() if stacked else out

    solver = jm.ode_jacobian(f, 0.0, start(n)).linear_solver()
    assert 2 <= solver.lower <= 3 and solver.lower + solver.upper <= 6
    J = jax.jacfwd(f, argnums=1)(0.0, jnp.asarray(start(n)))
    draw = np.random.default_rng(1)
    for scale in (1e-4, -0.2):  # the second is not diagonally dominant: it needs pivots
        matrix, b = jnp.eye(2 * n) - scale * J, jnp.asarray(draw.standard_normal(2 * n))
        with jax.numpy_dtype_promotion("standard"):
            operator = lx.FunctionLinearOperator(lambda v: matrix @ v, jax.ShapeDtypeStruct(b.shape, b.dtype))  # noqa: B023
            found = jax.jit(lambda b: lx.linear_solve(operator, b, solver).value)(b)  # noqa: B023
            slope = jax.jit(jax.grad(lambda b: lx.linear_solve(operator, b, solver).value @ jnp.arange(2.0 * n)))(b)  # noqa: B023
        assert np.allclose(found, np.linalg.solve(matrix, b), rtol=1e-9)
        assert np.allclose(slope, np.linalg.solve(matrix.T, np.arange(2.0 * n)), rtol=1e-9)


def test_diffrax_takes_it_and_agrees_with_its_own_dense_solver() -> None:
    diffrax, eqx = pytest.importorskip("diffrax"), pytest.importorskip("equinox")
    y = jnp.asarray(start(12))
    J = jm.ode_jacobian(brusselator, 0.0, y, (0.1,))

    @eqx.filter_jit
    def end(y, **linear):
        solver = diffrax.Kvaerno3(root_finder=diffrax.VeryChord(rtol=1e-9, atol=1e-9, **linear))
        term, control = diffrax.ODETerm(brusselator), diffrax.PIDController(rtol=1e-7, atol=1e-7)
        return diffrax.diffeqsolve(term, solver, 0.0, 0.5, 1e-3, y, 0.1, stepsize_controller=control)

    with jax.numpy_dtype_promotion("standard"):
        ours, theirs = end(y, linear_solver=J.linear_solver()), end(y)
    assert np.allclose(ours.ys, theirs.ys, atol=1e-9) and ours.stats["num_steps"] == theirs.stats["num_steps"]


def test_a_band_as_wide_as_the_matrix_is_refused() -> None:
    J = jm.ode_jacobian(lambda t, y: y * y.sum(), 0.0, np.ones(20))
    with pytest.raises(jm.ArgumentError, match="39 diagonals of 20 at best"):
        J.linear_solver()


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
