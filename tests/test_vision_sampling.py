"""Sampling between pixels, against SciPy, polynomials and pixels that must not be read."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

import jacmap as jm

sample, grid = jm.vision.sample, jm.vision.grid
ORDERS = ("linear", "cubic")


def noise(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape)


def test_linear_is_scipys():
    image = noise(7, 9)
    points = np.random.default_rng(0).uniform(0, 1, (200, 2)) * [8, 6]
    found, inside = sample(image, points)
    assert inside.all()
    np.testing.assert_allclose(found, map_coordinates(image, points.T[::-1], order=1), atol=1e-14)


def polynomial(x, y):
    return 1 + 2 * x - y + 0.3 * x * x - 0.2 * x * y + 0.1 * y * y


def test_cubic_gives_quadratics_back_where_nothing_is_continued():
    """Keys's kernel with a = −1/2 is of third order: exact for polynomials of degree two, slopes too."""
    points = jnp.asarray(np.random.default_rng(0).uniform(1, 5, (50, 2)))
    image = polynomial(*np.asarray(grid((8, 8))).transpose(2, 0, 1))
    found, inside = sample(image, points, "cubic")
    assert inside.all()
    np.testing.assert_allclose(found, polynomial(points[:, 0], points[:, 1]), atol=1e-12)
    slope = jax.vmap(jax.grad(lambda p: sample(image, p, "cubic")[0]))(points)
    np.testing.assert_allclose(slope, jax.vmap(jax.grad(lambda p: polynomial(*p)))(points), atol=1e-12)


@pytest.mark.parametrize("order", ORDERS)
def test_a_plane_is_given_back_up_to_the_rim(order):
    x, y = np.asarray(grid((4, 6))).transpose(2, 0, 1)
    points = jnp.array([[0.0, 0.0], [5.0, 3.0], [0.0, 2.3], [4.9, 0.0], [2.5, 3.0]])
    found, inside = sample(1 + 2 * x - 3 * y, points, order)
    assert inside.all()
    np.testing.assert_allclose(found, 1 + 2 * points[:, 0] - 3 * points[:, 1], atol=1e-13)
    slope = jax.vmap(jax.grad(lambda p: sample(1 + 2 * x - 3 * y, p, order)[0]))(points)
    np.testing.assert_allclose(slope, [[2, -3]] * 5, atol=1e-13)


@pytest.mark.parametrize("order", ORDERS)
def test_nothing_outside_is_counted(order):
    points = np.array([[-1e-9, 0], [0, 0], [5, 3], [5 + 1e-9, 3], [2, 3.1], [np.nan, 1], [np.inf, 1], [-1e30, 1]])
    found, inside = sample(np.ones((4, 6)), points, order)
    assert inside.tolist() == [False, True, True, False, False, False, False, False]
    np.testing.assert_array_equal(found, inside.astype(float))


@pytest.mark.parametrize(("order", "reach"), [("linear", 1), ("cubic", 2)])
def test_a_value_stands_only_on_finite_pixels(order, reach):
    """Whatever a hole holds, inside answers are the same; every point out of the hole's reach is inside."""
    image, points = noise(9, 11), jnp.asarray(np.random.default_rng(1).uniform(0, 1, (500, 2)) * [10, 8])
    holed = image.copy()
    holed[4, 5] = np.nan
    (whole, _), (found, inside) = sample(image, points, order), sample(holed, points, order)
    np.testing.assert_array_equal(found, np.where(inside, whole, 0))
    near = (np.abs(points - np.array([5.0, 4.0])) < reach).all(axis=1)
    np.testing.assert_array_equal(inside, ~near)
    slopes = jax.grad(lambda p: sample(holed, p, order)[0].sum())(points)
    assert jnp.isfinite(slopes).all() and (slopes[near] == 0).all()
    back = jax.grad(lambda i: sample(i, points, order)[0].sum())(jnp.asarray(holed))
    assert jnp.isfinite(back).all() and back[4, 5] == 0


@settings(max_examples=20)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 3), st.sampled_from(ORDERS))
def test_images_of_any_size_give_their_pixels_back(height, width, channels, order):
    image = noise(height, width, channels) if channels else noise(height, width)
    found, inside = sample(image, grid((height, width)), order)
    assert inside.all() and found.shape == image.shape
    np.testing.assert_allclose(found, image, atol=1e-15)


@pytest.mark.parametrize("order", ORDERS)
def test_the_derivative_by_points_is_that_of_the_values(order):
    image = jnp.asarray(noise(5, 6))
    points = jnp.asarray(np.random.default_rng(3).uniform(0.05, 0.95, (20, 2)) + [2, 0])
    slope = jax.vmap(jax.grad(lambda p: sample(image, p, order)[0]))(points)
    for k in range(2):
        step = jnp.zeros(2).at[k].set(1e-6)
        there, back = sample(image, points + step, order)[0], sample(image, points - step, order)[0]
        np.testing.assert_allclose(slope[:, k], (there - back) / 2e-6, atol=1e-7)


def test_bytes_single_precision_jit_and_vmap():
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    points = jnp.array([[0.5, 1.0], [2.0, 0.5]], jnp.float32)
    found, inside = jax.jit(jax.vmap(lambda p: sample(image, p)))(points)
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, [4.5, 4.0])


@pytest.mark.parametrize(
    ("image", "points", "order", "said"),
    [
        (np.ones((3, 0)), np.ones(2), "linear", r"image: got shape \[3, 0\]"),
        (np.ones(3), np.ones(2), "linear", r"image: got shape \[3\]"),
        (np.ones((3, 3), complex), np.ones(2), "linear", "of complex128, expected real"),
        (np.ones((3, 3)), np.ones(3), "linear", r"points: got shape \[3\], expected 2 numbers"),
        (np.ones((3, 3)), np.ones(2), "quintic", "order: got 'quintic', expected one of 'linear', 'cubic'"),
    ],
)
def test_what_is_refused(image, points, order, said):
    with pytest.raises(jm.ArgumentError, match=said):
        sample(image, points, order)
