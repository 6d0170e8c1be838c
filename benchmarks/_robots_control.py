"""Inverse kinematics against PyTorch Kinematics and mink; what control does at singular poses and out of reach."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import jaxlie
import mink
import mujoco
import numpy as np
import pytorch_kinematics
import torch
from _robots_kinematics import PANDA
from _table import Row, Tick

from jacmap import kinematics

LINK = "panda_hand"
STARTS = 24  # the same for every library, for every goal
FAR, TURNED = 1e-3, np.deg2rad(0.1)

# Reached goals (their configurations), and how long it took.
Solver = Callable[[np.ndarray, np.ndarray], np.ndarray]


def rows(quick: bool, tick: Tick) -> Iterator[Row]:
    with jax.enable_x64(True):
        robot = kinematics.Robot.from_urdf(PANDA)
        yield from panda(robot, 100 if quick else 500, tick)
        yield from unreachable(robot, tick)
        yield from singular(robot, tick)


def bare() -> str:
    """The Panda without the meshes, which not everybody finds."""
    text = PANDA.read_text()
    return re.sub(r"<(visual|collision)>.*?</\1>", "", text, flags=re.DOTALL)


# -- inverse kinematics --------------------------------------------------------------------------------------------
def panda(robot: Any, count: int, tick: Tick) -> Iterator[Row]:
    goals = np.asarray(robot.pose(robot.random(1, count), LINK).as_matrix())
    starts = np.asarray(robot.random(2, STARTS))
    libraries = {"jacmap": ours(robot), "PyTorch Kinematics": torch_kinematics(robot), "mink": by_mink(robot)}
    times, shares, kept = {}, {}, {}
    for name, solve in libraries.items():
        tick(f"inverse kinematics: {name}")
        solve(goals[: 2 if name == "mink" else count], starts)  # compiled, caches warm
        begun = time.perf_counter()
        q = solve(goals, starts)
        times[name] = time.perf_counter() - begun
        shares[name], kept[name] = judged(robot, q, goals)
    best = min(times[name] for name in libraries if name != "jacmap")
    title = f"Panda, {count} reachable goals from the same {STARTS} starts"
    yield Row(f"{title}: within 1 mm and 0.1°", 100 * shares["jacmap"], "%", 99.5)
    yield Row("the same: limits kept", 100 * kept["jacmap"], "%", 100.0)
    yield Row("the same: time of the faster peer over ours", best / times["jacmap"], "×", 5.0)
    for name in libraries:
        yield Row(f"the same: {name}", times[name], "s")
        if name != "jacmap":
            yield Row(f"the same: {name}, within 1 mm, 0.1° and the limits", 100 * shares[name] * kept[name], "%")


def judged(robot: Any, q: np.ndarray, goals: np.ndarray) -> tuple[float, float]:
    """(share of goals met within the limits, share of configurations within them)."""
    found = np.asarray(robot.pose(q, LINK).as_matrix())
    far = np.linalg.norm(found[:, :3, 3] - goals[:, :3, 3], axis=1)
    turn = jaxlie.SO3.from_matrix(jnp.asarray(found[:, :3, :3].swapaxes(1, 2) @ goals[:, :3, :3])).log()
    inside = np.all((q >= robot.lower - 1e-9) & (q <= robot.upper + 1e-9), axis=1)
    return float(np.mean((far < FAR) & (np.linalg.norm(turn, axis=1) < TURNED) & inside)), float(np.mean(inside))


def ours(robot: Any) -> Solver:
    def solve(goals: np.ndarray, starts: np.ndarray) -> np.ndarray:
        found = kinematics.inverse_kinematics(
            robot, goals, LINK, starts[0], starts=starts[1:], position_tolerance=FAR / 2, rotation_tolerance=TURNED / 2
        )
        return np.asarray(found.q)

    return solve


def torch_kinematics(robot: Any) -> Solver:
    """Its batched solver, all starts of all goals at once, in float64 and with its own handling of limits."""
    chain = pytorch_kinematics.build_serial_chain_from_urdf(bare(), LINK).to(dtype=torch.float64)
    size = len(chain.get_joint_parameter_names())

    def solve(goals: np.ndarray, starts: np.ndarray) -> np.ndarray:
        solver = pytorch_kinematics.PseudoInverseIK(
            chain, pos_tolerance=FAR / 2, rot_tolerance=TURNED / 2, retry_configs=torch.as_tensor(starts[:, :size]),
            max_iterations=60, early_stopping_any_converged=True, early_stopping_no_improvement=None,
            clamp_to_limits=True,
        )  # fmt: skip
        found = solver.solve(pytorch_kinematics.Transform3d(matrix=torch.as_tensor(goals), dtype=torch.float64))
        error = (found.err_pos / FAR + found.err_rot / TURNED).numpy()
        best = np.argmin(np.where(found.converged.numpy(), error, np.inf), axis=1)
        q = np.broadcast_to(starts[0], (len(goals), starts.shape[1])).copy()
        q[:, :size] = found.solutions.numpy()[np.arange(len(goals)), best]
        return q

    return solve


def by_mink(robot: Any) -> Solver:
    """Quadratic programs with the joints' limits, full steps, the next start when one has not arrived after 40."""
    option = '<mujoco><compiler fusestatic="false" discardvisual="true"/></mujoco>'
    model = mujoco.MjModel.from_xml_string(re.sub(r"(<robot[^>]*>)", rf"\1{option}", bare(), count=1))
    names = [mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_JOINT, k) for k in range(model.njnt)]
    order = [robot.joints.index(name) for name in names if name in robot.joints]
    assert len(order) == model.nq == len(robot.joints)
    limits = [mink.ConfigurationLimit(model, gain=1.0)]

    def solve(goals: np.ndarray, starts: np.ndarray) -> np.ndarray:
        configuration = mink.Configuration(model)
        task = mink.FrameTask(LINK, "body", position_cost=1.0, orientation_cost=1.0, lm_damping=0.1)
        found = np.empty((len(goals), len(order)))
        for k, goal in enumerate(goals):
            task.set_target(mink.SE3.from_matrix(goal))
            for start in starts:
                if arrived(configuration, task, start[order], limits):
                    break
            found[k, order] = configuration.q
        return found

    return solve


