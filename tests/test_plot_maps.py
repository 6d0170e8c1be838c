"""Maps of the plane: what is drawn, against closed forms; folds to rounding; one batch, never a point at a time."""

import os

os.environ.setdefault("MPLBACKEND", "Agg")

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
from plot_cases import POINT, cusp, mobius, polar, sphere, square, vortex

import jacmap as jm
from jacmap.plot._fold import folds
from jacmap.plot._sample import PlaneMap, lattice

LOW, HIGH = np.array([-1.3, -1.0]), np.array([1.1, 1.2])


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def curves_of(f, low=LOW, high=HIGH, size=60):
    plane = PlaneMap(f, low)
    points = lattice(low, high, size, size)
    found = folds(plane, points, plane.jacobians(points)[1])
    return np.concatenate(found)[~np.isnan(np.concatenate(found)[:, 0])] if found else np.zeros((0, 2))


# -- folds -----------------------------------------------------------------------------------------------------
def test_the_fold_of_a_cusp_is_a_parabola_to_rounding():
    x, y = curves_of(cusp).T
    assert len(x) > 50 and y == pytest.approx(x**2, abs=1e-13)


def test_a_crease_is_a_fold():
    x, _ = curves_of(lambda p: jnp.stack([jnp.abs(p[0] - 0.3), p[1]])).T
    assert len(x) >= 60 and x == pytest.approx(0.3, abs=1e-13)


@pytest.mark.parametrize("size", [60, 61, 25])  # with and without a point of the lattice on the fold
def test_a_fold_through_points_of_the_lattice(size):
    found = curves_of(lambda p: jnp.stack([p[0] ** 2, p[1]]), np.array([-1.0, -1.0]), np.array([1.0, 1.0]), size)
    assert len(found) >= size - 1 and found[:, 0] == pytest.approx(0, abs=1e-13)


@pytest.mark.parametrize(
    "f",
    [
        square,  # det 4|z|², 0 at one point
        lambda p: jnp.stack([p[0] ** 3, p[1]]),  # 0 along a line without a change of sign
        lambda p: jnp.stack([-(p[0] ** 3), p[1]]),
        mobius,  # a pole of even order
        lambda p: jnp.stack([jnp.log(jnp.abs(p[0] + 0.1)), p[1]]),  # det 1/(x + 0.1): changes sign in a pole
        lambda p: jnp.stack([p[0] + p[1] / 3, (p[0] + p[1] / 3) * 0.7]),  # 0 everywhere up to rounding
        lambda p: jnp.sin(p @ jnp.array([[0.1, 0.2], [0.3, 0.6]])) * 1e-3,
    ],
)
@pytest.mark.parametrize("size", [60, 61])
def test_what_is_no_fold(f, size):
    assert not len(curves_of(f, np.array([-1.0, -1.0]), np.array([1.0, 1.0]), size))


# -- circle_to_ellipse -----------------------------------------------------------------------------------------
def test_the_circle_its_image_and_the_ellipse():
    radius, centre = 0.5, np.asarray(POINT)
    ax = jm.plot.circle_to_ellipse(square, POINT, radius)
    lines = {line.get_label(): np.stack(line.get_data(), axis=1) for line in ax.lines}
    true, linear = lines["true image, f(x + Δx)"], lines["linear image, f(x) + J Δx"]
    z = np.sqrt(true[:, 0] + 1j * true[:, 1])  # the root with a positive real part: the circle lies there
    assert np.abs(z - complex(*centre)) == pytest.approx(radius, abs=1e-12)
    J = np.array([[3.0, -1.0], [1.0, 3.0]])
    assert np.linalg.norm(np.linalg.solve(J, (linear - [2.0, 1.5]).T), axis=0) == pytest.approx(radius, abs=1e-12)
    assert "areas × 10, orientation kept" in ax.get_title() and ax.get_aspect() == 1.0
    assert sum("σ" in label and "3.16" in label for label in lines) == 2
    (small,) = ax.child_axes
    assert np.hypot(*small.lines[0].get_data()) == pytest.approx(radius)


