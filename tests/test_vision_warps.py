"""Warps: their Jacobians against central differences, their laws, closed forms and SciPy's thin-plate spline."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.interpolate import RBFInterpolator

import jacmap as jm
from jacmap.vision.warps import GROUPS

V = jm.vision
RNG = np.random.default_rng(0)
CONTROL = np.array([[0.0, 0.0], [7.0, 0.0], [0.0, 5.0], [7.0, 5.0], [3.0, 2.0]])
WARPS = [
    *GROUPS.values(),
    V.ThinPlate(CONTROL),
    V.Flow((6, 8)),
    V.Lens((9.0, 8.0), (3.5, 2.5)),
]  # fmt: skip
NAMES = [warp.name for warp in WARPS]
# Inside, at whole pixels, on the rim and its corners, beyond it.
POINTS = jnp.asarray(np.vstack([RNG.uniform(0, 5, (9, 2)), CONTROL, [[0, 3], [7, 2], [4, 5], [-1.5, 2], [8.2, 6.1]]]))


def some(warp, scale=0.03):
    return jnp.asarray(scale * np.random.default_rng(warp.size).standard_normal(warp.size))


def differences(f, x, step=1e-6):
    """∂f/∂x (*out, n) along the last axis of x by central differences."""
    f, columns = jax.jit(f), []
    for k in range(x.shape[-1]):
        e = jnp.zeros(x.shape[-1]).at[k].set(step)
        columns.append((f(x + e) - f(x - e)) / (2 * step))
    return np.stack(columns, axis=-1)


@pytest.mark.parametrize("warp", WARPS, ids=NAMES)
def test_jacobians_are_those_of_differences(warp):
    p = some(warp)
    by_points = V.by_points(warp, p, POINTS)
    wanted = differences(lambda x: warp(p, x), POINTS)
    np.testing.assert_allclose(by_points, wanted, atol=1e-6)
    wanted = differences(lambda q: warp(q, POINTS), p, 1e-5)
    np.testing.assert_allclose(V.by_parameters(warp, p, POINTS), wanted, atol=1e-6)
    sparse = V.by_parameters(warp, p, POINTS, form="sparse")
    np.testing.assert_allclose(sparse.todense(), wanted.reshape(-1, warp.size), atol=1e-6)
    np.testing.assert_allclose(V.area(warp, p, POINTS), np.linalg.det(by_points), atol=1e-12)


@pytest.mark.parametrize("warp", WARPS, ids=NAMES)
def test_no_parameters_no_change(warp):
    np.testing.assert_allclose(warp(jnp.zeros(warp.size), POINTS), POINTS, atol=1e-13)
    assert warp(jnp.zeros(warp.size), POINTS.reshape(-1, 1, 2)).shape == (len(POINTS), 1, 2)
    single = warp(jnp.zeros(warp.size, jnp.float32), POINTS.astype(jnp.float32))
    assert single.dtype == jnp.float32
    np.testing.assert_array_equal(V.orientation(warp, jnp.zeros(warp.size), POINTS), np.ones(len(POINTS)))


@pytest.mark.parametrize("warp", GROUPS.values(), ids=list(GROUPS))
def test_groups_are_groups(warp):
    a, b = some(warp, 0.05), -some(warp, 0.02) + 0.01
    np.testing.assert_allclose(warp(warp.compose(a, b), POINTS), warp(a, warp(b, POINTS)), atol=1e-12)
    np.testing.assert_allclose(warp(warp.inverse(a), warp(a, POINTS)), POINTS, atol=1e-12)
    np.testing.assert_allclose(warp.parameters_of(-3 * warp.matrix(a)), a, atol=1e-14)
    homogeneous = np.column_stack([POINTS, np.ones(len(POINTS))]) @ np.asarray(warp.matrix(a)).T
    np.testing.assert_allclose(warp(a, POINTS), homogeneous[:, :2] / homogeneous[:, 2:], atol=1e-13)


def test_each_group_holds_what_its_name_says():
    turn = V.Euclidean().matrix(jnp.array([0.3, 1.0, 2.0]))[:2, :2]
    np.testing.assert_allclose(turn @ turn.T, np.eye(2), atol=1e-15)
    assert turn[1, 0] > 0  # from x towards y
    scaled = V.Similarity().matrix(jnp.array([0.1, 0.4, 1.0, 2.0]))[:2, :2]
    np.testing.assert_allclose(scaled @ scaled.T, (1.1**2 + 0.4**2) * np.eye(2), atol=1e-15)


def test_the_area_of_a_homography_in_closed_form_and_beyond_infinity():
    warp, p = V.Homography(), jnp.asarray([0.1, 0.2, 3.0, -0.1, 0.2, 1.0, 0.05, -0.3])
    w = 1 + 0.05 * POINTS[:, 0] - 0.3 * POINTS[:, 1]
    assert (w < 0).any() and (w > 0).any()
    np.testing.assert_allclose(V.area(warp, p, POINTS), np.linalg.det(warp.matrix(p)) / w**3, rtol=1e-10)
    np.testing.assert_array_equal(V.orientation(warp, p, POINTS), np.sign(w))


def test_the_thin_plate_is_scipys():
    warp, p = V.ThinPlate(CONTROL), some(V.ThinPlate(CONTROL), 1.0)
    spline = RBFInterpolator(CONTROL, CONTROL + np.asarray(p).reshape(-1, 2), kernel="thin_plate_spline", degree=1)
    np.testing.assert_allclose(warp(p, POINTS), spline(np.asarray(POINTS)), atol=1e-11)


@pytest.mark.parametrize(
    "control", [[[0, 0], [1, 1]], [[0, 0], [1, 1], [3, 3]], [[0, 0], [1, 0], [0, 1], [0, 0]], [[0, np.nan]] * 4, [1, 2]]
)
def test_control_points_that_determine_no_plate_are_refused(control):
    with pytest.raises(jm.ArgumentError, match="^control: got"):
        V.ThinPlate(control)


def test_a_flow_moves_each_pixel_by_its_own_displacement():
    flow = RNG.standard_normal((6, 8, 2))
    pixels = V.grid((6, 8))
    for order in ("linear", "cubic"):
        np.testing.assert_allclose(V.Flow((6, 8), order)(flow, pixels), pixels + flow, atol=1e-14)
    flow[2, 3] = np.nan
    moved = V.Flow((6, 8), "linear")(flow, pixels)
    assert jnp.isnan(moved[2, 3]).all() and jnp.isfinite(moved[0]).all()


def test_a_flow_by_its_parameters_has_sixteen_pixels_in_a_row():
    warp = V.Flow((20, 30))
    points = V.grid((20, 30)).reshape(-1, 2) + 0.3
    plan = jm.plan(lambda p: warp(p, points), jnp.zeros(warp.size), question="sparse")
    assert plan.passes <= 16
    found = V.by_parameters(warp, jnp.zeros(warp.size), points, form="sparse")
    assert found.nse <= 16 * 2 * len(points)


def test_the_lens_is_browns_polynomial():
    k1, k2, p1, p2, k3 = p = [-0.3, 0.1, 0.01, -0.02, 0.05]
    x, y = 0.4, -0.7
    r2 = x * x + y * y
    radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    wanted = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x), y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    found = V.Lens((100.0, 200.0), (5.0, 6.0))(jnp.asarray(p), jnp.array([5 + 100 * x, 6 + 200 * y]))
    np.testing.assert_allclose(found, [5 + 100 * wanted[0], 6 + 200 * wanted[1]], rtol=1e-14)


def test_equal_warps_are_compiled_once():
    assert V.ThinPlate(CONTROL) == V.ThinPlate(CONTROL.tolist())
    assert hash(V.Flow((3, 4))) == hash(V.Flow((3, 4)))


def test_any_function_of_parameters_and_points_will_do():
    def shear(p, x):
        return jnp.stack([x[..., 0] + p[0] * x[..., 1], x[..., 1]], axis=-1)

    np.testing.assert_allclose(V.by_points(shear, jnp.array([0.5]), POINTS)[0], [[1, 0.5], [0, 1]])


@pytest.mark.parametrize(
    ("warp", "parameters", "points", "said"),
    [
        (V.Affine(), np.zeros(5), np.zeros(2), r"parameters: got shape \[5\], expected \[6\] for the warp 'affine'"),
        (V.Affine(), np.zeros(6), np.zeros(3), r"points: got shape \[3\], expected 2 numbers"),
        (V.Flow((3, 4)), np.zeros((4, 3, 3)), np.zeros(2), r"parameters: got shape \[36\], expected \[24\]"),
    ],
)
def test_what_is_refused(warp, parameters, points, said):
    with pytest.raises(jm.ArgumentError, match=said):
        warp(parameters, points)


# -- folds -------------------------------------------------------------------------------------------------------------
def bilinear_dets(flow, cell, steps=9):
    """det of the bilinear map of one cell at many places inside it, by differentiating it."""
    row, column = cell

    def place(t):
        x, y = t
        corner = jnp.asarray(flow)[row : row + 2, column : column + 2]
        top, bottom = (1 - x) * corner[0, 0] + x * corner[0, 1], (1 - x) * corner[1, 0] + x * corner[1, 1]
        return t + (1 - y) * top + y * bottom

    t = jnp.stack(jnp.meshgrid(*[jnp.linspace(0, 1, steps)] * 2), -1).reshape(-1, 2)
    return jax.vmap(lambda t: jnp.linalg.det(jax.jacfwd(place)(t)))(t)


def test_folds_are_the_cells_whose_bilinear_map_is_turned_over_somewhere():
    flow = 0.45 * np.random.default_rng(5).standard_normal((6, 7, 2))
    found = V.folds(flow)
    least = {(c + 0.5, r + 0.5): float(bilinear_dets(flow, (r, c)).min()) for r in range(5) for c in range(6)}
    assert found.cells == 30 and 0 < len(found) < 30
    assert {tuple(place) for place in found.places} == {place for place, det in least.items() if det <= 0}
    np.testing.assert_allclose(found.dets, [least[tuple(place)] for place in found.places], atol=1e-12)
    assert (np.diff(found.dets) >= 0).all() and found.share == len(found) / 30
    assert str(found).startswith(f"{len(found)} of 30 cells fold: (")


def test_a_fold_of_one_pixel_that_central_differences_miss_is_named():
    flow = np.zeros((5, 8, 2))
    flow[:, 3, 0], flow[:, 4, 0] = 1.2, 0.0  # pixel 3 lies beyond pixel 4
    found = V.folds(flow)
    assert sorted(map(tuple, found.places)) == [(3.5, r + 0.5) for r in range(4)]
    np.testing.assert_allclose(found.dets, -0.2)


def test_no_folds_and_unknown_pixels():
    flow = np.zeros((4, 4, 2))
    assert str(V.folds(flow)) == "no folds in 9 cells" and V.folds(flow).share == 0
    flow[0, 0] = np.nan
    assert V.folds(flow).cells == 8
    assert V.folds(np.zeros((1, 1, 2))).cells == 0
    with pytest.raises(jm.ArgumentError, match=r"flow: got shape \[4, 4\]"):
        V.folds(np.zeros((4, 4)))
