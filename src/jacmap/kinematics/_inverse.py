"""Inverse kinematics: joints that bring a link to a pose, for many poses at once, from several starts each."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import jaxlie
import numpy as np

from .._errors import ArgumentError
from ._frames import product
from ._jacobian import pose_and_jacobian
from ._model import Model
from ._robot import Robot

Array = jax.Array
Task = Literal["pose", "position"]

# Goals that are worked on at the same time; the others wait until one of these is done with.
LANES = 32
# Configurations spread over the limits, of which a goal's further starts are those that come nearest to it.
SEEDS = 512
# Steps from one start.
STEPS = 50
# A start is given up when this many steps in a row have won less than a hundredth of the error.
IDLE = 6
# A step that promises to win less than this share of the error is as good as three that won nothing.
PROMISE = 1e-2
# The largest turn of a joint (radians or metres) in one step: the linearisation holds no further.
REACH = 0.7
REASONS = ("converged", "closest found", "not finite")


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Solution:
    """Joints for goals. All fields have the batch axes (...) of the goals.

    `q` (..., n): within the limits always; where `converged` is False, the closest that was found. `converged`: do both
    errors stay below the tolerances asked for? `position_error`: metres; `rotation_error`: radians (0 for positions
    alone). `starts`: how many starts it took; `steps`: of the method, over all of them.
    """

    q: Array
    converged: Array
    position_error: Array
    rotation_error: Array
    starts: Array
    steps: Array

    @property
    def reason(self) -> np.ndarray:
        """For each goal "converged", "closest found" (out of reach, or not found from these starts), or "not finite"
        (the goal, or the start, holds NaN or infinity; its `q` is then a start)."""
        codes = np.where(self.converged, 0, np.where(np.isfinite(self.position_error), 1, 2))
        return np.asarray(REASONS)[codes]

    def __str__(self) -> str:
        done, count = int(np.sum(self.converged)), np.size(self.converged)
        said = f"{done} of {count} goals reached"
        if done < count:
            missed = ~np.asarray(self.converged)
            worst = np.asarray(self.position_error)[missed], np.asarray(self.rotation_error)[missed]
            finite = [float(np.max(error, initial=0.0, where=np.isfinite(error))) for error in worst]
            said += f"; the others miss by up to {finite[0]:.3g} m and {np.rad2deg(finite[1]):.3g}°"
        return said


def inverse_kinematics(
    robot: Robot,
    target: Any,
    link: str,
    start: Any = None,
    *,
    task: Task = "pose",
    position_tolerance: float = 1e-6,
    rotation_tolerance: float = 1e-6,
    starts: Any = 24,
    key: Any = 0,
) -> Solution:
    """Joints q within the limits that bring `link` to `target`: a `jaxlie.SE3`, or matrices (..., 4, 4), or, for
    task="position", points (..., 3).

    `start` (..., n) is tried first (the middle of the limits otherwise), then configurations, drawn evenly from the
    limits with `key`, whose link comes nearest to the goal, up to `starts` in all; or `starts` holds configurations
    (k, n), tried after it in the same way. From each a Levenberg-Marquardt iteration
    on the geometric Jacobian, damped by the squared error (Sugihara 2011, doi:10.1109/TRO.2011.2148230),
    which takes singular poses and goals out of reach without large steps; joints at a limit that the step would cross
    are held. A batch is worked through compiled: a goal that is reached makes room for the next. Tolerances in metres
    and radians; below 8 roundings of the number type they cannot be met and are raised to that.

    No goal raises: whether one was reached is in `Solution.converged`. Collisions are not looked at. Redundant robots
    have many solutions; which one is found depends on the start. Raises `ArgumentError` for arguments of wrong shapes.
    """
    robot.check_link(link)
    if task not in get_args(Task):
        raise ArgumentError(f'task: got {task!r}, expected "pose" or "position"')
    for name, value in (("position_tolerance", position_tolerance), ("rotation_tolerance", rotation_tolerance)):
        if not isinstance(value, (int, float, np.number)) or not value > 0:
            raise ArgumentError(f"{name}: got {value!r}, expected a positive number")
    given = None if isinstance(starts, (int, np.integer)) else robot.check_q(starts, "starts")
    if given is not None and (given.ndim != 2 or len(given) == 0):
        raise ArgumentError(f"starts: got shape {list(given.shape)}, expected a number, or configurations [k, n]")
    if given is None and starts < 1:
        raise ArgumentError(f"starts: got {starts}, expected a whole number from 1")
    turn, position = _target(target, task)
    batch = position.shape[:-1]
    if start is None:
        start = jnp.asarray(middle(robot), position.dtype)
    start = robot.check_q(start, "start")
    try:
        batch = jnp.broadcast_shapes(batch, start.shape[:-1])
    except ValueError:
        raise ArgumentError(
            f"start: got {list(start.shape)}, expected [n] or the batch of target, {list(batch)}, before n"
        ) from None
    dtype = start.dtype
    n = len(robot.joints)
    turn, position, first = (
        jnp.broadcast_to(x, (*batch, x.shape[-1])).reshape(-1, x.shape[-1]).astype(dtype)
        for x in (turn, position, start)
    )
    if len(first) == 0:
        nothing = jnp.zeros(batch, dtype)
        whole = nothing.astype(int)
        return Solution(first.reshape(*batch, n), nothing.astype(bool), nothing, nothing, whole, whole)
    eps = float(jnp.finfo(dtype).eps)
    limits = jnp.asarray(robot.lower, dtype), jnp.asarray(robot.upper, dtype)
    tolerances = jnp.asarray([max(position_tolerance, 8 * eps), max(rotation_tolerance, 8 * eps)], dtype)
    if given is None:
        further, seeds = int(starts) - 1, robot.random(key, SEEDS).astype(dtype)
    else:
        further, seeds = len(given), jnp.clip(given.astype(dtype), *limits)
    function = functools.partial(_solve, robot._model, link, task, further)
    program = robot.kept(("inverse", link, task, further), lambda: jax.jit(function))
    found = program(turn, position, first, seeds, limits, tolerances)
    return jax.tree.map(lambda leaf: leaf.reshape(*batch, *leaf.shape[1:]), found)


def middle(robot: Robot) -> np.ndarray:
    """(n,): the middle of the limits; 0 where there are none."""
    bounded = np.isfinite(robot.lower) & np.isfinite(robot.upper)
    held = np.clip(0.0, robot.lower, robot.upper)
    return np.where(bounded, (np.where(bounded, robot.lower, 0) + np.where(bounded, robot.upper, 0)) / 2, held)


def _target(target: Any, task: Task) -> tuple[Array, Array]:
    """(quaternion, position) with the batch axes of the target."""
    if isinstance(target, jaxlie.SE3):
        numbers = jnp.asarray(target.wxyz_xyz)
        return numbers[..., :4], numbers[..., 4:]
    target = jnp.asarray(target)
    if not jnp.issubdtype(target.dtype, jnp.floating):
        target = target.astype(jnp.result_type(float))
    if task == "position" and target.ndim and target.shape[-1] == 3:
        return jnp.broadcast_to(jnp.asarray([1.0, 0, 0, 0], target.dtype), (*target.shape[:-1], 4)), target
    if target.shape[-2:] != (4, 4):
        wanted = " or points (..., 3)" if task == "position" else ""
        raise ArgumentError(
            f"target: got shape {list(target.shape)}, expected a jaxlie.SE3, matrices (..., 4, 4){wanted}"
        )
    with jax.numpy_dtype_promotion("standard"):  # jaxlie relies on it
        turn = jaxlie.SO3.from_matrix(target[..., :3, :3]).wxyz
    return turn, target[..., :3, 3]


class _Lane(NamedTuple):
    """What is being worked on, (lanes, ...) each: a goal, the point accepted, and the one to try next."""

    goal: Array  # its number; that of the dummy behind the last where there is none left
    attempt: Array
    step: Array  # from this start
    taken: Array  # steps from all starts
    idle: Array
    factor: Array  # of the damping
    q: Array
    cost: Array  # ½‖error‖² at q; infinite before the first evaluation
    error: Array  # (lanes, 6)
    J: Array
    trial: Array


def _solve(
    model: Model, link: str, task: Task, further: int, turn: Array, position: Array, first: Array, seeds: Array,
    limits: tuple[Array, Array], tolerances: Array,
) -> Solution:  # fmt: skip
    count, n = first.shape
    lanes = min(LANES, count)
    dtype = first.dtype
    lower, upper = limits
    rows = 6 if task == "pose" else 3
    # One goal more than there are: what idle lanes are given, and nobody reads.
    turn, position, first = (jnp.concatenate([x, x[:1]]) for x in (turn, position, first))
    first = jnp.clip(first, lower, upper)
    nearest = _nearest(model, link, task, seeds, turn, position, further)

    def error_of(q: Array, goal: Array) -> tuple[Array, Array]:
        now, place, J = pose_and_jacobian(model, link, q)
        error = position[goal] - place
        if task == "pose":
            error = jnp.concatenate([error, rotation_left(turn[goal], now)], axis=-1)
        return error, J[:, :rows]

    def fresh(goal: Array, attempt: Array) -> Array:
        if not further:
            return first[goal]
        other = seeds[nearest[goal, jnp.maximum(attempt - 1, 0)]]
        return jnp.where((attempt == 0)[:, None], first[goal], other)

    def begun(goal: Array, attempt: Array, taken: Array) -> _Lane:
        start = fresh(goal, attempt)
        zero = jnp.zeros_like(goal)
        return _Lane(
            goal, attempt, zero, taken, zero, jnp.ones(lanes, dtype), start, jnp.full(lanes, jnp.inf, dtype),
            jnp.zeros((lanes, rows), dtype), jnp.zeros((lanes, rows, n), dtype), start,
        )  # fmt: skip

    def body(state: tuple[_Lane, Array, Any]) -> tuple[_Lane, Array, Any]:
        lane, waiting, out = state
        lane = _step(lane, error_of, lower, upper)
        reached = _reached(lane.error, tolerances)
        stuck = (lane.step >= STEPS) | (lane.idle >= IDLE) | ~jnp.isfinite(lane.cost)
        last = lane.attempt >= further
        out = _kept(out, lane, reached | stuck)
        done = reached | (stuck & last)
        next_goal = jnp.minimum(waiting + jnp.cumsum(done) - 1, count)
        goal = jnp.where(done, next_goal, lane.goal)
        attempt = jnp.where(done, 0, lane.attempt + 1)
        new = begun(goal, attempt, jnp.where(done, 0, lane.taken))
        change = done | stuck
        lane = jax.tree.map(lambda a, b: jnp.where(change.reshape(-1, *(1,) * (a.ndim - 1)), a, b), new, lane)
        return lane, jnp.minimum(waiting + jnp.sum(done), count), out

    out = (
        first, jnp.full(count + 1, jnp.inf, dtype), jnp.full((count + 1, rows), jnp.nan, dtype),
        jnp.zeros(count + 1, int), jnp.zeros(count + 1, int),
    )  # fmt: skip
    lane = begun(jnp.arange(lanes), jnp.zeros(lanes, int), jnp.zeros(lanes, int))
    _, _, (q, _, error, used, steps) = jax.lax.while_loop(
        lambda state: jnp.any(state[0].goal < count), body, (lane, jnp.asarray(lanes), out)
    )
    errors = _sizes(error[:count])
    return Solution(q[:count], _reached(error[:count], tolerances), *errors, used[:count], steps[:count])


def _step(lane: _Lane, error_of: Any, lower: Array, upper: Array) -> _Lane:
    """Look at the trial, keep it or not, and find the next one."""
    # Without the barrier XLA works the tree out again in every loop that reads J.
    error, J = jax.lax.optimization_barrier(error_of(lane.trial, lane.goal))
    cost = 0.5 * jnp.sum(error**2, axis=-1)
    better = cost < lane.cost
    idle = jnp.where(better & (cost < 0.98 * lane.cost), 0, lane.idle + 1)
    # As in Sugihara's paper the damping falls with the squared error; the factor makes up for steps that failed.
    factor = jnp.clip(jnp.where(better, lane.factor / 4, lane.factor * 8), 1e-3, 1e9)
    q, best = jnp.where(better[:, None], lane.trial, lane.q), jnp.where(better, cost, lane.cost)
    error, J = jnp.where(better[:, None], error, lane.error), jnp.where(better[:, None, None], J, lane.J)
    best = jnp.where((lane.step == 0) & ~jnp.isfinite(cost), jnp.nan, best)  # nothing can come of this start
    pull = jnp.einsum("lij,li->lj", J, error)
    free = ~(((q <= lower) & (pull < 0)) | ((q >= upper) & (pull > 0)))
    held = jnp.where(free[:, None, :], J, 0.0)
    rows = J.shape[1]
    damping = factor * best + 10 * jnp.finfo(q.dtype).eps * (1 + jnp.sum(held**2, axis=(1, 2)))
    normal = jnp.einsum("lij,lkj->lik", held, held) + damping[:, None, None] * jnp.eye(rows, dtype=q.dtype)
    step = jnp.einsum("lij,li->lj", held, _definite(normal, error))
    size = jnp.max(jnp.abs(step), axis=-1, keepdims=True)
    trial = jnp.clip(q + step * jnp.minimum(1.0, REACH / jnp.maximum(size, REACH)), lower, upper)
    promised = jnp.sum(pull * (trial - q), axis=-1)
    idle = jnp.where(promised < PROMISE * best, idle + 3, idle)
    return lane._replace(
        q=q, cost=best, error=error, J=J, trial=trial, factor=factor, idle=idle, step=lane.step + 1,
        taken=lane.taken + 1,
    )  # fmt: skip


def _definite(matrix: Array, right: Array) -> Array:
    """x of A x = b for symmetric positive definite A (lanes, k, k), b (lanes, k)."""
    factor = jax.scipy.linalg.cho_factor(matrix, lower=True)
    return jax.scipy.linalg.cho_solve(factor, right[..., None])[..., 0]


def _kept(out: Any, lane: _Lane, ended: Array) -> Any:
    """The best end of each goal so far."""
    q, cost, error, used, steps = out
    better = ended & (lane.cost < cost[lane.goal])
    at = jnp.where(better, lane.goal, len(cost) - 1)
    always = jnp.where(ended, lane.goal, len(cost) - 1)
    return (
        q.at[at].set(lane.q), cost.at[at].set(lane.cost), error.at[at].set(lane.error),
        used.at[always].set(lane.attempt + 1), steps.at[always].set(lane.taken),
    )  # fmt: skip


def _sizes(error: Array) -> tuple[Array, Array]:
    """Metres and radians."""
    return jnp.linalg.norm(error[:, :3], axis=-1), jnp.linalg.norm(error[:, 3:], axis=-1)


def _reached(error: Array, tolerances: Array) -> Array:
    far, turned = _sizes(error)
    return (far <= tolerances[0]) & (turned <= tolerances[1])


def rotation_left(target: Array, now: Array) -> Array:
    """(..., 3): the turn, along the base's axes, that is left from `now` to `target`, both quaternions w x y z."""
    s, t, u, v = (target[..., k] for k in range(4))
    w, x, y, z = (now[..., k] for k in range(4))
    left = product((s, t, u, v), (w, -x, -y, -z))
    cosine, sines = left[0], jnp.stack([jnp.asarray(part) for part in left[1:]], axis=-1)
    square = jnp.sum(sines**2, axis=-1)
    turned = square > jnp.finfo(square.dtype).tiny
    size = jnp.sqrt(jnp.where(turned, square, 1.0))
    # The two signs of a quaternion are one turn: that of the shorter way.
    angle = jnp.where(turned, 2 * jnp.arctan2(size, jnp.abs(cosine)) / size, 2.0)
    return (angle * jnp.where(cosine < 0, -1.0, 1.0).astype(angle.dtype))[..., None] * sines


def _nearest(model: Model, link: str, task: Task, seeds: Array, turn: Array, position: Array, count: int) -> Array:
    """(goals, count): the seeds whose link comes nearest to each goal, a radian counted as a metre."""
    if count == 0:
        return jnp.zeros((len(position), 1), int)
    now, place, _ = pose_and_jacobian(model, link, seeds)

    def one(goal: tuple[Array, Array]) -> Array:
        wanted, where = goal
        far = jnp.sum((place - where) ** 2, axis=-1)
        if task == "pose":
            # 8(1 − |cos(θ/2)|) is θ² for small angles.
            far += 8 * (1 - jnp.abs(now @ wanted))
        return jax.lax.top_k(-far, min(count, len(seeds)))[1]

    chosen = jax.lax.map(one, (turn, position), batch_size=64)
    return jnp.concatenate([chosen] * (-(-count // chosen.shape[1])), axis=1)[:, :count]
