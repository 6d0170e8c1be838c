"""What an implicit layer says of its own error: covered, small where it is small, and nothing clean that is wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest
from scipy.linalg import invhilbert

import jacmap as jm
from jacmap.implicit import argmin, fixed_point, root


def cell(z, a, w):
    return jnp.tanh(w @ z + a)


def frobenius(a, b):
    return float(jnp.linalg.norm(a - b))


@pytest.mark.parametrize("steps", [3, 8, 20])
def test_truncated_iterations_are_covered(steps):
    """More arguments than probes, so that the norm is estimated."""

    def run(a, w, steps):
        def layer(a):
            return fixed_point(cell, jnp.zeros(15), a, w, max_steps=steps, accept=jnp.inf, tolerance=1e-15)

        return layer(a), jax.jacrev(lambda a: layer(a).value)(a)

    draw = np.random.default_rng(0)
    w = draw.standard_normal((20, 15, 15))
    w = jnp.asarray(0.8 * w / np.linalg.norm(w, 2, axis=(1, 2))[:, None, None])
    a = jnp.asarray(draw.standard_normal((20, 15)))
    found, slopes = jax.jit(jax.vmap(lambda a, w: run(a, w, steps)))(a, w)
    exact, truth = jax.jit(jax.vmap(lambda a, w: run(a, w, 1000)))(a, w)
    off = jnp.linalg.norm(slopes - truth, axis=(1, 2))
    assert bool(jnp.all(off <= found.gradient_error))
    assert bool(jnp.all(jnp.linalg.norm(found.value - exact.value, axis=1) <= found.error))
    finite = jnp.isfinite(found.gradient_error)
    assert float(jnp.mean(finite)) > 0.5
    assert float(jnp.median(jnp.where(finite, found.gradient_error / off, jnp.nan)[finite])) < 100
    assert not bool(found.converged.any())


def test_a_quadratic_is_bounded_by_hand():
    """x² = a from x = x₀: Newton's step, the next one and dx/da = 1/(2x) are known."""
    x0, a = 1.5, 2.0
    with pytest.warns(jm.InaccurateGradientWarning, match="given as they are"):
        found = root(lambda x, a: x**2 - a, x0, a, solver=optx.Newton(1e-3, 1e-3), max_steps=1, accept=jnp.inf)
    x = float(found.value)
    assert x == pytest.approx((x0 + a / x0) / 2)
    after = (x + a / x) / 2
    ratio = abs(after - a / after) / 2 / abs(after - x)
    assert float(found.error) == pytest.approx(abs(after - x) / (1 - ratio), rel=1e-6)
    change = abs(1 / (2 * after) - 1 / (2 * x))
    assert float(found.gradient_error) == pytest.approx(change * (1 + ratio) / (1 - ratio), rel=1e-6)
    assert abs(x - 2**0.5) <= found.error and abs(1 / (2 * x) - 1 / (2 * 2**0.5)) <= found.gradient_error


def test_rounding_is_part_of_the_bound():
    hilbert = jnp.asarray(1.0 / (np.arange(8)[:, None] + np.arange(8) + 1))  # condition 1.5e10
    found = root(lambda x, a: hilbert @ x - a, jnp.zeros(8), jnp.ones(8))
    slopes = jax.jacrev(lambda a: root(lambda x, a: hilbert @ x - a, jnp.zeros(8), a).value)(jnp.ones(8))
    off = frobenius(slopes, jnp.asarray(invhilbert(8)))
    assert 0 < off <= float(found.gradient_error) < 1e5 * off
    assert 1e-12 < float(found.lost) < 1e-4