def arrived(configuration: Any, task: Any, start: np.ndarray, limits: list[Any]) -> bool:
    configuration.update(start)
    for _ in range(40):
        velocity = mink.solve_ik(configuration, [task], 1.0, "daqp", damping=1e-9, limits=limits)
        configuration.integrate_inplace(velocity, 1.0)
        error = task.compute_error(configuration)
        if np.linalg.norm(error[:3]) < FAR / 2 and np.linalg.norm(error[3:]) < TURNED / 2:
            return True
    return False


# -- where there is no answer, or only a bad one -------------------------------------------------------------------
def unreachable(robot: Any, tick: Tick) -> Iterator[Row]:
    """Goals out of reach, at NaN, from singular starts, in float32 and float64: what the flag says."""
    tick("goals out of reach")
    honest = finite = total = claimed = met = 0
    for dtype in (jnp.float32, jnp.float64):
        matrices = np.array(robot.pose(robot.random(3, 50), LINK).as_matrix())
        matrices[:20, 0, 3] += 3.0
        goals = jnp.asarray(matrices, dtype)
        start = jnp.zeros(len(robot.joints), dtype)  # stretched out upwards: singular
        tolerances = {"position_tolerance": 1e-4, "rotation_tolerance": 1e-4}
        found = kinematics.inverse_kinematics(robot, goals, LINK, start, **tolerances)
        with_limits = np.all((found.q >= robot.lower.astype(dtype)) & (found.q <= robot.upper.astype(dtype)), axis=1)
        reached = np.asarray(found.converged)
        pose = robot.pose(found.q.astype(float), LINK).as_matrix()
        far = np.linalg.norm(pose[:, :3, 3] - matrices[:, :3, 3], axis=1)
        turned = np.linalg.norm(jaxlie.SO3.from_matrix(pose[:, :3, :3].mT @ matrices[:, :3, :3]).log(), axis=1)
        finite += int(np.sum(np.isfinite(np.asarray(found.q)).all(1) & with_limits))
        honest += int(np.sum(reached == ((far < 1.02e-4) & (turned < 1.02e-4))))
        claimed += int(np.sum(reached[:20]))
        met += int(np.sum(reached[20:]))
        total += 50
    yield Row(f"goals, 40 of {total} out of reach, singular start, both precisions: the right flag", honest, "", total)
    yield Row("the same: of the 60 within reach, reached", met, "")
    yield Row("the same: of the 40 out of reach, said to be reached", claimed, "", 0, True)
    yield Row("the same: finite, within the limits", finite, "", total)


def singular(robot: Any, tick: Tick) -> Iterator[Row]:
    """At, and 1e-9 to 1e-1 away from, singular poses: speeds asked for along what is lost."""
    tick("control at singular poses")
    speeds, never_nan, told = [], True, True
    for dtype in (jnp.float32, jnp.float64):
        for method in ("damped", "selective"):
            for away in (0.0, 1e-9, 1e-6, 1e-3, 1e-2, 1e-1):
                q = jnp.zeros(len(robot.joints), dtype) + away
                lost = kinematics.control(robot, q, jnp.zeros(6, dtype), LINK, method=method).lost
                found = kinematics.control(robot, q, lost, LINK, method=method, dt=0.01)
                never_nan &= bool(jnp.isfinite(found.qd).all())
                speeds.append(float(jnp.max(jnp.abs(found.qd) / jnp.asarray(robot.speed, dtype))))
                missing = lost - robot.jacobian(q, LINK) @ found.qd
                told &= bool(jnp.max(jnp.abs(missing - found.given_up)) < 1e-4)
    title = "twists along what a singular pose loses: largest speed over its limit"
    yield Row(title, max(speeds), "×", 1.0 + 1e-6, True)
    yield Row("the same: never NaN, and what is missing is what is said to be given up", int(never_nan and told), "", 1)
