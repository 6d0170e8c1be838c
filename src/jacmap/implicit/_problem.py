"""What all three layers are underneath: F(x, θ) = 0 for a flat x, and a way to get near it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from .._errors import ArgumentError

Array = jax.Array
# What a residual reads besides x: leaves that have derivatives, and the others (integers, Booleans).
Data = tuple[list[Array], list[Array]]


@dataclass(frozen=True)
class Layout:
    """How the user's x and arguments lie in flat ones. Hashable: compiled code is kept by it."""

    x_tree: Any
    x_shapes: tuple[tuple[int, ...], ...]
    args_tree: Any
    moving: tuple[bool, ...]

    @staticmethod
    def of(x0: Any, args: tuple[Any, ...]) -> tuple[Layout, Array, Data]:
        """The layout, x0 as a vector, and the leaves of args. Raises ArgumentError where they are not real arrays."""
        x_leaves, x_tree = jax.tree_util.tree_flatten(x0)
        x_leaves = [_array(leaf, "x0") for leaf in x_leaves]
        kinds = {leaf.dtype for leaf in x_leaves}
        if len(kinds) != 1 or not jnp.issubdtype(next(iter(kinds)), jnp.floating):
            came = ", ".join(sorted(str(kind) for kind in kinds)) or "no array"
            raise ArgumentError(
                f"x0: got {came}, expected real floating-point arrays of one dtype; convert with astype"
            )
        leaves, args_tree = jax.tree_util.tree_flatten(args)
        leaves = [_array(leaf, "args") for leaf in leaves]
        moving = tuple(bool(jnp.issubdtype(leaf.dtype, jnp.floating)) for leaf in leaves)
        layout = Layout(x_tree, tuple(leaf.shape for leaf in x_leaves), args_tree, moving)
        theta = [leaf for leaf, moves in zip(leaves, moving, strict=True) if moves]
        rest = [leaf for leaf, moves in zip(leaves, moving, strict=True) if not moves]
        return layout, jnp.concatenate([leaf.ravel() for leaf in x_leaves]), (theta, rest)

    def x(self, flat: Array) -> Any:
        """The user's x of a vector."""
        ends = np.cumsum([int(np.prod(shape)) for shape in self.x_shapes])
        parts = jnp.split(flat, ends[:-1])
        leaves = [part.reshape(shape) for part, shape in zip(parts, self.x_shapes, strict=True)]
        return jax.tree_util.tree_unflatten(self.x_tree, leaves)

    def args(self, data: Data) -> tuple[Any, ...]:
        """The user's arguments, from their leaves."""
        theta, rest = iter(data[0]), iter(data[1])
        leaves = [next(theta) if moves else next(rest) for moves in self.moving]
        return jax.tree_util.tree_unflatten(self.args_tree, leaves)


@dataclass(frozen=True, eq=False)
class Same:
    """A value that is equal to itself only: functions and solvers that hold arrays cannot be compared."""

    value: Any

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.value is other.value


@dataclass(frozen=True)
class Problem:
    """One layer: f in the user's terms, what F is of it, and how the solver runs. Hashable, so that it can be static.

    `kind`: "root" (F = f), "fixed point" (F = f(x) − x) or "minimum" (F = ∇f).
    """

    function: Same
    kind: str
    layout: Layout
    own_solver: Same
    tolerance: float
    max_steps: int
    accept: float
    probes: int

    @property
    def f(self) -> Callable[..., Any]:
        """As the user gave it, but for closed-over values that were hoisted."""
        return self.function.value

    @property
    def solver(self) -> Any:
        """The user's, or None."""
        return self.own_solver.value

    def plain(self, x: Array, data: Data) -> Array:
        """f of a vector, as a vector (a number for a minimum)."""
        value = self.f(self.layout.x(x), *self.layout.args(data))
        return value if self.kind == "minimum" else ravel_pytree(value)[0]

    def residual(self, x: Array, data: Data) -> Array:
        """F(x, θ)."""
        if self.kind == "minimum":
            return jax.grad(self.plain)(x, data)
        value = self.plain(x, data)
        return value - x if self.kind == "fixed point" else value

    def check(self, x: Array, data: Data) -> None:
        """Raise ArgumentError where f does not return what the layer needs."""
        found = jax.eval_shape(lambda: self.f(self.layout.x(x), *self.layout.args(data)))
        leaves, tree = jax.tree_util.tree_flatten(found)
        came = ", ".join(f"{leaf.dtype}{list(leaf.shape)}" for leaf in leaves) or "nothing"
        if any(leaf.dtype != x.dtype for leaf in leaves):
            raise ArgumentError(f"f: returned {came}, expected {x.dtype}, the dtype of x0")
        if self.kind == "minimum":
            if [leaf.shape for leaf in leaves] != [()]:
                raise ArgumentError(f"f: returned {came}, expected one number to be made small")
        elif self.kind == "fixed point":
            if tree != self.layout.x_tree or tuple(leaf.shape for leaf in leaves) != self.layout.x_shapes:
                raise ArgumentError(f"f: returned {came}, expected the shapes of x0 {list(self.layout.x_shapes)}")
        elif sum(leaf.size for leaf in leaves) != x.size:
            raise ArgumentError(f"f: returned {came}, expected {x.size} equations, as many as x0 has numbers")


def _array(leaf: Any, name: str) -> Array:
    try:
        array = jnp.asarray(leaf)
    except TypeError as error:
        raise ArgumentError(f"{name}: got {type(leaf).__name__}, expected arrays; let f close over the rest") from error
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise ArgumentError(f"{name}: got {array.dtype}, expected real numbers; pass real and imaginary parts")
    return array
