"""Unknowns on a manifold: steps in the tangent space at a base point that moves along with the iteration.

The iteration adds steps up in a vector ξ and knows no manifold. What it evaluates is f(base ⊕ (ξ − ξ_base)); each new
Jacobian first moves the base to ξ, so that J is taken at a zero step and no chart is ever left.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy.sparse import csr_array
from scipy.sparse.linalg import LinearOperator

from .._errors import ArgumentError
from ._problem import Problem, numbered, prepare

Retraction = tuple[Callable[[Any, Any], Any], Any]  # (plus(x, δ) -> x, a δ with the shapes of all)


@dataclass(frozen=True)
class Form:
    """A pytree's form, to lay out a flat vector in it."""

    form: Any
    shapes: tuple[tuple[int, ...], ...]

    @staticmethod
    def of(tree: Any) -> Form:
        leaves, form = jax.tree_util.tree_flatten(tree)
        return Form(form, tuple(np.shape(leaf) for leaf in leaves))

    def tree(self, flat: Any) -> Any:
        ends = np.cumsum([math.prod(shape) for shape in self.shapes])[:-1]
        parts = [part.reshape(shape) for part, shape in zip(jnp.split(flat, ends), self.shapes, strict=True)]
        return jax.tree_util.tree_unflatten(self.form, parts)


@dataclass(frozen=True)
class Chart:
    """x ⊕ δ on flat vectors; `tidy` brings a point back onto the manifold to the last digit."""

    plus: Callable[[Any, Any], Any]
    tidy: Callable[[Any], Any]
    point: Form
    step: Form

    def at(self, base: Any, delta: Any) -> Any:
        return self.plus(self.point.tree(base), self.step.tree(delta))


@dataclass(frozen=True)
class Shifted:
    """The residuals as a function of (δ, base, *args); equal for equal f and charts, so that it is prepared once."""

    f: Callable[..., Any]
    chart: Chart

    def __call__(self, delta: Any, base: Any, *args: Any) -> Any:
        return self.f(self.chart.at(base, delta), *args)


@functools.partial(jax.jit, static_argnums=0)
def _move(chart: Chart, base: Any, delta: Any) -> Any:
    return ravel_pytree(chart.tidy(chart.at(base, delta)))[0]


@dataclass(frozen=True, eq=False, kw_only=True)
class Moving(Problem):
    """A problem in ξ; `curved` (n,) masks the unknowns that are no plain numbers, `index` numbers all."""

    inner: Problem  # a function of (δ, base, *args)
    chart: Chart
    curved: np.ndarray
    index: Any
    # (ξ, base) where J was last asked for, the latest last; the one before is kept, for a step that is taken back.
    bases: list[tuple[np.ndarray, Any]] = field(default_factory=list)

    def value(self, x: np.ndarray, args: tuple[Any, ...]) -> np.ndarray:
        at, base = self.bases[-1]
        return self.inner.value(x - at, (base, *args))

    def array(self, x: np.ndarray, args: tuple[Any, ...]) -> np.ndarray:
        return self.inner.array(np.zeros(len(x)), (self._rebased(x), *args))

    def matrix(self, x: np.ndarray, args: tuple[Any, ...]) -> csr_array:
        return self.inner.matrix(np.zeros(len(x)), (self._rebased(x), *args))

    def operator(self, x: np.ndarray, args: tuple[Any, ...]) -> LinearOperator:
        return self.inner.operator(np.zeros(len(x)), (self._rebased(x), *args))

    def back(self, x: np.ndarray) -> Any:
        """The point in the form of x0."""
        return self.chart.point.tree(self._point(x))

    def _point(self, x: np.ndarray) -> Any:
        for at, base in self.bases:
            if np.array_equal(at, x):
                return base
        at, base = self.bases[-1]
        return _move(self.chart, base, self.inner.cast(x - at))

    def _rebased(self, x: np.ndarray) -> Any:
        base = self._point(x)
        self.bases[:] = [*self.bases[-1:], (x.copy(), base)]
        return base


def is_curved(x0: Any, retract: Retraction | None) -> bool:
    """Are there unknowns that are no plain numbers?"""
    return retract is not None or any(map(_is_group, jax.tree_util.tree_leaves(x0, is_leaf=_is_group)))