def test_singular_directions_end_on_the_half_axes():
    cos, sin = np.cos(0.5), np.sin(0.5)
    turned = np.array([[cos, -sin], [sin, cos]]) @ np.diag([5.0, 2.0]) @ np.array([[0.0, 1.0], [1.0, 0.0]])
    ax = jm.plot.circle_to_ellipse(lambda p: turned @ p, [0.0, 0.0], 0.1)
    tips = {line.get_label(): line.get_xydata()[0] for line in ax.lines if line.get_label().startswith("σ")}
    assert tips["σ₁ = 5, along v₁"] == pytest.approx([0.5 * cos, 0.5 * sin])  # v₁ = (0, 1)
    assert tips["σ₂ = 2, along v₂"] == pytest.approx([-0.2 * sin, 0.2 * cos])  # v₂ = (1, 0)
    assert "orientation reversed" in ax.get_title()


def test_a_circle_on_a_fold_and_one_that_shrinks():
    assert "collapses" in jm.plot.circle_to_ellipse(cusp, [1.0, 1.0], 0.1).get_title()
    assert "J = 0" in jm.plot.circle_to_ellipse(lambda p: p**2, [0.0, 0.0]).get_title()


# -- grid ------------------------------------------------------------------------------------------------------
def test_the_grid_is_the_image_of_its_lines_in_the_colours_of_the_determinant():
    ax = jm.plot.grid(polar, [0.1, 0.0], [1.0, 5.0], 5)
    circles, rays = ax.collections
    radii = np.hypot(*np.concatenate(circles.get_segments()).T)
    assert np.unique(radii.round(9)) == pytest.approx(np.linspace(0.1, 1.0, 5), abs=1e-8)
    ends = np.array(rays.get_segments())
    assert np.asarray(rays.get_array()) == pytest.approx(np.hypot(*ends.mean(axis=1).T), abs=1e-12)  # det J = r
    assert "image of the grid from (0.1, 0) to (1, 5)" in ax.get_title()


def test_the_fold_of_the_grid_is_mapped_too():
    ax = jm.plot.grid(cusp, LOW, HIGH)
    x, y = np.concatenate([line.get_xydata() for line in ax.lines]).T
    assert np.abs(x) == pytest.approx(2 * np.maximum(y, 0) ** 1.5, abs=1e-12)
    assert "fold" in ax.get_legend().get_texts()[-1].get_text()


def test_a_pole_neither_sets_the_limits_nor_tears_lines_across():
    ax = jm.plot.grid(mobius, [-3.0, -2.0], [1.0, 2.0])
    assert max(map(abs, (*ax.get_xlim(), *ax.get_ylim()))) < 10
    pieces = np.concatenate([np.array(lines.get_segments()) for lines in ax.collections])
    assert np.isfinite(pieces).all() and np.abs(pieces[:, 1] - pieces[:, 0]).max() < 5
    assert not ax.lines


# -- volume_map ------------------------------------------------------------------------------------------------
def test_volumes_with_their_orientation():
    ax = jm.plot.volume_map(cusp, LOW, HIGH, 40)
    x, y = lattice(LOW, HIGH, 40, 40).transpose(2, 0, 1)
    assert np.asarray(ax.collections[0].get_array()) == pytest.approx((3 * x**2 - 3 * y).reshape(40, 40))
    assert [t.get_text() for t in ax.get_legend().get_texts()] == [
        "reversed, det J < 0", "fold, det J = 0", "areas kept, factor 1",
    ]  # fmt: skip
    (fold,) = (line.get_xydata() for line in ax.lines if len(line.get_xdata()) > 10)
    assert fold[:, 1] == pytest.approx(fold[:, 0] ** 2, abs=1e-12)


def test_volumes_of_a_surface():
    low, high = np.array([0.1, 0.0]), np.array([3.0, 6.0])
    ax = jm.plot.volume_map(sphere, low, high, 30)
    expected = np.sin(lattice(low, high, 30, 30)[..., 0])
    assert np.asarray(ax.collections[0].get_array()) == pytest.approx(expected.reshape(30, 30), abs=1e-12)
    assert "√det(JᵀJ)" in ax.child_axes[0].get_ylabel()


