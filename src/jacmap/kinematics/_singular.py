"""Singular poses: found, told apart by what is lost and which joints make them so, and how far away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import _questions
from .._errors import ArgumentError
from ._manipulability import Part, rows
from ._robot import Robot

Array = jax.Array

STEPS = 60
# Longer steps, in radians and metres, leave the region where the linear model of the singular values holds.
LONGEST = 0.3
# σ_min/σ_max at which a pose counts as singular: the root of it is simple, so Newton's method comes far closer.
SINGULAR = {4: 1e-5, 8: 1e-10}
# A share of a unit vector, or of the largest slope, below which an entry is taken for rounding.
NOTHING = 1e-4


@dataclass(frozen=True, eq=False)
class SingularPose:
    """A pose at which J has lost rank.

    `q` (n,). `smallest`: its smallest singular value. `lost` (6,): the twist, of length one, along the base's axes,
    that no joint speeds make; a wrench of that kind is borne without torque. `causes`: the joints whose motion leads
    out of it, to first order (the elbow of a stretched arm; the middle joint of a straight wrist). `dependent`: the
    joints that can move together and leave the link where it is (the outer two of a straight wrist). `count`: how many
    starts of a search ended at one with the same causes. `distance`: ‖q − q₀‖ from the pose asked for, or NaN.
    """

    q: np.ndarray
    smallest: float
    lost: np.ndarray
    causes: tuple[str, ...]
    dependent: tuple[str, ...]
    count: int = 1
    distance: float = float("nan")

    def __str__(self) -> str:
        linear, angular = self.lost[:3], self.lost[3:]
        said = []
        if np.linalg.norm(linear) > NOTHING:
            said.append(f"translation along {_direction(linear)}")
        if np.linalg.norm(angular) > NOTHING:
            said.append(f"rotation about {_direction(angular)}")
        causes = ", ".join(self.causes) or "no joint to first order"
        return f"lost: {' with '.join(said)}; made by {causes}; dependent: {', '.join(self.dependent)}"


def singular_poses(
    robot: Robot, link: str, part: Part = "all", starts: int = 256, key: Any = 0, point: Any = None
) -> tuple[SingularPose, ...]:
    """Singular poses within the limits, one for each set of joints that cause some, those found most often first.

    From `starts` random configurations Newton's method on the singular values that vanish: with left and right singular
    vectors U₀, N of those, δ of least length that solves U₀ᵀ (J + Σ_l ∂J/∂q_l δ_l) N = 0. A search: what it does not
    find may exist, and the poses of one kind fill surfaces of which one point is shown, the one furthest from the
    limits. Fewer joints than rows of `part` are singular only where some of them depend on each other. Raises
    `ArgumentError`.
    """
    if not isinstance(starts, int) or starts < 1:
        raise ArgumentError(f"starts: got {starts!r}, expected a positive number of random configurations")
    near = _search(robot, link, part, point)
    found = near.anywhere(robot.random(key, starts))
    kinds: dict[tuple[str, ...], list[SingularPose]] = {}
    for pose in (near.describe(q) for q in np.asarray(found) if near.singular(q)):
        kinds.setdefault(pose.causes, []).append(pose)
    best = (replace(max(poses, key=lambda pose: _room(robot, pose.q)), count=len(poses)) for poses in kinds.values())
    return tuple(sorted(best, key=lambda pose: (-pose.count, pose.causes)))


def nearest_singular(robot: Robot, q: Any, link: str, part: Part = "all", point: Any = None) -> SingularPose | None:
    """The singular pose near one configuration q (n,), its `distance` in joint space with it; None where none is found.

    Newton's method as in `singular_poses`, each step measured from q itself, so that it ends at the point of the
    surface nearest to q: nearest in its neighbourhood, so the distance is an upper bound. In speeds instead of angles
    the distance of J from a singular matrix is `manipulability(..., measure="smallest")`. Raises `ArgumentError`.
    """
    q = robot.check_q(q)
    if q.ndim != 1:
        raise ArgumentError(f"q: got shape {list(q.shape)}, expected [{q.shape[-1]}]: one configuration")
    near = _search(robot, link, part, point)
    found = np.asarray(near.nearby(q))
    if not near.singular(found):
        return None
    return replace(near.describe(found), distance=float(np.linalg.norm(found - np.asarray(q))))


def _search(robot: Robot, link: str, part: Part, point: Any) -> Search:
    place = None if point is None else tuple(np.asarray(point, float).ravel().tolist())
    return robot.kept(("search", link, part, place), lambda: Search(robot, link, part, place))


class Search:
    """The parts of J that vanish, and steps towards where they do."""

    def __init__(self, robot: Robot, link: str, part: Part, point: tuple[float, ...] | None):
        self.robot = robot
        self.J: Callable[[Array], Array] = jax.jit(lambda q: rows(robot, q, link, part, point))
        self.slopes = jax.jit(_questions.jacobian(self.J))
        self.part = part
        self.anywhere: Callable[[Array], Array] = jax.jit(jax.vmap(lambda q: self._run(q, anchored=False)))
        self.nearby: Callable[[Array], Array] = jax.jit(lambda q: self._run(q, anchored=True))

    def _run(self, start: Array, anchored: bool) -> Array:
        """(n,): from `start`; `anchored`: to the nearest to it, not merely to one."""
        lower, upper = (jnp.asarray(limit, start.dtype) for limit in (self.robot.lower, self.robot.upper))

        def step(q: Array, _: None) -> tuple[Array, None]:
            values, slopes = _equations(self.J(q), self.slopes(q))
            origin = start if anchored else q
            ahead = origin - jnp.linalg.pinv(slopes, rtol=1e-6) @ (values + slopes @ (origin - q)) - q
            length = jnp.linalg.norm(ahead)
            ahead = ahead * jnp.minimum(1.0, LONGEST / jnp.where(length > 0, length, 1.0))
            return jnp.clip(q + ahead, lower, upper), None

        return jax.lax.scan(step, start, length=STEPS)[0]

    def singular(self, q: np.ndarray) -> bool:
        J = np.asarray(self.J(jnp.asarray(q)))
        s = np.linalg.svd(J, compute_uv=False)
        return bool(s.size and s[-1] <= SINGULAR[J.dtype.itemsize] * s[0])

    def describe(self, q: np.ndarray) -> SingularPose:
        J, slopes = np.asarray(self.J(jnp.asarray(q))), np.asarray(self.slopes(jnp.asarray(q)))
        u, s, vt = np.linalg.svd(J)
        zero = s > np.sqrt(SINGULAR[J.dtype.itemsize]) * s[0]
        rank = int(zero.sum())
        left, right = u[:, rank:], vt[rank:].T
        leading = np.linalg.norm(np.einsum("ia,ijl,jb->lab", left, slopes, right).reshape(len(q), -1), axis=1)
        lost = np.zeros(6)
        lost[3 * (self.part == "rotation") :][: len(J)] = u[:, len(s) - 1]
        lost *= np.sign(lost[np.argmax(np.abs(lost) > 0.5 * np.abs(lost).max())])
        return SingularPose(
            np.asarray(q), float(s[-1]), lost,
            self._named(leading > NOTHING * max(1.0, leading.max())),
            self._named(np.linalg.norm(right, axis=1) > NOTHING),
        )  # fmt: skip

    def _named(self, which: np.ndarray) -> tuple[str, ...]:
        return tuple(name for name, yes in zip(self.robot.joints, which, strict=True) if yes)


def _equations(J: Array, slopes: Array) -> tuple[Array, Array]:
    """U₀ᵀ J N and its slopes: the corner of the diagonal form of J that a lost rank empties, 1×(n − m + 1) of m ≤ n
    rows, (m − n + 1)×1 of more."""
    m, n = J.shape
    u, _, vt = jnp.linalg.svd(J, full_matrices=True)
    least = min(m, n) - 1
    left, right = (u[:, least:], vt[least:]) if m >= n else (u[:, least : least + 1], vt[least:])
    right = right[:1] if m >= n else right
    values = left.T @ J @ right.T
    return values.ravel(), jnp.einsum("ia,ijl,bj->abl", left, slopes, right).reshape(-1, n)


def _room(robot: Robot, q: np.ndarray) -> float:
    """The distance to the nearest limit, as a share of the range."""
    wide = np.where(np.isfinite(robot.upper - robot.lower), np.maximum(robot.upper - robot.lower, 1e-12), 1.0)
    return float(np.min(np.minimum(q - robot.lower, robot.upper - q) / wide))


def _direction(v: np.ndarray) -> str:
    v = v / np.linalg.norm(v)
    return "(" + ", ".join(f"{x + 0:.3g}".replace("-", "−") for x in np.round(v, 3)) + ")"
