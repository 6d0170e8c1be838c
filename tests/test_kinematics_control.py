"""Inverse kinematics and control: against forward kinematics, closed forms and quadratic programs by SciPy."""

from importlib.util import find_spec
from pathlib import Path

import jax
import jax.numpy as jnp
import jaxlie
import numpy as np
import pytest
from scipy.optimize import lsq_linear

import jacmap as jm
from jacmap import kinematics

ASSETS = Path(find_spec("frax").origin).parent / "assets"
PANDA = kinematics.Robot.from_urdf(ASSETS / "franka_panda/panda.urdf")
IIWA = kinematics.Robot.from_urdf(ASSETS / "iiwa/iiwa14.urdf")
HAND, FLANGE = "panda_hand", IIWA.links[-1]

PLANAR = kinematics.Robot.from_urdf(
    """<robot name="planar">
  <link name="ground"/><link name="upper"/><link name="lower"/><link name="tip"/>
  <joint name="a" type="revolute"><parent link="ground"/><child link="upper"/><axis xyz="0 0 1"/>
    <limit lower="-3" upper="3" velocity="2" effort="1"/></joint>
  <joint name="b" type="revolute"><parent link="upper"/><child link="lower"/><origin xyz="1 0 0"/><axis xyz="0 0 1"/>
    <limit lower="0.0" upper="3" velocity="2" effort="1"/></joint>
  <joint name="c" type="fixed"><parent link="lower"/><child link="tip"/><origin xyz="1 0 0"/></joint>
</robot>"""
)


def errors(robot, q, goal, link):
    """By jaxlie alone."""
    with jax.numpy_dtype_promotion("standard"):
        off = robot.pose(q, link).inverse() @ goal
        return np.linalg.norm(off.translation(), axis=-1), np.linalg.norm(off.rotation().log(), axis=-1)


# -- inverse kinematics ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("robot, link", [(PANDA, HAND), (IIWA, FLANGE)], ids=["panda", "iiwa"])
def test_goals_are_reached_within_the_limits(robot, link):
    goal = robot.pose(robot.random(1, 200), link)
    found = kinematics.inverse_kinematics(robot, goal, link)
    far, turned = errors(robot, found.q, goal, link)
    assert np.mean(found.converged) >= 0.995
    reached = np.asarray(found.converged)
    assert np.all(far[reached] < 1.1e-6) and np.all(turned[reached] < 1.1e-6)
    np.testing.assert_allclose(found.position_error, far, atol=1e-9)
    np.testing.assert_allclose(found.rotation_error, turned, atol=1e-7)
    assert np.all((found.q >= robot.lower) & (found.q <= robot.upper))
    assert np.all(np.asarray(found.starts) >= 1) and "of 200 goals reached" in str(found)


def test_a_planar_arm_against_its_closed_form():
    """Two links of length one: cos b = (x² + y² − 2)/2."""
    points = jnp.asarray([[0.5, 0.8, 0.0], [1.2, -0.3, 0.0], [0.3, 0.2, 0.0]])
    found = kinematics.inverse_kinematics(PLANAR, points, "tip", task="position", position_tolerance=1e-10)
    assert np.all(found.converged)
    inside = (np.sum(np.asarray(points) ** 2, axis=1) - 2) / 2
    np.testing.assert_allclose(np.cos(found.q[:, 1]), inside, atol=1e-8)
    np.testing.assert_array_equal(found.rotation_error, 0.0)


def test_what_is_out_of_reach_is_said_and_the_closest_found():
    goal = jnp.asarray([[3.0, 0.0, 0.0], [0.0, -5.0, 0.0], [np.nan, 0.0, 0.0], [1.0, 0.0, 0.0]])
    found = kinematics.inverse_kinematics(PLANAR, goal, "tip", task="position")
    assert list(found.reason) == ["closest found", "closest found", "not finite", "converged"]
    np.testing.assert_allclose(found.position_error[:2], [1.0, 3.0], atol=1e-4)  # stretched out: reach two
    assert np.all(np.isfinite(found.q)) and "1 of 4 goals reached; the others miss by up to 3 m" in str(found)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_singular_starts_and_single_precision(dtype):
    goal = PANDA.pose(PANDA.random(5, 40).astype(dtype), HAND)
    start = jnp.zeros(len(PANDA.joints), dtype)
    found = kinematics.inverse_kinematics(PANDA, goal, HAND, start, position_tolerance=1e-4, rotation_tolerance=1e-4)
    assert found.q.dtype == dtype and np.all(np.isfinite(found.q)) and np.mean(found.converged) >= 0.97
    far, turned = errors(PANDA, found.q, goal, HAND)
    reached = np.asarray(found.converged)
    assert np.all(far[reached] < 1.1e-4) and np.all(turned[reached] < 1.2e-4)


