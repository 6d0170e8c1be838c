"""Dense registration of images that are known in closed form, moved by known flows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jacmap as jm
from jacmap.vision.variational import Energy, Linear, differences, newton_step, tension, total_energy

V = jm.vision
WAVES = np.random.default_rng(0).uniform(-0.6, 0.6, (24, 2))
PHASES = np.random.default_rng(1).uniform(0, 6.28, 24)


def scene(points):
    """A sum of waves: a picture with values between its pixels."""
    return np.sin(points @ WAVES.T + PHASES).sum(axis=-1)


def pair(shape, flow):
    """(fixed, moving) with fixed(x) = moving(x + flow(x))."""
    pixels = np.asarray(V.grid(shape))
    return scene(pixels + flow(pixels)), scene(pixels)


def swirl(points):
    x, y = points[..., 0], points[..., 1]
    return np.stack([3 + 1.5 * np.sin(y / 9), -2 + 1.2 * np.cos(x / 11)], axis=-1)


def error(found, flow, rim=6):
    shape = found.flow.shape[:2]
    off = np.linalg.norm(found.flow - flow(np.asarray(V.grid(shape))), axis=-1)
    return off[rim:-rim, rim:-rim]


def test_a_smooth_flow_is_found():
    found = V.register(*pair((61, 83), swirl))
    off = error(found, swirl)
    assert np.median(off) < 0.04 and np.quantile(off, 0.95) < 0.15
    assert found.converged and found.reason.startswith("converged: the last step lowered the energy by")
    assert 0.9 < found.inside <= 1 and found.folds.share < 0.01 and len(found.steps) == 3
    inner = found.area[8:-8, 8:-8]
    x, y = np.asarray(V.grid((61, 83)))[8:-8, 8:-8].transpose(2, 0, 1)
    wanted = 1 + (1.5 / 9) * np.cos(y / 9) * (1.2 / 11) * np.sin(x / 11)
    assert np.median(np.abs(inner - wanted)) < 0.02
    assert np.nanmedian(np.abs(found.residual)) < 0.05 * found.warped[np.isfinite(found.warped)].std()
    assert str(found).startswith("flow of 83×61 pixels, 3.")


def test_outliers_holes_masks_and_colours_do_not_spoil_it():
    fixed, moving = pair((48, 56), swirl)
    spoilt = np.stack([moving, 0.5 * moving], -1)
    fixed = np.stack([fixed, 0.5 * fixed], -1)
    fixed[20:26, 20:26] = 40.0
    spoilt[10, 30] = np.nan
    mask = np.ones((48, 56), bool)
    mask[30:34, 10:16], fixed[30:34, 10:16] = False, np.inf
    found = V.register(fixed, spoilt, mask=mask)
    assert np.isfinite(found.flow).all()
    assert np.median(error(found, swirl)) < 0.05
    assert found.warped.shape == found.residual.shape == (48, 56, 2)
    assert np.isnan(found.residual[31, 12]).all()


def test_a_start_carries_it_where_one_level_cannot_go():
    fixed, moving = pair((48, 48), lambda p: np.full_like(p, 9.0))
    lost = V.register(fixed, moving, levels=1)
    found = V.register(fixed, moving, levels=1, start=np.full((48, 48, 2), 8.5))
    assert np.median(error(lost, lambda p: 9.0, 10)) > 1 > 0.05 > np.median(error(found, lambda p: 9.0, 10))


def test_too_few_steps_are_told():
    found = V.register(*pair((48, 48), swirl), steps=1)
    assert not found.converged and found.reason.startswith("stopped after 1 steps")


def test_brightness_in_other_units_changes_nothing():
    fixed, moving = pair((48, 48), swirl)  # compiled for the test above already
    one, other = V.register(fixed, moving), V.register(1000 * fixed + 5e4, 1000 * moving + 5e4)
    np.testing.assert_allclose(one.flow, other.flow, atol=1e-3)


def random_level(seed=0, shape=(5, 6), channels=3):
    draw = np.random.default_rng(seed)
    parts = (jnp.asarray(draw.standard_normal((*shape, channels))) for _ in range(3))
    linear = Linear(*parts, jnp.asarray(draw.random((*shape, 1)) > 0.2))
    return linear, jnp.asarray(draw.standard_normal((*shape, 2))), Energy(0.3, 0.0, 0.2, 0.3)


def test_a_step_solves_the_reweighted_normal_equations():
    """Against a dense matrix written out: residuals of data and smoothness with their weights."""
    linear, flow, energy = random_level()
    rows, weights, left = [], [], []
    size, channels = flow.size, linear.residual.shape[-1]
    for r in range(5):
        for c in range(6):
            for k in range(channels):
                row = np.zeros(flow.shape)
                row[r, c] = linear.by_x[r, c, k], linear.by_y[r, c, k]
                value = float(linear.residual[r, c, k])
                rows.append(row.ravel())
                left.append(value)
                weights.append(float(linear.counted[r, c, 0]) / np.hypot(value, energy.data_edge) / channels)
            right, down = (np.asarray(part) for part in differences(flow))
            edge = energy.smoothness / np.sqrt((right[r, c] ** 2 + down[r, c] ** 2).sum() + energy.flow_edge**2)
            for there in ((r, c + 1), (r + 1, c)):
                if there[0] < 5 and there[1] < 6:
                    for k in range(2):
                        row = np.zeros(flow.shape)
                        row[(*there, k)], row[r, c, k] = 1, -1
                        rows.append(row.ravel())
                        left.append(float(row.ravel() @ np.asarray(flow).ravel()))
                        weights.append(edge)
    J, W = np.array(rows), np.diag(weights)
    wanted = np.linalg.solve(J.T @ W @ J, -J.T @ W @ np.array(left)).reshape(flow.shape)
    # Conjugate gradients stop at a hundredth: what is left of the energy norm is that small.
    off = np.asarray(newton_step(linear, flow, energy, jnp.asarray(size))) - wanted
    normal = J.T @ W @ J
    assert np.sqrt(off.ravel() @ normal @ off.ravel()) < 0.03 * np.sqrt(wanted.ravel() @ normal @ wanted.ravel())


def test_tension_is_the_gradient_of_the_smoothness():
    linear, flow, energy = random_level(1)
    blind = linear._replace(counted=jnp.zeros_like(linear.counted))
    slope = jax.grad(lambda u: total_energy(blind, u, energy))(flow)
    right, down = differences(flow)
    weights = energy.smoothness / jnp.sqrt(jnp.sum(right**2 + down**2, -1, keepdims=True) + energy.flow_edge**2)
    np.testing.assert_allclose(slope, tension(flow, weights), atol=1e-12)


@settings(max_examples=15)
@given(st.integers(1, 19), st.integers(1, 19), st.sampled_from(["waves", "holes", "flat", "stripes", "nan"]))
def test_images_of_any_size_give_a_flow_or_a_clear_error(height, width, kind):
    image = {"flat": np.ones((height, width)), "nan": np.full((height, width), np.nan)}.get(
        kind, scene(np.asarray(V.grid((height, width))))
    )
    if kind == "stripes":
        image = np.broadcast_to(np.sin(np.arange(width)), (height, width))
    if kind == "holes":
        image = np.where(np.random.default_rng(height).random(image.shape) < 0.1, np.nan, image)
    if kind in ("waves", "holes") and min(height, width) >= 8:
        found = V.register(image, image)
        assert np.isfinite(found.flow).all() and np.abs(found.flow).max() < 1e-6 and found.converged
    elif kind in ("flat", "stripes", "nan") or min(height, width) < 4:
        with pytest.raises(jm.ArgumentError, match="^fixed: got"):
            V.register(image, image)


def test_stripes_say_which_motion_is_unseen():
    y, x = np.mgrid[:20, :20]
    with pytest.raises(jm.ArgumentError, match=r"fixed: got an image that is constant along \(-?0\.71, -?0\.71\)"):
        V.register(np.sin(x - y), np.sin(x - y))
    good = scene(np.asarray(V.grid((20, 20))))
    with pytest.raises(jm.ArgumentError, match="moving: got an image without texture"):
        V.register(good, np.full((20, 20), 0.1))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"levels": 9}, "levels: got 9, expected 1 to 1 for images of 20×20"),
        ({"smoothness": 0.0}, "expected smoothness > 0"),
        ({"mask": np.ones((3, 3))}, r"mask: got shape \[3, 3\], expected \[20, 20\]"),
        ({"mask": np.zeros((20, 20))}, "fixed: got no pixel whose neighbours"),
        ({"start": np.zeros((20, 20))}, r"start: got shape \[20, 20\], expected \[20, 20, 2\]"),
    ],
)
def test_options_that_are_refused(options, said):
    good = scene(np.asarray(V.grid((20, 20))))
    with pytest.raises(jm.ArgumentError, match=said):
        V.register(good, good, **options)


def test_images_that_do_not_fit_each_other_are_refused():
    with pytest.raises(jm.ArgumentError, match=r"moving: got shape \[8, 9\], expected \[9, 8\]"):
        V.register(np.ones((9, 8)), np.ones((8, 9)))
