"""A sphere and its ellipsoid: what is drawn, against the singular value decomposition of a linear map."""

import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib import pyplot as plt

import jacmap as jm
from jacmap import plot

MATRIX = np.array([[2.0, 1.0, 0.0], [0.0, 1.0, -1.0], [0.5, 0.0, 1.0]])


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_half_axes_end_on_the_ellipsoid() -> None:
    x, radius = jnp.array([1.0, -1.0, 2.0]), 0.25
    ax = plot.sphere_to_ellipsoid(lambda p: MATRIX @ p + 1.0, x, radius)
    u, s, _ = np.linalg.svd(MATRIX)
    value = MATRIX @ np.asarray(x) + 1.0
    for k, line in enumerate(ax.lines):
        start, end = np.stack(line.get_data_3d(), axis=1)
        np.testing.assert_allclose(start, value, atol=1e-12)
        np.testing.assert_allclose(np.abs(end - value), np.abs(radius * s[k] * u[:, k]), atol=1e-12)
        back = np.linalg.solve(MATRIX, end - value)
        assert np.linalg.norm(back) == pytest.approx(radius)
    assert "volumes × 1.5, kept" in ax.get_title()


def test_a_flat_image_is_told() -> None:
    ax = plot.sphere_to_ellipsoid(lambda p: jnp.stack([p[0], p[1], p[0] + p[1]]), jnp.zeros(3))
    assert "det J = 0" in ax.get_title()


@pytest.mark.parametrize(
    ("f", "x", "options", "said"),
    [
        (lambda p: p, jnp.ones(2), {}, "x: got 2 numbers, expected three"),
        (lambda p: p, jnp.ones(3), {"radius": -1.0}, "radius: got -1.0"),
        (lambda p: p[:2], jnp.ones(3), {}, "f: got 2 outputs, expected three"),
        (jnp.log, jnp.zeros(3), {}, "not finite"),
    ],
)
def test_bad_arguments(f, x, options, said) -> None:
    with pytest.raises(jm.ArgumentError, match=said):
        plot.sphere_to_ellipsoid(f, x, **options)


def test_flat_axes_are_refused() -> None:
    with pytest.raises(jm.ArgumentError, match="axes in space"):
        plot.sphere_to_ellipsoid(lambda p: p, jnp.ones(3), ax=plt.subplots()[1])
