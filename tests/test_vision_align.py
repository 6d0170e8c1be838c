"""Alignment against images whose warp is known in closed form, against jax.jacfwd, and against Monte Carlo."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jacmap as jm
from jacmap.vision.alignment.frame import Frame
from jacmap.vision.alignment.normal import LINEAR, Guess, Model, level_of
from jacmap.vision.alignment.robust import LOSSES, scale_of
from jacmap.vision.sampling import grid, sample

SHAPE = (60, 72)
H, W = SHAPE
CORNERS = np.array([[0, 0], [W - 1, 0], [W - 1, H - 1], [0, H - 1]], float)

# Parameters that move the corners by a few pixels.
KNOWN = {
    "translation": [2.3, -1.7],
    "euclidean": [0.04, 1.5, -2.2],
    "similarity": [0.03, -0.02, 1.4, -0.8],
    "affine": [0.03, -0.02, 1.2, 0.04, -0.03, -1.1],
    "homography": [0.03, -0.02, 1.2, 0.04, -0.03, -1.1, 2e-4, -3e-4],
}
WARPS = {
    "translation": jm.vision.Translation(),
    "euclidean": jm.vision.Euclidean(),
    "similarity": jm.vision.Similarity(),
    "affine": jm.vision.Affine(),
    "homography": jm.vision.Homography(),
}


def scene(points):
    """A smooth picture without end: values at any points (…, 2), NumPy or JAX; 0 … 255 or so."""
    x, y = points[..., 0], points[..., 1]
    lib = jnp if isinstance(points, jax.Array) else np
    waves = (
        lib.sin(x / 3.1 + 0.4 * y / 3)
        + lib.cos(y / 2.9 - 0.2 * x / 3)
        + lib.sin((x + y) / 7) * lib.cos((x - 2 * y) / 9)
    )
    return 120 + 35 * waves


def pixels(shape=SHAPE):
    return np.asarray(grid(shape, float))


def pictures(warp, parameters, shape=SHAPE, dtype=np.float64):
    """fixed(x) = scene(W(x)) and moving = scene: the moving image is exact at its pixels, and so is the fixed one."""
    fixed = scene(np.asarray(warp(jnp.asarray(parameters, float), jnp.asarray(pixels(shape)))))
    return fixed.astype(dtype), scene(pixels(shape)).astype(dtype)


def distance(warp, found, parameters, at=CORNERS):
    a, b = (np.asarray(warp(jnp.asarray(p, float), jnp.asarray(at))) for p in (found, parameters))
    return float(np.abs(a - b).max())


# -- known warps -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", KNOWN)
def test_a_known_warp_is_found_in_pixels(name):
    fixed, moving = pictures(WARPS[name], KNOWN[name])
    found = jm.vision.align(fixed, moving, name)
    assert found.converged, found.reason
    assert distance(WARPS[name], found.parameters, KNOWN[name]) < 0.03
    truth = np.asarray(WARPS[name].matrix(jnp.asarray(KNOWN[name])))
    np.testing.assert_allclose(found.matrix, truth, atol=0.03)
    assert found.parameters.dtype == np.float64 and 0.8 < found.inside < 1


@pytest.mark.parametrize("method", ["inverse", "forward", "ecc"])
def test_every_method_in_single_precision(method):
    fixed, moving = pictures(WARPS["homography"], KNOWN["homography"], dtype=np.float32)
    found = jm.vision.align(fixed, moving, method=method, levels=2)
    assert found.converged and found.parameters.dtype == np.float32
    assert distance(WARPS["homography"], found.parameters, KNOWN["homography"]) < 0.03


def test_a_warp_without_a_group_by_the_forward_method():
    control = [[10.0, 10.0], [60.0, 12.0], [58.0, 48.0], [12.0, 50.0], [35.0, 30.0]]
    warp = jm.vision.ThinPlate(control)
    parameters = np.array([1.5, -1, 0.5, 1, -1, 1, 1, 0.5, -1.5, -1])
    fixed, moving = pictures(warp, parameters)
    found = jm.vision.align(fixed, moving, warp, method="forward", levels=1)
    assert found.converged and found.matrix is None
    assert distance(warp, found.parameters, parameters, np.array(control)) < 0.05


def test_images_of_colours_and_of_their_own_sizes():
    warp = WARPS["affine"]
    fixed, moving = pictures(warp, KNOWN["affine"])
    fixed, moving = fixed[5:50, 3:60], moving[:57]
    colour = [np.stack([image, 255 - 0.5 * image], -1) for image in (fixed, moving)]
    shifted = warp.compose(jnp.asarray(KNOWN["affine"]), jnp.asarray([0, 0, 3.0, 0, 0, 5]))
    corners = np.array([[0, 0], [56, 0], [56, 44], [0, 44.0]])
    found = jm.vision.align(*colour, "affine", levels=1)
    assert found.converged and distance(warp, found.parameters, shifted, corners) < 0.03


def test_an_image_on_itself_stays_where_it_is():
    image = scene(pixels())
    found = jm.vision.align(image, image, "affine", levels=1)
    assert found.converged and found.inside == 1 and found.residual < 1e-6
    assert np.abs(found.parameters).max() < 1e-9


def test_of_several_starts_the_best_is_kept():
    truth = np.array([21.0, -17.0])
    fixed, moving = pictures(WARPS["translation"], truth)
    far = jm.vision.align(fixed, moving, "translation", levels=1)
    assert distance(WARPS["translation"], far.parameters, truth) > 1
    starts = np.array([[0.0, 0], [20.0, -16], [-10, 5]])
    found = jm.vision.align(fixed, moving, "translation", starts, levels=1)
    assert found.start == 1 and found.converged
    assert distance(WARPS["translation"], found.parameters, truth) < 0.03


# -- brightness, outliers, holes ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(("method", "options"), [("inverse", {"gain_bias": True}), ("ecc", {})])
def test_gain_and_bias_change_nothing_but_themselves(method, options):
    fixed, moving = pictures(WARPS["affine"], KNOWN["affine"])
    plain = jm.vision.align(fixed, moving, "affine", method=method, levels=1, **options)
    lit = jm.vision.align(fixed, 1.3 * moving + 20, "affine", method=method, levels=1, **options)
    assert distance(WARPS["affine"], lit.parameters, plain.parameters) < 2e-3
    assert abs(lit.gain - 1.3 * plain.gain) < 2e-3 and abs(lit.bias - 1.3 * plain.bias - 20) < 0.2
    assert abs(plain.gain - 1) < 0.02


def test_what_a_robust_loss_drops():
    fixed, moving = pictures(WARPS["affine"], KNOWN["affine"])
    moving[20:45, 15:55] = 250  # a quarter of the image
    moved = [
        distance(
            WARPS["affine"],
            jm.vision.align(fixed, moving, "affine", robust=robust, levels=1).parameters,
            KNOWN["affine"],
        )
        for robust in (None, "huber", "tukey")
    ]
    assert moved[2] < 0.05 < 0.5 < moved[0] and moved[1] < moved[0]


def test_a_mask_and_nan_pixels_are_not_counted():
    fixed, moving = pictures(WARPS["affine"], KNOWN["affine"])
    draw = np.random.default_rng(0)
    fixed[10:30, 10:40] = 999
    mask = fixed != 999
    fixed[draw.random(SHAPE) < 0.02] = np.nan
    moving[draw.random(SHAPE) < 0.02] = np.inf
    found = jm.vision.align(fixed, moving, "affine", mask=mask, levels=1)
    assert found.converged and distance(WARPS["affine"], found.parameters, KNOWN["affine"]) < 0.03


def test_losses_are_each_others_derivatives():
    u = jnp.linspace(-6, 6, 240)
    for loss in LOSSES.values():
        first = jax.vmap(jax.grad(loss.value))(u)
        np.testing.assert_allclose(first, loss.weight(u) * u, atol=1e-12)
        np.testing.assert_allclose(
            jax.vmap(jax.grad(lambda v, loss=loss: loss.weight(v) * v))(u), loss.curvature(u), atol=1e-12
        )


def test_the_scale_of_residuals_is_not_moved_by_outliers():
    draw = np.random.default_rng(1)
    residual = 3 * draw.standard_normal((50_000, 1))
    residual[draw.random(50_000) < 0.2] = 500
    counted = draw.random(50_000) < 0.9
    scale = float(scale_of(jnp.asarray(residual), jnp.asarray(counted), jnp.asarray(0.1)))
    assert 3 < scale < 4.5
    assert float(scale_of(jnp.zeros((100, 1)), jnp.ones(100, bool), jnp.asarray(0.1))) == 0.1


# -- derivatives and covariance ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("gain_bias", [False, True])
def test_the_forward_jacobian_is_that_of_the_residual(gain_bias):
    warp = WARPS["homography"]
    fixed, moving = (jnp.asarray(image)[..., None] for image in pictures(warp, KNOWN["homography"]))
    model = Model(Frame.of(warp, SHAPE), "forward", None, gain_bias)
    level = jax.jit(lambda: level_of(model, fixed, moving, 1.0))()
    guess = Guess(model.frame.inward(jnp.asarray(KNOWN["homography"])), jnp.asarray([1.1, -3.0]))
    linear = jax.jit(lambda: LINEAR["forward"](model, level, guess))()

    everywhere = jnp.asarray(pixels()).reshape(-1, 2)

    def residual(unknowns):
        light = unknowns[8:] if gain_bias else guess.light
        at = warp(model.frame.outward(unknowns[:8]), everywhere)
        values, inside = sample(moving[..., 0], at)
        return jnp.where(inside, values - light[0] * fixed.ravel() - light[1], 0)

    whole = jnp.concatenate([guess.parameters, guess.light]) if gain_bias else guess.parameters
    expected = jax.jit(jax.jacfwd(residual))(whole)
    found = jnp.where(linear.counted[:, None], linear.columns * linear.size, 0)
    np.testing.assert_allclose(found, expected, atol=1e-8)


def test_the_inverse_jacobian_is_that_of_the_warped_fixed_image():
    """Central differences are exact on a quadratic image, so the oracle is jax.jacfwd of its closed form."""
    warp = WARPS["homography"]

    def image(points):
        x, y = points[..., 0] / 20, points[..., 1] / 20
        return 3 * x * x - 2 * x * y + y * y + 5 * x - y

    at = jnp.asarray(pixels())
    model = Model(Frame.of(warp, SHAPE), "inverse", None, False)
    level = level_of(model, image(at)[..., None], image(at)[..., None], 1.0)

    def warped(p):
        return image(warp(model.frame.outward(p), at))

    expected = jax.jacfwd(warped)(jnp.zeros(8))
    found = level.columns.reshape(*SHAPE, 8)
    np.testing.assert_allclose(found[1:-1, 1:-1], expected[1:-1, 1:-1], atol=1e-9)


@pytest.mark.parametrize("method", ["inverse", "forward", "ecc"])
def test_the_covariance_is_what_repeated_noise_shows(method):
    fixed, moving = pictures(WARPS["affine"], KNOWN["affine"])
    draw, sigma = np.random.default_rng(2), 8.0
    runs = [
        jm.vision.align(
            fixed + sigma * draw.standard_normal(SHAPE), moving, "affine", KNOWN["affine"], method=method, levels=1
        )
        for _ in range(60)
    ]
    assert all(run.converged for run in runs)
    spread = np.cov(np.stack([run.parameters for run in runs]).T)
    told = np.mean([run.covariance for run in runs], axis=0)
    ratio = np.sqrt(np.diag(spread) / np.diag(told))
    assert (ratio > 0.7).all() and (ratio < 1.4).all(), ratio  # 60 draws: ±9 % for one standard deviation
    assert abs(np.mean([run.residual for run in runs]) / sigma - 1) < 0.1


# -- refusals ----------------------------------------------------------------------------------------------------------
def flat(value):
    return np.full((20, 24), value)


STRIPES = np.sin(np.arange(24.0))[None] * np.ones((20, 1))
SLANTED = np.sin(np.arange(24.0)[None] + np.arange(20.0)[:, None])
GOOD = scene(pixels((20, 24)))


@pytest.mark.parametrize(
    ("fixed", "moving", "options", "said"),
    [
        (GOOD, np.stack([GOOD] * 3, -1), {}, "as many channels"),
        (GOOD[..., None], np.stack([GOOD] * 3, -1), {}, "as many channels"),
        (GOOD[0], GOOD, {}, "fixed: got shape"),
        (GOOD, GOOD[:1, :1], {}, "moving: got 1×1 pixels"),
        (GOOD[:2], GOOD, {}, "fixed: got 2×24 pixels"),
        (np.zeros((0, 4)), GOOD, {}, "fixed: got shape"),
        (GOOD * 1j, GOOD, {}, "real numbers"),
        (GOOD, GOOD, {"warp": "projective"}, "warp: got 'projective'"),
        (GOOD, GOOD, {"warp": 3}, "warp: got int"),
        (GOOD, GOOD, {"warp": jm.vision.Lens((9.0, 9.0), (8.0, 8.0))}, 'method="forward"'),
        (GOOD, GOOD, {"method": "sift"}, "method: got 'sift'"),
        (GOOD, GOOD, {"robust": "l1"}, "robust: got 'l1'"),
        (GOOD, GOOD, {"robust": "huber", "method": "ecc"}, "robust: a correlation"),
        (GOOD, GOOD, {"levels": 9}, "levels: got 9, expected at most"),
        (GOOD, GOOD, {"levels": 0}, "levels: got 0"),
        (GOOD, GOOD, {"iterations": 2.5}, "iterations: got 2.5"),
        (GOOD, GOOD, {"tolerance": 0}, "tolerance: got 0"),
        (GOOD, GOOD, {"mask": np.ones((3, 3))}, "mask: got shape"),
        (GOOD, GOOD, {"start": [1.0, 2.0]}, "start: got shape"),
        (GOOD, GOOD, {"start": [np.nan] * 8}, "start: got NaN"),
    ],
)
def test_wrong_arguments_are_named(fixed, moving, options, said):
    with pytest.raises(jm.ArgumentError) as error:
        jm.vision.align(fixed, moving, **options)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("fixed", "warp", "error", "said"),
    [
        (flat(7.0), "translation", jm.SingularError, "no texture"),
        (flat(0.1), "translation", jm.SingularError, "no texture"),
        (STRIPES, "translation", jm.SingularError, "1 of the 2 parameters.*parameters 1 "),
        (STRIPES, "affine", jm.SingularError, "3 of the 6 parameters.*parameters 3, 4, 5 "),
        (SLANTED, "translation", jm.SingularError, "1 of the 2 parameters.*parameters 0, 1 "),
        (flat(np.nan), "translation", jm.ArgumentError, "0 of its 480 pixels count"),
        (flat(np.inf), "translation", jm.ArgumentError, "0 of its 480 pixels count"),
    ],
)
def test_images_that_tell_nothing_are_refused(fixed, warp, error, said):
    with pytest.raises(error, match=said):
        jm.vision.align(fixed, np.where(np.isfinite(fixed), fixed, 1.0), warp)


@pytest.mark.parametrize("value", [np.nan, 3.0])
def test_a_moving_image_of_nothing_is_refused(value):
    with pytest.raises(jm.SingularError, match="moving: the image has no texture"):
        jm.vision.align(GOOD, flat(value), "translation")


def test_a_start_outside_the_moving_image_is_told():
    found = jm.vision.align(GOOD, GOOD, "translation", [500.0, 0.0])
    assert not found.converged and "start nearer" in found.reason and "not converged" in str(found)


def test_too_few_iterations_are_told():
    fixed, moving = pictures(WARPS["translation"], KNOWN["translation"])
    found = jm.vision.align(fixed, moving, "translation", iterations=1, levels=1)
    assert not found.converged and "1 iterations" in found.reason


@settings(max_examples=4)
@given(st.integers(1, 19), st.integers(1, 19), st.integers(0, 2**16))
def test_odd_sizes_and_odd_pixels_give_an_error_or_a_sound_result(height, width, seed):
    draw = np.random.default_rng(seed)
    fixed, moving = pictures(WARPS["translation"], [0.6, -0.4], (height, width))
    fixed[draw.random(fixed.shape) < 0.1 * (seed % 3)] = np.nan
    try:
        found = jm.vision.align(fixed, moving, "translation")
    except (jm.ArgumentError, jm.SingularError) as error:
        assert min(height, width) < 3 or "pixels count" in str(error) or "texture" in str(error)
        return
    if found.converged:
        assert np.isfinite(found.parameters).all() and found.residual < 12
