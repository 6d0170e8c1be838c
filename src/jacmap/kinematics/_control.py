"""Joint speeds for a twist that is wanted, bounded near singular poses and at limits, with what was given up."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np

from .._errors import ArgumentError
from ._inverse import middle
from ._jacobian import Reference, check_frame, geometric
from ._model import Model
from ._robot import Robot

Array = jax.Array
Method = Literal["damped", "selective"]

# Singular values of J below this (metres and radians per radian) are damped.
NEAR = 0.04
# Of selectively damped least squares: the largest turn of a joint in one step, radians or metres.
TURN = np.pi / 4
# A joint at its bound is let go where the slope of what is missing says so by more than this share.
RELEASED = 1e-4
# Joints are held and let go so many times each at most.
CHANGES = 4


class _Held(NamedTuple):
    """Joints held at a bound, where, and the speeds of all with these held."""

    held: Array
    at: Array
    qd: Array
    changes: Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Speeds:
    """Joint speeds `qd` (..., n), and what became of the twist that was wanted.

    `twist` (..., 6): what the link does at these speeds; `given_up` (..., 6): what is missing of the one wanted; both
    in the frame asked for, linear rows first. `limited` (..., n): joints held at a limit of speed or of position.
    `smallest` (...): the smallest singular value of J; `lost` (..., 6): the direction of twist that belongs to it, of
    length one, the first to go as a singular pose comes near.
    """

    qd: Array
    twist: Array
    given_up: Array
    limited: Array
    smallest: Array
    lost: Array

    def __str__(self) -> str:
        if self.qd.ndim != 1:
            share = float(np.mean(np.linalg.norm(self.given_up, axis=-1) > 1e-6 * self._size()))
            return f"joint speeds for {self.qd[..., 0].size} poses; something was given up at {share:.1%} of them"
        linear, angular = (float(np.linalg.norm(part)) for part in (self.given_up[:3], self.given_up[3:]))
        if max(linear, angular) <= 1e-6 * self._size():
            return "the whole twist is met"
        held = ", ".join(map(str, np.flatnonzero(self.limited)))
        why = [f"joints {held} are at a limit"] if held else []
        if float(self.smallest) < NEAR:
            why.append(f"the pose is nearly singular (smallest singular value {_short(self.smallest)})")
        size = f"{_short(linear)} m/s and {_short(angular)} rad/s"
        return f"{size} of the twist are given up: {' and '.join(why) or 'rank of J'}"

    def _size(self) -> float:
        return 1e-6 + float(np.max(np.linalg.norm(np.asarray(self.twist) + np.asarray(self.given_up), axis=-1)))


def _short(size: Any) -> str:
    """Three digits; what is rounding alone is zero."""
    return f"{float(size) if size > 1e-9 else 0:.3g}"


def control(
    robot: Robot,
    q: Any,
    twist: Any,
    link: str,
    *,
    frame: Reference = "local_world_aligned",
    method: Method = "damped",
    null: Any = None,
    dt: float = 0.01,
) -> Speeds:
    """Joint speeds (..., n) that give the link the twist (..., 6), as far as that is possible without large ones.

    q̇ = J⁺ V + (I − J⁺J) q̇₀, with q̇₀ = `null` (..., n) the speeds wanted besides: of them only what does not move the
    link is left (the null-space task; zero by default, then ‖q̇‖ is the smallest). J⁺ of the first term is damped:

    "damped"     where singular values fall below ε = 0.04, by σ/(σ² + λ²) with λ² = ε² − σ² (numerical filtering,
                 Maciejewski and Klein 1988, doi:10.1002/rob.4620050602): exact away from singular poses, and with
                 ‖q̇‖ ≤ ‖V‖/ε at any;
    "selective"  every direction by how far it would turn the joints against what it moves, at most 45° in `dt`
                 seconds (selectively damped least squares, Buss and Kim 2005, doi:10.1080/2151237X.2005.10129202).

    Joints keep to their limits of speed, and to those of position after `dt` seconds: a joint that would not is held at
    its limit and the others take over what they can: least squares within bounds, by an active set. A q outside its
    limits is brought back, no faster than the limit of speed. Works under `jit` and `vmap`.
    Raises `ArgumentError`.
    """
    robot.check_link(link)
    check_frame(frame)
    check_method(method)
    check_dt(dt)
    q = robot.check_q(q)
    twist = jnp.asarray(twist, q.dtype)
    if twist.shape[-1:] != (6,):
        raise ArgumentError(f"twist: got shape {list(twist.shape)}, expected [..., 6]: linear, then angular velocity")
    null = jnp.zeros_like(q) if null is None else robot.check_q(null, "null").astype(q.dtype)
    batch = jnp.broadcast_shapes(q.shape[:-1], twist.shape[:-1], null.shape[:-1])
    q, twist, null = (jnp.broadcast_to(x, (*batch, x.shape[-1])) for x in (q, twist, null))
    function = functools.partial(_speeds, robot._model, link, frame, method)
    program = robot.kept(("control", link, frame, method), lambda: jax.jit(function))
    return program(q, twist, null, *limits_of(robot, q.dtype), jnp.asarray(dt, q.dtype))


def centring(robot: Robot, q: Any, gain: float = 1.0) -> Array:
    """(..., n): speeds towards the middle of the limits, as a null-space task: −gain·∇H of H = ½ Σ ((q − middle) /
    range)² (Liégeois 1977). Joints without limits are left alone. Raises `ArgumentError`."""
    q = robot.check_q(q)
    centre, weight = springs_of(robot, q.dtype)
    return -gain * weight * (q - centre)


def springs_of(robot: Robot, dtype: Any) -> tuple[Array, Array]:
    """The middles of the limits, and 1/range²."""
    width = robot.upper - robot.lower
    inverse = np.divide(1.0, width, out=np.zeros_like(width), where=(width > 0) & np.isfinite(width))
    return jnp.asarray(middle(robot), dtype), jnp.asarray(inverse**2, dtype)


def check_method(method: str) -> None:
    if method not in get_args(Method):
        raise ArgumentError(f'method: got {method!r}, expected "damped" or "selective"')


def check_dt(dt: float) -> None:
    if not isinstance(dt, (int, float, np.number)) or not 0 < dt < np.inf:
        raise ArgumentError(f"dt: got {dt!r}, expected a positive number of seconds")


def limits_of(robot: Robot, dtype: Any) -> tuple[Array, Array, Array]:
    """lower, upper, speed."""
    lower, upper, speed = (jnp.asarray(x, dtype) for x in (robot.lower, robot.upper, robot.speed))
    return lower, upper, speed


def _speeds(
    model: Model, link: str, frame: Reference, method: Method, q: Array, twist: Array, null: Array, lower: Array,
    upper: Array, speed: Array, dt: Array,
) -> Speeds:  # fmt: skip
    J = geometric(model, link, frame, q)
    flat = [x.reshape(-1, *x.shape[q.ndim - 1 :]) for x in (J, twist, null, q)]
    found = jax.vmap(lambda J, V, q0, at: bounded(method, J, V, q0, at, lower, upper, speed, dt))(*flat)
    return jax.tree.map(lambda leaf: leaf.reshape(*q.shape[:-1], *leaf.shape[1:]), found)


def bounded(
    method: Method, J: Array, twist: Array, null: Array, q: Array, lower: Array, upper: Array, speed: Array, dt: Array
) -> Speeds:
    """Of one pose: J (6, n)."""
    most = jnp.clip(jnp.minimum(speed, (upper - q) / dt), -speed, None)
    least = jnp.clip(jnp.maximum(-speed, (lower - q) / dt), None, speed)
    lengths = jnp.linalg.norm(J, axis=0)
    step = _damped if method == "damped" else functools.partial(_selective, lengths=lengths, dt=dt)

    def solved(held: Array, at: Array) -> Array:
        """Speeds with some joints held at theirs."""
        u, s, vt = jnp.linalg.svd(jnp.where(held, 0.0, J), full_matrices=False)
        rest = twist - J @ at
        seen = s > 6 * jnp.finfo(s.dtype).eps * s[0]  # directions of joints that move the link
        besides = null - vt.T @ jnp.where(seen, vt @ jnp.where(held, 0.0, null), 0.0)
        return jnp.where(held, at, step(u, s, vt, rest) + besides)

    def over(state: _Held) -> Array:
        """By how much each free joint is too fast."""
        return jnp.where(state.held, 0.0, jnp.maximum(state.qd - most, least - state.qd))

    def pulled(state: _Held) -> Array:
        """How much each held joint is wanted back inside its bounds, by the slope of what is missing."""
        slope = J.T @ (twist - J @ state.qd)
        return jnp.where(state.held, jnp.where(state.at >= most, -slope, slope), 0.0)

    def change(state: _Held) -> _Held:
        too_fast = over(state)
        hold = jnp.any(too_fast > 0)
        k = jnp.where(hold, jnp.argmax(too_fast), jnp.argmax(pulled(state)))
        bound = jnp.where(state.qd[k] > most[k], most[k], least[k])
        held, at = state.held.at[k].set(hold), state.at.at[k].set(jnp.where(hold, bound, 0.0))
        return _Held(held, at, solved(held, at), state.changes + 1)

    def wrong(state: _Held) -> Array:
        small = RELEASED * (jnp.linalg.norm(J) * jnp.linalg.norm(twist) + jnp.finfo(J.dtype).tiny)
        return (jnp.any(over(state) > 0) | jnp.any(pulled(state) > small)) & (state.changes < CHANGES * q.shape[0])

    nobody = jnp.zeros(q.shape, bool), jnp.zeros_like(q)
    final = jax.lax.while_loop(wrong, change, _Held(*nobody, solved(*nobody), jnp.zeros((), int)))
    qd, held = jnp.clip(final.qd, least, most), final.held
    met = J @ qd
    u, s, _ = jnp.linalg.svd(J, full_matrices=False)
    if s.shape[0] < 6:  # fewer joints than directions: J leaves some out at every pose
        u, s = jnp.linalg.svd(J, full_matrices=True)[0], jnp.append(s, 0.0)
    return Speeds(qd, met, twist - met, held, s[-1], u[:, -1])


def _damped(u: Array, s: Array, vt: Array, twist: Array) -> Array:
    return vt.T @ (s / jnp.maximum(s, NEAR) ** 2 * (u.T @ twist))


def _selective(u: Array, s: Array, vt: Array, twist: Array, lengths: Array, dt: Array) -> Array:
    """`lengths` (n,): how far the link goes per unit of each joint."""
    usable = s > 1e-6
    inverse = jnp.where(usable, 1 / jnp.where(usable, s, 1.0), 0.0)
    # What a unit of twist along u_i moves at the joints, measured by what these joints could move: never below one.
    moved = inverse * (jnp.abs(vt) @ lengths)
    bound = TURN / jnp.maximum(moved, 1.0)
    turn = (inverse * (u.T @ twist) * dt)[:, None] * vt
    size = jnp.max(jnp.abs(turn), axis=1)
    turn = turn * jnp.minimum(1.0, bound / jnp.maximum(size, jnp.finfo(s.dtype).tiny))[:, None]
    whole = jnp.sum(turn, axis=0)
    return whole * jnp.minimum(1.0, TURN / jnp.maximum(jnp.max(jnp.abs(whole)), jnp.finfo(s.dtype).tiny)) / dt