def test_an_active_set_that_still_changes_is_seen():
    """|x| has no second derivative that would show a kink between x and the solution."""

    def soft(w, c, b):
        v = w - 0.2 * (w - b)
        return jnp.sign(v) * jnp.maximum(jnp.abs(v) - 0.2 * c, 0)

    b = jnp.array([3.0, 0.9, -2.0])
    with pytest.warns(jm.InaccurateGradientWarning):
        found = fixed_point(soft, jnp.array([3.0, 2.0, -2.0]), 1.0, b, max_steps=3, accept=jnp.inf)
    assert float(found.value[1]) > 0  # it will be zero in the end, and its derivative with it
    off = frobenius(jnp.array([-1.0, -1.0, 1.0]), jnp.array([-1.0, 0.0, 1.0]))
    assert float(found.gradient_error) >= off


# --- never a clean-looking wrong gradient ---------------------------------------------------------------------------
def slow(x, a):
    return x + 0.05 * (a - x - 0.1 * x**3)


def test_an_unconverged_gradient_is_nan_with_a_warning():
    def layer(a, **options):
        return fixed_point(slow, jnp.zeros(()), a, max_steps=10, **options).value

    with pytest.warns(jm.InaccurateGradientWarning, match="did not converge in 10 steps.*derivatives are NaN") as seen:
        found = fixed_point(slow, jnp.zeros(()), 2.0, max_steps=10)
    assert seen[0].filename == __file__
    assert not bool(found.converged) and "NOT converged" in str(found)
    assert np.isnan(jax.jit(jax.grad(layer))(2.0)) and np.isnan(jax.jit(jax.jacfwd(layer))(2.0))
    with pytest.warns(jm.InaccurateGradientWarning):
        assert np.isnan(jax.grad(layer)(2.0))
    kept = jax.jit(jax.grad(lambda a: layer(a, accept=jnp.inf)))(2.0)
    assert kept == pytest.approx(1 / (1 + 0.3 * float(found.value) ** 2), rel=1e-12)


def test_a_singular_jacobian_raises_outside_and_is_nan_inside():
    line = jnp.array([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [0.0, 1.0, 1.0]])

    def f(x, a):
        return line @ (x + x**3) - a

    a = jnp.array([1.0, 2.0, 0.5])
    solver = optx.LevenbergMarquardt(1e-10, 1e-10)
    with pytest.raises(jm.SingularError, match="singular at the solution found"):
        root(f, jnp.zeros(3), a, solver=solver)
    slope = jax.jit(jax.grad(lambda a: root(f, jnp.zeros(3), a, solver=solver).value.sum()))
    assert np.isnan(slope(a)).all()
    with pytest.raises(jm.SingularError, match="singular at every point"):
        root(lambda x, a: jnp.stack([x[0], x[0] ** 2]) - a, jnp.ones(2), jnp.ones(2))


def test_a_double_root_has_no_derivative():
    def f(x, a):
        return (x - a) ** 2 - a + 1  # x = a ± √(a − 1)

    with pytest.warns(jm.InaccurateGradientWarning, match="derivatives are NaN"):
        root(f, jnp.zeros(()), 1.0)
    assert np.isnan(jax.jit(jax.grad(lambda a: root(f, jnp.zeros(()), a).value))(1.0))


def test_no_solution_and_a_diverging_iteration_are_told():
    with pytest.warns(jm.InaccurateGradientWarning, match="derivatives are NaN"):
        assert not bool(root(lambda x, a: x**2 + a, jnp.full((), 0.7), 1.0).converged)
    with pytest.raises(jm.ConvergenceError, match="left the region where f is finite"):
        fixed_point(lambda x, a: a * x**3, jnp.full((), 3.0), 2.0)


def test_a_derivative_of_zero_is_accepted():
    found = root(lambda x, a: x - 1 + 0 * a, jnp.zeros(3), jnp.ones(2).sum())
    assert float(found.relative_error) <= 1e-6
    assert float(jax.grad(lambda a: root(lambda x, a: x - 1 + 0 * a, jnp.zeros(3), a).value.sum())(1.0)) == 0
    free = root(lambda x: x**2 - 2, jnp.ones(3))  # no arguments at all
    assert bool(free.converged) and float(free.relative_error) == 0
    assert bool(argmin(lambda x, a: jnp.sum((x - a) ** 2), jnp.zeros(2), jnp.zeros(2)).relative_error < 1e-6)
