"""The inverse of a warp by Newton's method: closed inverses, the round trip, derivatives, and what has no answer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jacmap as jm

V = jm.vision
LENS = V.Lens((500.0, 520.0), (320.0, 240.0))
BARREL = jnp.asarray([-0.25, 0.08, 0.001, -0.002, -0.01])
POINTS = jnp.asarray(np.random.default_rng(0).uniform(0, 1, (50, 2)) * [640, 480])


def test_the_inverse_of_a_group_is_its_inverse():
    warp, p = V.Homography(), jnp.asarray([0.1, -0.05, 3.0, 0.02, -0.1, -5.0, 1e-4, -2e-4])
    found = V.invert(warp, p, POINTS)
    assert found.converged.all()
    np.testing.assert_allclose(found.points, warp(warp.inverse(p), POINTS), atol=1e-9)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_a_lens_is_undone(dtype):
    shown = LENS(BARREL.astype(dtype), POINTS.astype(dtype))
    found = V.invert(LENS, BARREL.astype(dtype), shown)
    assert found.converged.all() and found.points.dtype == dtype and found.iterations < 10
    np.testing.assert_allclose(found.points, POINTS, atol=1e-2 if dtype == jnp.float32 else 1e-9)
    np.testing.assert_allclose(found.residual, 0, atol=1e-2 if dtype == jnp.float32 else 1e-10)


def test_what_the_lens_never_shows_is_not_found():
    """x(1 − 0.3x²) reaches 0.70 and no further; the rest of the batch is found all the same."""
    lens, p = V.Lens((1.0, 1.0), (0.0, 0.0)), jnp.asarray([-0.3, 0.0, 0.0, 0.0, 0.0])
    found = V.invert(lens, p, jnp.array([[0.9, 0.0], [0.5, 0.0], [np.nan, 0.0]]))
    assert found.converged.tolist() == [False, True, False]
    top = 1 / np.sqrt(0.9)
    assert float(found.residual[0]) == pytest.approx(0.9 - top * (1 - 0.3 * top**2), abs=1e-3)


def test_derivatives_are_those_of_the_implicit_function_theorem():
    point = jnp.array([100.0, 50.0])

    def undone(p, y):
        return V.invert(LENS, p, y).points

    by_parameters, by_point = jax.jacrev(undone, argnums=(0, 1))(BARREL, point)
    forward = jax.jacfwd(undone, argnums=(0, 1))(BARREL, point)
    np.testing.assert_allclose(by_parameters, forward[0], atol=1e-9)
    x = undone(BARREL, point)
    np.testing.assert_allclose(by_point @ V.by_points(LENS, BARREL, x), np.eye(2), atol=1e-9)
    for k in range(5):
        step = jnp.zeros(5).at[k].set(1e-6)
        slope = (undone(BARREL + step, point) - undone(BARREL - step, point)) / 2e-6
        np.testing.assert_allclose(by_parameters[:, k], slope, rtol=1e-5, atol=1e-5)


def test_a_flow_is_undone_from_a_start():
    y, x = np.mgrid[:20, :30]
    flow = np.stack([1.5 * np.sin(y / 5), np.cos(x / 6)], -1)
    warp, inner = V.Flow((20, 30)), V.grid((20, 30))[4:-4, 4:-4]
    found = V.invert(warp, flow.ravel(), inner, start=inner + 0.1)
    assert found.converged.all() and found.points.shape == inner.shape
    np.testing.assert_allclose(warp(flow, found.points), inner, atol=1e-10)
    with pytest.raises(jm.ArgumentError, match="start: got shape"):
        V.invert(warp, flow.ravel(), inner, start=[1.0, 2.0, 3.0])
