"""Differences against closed forms and automatic differentiation: values, error estimates, numbers of calls."""

import warnings

import jacobi
import jax
import jax.numpy as jnp
import numdifftools
import numpy as np
import pytest
from difference_maps import chain, chain_jacobian, plane, plane_jacobian, real_plane

import jacmap as jm

CENTRAL = jm.Differences(method="central")


def one(f, x, **options):
    """(derivative, estimated error, calls) of a function of one number, by central differences."""
    J = jm.linearize(
        lambda x: f(np.asarray(x, float)), np.array([x]), differences=jm.Differences(method="central", **options)
    )
    return J.dense()[0, 0], J.error[0, 0], sum(J.calls.values())


SMOOTH = {
    "sin": (np.sin, 0.7, np.cos(0.7)),
    "exp": (np.exp, 1.3, np.exp(1.3)),
    "fast exp": (lambda x: np.exp(50 * x), 1.3, 50 * np.exp(65.0)),
    "far out": (np.sin, 1e6, np.cos(1e6)),
    "small input": (lambda x: np.sin(x) + 1, 1e-8, 1.0),
    "edge of log": (np.log, 1e-12, 1e12),
    "edge of sqrt": (np.sqrt, 2e-3, 0.5 / np.sqrt(2e-3)),
    "edge of arcsin": (np.arcsin, 1 - 1e-6, 1 / np.sqrt(1e-6 * (2 - 1e-6))),
    "cube at zero": (lambda x: x**3, 0.0, 0.0),
    "Runge": (lambda x: 1 / (1 + 25 * x**2), 0.3, -50 * 0.3 / (1 + 25 * 0.09) ** 2),
    "steep": (lambda x: np.tanh(1e4 * x), 1e-5, 1e4 / np.cosh(0.1) ** 2),
    "polynomial": (lambda x: 3 * x**5 - x, 2.0, 239.0),
}


@pytest.mark.parametrize("tolerance", [None, 1e-8])
@pytest.mark.parametrize("case", SMOOTH)
def test_the_error_is_small_and_within_its_estimate(case, tolerance):
    f, x, true = SMOOTH[case]
    found, error, _ = one(f, x, tolerance=tolerance)
    assert abs(found - true) <= error + 4e-16 * abs(true)
    assert error <= 1e-7 * max(abs(true), 1e-10)


