"""f near the point as a function of vectors: in its own precision, many points at a time."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cached_property
from typing import Any

import jax
import numpy as np

from ..._errors import ArgumentError, NotFiniteWarning
from ..._jacobian import Jacobian

# Entries of inputs and outputs that one batch of points may hold, and the most points in one.
BATCH_ENTRIES = 2**20
LARGEST_BATCH = 18
NEARBY = 3
NEARBY_DISTANCE = 0.01  # in units of `scale`


class Local:
    """f: vector (n,) → vector (m,) around the point x of a Jacobian.

    Answers are double precision on the host; f itself runs in its own. `eps` is that precision, `scale` = max(1, ‖x‖) a
    length to measure steps by.
    """

    def __init__(self, J: Jacobian):
        if J._symbolic():
            raise ArgumentError(
                "geometry: the point is traced (inside jit, grad or vmap), expected numbers; call it outside"
            )
        self.J = J
        self.m, self.n = J.shape
        self.x = np.asarray(J._runner.x)
        if np.iscomplexobj(self.x) or J._dtype.kind == "c":
            raise ArgumentError(
                f"J: {J.name} has complex numbers, expected real ones; give real and imaginary parts as numbers of "
                "their own"
            )
        self.eps = float(J._traced.eps)
        self.forward: bool = J._traced.graph.forward  # can every operation run in forward mode?
        self.point = self.x.astype(float)
        self.scale = max(1.0, float(lengths(self.point[None])[0]))
        self.batch = int(np.clip(BATCH_ENTRIES // (self.m + self.n), 1, LARGEST_BATCH))

    @cached_property
    def value(self) -> np.ndarray:
        """f(x), (m,)."""
        return self.values(self.point[None])[1][0]

    def values(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(h, f(x + h)) at the points (k, n): the steps h that the rounded points really make, and (k, m)."""
        rounded = np.asarray(points).astype(self.x.dtype)
        (found,) = self._batched("geometry: values", self._of_values, rounded)
        return rounded.astype(float) - self.point, found

    def slopes(self, points: np.ndarray, along: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(f(p), J(p) v), each (k, m), at the points p (k, n) along the directions v (k, n)."""
        dtype = self.x.dtype
        value, slope = self._batched("geometry: slopes", self._of_slopes, points.astype(dtype), along.astype(dtype))
        return value, slope

    def bends(self, along: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(size, gradient) of ½‖d²f[v, v]‖² at the directions v (k, n): (k,) and (k, n)."""
        x = np.broadcast_to(self.x, along.shape)
        size, gradient = self._batched("geometry: bends", self._of_bends, x, along.astype(self.x.dtype))
        return size, gradient

    def _of_values(self, leaves: Any) -> Callable[..., Any]:
        flat = self.J._runner_at(leaves).flat
        return lambda point: (flat(point),)

    def _of_slopes(self, leaves: Any) -> Callable[..., Any]:
        flat = self.J._runner_at(leaves).flat
        return lambda point, v: jax.jvp(flat, (point,), (v,))

    def _of_bends(self, leaves: Any) -> Callable[..., Any]:
        flat = self.J._runner_at(leaves).flat

        def half_square(x: Any, v: Any) -> Any:
            second = jax.jvp(lambda at: jax.jvp(flat, (at,), (v,))[1], (x,), (v,))[1]
            return 0.5 * (second**2).sum()

        return jax.value_and_grad(half_square, argnums=1)

    def _batched(self, name: str, function: Callable[[Any], Callable[..., Any]], *rows: np.ndarray) -> list[np.ndarray]:
        """The outputs at each row, a batch of one size at a time, so that one program is compiled."""
        call = self.J._compiled(name, lambda leaves, *given: jax.vmap(function(leaves))(*given))
        count, batch = len(rows[0]), self.batch
        chunks = []
        for start in range(0, count, batch):
            part = [row[start : start + batch] for row in rows]
            padded = [np.concatenate([p, np.repeat(p[-1:], batch - len(p), axis=0)]) for p in part]
            chunks.append([np.asarray(out, float)[: len(part[0])] for out in call(self.J._leaves, *padded)])
        return [np.concatenate(column) for column in zip(*chunks, strict=True)]

    def at(self, point: np.ndarray) -> Jacobian:
        """The Jacobian at another point (n,), with the same plans."""
        leaves, tree = jax.tree_util.tree_flatten(self.J.args)
        start = 0
        for p in self.J._signature.moving:
            old = np.asarray(leaves[p])
            leaves[p] = point[start : start + old.size].reshape(old.shape).astype(old.dtype)
            start += old.size
        return self.J.at(*jax.tree_util.tree_unflatten(tree, leaves))

    def nearby(self, seed: int) -> list[np.ndarray]:
        """J, dense, at a few random points close by; those where it is not finite are left out."""
        random = np.random.default_rng(seed).standard_normal((NEARBY, self.n))
        steps = NEARBY_DISTANCE * self.scale * random / np.linalg.norm(random, axis=1, keepdims=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotFiniteWarning)
            found = [np.asarray(self.at(self.point + step).dense(), float) for step in steps]
        return [matrix for matrix in found if np.isfinite(matrix).all()]


def lengths(rows: np.ndarray) -> np.ndarray:
    """2-norms (k,) of rows (k, n), also of those whose squares would overflow."""
    largest = np.abs(rows).max(axis=1, initial=0.0)
    unit = np.where(np.isfinite(largest) & (largest > 0), largest, 1.0)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.linalg.norm(rows / unit[:, None], axis=1) * unit
