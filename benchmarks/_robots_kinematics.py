"""Poses and Jacobians of four robots against Pinocchio, a batch against frax and pytorch-kinematics, damaged URDFs."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import sys
import warnings
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import jax
import jax.numpy as jnp
import jaxlie
import numpy as np
import pinocchio
import torch
from _table import Row, Tick
from _timing import medians
from hypothesis import HealthCheck, given, settings

import jacmap as jm

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import urdf_cases  # noqa: E402


def _folder(package: str) -> Path:
    return Path(importlib.util.find_spec(package).submodule_search_locations[0])


FRAX = _folder("frax") / "assets"
# A package of files without Python code: they lie beside Pinocchio's.
DATA = Path(pinocchio.__file__).parents[4] / "share/example-robot-data/robots"
PANDA = FRAX / "franka_panda/panda.urdf"
# Of each robot the links whose Jacobians are compared; poses are of all links.
ROBOTS = {
    "Panda": (PANDA, ("panda_hand", "panda_leftfinger")),
    "iiwa": (FRAX / "iiwa/iiwa14.urdf", ("iiwa_link_7",)),
    "UR5": (DATA / "ur_description/urdf/ur5_robot.urdf", ("ee_link",)),
    "Talos": (DATA / "talos_data/robots/talos_full_v2.urdf",
              ("gripper_left_fingertip_1_link", "leg_right_6_link", "head_2_link")),
}  # fmt: skip
FRAMES = {
    "world": pinocchio.WORLD,
    "local": pinocchio.LOCAL,
    "local_world_aligned": pinocchio.LOCAL_WORLD_ALIGNED,
}


def rows(quick: bool, tick: Tick) -> Iterator[Row]:
    with jax.enable_x64(True):
        for name in ROBOTS:
            yield from against_pinocchio(name, quick, tick)
        yield from batch(quick, tick)
        yield from fuzz(quick, tick)


# -- exactness ---------------------------------------------------------------------------------------------------------
def against_pinocchio(name: str, quick: bool, tick: Tick) -> Iterator[Row]:
    """All links' poses, and some links' Jacobians in three frames, the worst entry."""
    tick(f"{name} against Pinocchio")
    path, links = ROBOTS[name]
    robot = jm.kinematics.Robot.from_urdf(path)
    peer = Peer(path, robot.joints)
    q = np.asarray(robot.random(0, 50 if quick else 1000))
    poses = np.asarray(robot.poses(q).as_matrix())
    J = {(link, frame): np.asarray(robot.jacobian(q, link, frame)) for link in links for frame in FRAMES}
    placed = moved = 0.0
    for k, one in enumerate(q):
        peer.at(one)
        placed = max(placed, *(np.abs(peer.pose(link) - poses[k, i]).max() for i, link in enumerate(robot.links)))
        moved = max(moved, *(np.abs(peer.jacobian(*key) - found[k]).max() for key, found in J.items()))
    case = f"{name}: poses of all {len(robot.links)} links, {len(q):,} configurations, off Pinocchio"
    yield Row(case, placed, "m, 1", 1e-10, True)
    yield Row(f"{name}: Jacobians in 3 frames of {len(links)} links, off Pinocchio", moved, "m, 1", 1e-10, True)


class Peer:
    """Pinocchio's model, asked in the order of our q; a joint that mimics is one of its own there."""

    def __init__(self, path: Path, joints: tuple[str, ...]):
        self.model = pinocchio.buildModelFromUrdf(str(path), mimic=False)
        self.data = self.model.createData()
        mimics = {
            joint.get("name"): joint.find("mimic")
            for joint in ElementTree.parse(path).getroot().findall("joint")
            if joint.find("mimic") is not None and joint.get("type") != "fixed"
        }
        self.gain, self.offset = np.zeros((self.model.nv, len(joints))), np.zeros(self.model.nv)
        for number, name in list(enumerate(self.model.names))[1:]:  # the first is the base
            column = self.model.joints[number].idx_v
            follows: Any = mimics.get(name)
            leader = name if follows is None else follows.get("joint")
            self.gain[column, joints.index(leader)] = 1.0 if follows is None else float(follows.get("multiplier", 1))
            self.offset[column] = 0.0 if follows is None else float(follows.get("offset", 0))

    def at(self, q: np.ndarray) -> None:
        # From the neutral position by the angles: right for joints that it stores as (cos, sin), too.
        angles = self.gain @ q + self.offset
        whole = pinocchio.integrate(self.model, pinocchio.neutral(self.model), angles)
        pinocchio.computeJointJacobians(self.model, self.data, whole)
        pinocchio.updateFramePlacements(self.model, self.data)

    def _frame(self, link: str) -> int:
        return self.model.getFrameId(link, pinocchio.BODY)

    def pose(self, link: str) -> np.ndarray:
        return self.data.oMf[self._frame(link)].homogeneous

    def jacobian(self, link: str, frame: str) -> np.ndarray:
        return pinocchio.getFrameJacobian(self.model, self.data, self._frame(link), FRAMES[frame]) @ self.gain