@pytest.mark.parametrize(
    ("f", "said"),
    [
        (square, "orientation is kept"),
        (lambda p: p[::-1], "orientation is reversed"),
        (lambda p: jnp.stack([p[0], p[0]]), "det J = 0 everywhere"),
        (cusp, "where orientation turns"),
    ],
)
def test_what_is_said_of_orientation(f, said):
    assert said in jm.plot.volume_map(f, LOW, HIGH, 40).get_title()


def test_where_there_is_no_value_the_map_is_hatched():
    ax = jm.plot.volume_map(lambda p: jnp.sqrt(p), [-1.0, -1.0], [1.0, 1.0], 20)
    assert ax.patch.get_hatch()


# -- vector_field ----------------------------------------------------------------------------------------------
def test_divergence_and_rotation():
    low, high = np.array([-2.0, -2.0]), np.array([2.0, 2.0])
    ax = jm.plot.vector_field(vortex, low, high)
    x, _ = lattice(low, high, 121, 121).transpose(2, 0, 1)
    assert np.asarray(ax.collections[0].get_array()).reshape(x.shape) == pytest.approx(0.6 * x - 0.2, abs=1e-12)
    (contours,) = (c for c in ax.collections if hasattr(c, "levels"))
    for level, path in zip(contours.levels, contours.get_paths(), strict=True):
        if len(path.vertices):
            r2 = (path.vertices**2).sum(axis=1)
            assert (2 - r2) * np.exp(-r2 / 2) == pytest.approx(level, abs=2e-3)
    arrows = next(c for c in ax.collections if hasattr(c, "U"))
    assert np.stack([arrows.U, arrows.V], -1) == pytest.approx(np.asarray([vortex(p) for p in arrows.XY]), abs=1e-12)


@pytest.mark.parametrize(
    ("f", "said"),
    [
        (lambda p: jnp.stack([-p[1], p[0]]), "divergence 0 everywhere, rotation 2 everywhere"),
        (lambda p: 3 * p, "divergence 6 everywhere, rotation 0 everywhere"),
        (lambda p: 0 * p, "divergence 0 everywhere, rotation 0 everywhere"),
    ],
)
def test_what_is_said_of_a_field(f, said):
    assert said in jm.plot.vector_field(f, [-1.0, -1.0], [1.0, 1.0]).get_title()


# -- how it is computed ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["grid", "volume_map", "vector_field"])
def test_points_are_evaluated_in_batches(name):
    calls = []

    def f(p):
        calls.append(p)
        return cusp(p)

    getattr(jm.plot, name)(f, LOW, HIGH)
    assert len(calls) < 40  # traces; there are thousands of points


def test_a_function_of_any_layout_and_precision():
    def f(p):
        assert p.shape == (2, 1) and p.dtype == jnp.float32
        return {"a": p[0, 0] ** 2, "b": p[1, 0] * jnp.float32(2)}

    ax = jm.plot.volume_map(f, jnp.ones((2, 1), jnp.float32), jnp.full((2, 1), 2, jnp.float32), 5)
    assert np.asarray(ax.collections[0].get_array())[0] == pytest.approx(4 * np.linspace(1, 2, 5))


def test_single_precision_without_a_warning():
    with jax.enable_x64(False):
        ax = jm.plot.volume_map(cusp, LOW, HIGH, 20)
        assert "orientation turns" in ax.get_title()
        jm.plot.circle_to_ellipse(square, np.array([1.5, 0.5]))
    fold = ax.lines[0].get_xydata()
    assert fold[:, 1] == pytest.approx(fold[:, 0] ** 2, abs=1e-5)


