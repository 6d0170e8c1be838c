"""Where every link is: quaternions and positions, multiplied along the tree with all that is known left out.

A number is a Python float where the file alone says what it is and an array (...) of q's batch axes otherwise, so all
is elementwise over a batch, which XLA compiles to loops over long vectors and not to many products of tiny matrices;
and a product with a known zero, of which a robot's drawing is full, is never formed, so that the engine's pattern shows
only what a joint really moves.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial.transform import Rotation

from ._model import Joint, Model

Array = jax.Array
Number = float | Array
Vector = tuple[Number, Number, Number]
Quaternion = tuple[Number, Number, Number, Number]  # w, x, y, z; of length one

ZERO: Vector = (0.0, 0.0, 0.0)
# A sine of π, as rpy="0 0 3.14159265358979" has it, is a zero up to rounding.
ROUNDING = 1e-15
# Frames are held after every second moving joint: of 1 to 4 the one that compiles and runs fastest.
HELD = 2


def total(*products: tuple[float, Number, Number]) -> Number:
    """Σ sign·a·b, in which known zeros take no part."""
    known, found = 0.0, cast(Number, 0.0)
    for sign, a, b in products:
        if isinstance(a, float) and isinstance(b, float):
            known += sign * a * b
        elif not (_is(a, 0.0) or _is(b, 0.0)):
            product = b if _is(a, 1.0) else a if _is(b, 1.0) else a * b
            if sign != 1.0:
                product = -product if sign == -1.0 else sign * product
            found = product if _is(found, 0.0) else found + product
    return found if known == 0.0 else known if _is(found, 0.0) else found + known


def _is(number: Number, value: float) -> bool:
    return isinstance(number, float) and number == value


def plus(a: Vector, b: Vector) -> Vector:
    x, y, z = (total((1.0, u, 1.0), (1.0, v, 1.0)) for u, v in zip(a, b, strict=True))
    return x, y, z


def minus(a: Vector, b: Vector) -> Vector:
    x, y, z = (total((1.0, u, 1.0), (-1.0, v, 1.0)) for u, v in zip(a, b, strict=True))
    return x, y, z


def scaled(v: Vector, factor: Number) -> Vector:
    x, y, z = (total((1.0, number, factor)) for number in v)
    return x, y, z


def cross(a: Vector, b: Vector) -> Vector:
    (u, v, w), (x, y, z) = a, b
    return (
        total((1.0, v, z), (-1.0, w, y)),
        total((1.0, w, x), (-1.0, u, z)),
        total((1.0, u, y), (-1.0, v, x)),
    )


def product(a: Quaternion, b: Quaternion) -> Quaternion:
    """The turn b, then a."""
    (s, t, u, v), (w, x, y, z) = a, b
    return (
        total((1.0, s, w), (-1.0, t, x), (-1.0, u, y), (-1.0, v, z)),
        total((1.0, s, x), (1.0, t, w), (1.0, u, z), (-1.0, v, y)),
        total((1.0, s, y), (-1.0, t, z), (1.0, u, w), (1.0, v, x)),
        total((1.0, s, z), (1.0, t, y), (-1.0, u, x), (1.0, v, w)),
    )


@dataclass(frozen=True, eq=False)
class Frame:
    """A pose relative to the base."""

    turn: Quaternion
    position: Vector

    def column(self, k: int) -> Vector:
        """The k-th axis of the frame."""
        w, x, y, z = self.turn
        first, second, third = (x, y, z)[k:] + (x, y, z)[:k]  # the rows k, k + 1, k + 2 (mod 3) of the rotation
        along = total((1.0, 1.0, 1.0), (-2.0, second, second), (-2.0, third, third))
        after = total((2.0, first, second), (2.0, w, third))
        last = total((2.0, first, third), (-2.0, w, second))
        return ((along, after, last), (last, along, after), (after, last, along))[k]

    def rotate(self, v: Vector) -> Vector:
        """v, given along the frame's axes, along the base's."""
        columns = [self.column(k) if not _is(v[k], 0.0) else ZERO for k in range(3)]
        x, y, z = (total(*((1.0, columns[k][i], v[k]) for k in range(3))) for i in range(3))
        return x, y, z

    def back(self, v: Vector) -> Vector:
        """v, given along the base's axes, along the frame's."""
        x, y, z = (total(*((1.0, a, b) for a, b in zip(self.column(k), v, strict=True))) for k in range(3))
        return x, y, z

    def moved(self, point: Array) -> Frame:
        """The same axes at `point` (..., 3), given in this frame."""
        return Frame(self.turn, plus(self.position, self.rotate((point[..., 0], point[..., 1], point[..., 2]))))

    def then(self, other: Frame) -> Frame:
        """The frame that lies in this one as `other` lies in the base."""
        return Frame(product(self.turn, other.turn), plus(self.position, self.rotate(other.position)))


IDENTITY = Frame((1.0, 0.0, 0.0, 0.0), ZERO)


@dataclass(frozen=True, eq=False)
class Mover:
    """A joint on the way to a link, as seen from the base: its axis, and a point on it."""

    joint: Joint
    axis: Vector
    origin: Vector


class Tree:
    """The frames on the paths to some links, each worked out once, and nothing else."""

    def __init__(self, model: Model, links: Iterable[str], q: Array):
        self._paths = {link: model.path(link) for link in links}
        moving = {joint.name: joint for path in self._paths.values() for joint in path if joint.number is not None}
        self._amounts = {name: joint.multiplier * q[..., joint.number] + joint.offset for name, joint in moving.items()}
        turning = [name for name, joint in moving.items() if joint.turns]
        self._half = dict(zip(turning, _sines([self._amounts[name] for name in turning]), strict=True))
        self._frames: dict[str, Frame] = {}
        self._movers: dict[str, Mover] = {}

    def frame(self, link: str) -> Frame:
        """Of a link."""
        still: list[Joint] = []
        frame = IDENTITY
        depth = 0
        for joint in self._paths[link]:
            still.append(joint)
            if joint.number is not None:
                depth += 1
                frame = self._moved(frame, still, depth)
                still = []
        return frame.then(constant(still)) if still else frame

    def movers(self, link: str) -> list[Mover]:
        """The moving joints from the base to the link."""
        self.frame(link)
        return [self._movers[joint.name] for joint in self._paths[link] if joint.number is not None]

    def _moved(self, frame: Frame, still: list[Joint], depth: int) -> Frame:
        """Through fixed joints, as one constant, and a moving one, the `depth`-th from the base."""
        joint = still[-1]
        if joint.name not in self._frames:
            before = frame.then(constant(still))
            axis = known(joint.axis)
            self._movers[joint.name] = Mover(joint, before.rotate(axis), before.position)
            after = before.then(self._motion(joint, axis))
            self._frames[joint.name] = held(after) if depth % HELD == 0 else after
        return self._frames[joint.name]

    def _motion(self, joint: Joint, axis: Vector) -> Frame:
        if not joint.turns:
            return Frame(IDENTITY.turn, scaled(axis, self._amounts[joint.name]))
        sine, cosine = self._half[joint.name]
        return Frame((cosine, *scaled(axis, sine)), IDENTITY.position)


def held(frame: Frame) -> Frame:
    """The same frame, its numbers worked out and stored before anything reads them.

    XLA forms a loop for each number that is asked for, and repeats in it all that leads there, so that a program grows
    with the square of a chain's length. It leaves loops as they are, even this one, which only copies.
    """
    numbers = (*frame.turn, *frame.position)
    moving = [k for k, x in enumerate(numbers) if not isinstance(x, float)]
    if not moving:
        return frame
    stored = jax.lax.map(lambda x: x * 1.0, jnp.stack([jnp.asarray(numbers[k]) for k in moving]))
    w, x, y, z, *place = (stored[moving.index(k)] if k in moving else number for k, number in enumerate(numbers))
    u, v, t = place
    return Frame((w, x, y, z), (u, v, t))


def _sines(angles: list[Array]) -> list[tuple[Array, Array]]:
    """(sine, cosine) of half of each angle.

    In a loop of their own, as in `held`: without, XLA worked out 203 sines for the Jacobian of a Panda and not 7, in 8
    times the time.
    """
    if not angles:
        return []
    sines, cosines = jax.lax.map(lambda half: (jnp.sin(half), jnp.cos(half)), jnp.stack(angles) * 0.5)
    return [(sines[k], cosines[k]) for k in range(len(angles))]


def constant(joints: list[Joint]) -> Frame:
    """What fixed joints, and the place of the last one, make together."""
    rotation, translation = np.eye(3), np.zeros(3)
    for joint in joints:
        translation = translation + rotation @ joint.translation
        rotation = rotation @ joint.rotation
    w, *turn = Rotation.from_matrix(rotation).as_quat(scalar_first=True)
    return Frame((0.0 if abs(w) < ROUNDING else float(w), *known(turn)), known(translation))


def known(numbers: np.ndarray) -> Vector:
    x, y, z = (0.0 if abs(number) < ROUNDING else float(number) for number in numbers)
    return x, y, z


def stacked(numbers: list[Number], q: Array) -> Array:
    """(..., k): numbers beside each other, those that the file alone knows spread over the batch."""
    shape = q.shape[:-1]
    if not numbers:
        return jnp.zeros((*shape, 0), q.dtype)
    return jnp.stack([jnp.broadcast_to(jnp.asarray(x, q.dtype), shape) for x in numbers], axis=-1)