# -- speed -------------------------------------------------------------------------------------------------------------
def batch(quick: bool, tick: Tick) -> Iterator[Row]:
    """Jacobians of the Panda's hand, each contestant compiled and warm, in float64 and with all threads."""
    tick("10,000 Panda Jacobians")
    count = 1000 if quick else 10_000
    robot = jm.kinematics.Robot.from_urdf(PANDA)
    q = robot.random(0, count)
    engine = _by_the_engine(robot)
    theirs = _frax()
    runs: dict[str, Callable[[], Any]] = {
        "ours": lambda: robot.jacobian(q, "panda_hand"),
        "engine": lambda: engine(q),
        "frax": lambda: theirs(q),
        "pytorch-kinematics": _pytorch(np.asarray(q)),
    }
    ours = np.asarray(runs["ours"]())
    for name, run in runs.items():  # nobody is compared before all agree on the answer
        off = np.abs(np.asarray(run()) - ours).max()
        assert off < 1e-6, f"{name} differs by {off}"
    times = medians(runs, 5 if quick else 25, tick=lambda: None)
    yield Row(f"{count:,} Panda Jacobians in a batch, float64", 1e3 * times["ours"], "ms")
    for name in ("frax", "pytorch-kinematics"):
        yield Row(f"the same: time of {name} over ours", times[name] / times["ours"], "×", 1.0)
    yield Row("the same: the engine's plan of log coordinates over the closed form", times["engine"] / times["ours"],
              "×")  # fmt: skip


def _by_the_engine(robot: Any) -> Callable[[jax.Array], jax.Array]:
    """jm.jacobian of log(T(q)⁻¹ T(q + d)) at d = 0, turned to the base's axes."""

    def one(q: jax.Array) -> jax.Array:
        here = robot.pose(q, "panda_hand")
        local = jm.jacobian(lambda d: (here.inverse() @ robot.pose(q + d, "panda_hand")).log())(jnp.zeros_like(q))
        return jaxlie.SE3.from_rotation(here.rotation()).adjoint() @ local

    return jax.jit(jax.vmap(one))


def _frax() -> Callable[[jax.Array], jax.Array]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice on flags of XLA that would hold for all contestants
        from frax.core.manipulator import Manipulator
    # Its end effector is given relative to the last joint's link; the hand hangs there by a fixed joint.
    hand = jm.kinematics.Robot.from_urdf(PANDA)
    q = np.zeros(7)
    offset = (hand.pose(q, "panda_link7").inverse() @ hand.pose(q, "panda_hand")).as_matrix()
    return jax.jit(jax.vmap(Manipulator(str(PANDA), ee_offset=np.asarray(offset)).ee_jacobian))


def _pytorch(q: np.ndarray) -> Callable[[], np.ndarray]:
    with _silent():
        import pytorch_kinematics

        chain = pytorch_kinematics.build_serial_chain_from_urdf(PANDA.read_bytes(), "panda_hand")
    chain = chain.to(dtype=torch.float64)
    torch.set_num_threads(os.cpu_count() or 1)
    angles = torch.as_tensor(q.copy())

    def run() -> np.ndarray:
        with torch.no_grad():
            return chain.jacobian(angles).numpy()

    return run


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """It prints a line for each tag that it does not know."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


# -- damaged texts -----------------------------------------------------------------------------------------------------
def fuzz(quick: bool, tick: Tick) -> Iterator[Row]:
    """URDFs with up to three blows: each is refused with a line, or its poses are those of another reader."""
    tick("damaged URDFs")
    verdicts: Counter[str] = Counter()
    longest = 0.0

    @settings(max_examples=200 if quick else 2000, database=None, deadline=None, derandomize=True,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(urdf_cases.damaged())
    def each(text: str) -> None:
        nonlocal longest
        start = perf_counter()
        verdicts[urdf_cases.judge(text)] += 1  # raises where it is neither
        longest = max(longest, perf_counter() - start)

    failed = 0
    try:
        each()
    except AssertionError:
        failed = 1
    count = sum(verdicts.values())
    yield Row(f"{count:,} damaged URDFs: neither refused with a line nor right", failed, "texts", 0, True)
    yield Row("the same: refused", verdicts["refused"], f"of {count:,}")
    yield Row("the same: the longest took", longest, "s", 10.0, True)
