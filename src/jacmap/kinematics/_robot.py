"""A robot: where its links are, and how its joints move them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import jax
import jax.numpy as jnp
import jaxlie
import numpy as np

from .. import _questions
from .._errors import ArgumentError
from .._jacobian import linearize
from ._analytic import Coordinates, coordinates
from ._frames import Tree, stacked
from ._jacobian import Reference, check_frame, geometric
from ._model import Model, read

Array = jax.Array
Kind = Literal["geometric", "rpy", "quaternion"]
Kept = TypeVar("Kept")


class Robot:
    """A tree of links, held by joints that turn or slide.

    `joints`: the names of the n joints that move by themselves, in the order of q (the file's); one that mimics another
    has no entry. `links`: the names of all links, `base` that of the one that stands still. `lower`, `upper` (n,): the
    range of each joint, infinite for a continuous one; `speed`, `effort` (n,): the sizes allowed, infinite where the
    file does not say. Lengths and angles are the file's, metres and radians. The range of a joint that mimics is not
    looked at, nor are soft limits.

    Every method takes q of shape (..., n), works under `jit`, `vmap` and `grad`, and is compiled once for each link:
    one call with (10000, n) costs far less than 10,000 calls.
    """

    def __init__(self, model: Model):
        self._model = model
        self._kept: dict[Hashable, Any] = {}
        self.name = model.name
        self.joints, self.links = model.joints, model.links
        self.base = next(link for link in model.links if link not in model.holding)
        self.lower, self.upper = model.lower, model.upper
        self.speed, self.effort = model.speed, model.effort
        for limits in (self.lower, self.upper, self.speed, self.effort):
            limits.flags.writeable = False

    @classmethod
    def from_urdf(cls, source: str | bytes | Path) -> Robot:
        """From a URDF: the path of a file, or its text.

        Joints may be revolute, continuous, prismatic or fixed, and mimic others; they must form one tree. Meshes and
        inertias are not looked at, other files never opened. Raises `ArgumentError` with the line of what is wrong.
        """
        return cls(read(source))

    def __repr__(self) -> str:
        return f"Robot({self.name!r}, {len(self.joints)} joints, {len(self.links)} links)"

    def above(self, link: str) -> tuple[str, ...]:
        """The links between this one and the base, the nearest first, the base last. Raises `ArgumentError`."""
        self.check_link(link)
        return tuple(joint.parent for joint in reversed(self._model.path(link)))

    # -- where the links are -----------------------------------------------------------------------------------
    def pose(self, q: Any, link: str) -> jaxlie.SE3:
        """The link's pose in the base's frame: a `jaxlie.SE3` with the batch axes of q.

        Its quaternion follows q without a jump, so its sign may be either. Raises `ArgumentError`.
        """
        self.check_link(link)
        return jaxlie.SE3(self._run(("pose", link), functools.partial(_parameters, self._model, (link,)), q)[..., 0, :])

    def poses(self, q: Any) -> jaxlie.SE3:
        """Of all links at once: a `jaxlie.SE3` with batch axes (..., number of links), in the order of `links`."""
        return jaxlie.SE3(self._run("poses", functools.partial(_parameters, self._model, self.links), q))

    # -- how the joints move them --------------------------------------------------------------------------------
    def jacobian(
        self,
        q: Any,
        link: str,
        frame: Reference = "local_world_aligned",
        kind: Kind = "geometric",
        point: Any = None,
    ) -> Array:
        """(..., 6, n): how the link moves with each joint; rows 0-2 are linear, 3-5 angular, as in Pinocchio.

        `frame` says in which frame the twist is written. "local_world_aligned": the velocity of the link's origin, and
        the angular velocity, along the base's axes. "local": the same along the link's axes. "world": the spatial
        twist, the velocity of that point of the link which is passing the base's origin.
        `kind`: "geometric"; or the plain derivative of coordinates, which have no frame but the base's: "rpy", position
        and roll, pitch, yaw (not finite where the pitch is ±π/2), or "quaternion", (..., 7, n), position and w x y z.
        `point` (3,): a point in the link's frame (the tip of a tool) in place of its origin; "world" is the same for
        all. Raises `ArgumentError`.
        """
        self.check_link(link)
        check_frame(frame)
        if kind not in get_args(Kind):
            raise ArgumentError(f"kind: got {kind!r}, expected one of {', '.join(map(repr, get_args(Kind)))}")
        if kind != "geometric":
            if frame != "local_world_aligned":
                raise ArgumentError(f'frame: got {frame!r} with kind="{kind}", whose coordinates are those in the base')
            function = _by_coordinates(self._model, link, kind)
        else:
            function = functools.partial(geometric, self._model, link, frame)
        return self._run(("jacobian", link, frame, kind), function, q, *_points(point))

    def jacobian_rate(
        self, q: Any, qd: Any, link: str, frame: Reference = "local_world_aligned", point: Any = None
    ) -> Array:
        """(..., 6, n): J̇, the derivative of the entries of `jacobian` in time while the joints move with speeds qd
        (..., n). The link's acceleration, in the same sense, is J q̈ + J̇ q̇. Raises `ArgumentError`."""
        self.check_link(link)
        check_frame(frame)
        J = functools.partial(geometric, self._model, link, frame)

        def rate(q: Array, qd: Array, *point: Array) -> Array:
            return _questions.jvp(lambda q: J(q, *point), (q,), (qd,))[1]

        q = self.check_q(q)
        qd = self.check_q(qd, "qd").astype(q.dtype)
        q, qd = jnp.broadcast_arrays(q, qd)
        return self._run(("rate", link, frame), rate, q, qd, *_points(point))

    @functools.cached_property
    def moves(self) -> np.ndarray:
        """(links, n) of truth values: can this joint move this link? From the pattern that the engine reads off the
        graph of `poses`, so it holds for every q. Not to be written to."""

        def flat(q: Array) -> Array:
            return _parameters(self._model, self.links, q).ravel()

        n = len(self.joints)
        pattern = linearize(flat, jnp.zeros(n)).pattern.todense() if n else np.zeros((7 * len(self.links), 0), bool)
        moved: np.ndarray = np.any(np.asarray(pattern, bool).reshape(len(self.links), 7, n), axis=1)
        moved.flags.writeable = False
        return moved

    # -- configurations --------------------------------------------------------------------------------------------
    def random(self, key: Any, batch: int | Sequence[int] = ()) -> Array:
        """(*batch, n): configurations spread evenly over the limits; a turning joint without any takes [−π, π], a
        sliding one [−1, 1]. `key`: a JAX key, or a number that makes one. Raises `ArgumentError`."""
        shape = (batch,) if isinstance(batch, int) else tuple(batch)
        if isinstance(key, (int, np.integer)):
            key = jax.random.key(int(key))
        sliding = np.array([self._own(name).kind == "prismatic" for name in self.joints], bool)
        far = np.where(sliding, 1.0, np.pi)
        bounded, topped = np.isfinite(self.lower), np.isfinite(self.upper)
        lower = np.where(bounded, self.lower, np.where(topped, self.upper - 2 * far, -far))
        upper = np.where(topped, self.upper, np.where(bounded, self.lower + 2 * far, far))
        dtype = jnp.result_type(float)
        share = jax.random.uniform(key, (*shape, len(self.joints)), dtype)
        return jnp.asarray(lower, dtype) + share * jnp.asarray(upper - lower, dtype)

    def _own(self, name: str) -> Any:
        return next(joint for joint in self._model.holding.values() if joint.name == name)

    # -- arguments -------------------------------------------------------------------------------------------------
    def check_link(self, link: str) -> None:
        """Raise `ArgumentError` unless the robot has that link."""
        if link not in self.links:
            few = ", ".join(self.links[:12]) + (", ..." if len(self.links) > 12 else "")
            raise ArgumentError(f"link: got {link!r}, expected one of {few}")

    def check_q(self, q: Any, name: str = "q") -> Array:
        """(..., n) as an array of real floating-point numbers, or `ArgumentError`."""
        q = jnp.asarray(q)
        n = len(self.joints)
        if q.ndim == 0 or q.shape[-1] != n:
            raise ArgumentError(f"{name}: got shape {list(q.shape)}, expected [..., {n}]: a number for each of joints")
        if jnp.issubdtype(q.dtype, jnp.complexfloating):
            raise ArgumentError(f"{name}: got {q.dtype}, expected real numbers")
        return q if jnp.issubdtype(q.dtype, jnp.floating) else q.astype(jnp.result_type(float))

    def kept(self, key: Hashable, make: Callable[[], Kept]) -> Kept:
        """What is worked out once for this robot, such as a compiled function."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def _run(self, key: Hashable, function: Callable[..., Array], q: Any, *rest: Array) -> Array:
        q = self.check_q(q)
        return self.kept(key, lambda: jax.jit(function))(q, *(x.astype(q.dtype) for x in rest))


def _parameters(model: Model, links: Sequence[str], q: Array) -> Array:
    """(..., links, 7): quaternion and position of each."""
    tree = Tree(model, links, q)
    frames = [tree.frame(link) for link in links]
    numbers = stacked([number for frame in frames for number in (*frame.turn, *frame.position)], q)
    return jnp.reshape(numbers, (*q.shape[:-1], len(frames), 7))


def _by_coordinates(model: Model, link: str, kind: Coordinates) -> Callable[..., Array]:
    """The planned Jacobian of coordinates, over a batch."""

    def batched(q: Array, *point: Array) -> Array:
        J = _questions.jacobian(lambda q, *point: coordinates(model, link, kind, q, *point))
        flat = jax.vmap(lambda q: J(q, *point))(q.reshape(-1, q.shape[-1]))
        return flat.reshape(*q.shape[:-1], *flat.shape[1:])

    return batched


def _points(point: Any) -> tuple[Array, ...]:
    if point is None:
        return ()
    point = jnp.asarray(point)
    if point.shape != (3,):
        raise ArgumentError(f"point: got shape {list(point.shape)}, expected [3]: a point in the link's frame")
    return (point,)