def test_starts_given_batches_and_jit():
    goal = PLANAR.pose(PLANAR.random(6, (3, 2)), "tip")
    found = kinematics.inverse_kinematics(PLANAR, goal, "tip", starts=PLANAR.random(7, 5))
    assert found.q.shape == (3, 2, 2) and found.converged.shape == (3, 2) and np.all(found.converged)
    near = kinematics.inverse_kinematics(PLANAR, goal, "tip", found.q, starts=1)
    assert np.all(near.converged) and np.all(near.starts == 1)
    compiled = jax.jit(lambda m: kinematics.inverse_kinematics(PLANAR, m, "tip").q)(goal.as_matrix())
    far, turned = errors(PLANAR, compiled, goal, "tip")
    assert np.all(far < 1e-5) and np.all(turned < 1e-5)
    empty = kinematics.inverse_kinematics(PLANAR, jnp.zeros((0, 4, 4)), "tip")
    assert empty.q.shape == (0, 2)
    single = kinematics.inverse_kinematics(PLANAR, goal.as_matrix()[0, 0], "tip")
    assert single.q.shape == (2,) and single.converged.shape == ()


# -- control -----------------------------------------------------------------------------------------------------------
def test_away_from_singular_poses_the_twist_is_met_with_the_smallest_speeds():
    q = IIWA.random(1, 40) * 0.5
    V = 0.1 * jax.random.normal(jax.random.key(2), (40, 6))
    found = kinematics.control(IIWA, q, V, FLANGE)
    J = np.asarray(IIWA.jacobian(q, FLANGE))
    good = np.asarray(found.smallest) > 0.05
    free = good & ~np.any(found.limited, axis=1)
    assert free.sum() >= 10
    for k in np.flatnonzero(free):
        np.testing.assert_allclose(found.qd[k], np.linalg.pinv(J[k]) @ V[k], atol=1e-9)
    np.testing.assert_allclose(found.given_up, V - np.einsum("kij,kj->ki", J, found.qd), atol=1e-12)
    np.testing.assert_allclose(found.smallest, np.linalg.svd(J, compute_uv=False)[:, -1], atol=1e-10)


def test_the_null_space_task_leaves_the_link_alone():
    q = IIWA.random(3) * 0.6
    wish = kinematics.centring(IIWA, q, gain=0.5)
    found = kinematics.control(IIWA, q, jnp.zeros(6), FLANGE, null=wish)
    J = np.asarray(IIWA.jacobian(q, FLANGE))
    kernel = np.linalg.svd(J)[2][6]
    np.testing.assert_allclose(found.qd, kernel * (kernel @ np.asarray(wish)), atol=1e-10)
    np.testing.assert_allclose(J @ found.qd, 0, atol=1e-10)
    H = lambda q: 0.5 * jnp.sum(((q - (IIWA.lower + IIWA.upper) / 2) / (IIWA.upper - IIWA.lower)) ** 2)  # noqa: E731
    np.testing.assert_allclose(wish, -0.5 * jax.grad(H)(q), rtol=1e-10)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("method", ["damped", "selective"])
@pytest.mark.parametrize("away", [0.0, 1e-9, 1e-4, 1e-2, 0.1])
def test_speeds_stay_bounded_near_singular_poses_and_what_is_given_up_is_said(dtype, method, away):
    q = jnp.zeros(7, dtype) + away  # stretched out
    lost = kinematics.control(IIWA, q, jnp.zeros(6, dtype), FLANGE, method=method).lost
    np.testing.assert_allclose(jnp.linalg.norm(lost), 1, rtol=1e-5)
    found = kinematics.control(IIWA, q, lost, FLANGE, method=method)
    assert found.qd.dtype == dtype and np.all(np.isfinite(found.qd))
    assert np.all(np.abs(found.qd) <= IIWA.speed * (1 + 1e-6))
    missing = lost - IIWA.jacobian(q, FLANGE) @ found.qd
    np.testing.assert_allclose(found.given_up, missing, atol=1e-5)
    if away <= 1e-4:
        assert np.linalg.norm(found.given_up) > 0.9 and "given up" in str(found) and "nearly singular" in str(found)


