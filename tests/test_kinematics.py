"""Poses and Jacobians of links against yourdfpy, differences and the engine; speeds, forces, singular poses."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jaxlie
import numpy as np
import pytest
import yourdfpy
from scipy.spatial.transform import Rotation
from urdf_cases import TREE, places

import jacmap as jm

kin = jm.kinematics
FRAX = Path(importlib.util.find_spec("frax").submodule_search_locations[0])  # type: ignore[union-attr, index]
PANDA = FRAX / "assets/franka_panda/panda.urdf"
FRAMES = ("world", "local", "local_world_aligned")

ARM = Path(__file__).parents[1] / "examples/arm.urdf"


@pytest.fixture(scope="module")
def panda() -> Any:
    return kin.Robot.from_urdf(PANDA)


@pytest.fixture(scope="module")
def tree() -> Any:
    return kin.Robot.from_urdf(TREE)


@pytest.fixture(scope="module")
def arm() -> Any:
    return kin.Robot.from_urdf(ARM)


# -- poses -----------------------------------------------------------------------------------------------------------
def test_poses_are_those_of_yourdfpy(panda: Any) -> None:
    theirs = yourdfpy.URDF.load(str(PANDA), load_meshes=False)
    q = panda.random(3, 4)
    ours = np.asarray(panda.poses(q).as_matrix())
    assert panda.joints == tuple(theirs.actuated_joint_names)
    for k in range(4):
        theirs.update_cfg(np.asarray(q[k]))
        for i, link in enumerate(panda.links):
            np.testing.assert_allclose(ours[k, i], theirs.get_transform(link), atol=1e-13)


def test_poses_of_a_tree_with_sliding_and_following_joints(tree: Any) -> None:
    q = np.array([[0.3, -0.2, 0.9], [-2.0, 0.4, -0.7]])
    ours = tree.poses(q)
    assert ours.get_batch_axes() == (2, 6)
    for k in range(2):
        for i, (link, place) in enumerate(places(TREE, q[k]).items()):
            np.testing.assert_allclose(ours.as_matrix()[k, i], place, atol=1e-14)
            np.testing.assert_allclose(tree.pose(q[k], link).as_matrix(), place, atol=1e-14)
    np.testing.assert_allclose(jnp.linalg.norm(ours.rotation().wxyz, axis=-1), 1, atol=1e-14)


def test_a_batch_of_any_shape_is_each_point_by_itself(tree: Any) -> None:
    q = tree.random(jax.random.key(1), (2, 3))
    whole = tree.jacobian(q, "right", "local")
    single = jax.jit(jax.vmap(jax.vmap(lambda q: tree.jacobian(q, "right", "local"))))(q)
    assert whole.shape == (2, 3, 6, 3)
    np.testing.assert_allclose(whole, single, atol=1e-14)
    assert tree.pose(jnp.zeros((0, 3)), "right").translation().shape == (0, 3)


def test_single_precision_stays_single(panda: Any) -> None:
    q = panda.random(0, 5)
    J = panda.jacobian(q.astype(jnp.float32), "panda_hand")
    assert J.dtype == jnp.float32
    np.testing.assert_allclose(J, panda.jacobian(q, "panda_hand"), atol=3e-6)
    assert panda.pose([0, 0, 0, -1, 0, 1, 0], "panda_hand").translation().dtype == jnp.float64


def test_a_robot_without_moving_joints() -> None:
    robot = kin.Robot.from_urdf("<robot name='rock'><link name='rock'/></robot>")
    q = np.zeros((3, 0))
    assert robot.jacobian(q, "rock").shape == (3, 6, 0) and robot.moves.shape == (1, 0)
    assert robot.random(0, 3).shape == (3, 0)
    np.testing.assert_array_equal(robot.pose(q, "rock").wxyz_xyz, np.tile([1, 0, 0, 0, 0, 0, 0], (3, 1)))
    np.testing.assert_array_equal(kin.manipulability(robot, q, "rock"), np.zeros(3))


def test_random_configurations_keep_the_limits(tree: Any) -> None:
    q = np.asarray(tree.random(0, 1000))
    assert (np.abs(q[:, 0]) <= np.pi).all() and np.ptp(q[:, 0]) > 6
    assert (q[:, 1:] >= tree.lower[1:]).all() and (q[:, 1:] <= tree.upper[1:]).all()


# -- Jacobians ---------------------------------------------------------------------------------------------------------
def by_the_engine(robot: Any, q: Any, link: str, frame: str, point: Any = (0.0, 0.0, 0.0)) -> jax.Array:
    """The Jacobian of log coordinates of the pose relative to that at q, moved to the frame."""
    with jax.numpy_dtype_promotion("standard"):  # jaxlie mixes integers with floats
        tool = jaxlie.SE3.from_rotation_and_translation(jaxlie.SO3.identity(), jnp.asarray(point))
        here = robot.pose(q, link) @ tool
        local = jm.jacobian(lambda d: (here.inverse() @ (robot.pose(q + d, link) @ tool)).log())(jnp.zeros_like(q))
        if frame == "local":
            return local
        if frame == "local_world_aligned":
            return jaxlie.SE3.from_rotation(here.rotation()).adjoint() @ local
        return here.adjoint() @ local


def test_columns_in_closed_form_are_what_the_engine_derives(panda: Any) -> None:
    q = panda.random(7)
    np.testing.assert_allclose(
        panda.jacobian(q, "panda_hand"), by_the_engine(panda, q, "panda_hand", "local_world_aligned"), atol=1e-12
    )


@pytest.mark.parametrize("frame", FRAMES)
def test_jacobians_are_differences_of_an_independent_model(tree: Any, frame: str) -> None:
    q, link, h = np.array([0.3, -0.2, 0.9]), "right", 1e-6
    here = places(TREE, q)[link]
    J = np.zeros((6, 3))
    for j in range(3):
        ahead, behind = (places(TREE, q + s * h * np.eye(3)[j])[link] for s in (1, -1))
        J[:3, j] = (ahead[:3, 3] - behind[:3, 3]) / (2 * h)
        J[3:, j] = Rotation.from_matrix(ahead[:3, :3] @ behind[:3, :3].T).as_rotvec() / (2 * h)
    if frame == "local":
        J = np.vstack([here[:3, :3].T @ J[:3], here[:3, :3].T @ J[3:]])
    if frame == "world":
        J[:3] += np.cross(here[:3, 3], J[3:].T).T
    np.testing.assert_allclose(tree.jacobian(q, link, frame), J, atol=1e-8)


@pytest.mark.parametrize("frame", FRAMES)
def test_the_point_of_a_tool(tree: Any, frame: str) -> None:
    q, point = tree.random(2), np.array([0.1, -0.05, 0.2])
    expected = by_the_engine(tree, q, "right", frame, point)
    np.testing.assert_allclose(tree.jacobian(q, "right", frame, point=point), expected, atol=1e-12)


def test_analytic_jacobians_are_differences_of_their_coordinates(tree: Any) -> None:
    q, h = tree.random(5, 3), 1e-6

    def rpy(q: Any) -> np.ndarray:
        pose = tree.pose(q, "right")
        turns = Rotation.from_quat(np.asarray(pose.rotation().wxyz), scalar_first=True).as_euler("xyz")
        return np.concatenate([pose.translation(), turns], axis=-1)

    def quaternion(q: Any) -> np.ndarray:
        pose = tree.pose(q, "right")
        return np.concatenate([pose.translation(), pose.rotation().wxyz], axis=-1)

    for kind, f in (("rpy", rpy), ("quaternion", quaternion)):
        J = tree.jacobian(q, "right", kind=kind)
        for j in range(3):
            step = h * np.eye(3)[j]
            np.testing.assert_allclose(J[:, :, j], (f(q + step) - f(q - step)) / (2 * h), atol=1e-7, err_msg=kind)


@pytest.mark.parametrize("frame", FRAMES)
def test_the_rate_of_a_jacobian(tree: Any, frame: str) -> None:
    q, qd, h = tree.random(1, 2), tree.random(2, 2), 1e-5
    rate = tree.jacobian_rate(q, qd, "right", frame)
    ahead, behind = (tree.jacobian(q + s * h * qd, "right", frame) for s in (1, -1))
    np.testing.assert_allclose(rate, (ahead - behind) / (2 * h), atol=1e-8)


def test_which_joints_move_which_link(tree: Any, panda: Any) -> None:
    expected = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 0], [1, 1, 1], [1, 1, 1]], bool)
    np.testing.assert_array_equal(tree.moves, expected)
    seen = np.zeros_like(panda.moves)
    places = np.asarray(panda.poses(panda.random(0)).wxyz_xyz)
    for j in range(7):  # a link is moved if its pose changes when this joint alone turns
        moved = np.asarray(panda.poses(panda.random(0).at[j].add(0.1)).wxyz_xyz)
        seen[:, j] = np.abs(moved - places).max(axis=1) > 1e-9
    np.testing.assert_array_equal(panda.moves, seen)


def test_gradients_pass_through(tree: Any) -> None:
    q, goal = tree.random(3), jnp.array([0.4, 0.1, 0.5])
    gradient = jax.jit(jax.grad(lambda q: jnp.sum((tree.pose(q, "right").translation() - goal) ** 2)))(q)
    error = tree.pose(q, "right").translation() - goal
    np.testing.assert_allclose(gradient, 2 * tree.jacobian(q, "right")[:3].T @ error, atol=1e-13)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda r: r.pose(np.zeros(3), "hand"), "link: got 'hand', expected one of base, arm"),
        (lambda r: r.pose(np.zeros(4), "arm"), r"q: got shape \[4\], expected \[..., 3\]"),
        (lambda r: r.pose(1.0, "arm"), r"q: got shape \[\]"),
        (lambda r: r.pose(np.zeros(3) * 1j, "arm"), "complex128, expected real"),
        (lambda r: r.jacobian(np.zeros(3), "arm", "body"), "frame: got 'body', expected one of 'world'"),
        (lambda r: r.jacobian(np.zeros(3), "arm", kind="euler"), "kind: got 'euler'"),
        (lambda r: r.jacobian(np.zeros(3), "arm", "local", kind="rpy"), "frame: got 'local' with kind"),
        (lambda r: r.jacobian(np.zeros(3), "arm", point=[1, 2]), r"point: got shape \[2\]"),
        (lambda r: r.jacobian_rate(np.zeros(3), np.zeros(2), "arm"), "qd: got shape"),
        (lambda r: kin.torques(r, np.zeros(3), np.zeros(3), "arm"), "wrench: got shape"),
        (lambda r: kin.joint_speeds(r, np.zeros(3), np.zeros(6), "arm", damping=-1.0), "damping: got -1.0"),
        (lambda r: kin.manipulability(r, np.zeros(3), "arm", "area"), "measure: got 'area'"),
        (lambda r: kin.manipulability(r, np.zeros(3), "arm", part="linear"), "part: got 'linear'"),
        (lambda r: kin.singular_poses(r, "arm", starts=0), "starts: got 0"),
        (lambda r: kin.nearest_singular(r, np.zeros((2, 3)), "arm"), "one configuration"),
    ],
)
def test_a_wrong_argument_is_named(tree: Any, call: Callable[[Any], Any], said: str) -> None:
    with pytest.raises(jm.ArgumentError, match=said):
        call(tree)


# -- speeds and forces -------------------------------------------------------------------------------------------------
def test_speeds_twists_torques_and_wrenches_belong_together(panda: Any) -> None:
    q, qd = panda.random(1, 4), panda.random(2, 4)
    V = kin.twist(panda, q, qd, "panda_hand", "local")
    found = kin.joint_speeds(panda, q, V, "panda_hand", "local")
    J = np.asarray(panda.jacobian(q, "panda_hand", "local"))
    for k in range(4):
        np.testing.assert_allclose(found[k], np.linalg.lstsq(J[k], V[k])[0], atol=1e-10)
    w = jnp.asarray(np.random.default_rng(0).standard_normal((4, 6)))
    tau = kin.torques(panda, q, w, "panda_hand", "local")
    np.testing.assert_allclose(jnp.sum(tau * qd, -1), jnp.sum(w * V, -1), atol=1e-12)  # power is the same
    np.testing.assert_allclose(kin.wrench(panda, q, tau, "panda_hand", "local"), w, atol=1e-10)


def test_damped_speeds_are_the_minimiser_and_bounded(arm: Any) -> None:
    straight, damping = np.zeros(6), 0.05
    V = np.array([1.0, 0, 0, 0, 0, 0])  # along the stretched arm: lost
    near = np.array([0.2, 0.3, 1e-7, 0.1, 1e-7, 0.0])
    for q in (straight, near):
        J = np.asarray(arm.jacobian(q, "flange"))
        expected = np.linalg.solve(J.T @ J + damping**2 * np.eye(6), J.T @ V)
        found = np.asarray(kin.joint_speeds(arm, q, V, "flange", damping=damping))
        np.testing.assert_allclose(found, expected, atol=1e-10)
        assert np.linalg.norm(found) <= 1 / (2 * damping)
    undamped = kin.joint_speeds(arm, straight, V, "flange")
    assert np.isfinite(undamped).all() and np.abs(undamped).max() < 1e-6
    assert np.isfinite(kin.joint_speeds(arm, straight.astype(np.float32), V.astype(np.float32), "flange")).all()


@pytest.mark.parametrize("measure", ["yoshikawa", "inverse_condition", "smallest"])
@pytest.mark.parametrize("part", ["all", "translation", "rotation"])
def test_manipulability_and_its_gradient(arm: Any, measure: str, part: str) -> None:
    q = arm.random(4, 2)
    rows = {"all": slice(6), "translation": slice(3), "rotation": slice(3, 6)}[part]

    def figure(q: Any) -> np.ndarray:
        s = np.linalg.svd(np.asarray(arm.jacobian(q, "flange"))[:, rows], compute_uv=False)
        return {"yoshikawa": s.prod(-1), "inverse_condition": s[:, -1] / s[:, 0], "smallest": s[:, -1]}[measure]

    np.testing.assert_allclose(kin.manipulability(arm, q, "flange", measure, part), figure(q), atol=1e-13)
    gradient = kin.manipulability_gradient(arm, q, "flange", measure, part)
    h = 1e-6
    for j in range(6):
        step = h * np.eye(6)[j]
        np.testing.assert_allclose(gradient[:, j], (figure(q + step) - figure(q - step)) / (2 * h), atol=1e-7)


def test_gradients_at_singular_poses_are_finite(arm: Any) -> None:
    for measure in ("yoshikawa", "inverse_condition", "smallest"):
        for part in ("all", "translation", "rotation"):
            gradient = kin.manipulability_gradient(arm, np.zeros((1, 6)), "flange", measure, part)
            assert gradient.shape == (1, 6) and np.isfinite(gradient).all()


def test_ellipsoids(arm: Any) -> None:
    q = arm.random(0)
    J = np.asarray(arm.jacobian(q, "flange"))[:3]
    speed, force = kin.velocity_ellipsoid(arm, q, "flange"), kin.force_ellipsoid(arm, q, "flange")
    shape = speed.axes @ jnp.diag(speed.lengths**2) @ speed.axes.T
    np.testing.assert_allclose(shape, J @ J.T, atol=1e-13)
    np.testing.assert_allclose(force.axes @ jnp.diag(force.lengths**-2) @ force.axes.T, J @ J.T, atol=1e-12)
    stretched = kin.force_ellipsoid(arm, np.zeros(6), "flange")
    assert np.isinf(stretched.lengths[0]) and np.isfinite(stretched.lengths[1:]).all()
    np.testing.assert_allclose(np.abs(stretched.axes[:, 0]), [1, 0, 0], atol=1e-12)
    one_joint = kin.velocity_ellipsoid(kin.Robot.from_urdf(TREE), np.zeros(3), "arm", "rotation")
    np.testing.assert_allclose(one_joint.lengths, [1, 0, 0], atol=1e-12)


# -- singular poses ----------------------------------------------------------------------------------------------------
def test_the_singular_poses_of_an_arm_with_a_spherical_wrist(arm: Any) -> None:
    found = {pose.causes: pose for pose in kin.singular_poses(arm, "flange", starts=64)}
    assert set(found) == {("elbow",), ("bend",), ("lift", "elbow")}
    for pose in found.values():
        J = np.asarray(arm.jacobian(pose.q, "flange"))
        assert pose.smallest < 1e-12 and np.abs(pose.lost @ J).max() < 1e-10
        assert (pose.q >= arm.lower).all() and (pose.q <= arm.upper).all()
    wrist, elbow, shoulder = found["bend",], found["elbow",], found["lift", "elbow"]
    np.testing.assert_allclose(np.sin(wrist.q[4]), 0, atol=1e-9)
    np.testing.assert_allclose(np.sin(elbow.q[2]), 0, atol=1e-9)
    assert {"roll", "spin"} <= set(wrist.dependent) and not {"pan", "bend"} & set(wrist.dependent)
    place = np.asarray(arm.pose(shoulder.q, "flange").translation())
    np.testing.assert_allclose(place[:2], 0, atol=1e-9)  # the wrist's centre is on the axis of `pan`
    reach = np.asarray(arm.pose(elbow.q, "flange").translation()) - [0, 0, 0.3]
    assert np.linalg.norm(np.cross(elbow.lost[:3], reach)) < 1e-6 and np.linalg.norm(elbow.lost[3:]) < 1e-6
    assert str(elbow).startswith("lost: translation along (") and "made by elbow;" in str(elbow)


def test_the_nearest_singular_pose(arm: Any) -> None:
    q = np.array([0.3, 0.5, 1.2, 0.4, 0.1, 0.2])
    near = kin.nearest_singular(arm, q, "flange")
    assert near is not None and near.causes == ("bend",)
    assert near.distance == pytest.approx(0.1, abs=1e-8)  # turn `bend` alone back to 0
    slider = "<robot name='r'><link name='a'/><link name='b'/><joint name='j' type='prismatic'><parent link='a'/>" \
             "<child link='b'/><limit lower='0' upper='1'/></joint></robot>"  # fmt: skip
    assert kin.nearest_singular(kin.Robot.from_urdf(slider), np.array([0.5]), "b") is None
    assert kin.singular_poses(kin.Robot.from_urdf(slider), "b", starts=4) == ()


def test_yourdfpy_is_fed_only_what_was_checked() -> None:
    """Broken parts that kinematics does not read do not matter."""
    text = TREE.replace(
        '<link name="arm"/>', '<link name="arm"><visual><geometry><box size="big"/></geometry></visual></link>'
    )
    with pytest.raises(ValueError):
        yourdfpy.URDF.load(io.BytesIO(text.encode()), build_scene_graph=False)
    assert kin.Robot.from_urdf(text).joints == ("turn", "push", "finger")
