"""The flow under test: its functions one point at a time, and what is true of it there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..._errors import ArgumentError, JacmapError
from ..._jacobian import linearize

MOST_POINTS = 24
FEWEST_POINTS = 12


def as_array(value: Any) -> np.ndarray:
    """A NumPy array of a JAX array, a tensor or a number."""
    return np.asarray(value.detach() if hasattr(value, "detach") else value)


@dataclass(eq=False)
class Subject:
    """f and its points. `batched` functions take a batch and are given batches of one."""

    f: Callable[..., Any]
    points: Any  # (k, *shape), of the framework that f is written in
    batched: bool

    def one(self, function: Callable[..., Any], point: Any) -> Any:
        """`function` at one point."""
        return function(point[None])[0] if self.batched else function(point)

    def all(self, function: Callable[..., Any]) -> np.ndarray:
        """`function` at every point, (k, n)."""
        return np.stack([as_array(self.one(function, point)).ravel().astype(float) for point in self.points])

    def like(self, flat: np.ndarray) -> Any:
        """Points (k, n) of NumPy as those that came: shape, precision and framework."""
        shaped = flat.reshape(len(flat), *self.points.shape[1:])
        if hasattr(self.points, "detach"):
            return self.points.new_tensor(shaped)
        if isinstance(self.points, np.ndarray):
            return shaped.astype(self.points.dtype)
        import jax.numpy as jnp

        return jnp.asarray(shaped, self.points.dtype)

    @cached_property
    def flat(self) -> np.ndarray:
        """The points, (k, n)."""
        return as_array(self.points).reshape(len(self.points), -1).astype(float)

    @cached_property
    def images(self) -> np.ndarray:
        """f at the points, (k, n)."""
        return self.all(self.f)

    @cached_property
    def eps(self) -> float:
        return float(np.finfo(as_array(self.points).dtype).eps)

    @cached_property
    def linear(self) -> Any:
        """jm's Jacobian at the first point."""

        def f(point: Any) -> Any:
            return self.one(self.f, point)

        J = linearize(f, self.points[0])
        m, n = J.shape
        if m != n:
            raise ArgumentError(f"f: gives {m} numbers for {n}, expected as many of each: a flow is one-to-one")
        return J

    @cached_property
    def matrices(self) -> np.ndarray:
        """J at the points, (k, n, n)."""
        return np.stack([as_array(self.linear.at(point).dense()).astype(float) for point in self.points])

    @cached_property
    def determinants(self) -> tuple[np.ndarray, np.ndarray]:
        """(sign, log|det J|) at the points."""
        return self.of_matrices(self.matrices)

    @staticmethod
    def of_matrices(matrices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sign, log = np.linalg.slogdet(matrices)
        return sign, log

    def log_dets_at(self, flat: np.ndarray, function: Callable[..., Any] | None = None) -> np.ndarray:
        """log|det| of f's Jacobian, or of another function's, at other points (k, n); NaN where there is none."""
        try:
            if function is None:
                J = self.linear
            else:
                J = linearize(lambda point: self.one(function, point), self.like(flat)[0])
            return np.array([np.linalg.slogdet(as_array(J.at(p).dense()).astype(float))[1] for p in self.like(flat)])
        except (JacmapError, ArithmeticError, TypeError, ValueError, IndexError):
            return np.full(len(flat), np.nan)

    @cached_property
    def layers(self) -> list[tuple[str, np.ndarray]]:
        """(name with source line, log|det| at the points) of each square segment of f's chain; none for a black box."""
        try:
            parts = list(self.linear.chain)
            logs = np.empty((len(parts), len(self.points)))
            for i, state in enumerate(self.points):
                for k, part in enumerate(parts):
                    here = part.at(state, *part.args[1:])  # the rest does not depend on x
                    logs[k, i] = np.linalg.slogdet(as_array(here.dense()).astype(float))[1]
                    state = here.value
            return [(part.name, own) for part, own in zip(parts, logs, strict=True)]
        except (JacmapError, AttributeError, TypeError, ValueError, ArithmeticError):
            return []

    @cached_property
    def slopes(self) -> list[tuple[int, np.ndarray]]:
        """(output entry, log of its diagonal slope at the points) where J is triangular in some order."""
        structure = self.linear.structure
        if structure.kind not in ("diagonal", "lower-triangular", "upper-triangular"):
            return []
        size = len(self.matrices[0])
        rows = np.arange(size) if structure.row_order is None else structure.row_order
        columns = np.arange(size) if structure.column_order is None else structure.column_order
        with np.errstate(divide="ignore"):
            return [(int(i), np.log(np.abs(self.matrices[:, i, j]))) for i, j in zip(rows, columns, strict=True)]


def sampled(x: Any, seed: int = 0) -> Any:
    """At least a dozen points: those given, or as many of them as are needed, and points between them."""
    x = x[:MOST_POINTS]
    if len(x) >= FEWEST_POINTS:
        return x
    random = np.random.default_rng(seed)
    given = as_array(x)
    missing = FEWEST_POINTS - len(x)
    if len(x) == 1:
        more = given * (1 + 0.1 * random.uniform(-1, 1, (missing, *given.shape[1:])))
    else:
        share = random.dirichlet(np.ones(len(x)), missing)
        more = np.tensordot(share, given, 1)
    both = np.concatenate([given, more.astype(given.dtype)])
    return Subject(abs, x, False).like(both.reshape(len(both), -1))