def test_joints_at_limits_are_held_and_the_others_take_over():
    q = jnp.asarray(IIWA.random(9, 30))
    q = q.at[:, 1].set(IIWA.upper[1])
    V = 0.3 * jax.random.normal(jax.random.key(1), (30, 6))
    dt = 0.01
    found = kinematics.control(IIWA, q, V, FLANGE, dt=dt)
    after = q + dt * found.qd
    assert np.all(after <= IIWA.upper + 1e-12) and np.all(after >= IIWA.lower - 1e-12)
    assert np.all(np.abs(found.qd) <= IIWA.speed + 1e-12)
    # Never worse by much than the best that the limits allow.
    J = np.asarray(IIWA.jacobian(q, FLANGE))
    for k in np.flatnonzero(np.asarray(found.smallest) > 0.05):
        most = np.minimum(IIWA.speed, (IIWA.upper - q[k]) / dt)
        least = np.minimum(np.maximum(-IIWA.speed, (IIWA.lower - q[k]) / dt), most - 1e-12)
        best = np.sqrt(2 * lsq_linear(J[k], V[k], (least, most)).cost)
        assert np.linalg.norm(found.given_up[k]) <= best + 0.05 * np.linalg.norm(V[k]) + 1e-9


def test_a_configuration_outside_its_limits_is_brought_back():
    q = jnp.asarray(IIWA.upper) + 0.5
    found = kinematics.control(IIWA, q, jnp.zeros(6), FLANGE)
    np.testing.assert_allclose(found.qd, -IIWA.speed)


# -- tracking ----------------------------------------------------------------------------------------------------------
def circle(steps, radius, link, robot, q):
    start = robot.pose(q, link)
    turn = jnp.linspace(0, 2 * jnp.pi, steps)
    offset = radius * jnp.stack([jnp.sin(turn), 1 - jnp.cos(turn), jnp.zeros(steps)], axis=-1)
    wxyz = jnp.broadcast_to(start.rotation().wxyz, (steps, 4))
    return jaxlie.SE3(jnp.concatenate([wxyz, start.translation() + offset], axis=-1))


def test_a_path_is_followed():
    q = jnp.asarray([0.0, 0.6, 0.0, -1.5, 0.0, 0.9, 0.0])
    path = circle(400, 0.1, FLANGE, IIWA, q)
    found = kinematics.track(IIWA, q, path, FLANGE)
    assert found.q.shape == (400, 7) and float(jnp.max(found.position_error)) < 1e-4
    far, turned = errors(IIWA, found.q, path, FLANGE)
    np.testing.assert_allclose(found.position_error, far, atol=1e-9)
    np.testing.assert_allclose(found.rotation_error, turned, atol=1e-7)
    np.testing.assert_allclose(found.q[1:] - found.q[:-1], 0.01 * found.qd[1:], atol=1e-12)
    assert "400 poses, off by up to" in str(found)


def test_a_path_out_of_reach_is_followed_as_far_as_it_goes():
    q = jnp.asarray([0.3, 0.6])
    start = PLANAR.pose(q, "tip").translation()
    way = start + jnp.linspace(0, 1, 300)[:, None] * (jnp.asarray([3.0, 0, 0]) - start)
    path = jaxlie.SE3(jnp.concatenate([jnp.broadcast_to(jnp.asarray([1.0, 0, 0, 0]), (300, 4)), way], axis=-1))
    found = kinematics.track(PLANAR, q, path, "tip")
    assert np.all(np.isfinite(found.q)) and np.all(np.abs(found.qd) <= 2 + 1e-12)
    assert np.all((found.q >= PLANAR.lower - 1e-12) & (found.q <= PLANAR.upper + 1e-12))
    assert "given up" in str(found)


# -- bad input ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: kinematics.inverse_kinematics(IIWA, jnp.zeros(5), FLANGE), "target: got shape"),
        (lambda: kinematics.inverse_kinematics(IIWA, jnp.eye(4), "hand"), "link: got 'hand'"),
        (lambda: kinematics.inverse_kinematics(IIWA, jnp.eye(4), FLANGE, task="turn"), "task: got 'turn'"),
        (lambda: kinematics.inverse_kinematics(IIWA, jnp.eye(4), FLANGE, jnp.zeros(3)), "start: got shape"),
        (lambda: kinematics.inverse_kinematics(IIWA, jnp.zeros((2, 4, 4)), FLANGE, jnp.zeros((3, 7))), "start: got"),
        (lambda: kinematics.inverse_kinematics(IIWA, jnp.eye(4), FLANGE, starts=0), "starts: got 0"),
        (lambda: kinematics.inverse_kinematics(IIWA, jnp.eye(4), FLANGE, position_tolerance=0), "position_tolerance"),
        (lambda: kinematics.control(IIWA, jnp.zeros(7), jnp.zeros(3), FLANGE), "twist: got shape"),
        (lambda: kinematics.control(IIWA, jnp.zeros(7), jnp.zeros(6), FLANGE, method="x"), "method: got 'x'"),
        (lambda: kinematics.control(IIWA, jnp.zeros(7), jnp.zeros(6), FLANGE, dt=0), "dt: got 0"),
        (lambda: kinematics.track(IIWA, jnp.zeros(7), jnp.zeros((3, 7)), FLANGE), "path, q: got"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(jm.ArgumentError, match=words):
        call()