def moving(
    f: Callable[..., Any], x0: Any, retract: Retraction | None, args: Any
) -> tuple[Moving, np.ndarray, Callable[[np.ndarray], Any], tuple[Any, ...]]:
    """What `prepare` gives, for x0 with Lie groups of jaxlie or a retraction of one's own."""
    if not callable(f):
        raise ArgumentError(f"f: got {type(f).__name__}, expected a function of x that returns the residuals")
    plain = jax.tree_util.tree_map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf, float)), x0)
    point = ravel_pytree(plain)[0]
    chart, leaves, delta = _with_groups(plain) if retract is None else _by_retraction(retract, plain)
    index = numbered(delta)
    parts = jax.tree_util.tree_leaves(index)
    size = sum(part.size for part in parts)
    args = tuple(args) if isinstance(args, (tuple, list)) else (args,)
    inner, start, _, data = prepare(Shifted(f, chart), np.zeros(size, point.dtype), (point, *args))
    curved = np.ones(size, bool)
    # ξ starts at x0 where x0 holds plain numbers, else at the size of what moves: xtol is a share of it.
    for leaf, part in zip(leaves, parts, strict=True):
        flat = retract is None and not _is_group(leaf)
        curved[part] = not flat
        numbers = np.asarray(ravel_pytree(leaf)[0], float)
        start[part] = numbers.reshape(part.shape) if flat else np.sqrt(np.mean(numbers**2))
    shared = {each.name: getattr(inner, each.name) for each in fields(Problem)} | {"look": lambda: inner.layout}
    problem = Moving(**shared, inner=inner, chart=chart, curved=curved, index=index, bases=[(start.copy(), point)])
    return problem, start, problem.back, data[1:]


def _with_groups(x0: Any) -> tuple[Chart, list[Any], Any]:
    """jaxlie's right-plus for the groups, sums for the plain arrays."""
    from jaxlie import manifold

    delta = manifold.zero_tangents(x0)
    chart = Chart(manifold.rplus, manifold.normalize_all, Form.of(x0), Form.of(delta))
    return chart, jax.tree_util.tree_leaves(x0, is_leaf=_is_group), delta


def _by_retraction(retract: Retraction, x0: Any) -> tuple[Chart, list[Any], Any]:
    """A pair (plus, δ) of the caller's, looked at: plus(x0, 0) must be x0."""
    if not isinstance(retract, (tuple, list)) or len(retract) != 2 or not callable(retract[0]):
        raise ArgumentError(
            f"retract: got {type(retract).__name__}, expected a pair (plus, delta): plus(x, delta) moves x, delta "
            "holds numbers in the form of a step"
        )
    plus, delta = retract
    chart = Chart(plus, _same, Form.of(x0), Form.of(delta))
    moved = plus(x0, jax.tree_util.tree_map(lambda leaf: jnp.zeros(np.shape(leaf)), delta))
    if Form.of(moved) != chart.point:
        raise ArgumentError("retract: plus(x0, delta) has another form or other shapes than x0, expected the same")
    before, after = (np.asarray(ravel_pytree(tree)[0], float) for tree in (x0, moved))
    if not np.allclose(before, after, rtol=1e-4, atol=1e-6 * float(np.abs(before).max(initial=0)), equal_nan=True):
        raise ArgumentError("retract: plus(x0, 0) is not x0; expected a step of zero to change nothing")
    return chart, [x0] * len(chart.step.shapes), delta


def _same(x: Any) -> Any:
    return x


def _is_group(leaf: Any) -> bool:
    """One of jaxlie's groups, looked for only where somebody has made some."""
    return "jaxlie" in sys.modules and isinstance(leaf, sys.modules["jaxlie"].MatrixLieGroup)


def unbounded(problem: Problem, values: np.ndarray, name: str) -> np.ndarray:
    """The values, once no tangent coordinate has a finite one."""
    if isinstance(problem, Moving) and (held := np.flatnonzero(problem.curved & np.isfinite(values))).size:
        raise ArgumentError(
            f"{name}: got {values[held[0]]:g} for unknown {held[0]}, a tangent coordinate of a manifold, expected ±inf "
            "there: bounds hold for plain arrays alone; bound what matters by a residual"
        )
    return values
