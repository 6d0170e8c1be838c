"""The camera against a projection written out in NumPy, its Jacobians against differences, and what it cannot see."""

import jax
import jax.numpy as jnp
import jaxlie
import numpy as np
import pytest

import jacmap as jm

V = jm.vision
MATRIX = np.array([[800.0, 0, 320], [0, 780, 240], [0, 0, 1]])
DISTORTION = np.array([-0.2, 0.05, 0.001, -0.002, 0.01])
CAMERA = V.Camera.from_matrix(MATRIX, DISTORTION)
POSE = jaxlie.SE3.from_rotation_and_translation(
    jaxlie.SO3.exp(jnp.array([0.2, -0.3, 0.4])), jnp.array([0.1, -0.2, 4.0])
)
POINTS = np.random.default_rng(0).uniform(-1, 1, (3, 5, 3))


def rotation(axis):
    """Rodrigues's formula."""
    angle = np.linalg.norm(axis)
    x, y, z = axis / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def written_out(point):
    x, y, z = rotation(np.array([0.2, -0.3, 0.4])) @ point + [0.1, -0.2, 4.0]
    x, y = x / z, y / z
    k1, k2, p1, p2, k3 = DISTORTION
    r2 = x * x + y * y
    radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    seen = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x), y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    return 800 * seen[0] + 320, 780 * seen[1] + 240, z


def test_points_are_seen_where_the_formula_says():
    found = V.project(CAMERA, POSE, POINTS)
    wanted = np.apply_along_axis(written_out, -1, POINTS)
    np.testing.assert_allclose(found.pixels, wanted[..., :2], atol=1e-11)
    np.testing.assert_allclose(found.depth, wanted[..., 2], atol=1e-13)
    assert found.seen.all()


@pytest.mark.parametrize("side", ["left", "right"])
def test_jacobians_are_those_of_differences(side):
    found = V.projection_jacobians(CAMERA, POSE, POINTS, side)
    assert found.side == side
    assert [part.shape[2:] for part in found[:3]] == [(2, 6), (2, 3), (2, 9)]

    def pixels(tangent, shift, change):
        step = jaxlie.SE3.exp(tangent)
        pose = step.as_matrix() @ POSE.as_matrix() if side == "left" else POSE.as_matrix() @ step.as_matrix()
        camera = V.Camera(CAMERA.intrinsics + change)
        return V.project(camera, jaxlie.SE3.from_matrix(pose), POINTS + shift).pixels

    for part, size, place in ((found.pose, 6, 0), (found.points, 3, 1), (found.intrinsics, 9, 2)):
        for k in range(size):
            ends = []
            for sign in (1, -1):
                given = [jnp.zeros(6), jnp.zeros(3), jnp.zeros(9)]
                given[place] = given[place].at[k].set(sign * 1e-6)
                ends.append(pixels(*given))
            np.testing.assert_allclose(part[..., k], (ends[0] - ends[1]) / 2e-6, atol=2e-5, rtol=1e-6)


def test_points_behind_are_flagged_and_never_mirrored():
    ahead = np.array([0.5, 0.2, 1.0])
    camera = V.Camera.from_matrix(MATRIX)
    found = V.project(camera, jaxlie.SE3.identity(), np.array([ahead, -ahead, [0.5, 0.2, 0.0], [0.0, 0.0, 0.0]]))
    assert found.in_front.tolist() == found.seen.tolist() == [True, False, False, False]
    assert jnp.isfinite(found.pixels[0]).all() and jnp.isnan(found.pixels[1:]).all()
    parts = V.projection_jacobians(camera, jaxlie.SE3.identity(), np.array([ahead, -ahead]))
    assert all(jnp.isfinite(part[0]).all() and jnp.isnan(part[1]).all() for part in parts[:3])


def test_a_point_behind_spoils_no_gradient():
    points = jnp.array([[0.5, 0.2, 1.0], [0.5, 0.2, -1.0], [0.5, 0.2, 0.0]])

    def total(points):
        found = V.project(CAMERA, jaxlie.SE3.identity(), points)
        return jnp.sum(jnp.where(found.seen[:, None], found.pixels, 0))

    slope = jax.grad(total)(points)
    assert jnp.isfinite(slope).all() and (slope[1:] == 0).all() and (slope[0] != 0).all()


@pytest.mark.parametrize(
    "coefficients", [(-0.3, 0, 0), (0.2, -0.2, 0), (-0.5, 0.1, 0), (0.1, 0.1, -0.3), (-0.6, 0.5, -0.1), (0.2, 0.1, 0.3)]
)
def test_a_distortion_that_turns_back_is_flagged_from_there_on(coefficients):
    """By walking along a ray: seen as long as every step so far moved the image outwards."""
    k1, k2, k3 = coefficients
    r = np.linspace(0, 3, 3001)
    image = r * (1 + k1 * r**2 + k2 * r**4 + k3 * r**6)
    turned = np.flatnonzero(np.diff(image) <= 0)
    last = r[turned[0]] if turned.size else np.inf
    camera = V.Camera.from_matrix(MATRIX, [k1, k2, 0, 0, k3])
    found = V.project(camera, jaxlie.SE3.identity(), np.column_stack([0.6 * r, 0.8 * r, np.ones_like(r)]))
    away = np.abs(r - last) > 0.002
    np.testing.assert_array_equal(found.unfolded[away], (r < last)[away])


def test_single_precision_and_vmap_over_poses():
    camera = V.Camera(CAMERA.intrinsics.astype(jnp.float32))
    found = V.project(camera, POSE, POINTS.astype(np.float32))
    assert found.pixels.dtype == jnp.float32
    poses = jaxlie.SE3(jnp.stack([POSE.wxyz_xyz] * 2))
    both = jax.vmap(lambda pose: V.project(CAMERA, pose, POINTS).pixels)(poses)
    np.testing.assert_allclose(both[1], V.project(CAMERA, POSE, POINTS).pixels)


def test_the_matrix_is_given_back():
    np.testing.assert_array_equal(CAMERA.matrix, MATRIX)
    np.testing.assert_array_equal(CAMERA.distortion, DISTORTION)
    assert V.Camera.from_matrix(MATRIX, DISTORTION[:2]).distortion.tolist() == [-0.2, 0.05, 0, 0, 0]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: V.project(MATRIX, POSE, POINTS), "camera: got ndarray, expected a Camera of nine"),
        (lambda: V.project(CAMERA, np.eye(4), POINTS), "pose: got ndarray, expected one jaxlie.SE3"),
        (lambda: V.project(CAMERA, POSE, np.ones(2)), r"points: got shape \[2\], expected 3"),
        (lambda: V.projection_jacobians(CAMERA, POSE, POINTS, "up"), "side: got 'up', expected \"left\""),
        (lambda: V.Camera.from_matrix(np.eye(2)), r"matrix: got shape \[2, 2\]"),
        (lambda: V.Camera.from_matrix(np.eye(3), np.ones(8)), "distortion: got 8 numbers"),
    ],
)
def test_what_is_refused(call, said):
    with pytest.raises(jm.ArgumentError, match=said):
        call()
