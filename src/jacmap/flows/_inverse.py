"""A transform undone by numbers alone: bisection where its Jacobian is triangular in some order, Newton elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jacmap as jm

from .._errors import ArgumentError
from ._chain import Chain
from ._split import Static, per_static, split

WIDENINGS = 60  # doublings of the bracket around zero
NEWTON_STEPS = 100
HALVINGS = 25  # of one Newton step


class Inverse(NamedTuple):
    """`value`: x with transform(x) ≈ y. `residual`: the largest |transform(x) − y| of each point.

    `method`: "given", "bisection", "Newton", or several of them for the layers of a chain.
    """

    value: Any
    residual: Any
    method: str


def invert(transform: Any, y: jax.Array, shape: tuple[int, ...], given: Callable[..., Any] | None = None) -> Inverse:
    """The x of `shape` that the transform maps to one point y, by `given` or `transform.inverse` if there is one.

    A chain is undone layer by layer. Differentiable by the implicit function theorem, forward and reverse.
    """
    x, methods = _undone(transform, y, shape, given)
    residual = jnp.max(jnp.abs(transform(x) - y), initial=0.0)
    return Inverse(x, residual, " and ".join(dict.fromkeys(methods)))


def accepted(y: jax.Array, residual: jax.Array, dims: int) -> jax.Array:
    """Is the residual what rounding leaves? `dims`: axes of one point."""
    eps = float(jnp.finfo(y.dtype).eps)
    largest = jnp.max(jnp.abs(y), axis=tuple(range(y.ndim - dims, y.ndim)), initial=0.0)
    return residual <= 10 * eps**0.5 * (1 + largest)


def _undone(transform: Any, y: Any, shape: tuple[int, ...], given: Any) -> tuple[Any, list[str]]:
    inverse = given if given is not None else getattr(transform, "inverse", None)
    if inverse is not None:
        return inverse(y), ["given"]
    if isinstance(transform, Chain):
        shapes = [shape]
        for layer in transform.layers[:-1]:
            shapes.append(jax.eval_shape(layer, jax.ShapeDtypeStruct(shapes[-1], y.dtype)).shape)
        methods: list[str] = []
        for layer, before in zip(reversed(transform.layers), reversed(shapes), strict=True):
            y, used = _undone(layer, y, before, None)
            methods += used
        return y, methods
    return _solved(transform, y, shape)


def _solved(transform: Any, y: jax.Array, shape: tuple[int, ...]) -> tuple[jax.Array, list[str]]:
    params, static = split(transform)
    if np.prod(shape) != y.size:
        raise ArgumentError(f"transform: maps {np.prod(shape)} numbers to {y.size}, which cannot be undone")
    levels = _levels(static, shape, str(y.dtype), _Zeros(params))
    solve = _newton(static) if levels is None else _bisection(levels)

    def flat(x: jax.Array) -> jax.Array:
        return transform(x.reshape(shape)).ravel() - y.ravel()

    def searched(f: Any, start: jax.Array) -> jax.Array:
        return solve(f, start, params, y, shape)

    def tangent(g: Any, seed: jax.Array) -> jax.Array:
        return jnp.linalg.solve(jax.jacobian(g)(jnp.zeros_like(seed)), seed)

    x = jax.lax.custom_root(flat, jnp.zeros(y.size, y.dtype), searched, tangent)
    return x.reshape(shape), ["Newton" if levels is None else "bisection"]


# -- bisection -----------------------------------------------------------------------------------------------------


class _Zeros:
    """Arguments of the right shapes for a look at the structure, which does not depend on their values."""

    def __init__(self, params: Any) -> None:
        leaves, self.treedef = jax.tree_util.tree_flatten(params)
        self.avals = tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves)

    def __hash__(self) -> int:
        return hash((self.treedef, self.avals))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Zeros) and (self.treedef, self.avals) == (other.treedef, other.avals)

    def tree(self) -> Any:
        return jax.tree_util.tree_unflatten(self.treedef, [jnp.zeros(shape, dtype) for shape, dtype in self.avals])


@per_static
def _levels(static: Static, shape: tuple[int, ...], dtype: str, zeros: _Zeros) -> Any:
    """[(rows, columns), …]: outputs that, what earlier ones fixed aside, read one input each; None if none such is."""

    def call(x: Any, params: Any) -> Any:
        return static.join(params)(x)

    with jax.ensure_compile_time_eval():
        pattern = jm.linearize(call, jnp.zeros(shape, dtype), zeros.tree()).pattern.tocsr().astype(np.int32)
    left = np.ones(pattern.shape[1], np.int32)
    waiting = np.ones(pattern.shape[0], bool)
    numbers = np.arange(pattern.shape[1])
    levels = []
    while waiting.any():
        rows = np.flatnonzero(waiting & (pattern @ left == 1))
        columns = (pattern @ (left * numbers))[rows]
        if not len(rows) or len(set(columns.tolist())) < len(rows):
            return None
        levels.append((rows, columns))
        left[columns] = 0
        waiting[rows] = False
    return levels


def _bisection(levels: Any) -> Any:
    def solve(f: Any, x: jax.Array, params: Any, y: jax.Array, shape: Any) -> jax.Array:
        for rows, columns in levels:
            x = _bisect(f, x, rows, columns)
        return x

    return solve


def _bisect(f: Any, x: jax.Array, rows: np.ndarray, columns: np.ndarray) -> jax.Array:
    """x with f(x)[rows] = 0, moving x[columns]: each output monotone in its own input."""
    digits = int(jnp.finfo(x.dtype).nmant) + 2

    def above(values: jax.Array) -> jax.Array:
        return f(x.at[columns].set(values))[rows] > 0

    def apart(state: Any) -> jax.Array:
        low, high, k = state
        return (k < WIDENINGS) & jnp.any(above(low) == above(high))

    def wider(state: Any) -> Any:
        low, high, k = state
        missed = above(low) == above(high)
        return jnp.where(missed, 2 * low, low), jnp.where(missed, 2 * high, high), k + 1

    one = jnp.ones(len(rows), x.dtype)
    low, high, count = jax.lax.while_loop(apart, wider, (-one, one, 0))
    rising = above(high)

    def halve(_: int, ends: Any) -> Any:
        low, high = ends
        middle = low + (high - low) / 2
        beyond = above(middle) == rising
        return jnp.where(beyond, low, middle), jnp.where(beyond, middle, high)

    low, high = jax.lax.fori_loop(0, digits + count, halve, (low, high))
    return x.at[columns].set(low + (high - low) / 2)


# -- Newton --------------------------------------------------------------------------------------------------------


@per_static
def _newton(static: Static) -> Any:
    """Newton's method with halved steps, from zero; J as it is planned."""

    def flat(x: Any, params: Any, shape: Any) -> Any:
        return static.join(params)(x.reshape(shape)).ravel()

    planned: dict[Any, Any] = {}

    def solve(f: Any, x: jax.Array, params: Any, y: jax.Array, shape: Any) -> jax.Array:
        if shape not in planned:
            planned[shape] = jm.jacobian(lambda x, params: flat(x, params, shape))
        done = 4 * float(jnp.finfo(x.dtype).eps) * (1 + jnp.max(jnp.abs(y), initial=0.0))

        def size(r: jax.Array) -> jax.Array:
            return jnp.max(jnp.abs(r), initial=0.0)

        def unfinished(state: Any) -> jax.Array:
            _, r, k, improving = state
            return (k < NEWTON_STEPS) & improving & (size(r) > done)

        def step(state: Any) -> Any:
            x, r, k, _ = state
            full = jnp.linalg.solve(planned[shape](x, params), -r)

            def worse(tried: Any) -> jax.Array:
                share, new, halvings = tried
                return (halvings < HALVINGS) & ~(jnp.sum(new**2) < jnp.sum(r**2))

            def halve(tried: Any) -> Any:
                share, _, halvings = tried
                return share / 2, f(x + share / 2 * full), halvings + 1

            share, new, _ = jax.lax.while_loop(worse, halve, (jnp.ones((), x.dtype), f(x + full), 0))
            better = jnp.sum(new**2) < jnp.sum(r**2)
            return jnp.where(better, x + share * full, x), jnp.where(better, new, r), k + 1, better

        return jax.lax.while_loop(unfinished, step, (x, f(x), 0, jnp.array(True)))[0]

    return solve