# -- bad input -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: p.grid(lambda x: x[0], LOW, HIGH), "f: f returns 1 number, expected 2; of more choose two"),
        (lambda p: p.grid(sphere, LOW, HIGH), r"f: sphere returns 3 numbers, expected 2; .*f\(x\)\[:2\]"),
        (lambda p: p.volume_map(lambda x: x[0], LOW, HIGH), "f: f returns 1 number, expected 2 or more"),
        (lambda p: p.grid(3, LOW, HIGH), "f: got int, expected a function"),
        (lambda p: p.grid(lambda x: x > 0, LOW, HIGH), "f: f returns bool, expected real numbers"),
        (lambda p: p.grid(cusp, [0, 0, 0], HIGH), r"lower: got \[0, 0, 0\], expected two finite numbers"),
        (lambda p: p.grid(cusp, [0, 0], [1, np.inf]), "upper: got .*expected two finite numbers"),
        (lambda p: p.vector_field(cusp, [0, 0], [1, 0]), "lower, upper: got .*each entry of lower below"),
        (lambda p: p.grid(cusp, "ab", HIGH), "lower: got 'ab', expected an array of real numbers"),
        (lambda p: p.grid(cusp, LOW, HIGH, 1), "lines: got 1, expected an integer of at least 2"),
        (lambda p: p.vector_field(cusp, LOW, HIGH, 2.5), "arrows: got 2.5, expected an integer"),
        (lambda p: p.volume_map(cusp, LOW, HIGH, True), "resolution: got True, expected an integer"),
        (lambda p: p.grid(lambda x: x * jnp.nan, LOW, HIGH), "f: got no finite number among"),
        (lambda p: p.volume_map(lambda x: x * jnp.nan, LOW, HIGH), "det J: got no finite number"),
        (lambda p: p.circle_to_ellipse(cusp, [1.0]), "x: got 1 number, expected two finite ones"),
        (lambda p: p.circle_to_ellipse(cusp, [1.0, np.nan]), "x: got 2 numbers, expected two finite ones"),
        (lambda p: p.circle_to_ellipse(cusp, POINT, 0), "radius: got 0, expected a positive number"),
        (lambda p: p.circle_to_ellipse(sphere, POINT), "f: sphere returns 3 numbers, expected 2"),
        (lambda p: p.circle_to_ellipse(mobius, [-1.0, 0.0]), r"x: f or its Jacobian is not finite at \(−1, 0\)"),
        (lambda p: p.pattern(np.ones(3)), r"J: got ndarray of shape \(3,\), expected jm.linearize"),
        (lambda p: p.pattern(np.ones((0, 3))), "J: got shape .*at least one row"),
        (lambda p: p.matrix(np.ones(3)), r"J: got shape \(3,\), expected a matrix"),
        (lambda p: p.matrix([["a"]]), "J: got .*expected an array of real numbers"),
        (lambda p: p.matrix(np.full((2, 2), np.nan)), "J: got no finite number among 4"),
        (lambda p: p.matrix(np.ones((2, 2)), rows=["a"]), r"rows: got \['a'\], expected 2 names"),
        (lambda p: p.matrix(np.ones((2, 2)), columns="ab"), "columns: got 'ab', expected 2 names"),
        (lambda p: p.matrix(jm.linearize(lambda x: x * x.sum(), jnp.ones(6000))), "jm.plot.pattern"),
        (lambda p: p.singular_values(np.array([1.0, -1.0])), "finite and not negative"),
        (lambda p: p.singular_values(np.full((2, 2), np.nan)), "NaN has no singular values"),
        (lambda p: p.sensitivity_map(np.ones(4)), r"values: got shape \(4,\), expected H×W"),
        (lambda p: p.sensitivity_map(np.ones((4, 4)), np.ones((4, 5))), "image: got 4×5 pixels for values of 4×4"),
        (lambda p: p.sensitivity_map(np.full((4, 4), np.nan)), "values: got no finite number among 16"),
        (lambda p: p.sensitivity_map(np.ones((4, 4)), percentile=0), "percentile: got 0"),
        (lambda p: p.bars([1.0, np.nan]), "values: got shape .*1 not finite"),
        (lambda p: p.bars([1.0, 2.0], ["a"]), "names: got 1, expected 2"),
        (lambda p: p.bars([1.0, 2.0], None, [[2, 1], [0, 1]]), "intervals: got shape"),
        (lambda p: p.bars([1.0], most=0), "most: got 0"),
        (lambda p: p.trust(3), "trust: got int, expected jm.geometry"),
        (lambda p: p.sensitivity_map(np.array([[[1.0, np.nan]]])), "values: got no finite number among 1"),
        (lambda p: p.gains([1]), "J: got list, expected jm.linearize"),
    ],
)
def test_bad_input_gets_one_clear_error(call, message):
    with pytest.raises(jm.ArgumentError, match=message):
        call(jm.plot)
    assert not plt.get_fignums()  # nothing half drawn is left behind