@pytest.mark.parametrize("case", ["sin", "exp", "Runge", "steep"])
def test_no_worse_than_jacobi_and_numdifftools(case):
    f, x, true = SMOOTH[case]
    found, _, _ = one(f, x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = float(np.ravel(jacobi.jacobi(f, np.array([x]))[0])[0])
        other = float(np.ravel(numdifftools.Derivative(f)(x))[0])
    least = 1e-14 * abs(true)  # where all are exact nobody is better
    assert abs(found - true) <= max(4 * abs(theirs - true), least)
    assert abs(found - true) <= max(4 * abs(other - true), least)


def test_calls_are_counted_as_they_are_made():
    seen = []

    def f(x):
        seen.append(1)
        return real_plane(x)

    J = jm.linearize(f, np.array([1.5, 0.5]), differences=CENTRAL)
    J.dense()
    assert sum(J.calls.values()) == len(seen) < 40
    J.row(0), J.det(), J @ np.ones(2)
    assert sum(J.calls.values()) == len(seen)


def test_two_levels_do_for_a_sparse_black_box():
    x = np.linspace(0.1, 2.0, 2000)
    J = jm.linearize(chain, x)
    matrix = J.sparse()
    assert J.calls["differences"] <= 12
    assert J.pattern.nnz == 3 * 2000 - 2
    true = chain_jacobian(x)
    np.testing.assert_allclose(matrix.toarray(), true, atol=1e-9)
    assert (np.abs(J.dense() - true) <= J.error + 1e-15).mean() >= 0.98


def test_the_complex_step_is_exact_to_rounding():
    x = np.array([1.5, 0.5])
    J = jm.linearize(plane, x)
    assert "complex step" in J.plan().summary
    np.testing.assert_allclose(J.dense(), plane_jacobian(x), rtol=1e-15)
    assert J.error.max() < 1e-13


@pytest.mark.parametrize("seed", range(6))
def test_random_networks_against_jax(seed):
    rng = np.random.default_rng(seed)
    inner, outer = rng.normal(size=(7, 5)), rng.normal(size=(4, 7)) * 10.0 ** rng.integers(-6, 6, (4, 1))
    x = rng.normal(size=5)

    def f(xp, x):
        return outer @ xp.tanh(inner @ x) + xp.exp(x[:4])

    true = np.asarray(jax.jacfwd(lambda x: f(jnp, x))(jnp.asarray(x)))
    for method in ("central", "complex"):
        options = jm.Differences(method=method)
        J = jm.linearize(lambda x: f(np, x), x, differences=options)
        largest = np.abs(true).max(axis=1, keepdims=True)
        assert (np.abs(J.dense() - true) <= J.error + 1e-15 * largest).mean() >= 0.98  # the truth is rounded, too
        assert (np.abs(J.dense() - true) <= 1e-10 * largest).all()


def hostile(seed):
    """A map of four inputs by waves, bumps and steep steps, some far from zero, and where to look at it."""
    rng = np.random.default_rng(seed)
    outer = rng.normal(size=(5, 4)) * 10.0 ** rng.uniform(-2, 2, (5, 1))
    inner, rate, kind = rng.normal(size=(4, 4)), rng.uniform(0.2, 20, 4), rng.integers(0, 5, 4)
    offset = 10.0 ** rng.uniform(-3, 6, 5) * rng.integers(0, 2, 5)

    def f(xp, x):
        u = inner @ x
        bump, hill = xp.exp(-u * u * rate / 4), 1 / (1 + rate * u * u)
        parts = [xp.sin(rate * u), bump, xp.tanh(rate * u), hill, xp.log1p(u * u)]
        return outer @ sum((kind == k).astype(float) * part for k, part in enumerate(parts)) + offset

    return f, rng.normal(size=4) * 10.0 ** rng.uniform(-1, 0.5, 4)


@pytest.mark.parametrize("options", [{"method": "central"}, {"method": "central", "tolerance": 1e-8}, {}], ids=str)
def test_estimates_hold_on_hostile_maps(options):
    inside = total = 0
    for seed in range(25):
        f, x = hostile(seed)
        # In extended precision: XLA's own rounding is larger than what the complex step is measured to have.
        step = np.longdouble(1e-30)
        true = np.stack([(f(np, x + 1j * step * unit.astype(np.clongdouble)).imag / step) for unit in np.eye(4)], 1)
        true = true.astype(float)
        J = jm.linearize(lambda x, f=f: f(np, x), x, differences=jm.Differences(**options))
        apart, largest = np.abs(J.dense() - true), np.abs(true).max(axis=1, keepdims=True)
        inside += int((apart <= J.error + 1e-15 * largest).sum())
        total += true.size
        assert (apart <= 1e-4 * largest).all()
    assert inside >= 0.98 * total


def test_float32_is_noticed():
    x = np.array([0.7, 1.9], np.float32)
    J = jm.linearize(lambda x: np.array([np.sin(x[0]) * x[1], x[1] ** 2]), x)
    true = np.array([[np.cos(0.7) * 1.9, np.sin(0.7)], [0.0, 3.8]])
    assert J.dense().dtype == np.float32
    np.testing.assert_allclose(J.dense(), true, rtol=3e-5, atol=1e-6)
    hidden = jm.linearize(lambda x: np.sin(x.astype(np.float32)).astype(float), x.astype(float), differences=CENTRAL)
    with pytest.warns(jm.NotSmoothWarning, match="noisy"):
        found = hidden.dense()
    np.testing.assert_allclose(np.diag(found), np.cos(x), rtol=1e-4)
    assert (np.abs(np.diag(found) - np.cos(x.astype(float))) <= np.diag(hidden.error)).all()


def test_the_method_asked_for():
    x = np.array([1.5, 0.5])
    assert "central differences" in jm.plan(plane, x, differences=CENTRAL).summary
    with pytest.raises(jm.ArgumentError, match='method: got "complex".*does not take complex|real numbers'):
        jm.jacobian(lambda x: np.asarray([float(x[0])]), differences=jm.Differences(method="complex"))(x)


TRAPS = {
    "abs": (lambda x: np.abs(x) * x, lambda x: 2 * np.abs(x)),
    "real part": (lambda x: x.real**2, lambda x: 2 * x),
    "conjugate": (lambda x: np.conj(x) * np.sin(x), lambda x: np.sin(x) + x * np.cos(x)),
    "norm": (lambda x: np.array([np.linalg.norm(x)]), lambda x: None),
    "Hermitian product": (lambda x: np.array([np.vdot(x, x)]), lambda x: None),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_functions_that_are_wrong_for_complex_numbers(trap):
    f, _ = TRAPS[trap]
    x = np.array([1.5, -0.5, 0.8])
    J = jm.linearize(f, x, differences=jm.Differences())
    assert "central" in J.plan().summary and "no complex step" in str(J.plan())
    step = 1e-6
    columns = [(f(x + step * e) - f(x - step * e)) / (2 * step) for e in np.eye(3)]
    np.testing.assert_allclose(J.dense(), np.stack(columns, 1), atol=1e-8)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "forward"}, "method: got 'forward'"),
        ({"workers": 0}, "workers: got 0"),
        ({"tolerance": 2.0}, "tolerance: got 2.0"),
        ({"pattern": "sparse"}, "pattern: got 'sparse'"),
    ],
)
def test_options_that_are_not_known(options, said):
    with pytest.raises(jm.ArgumentError, match=said):
        jm.Differences(**options)
