"""The residuals as a compiled function of one flat vector, with their planned Jacobian."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy.sparse import csr_array
from scipy.sparse.linalg import LinearOperator

from .._errors import ArgumentError
from .._questions import jacobian

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Problem:
    """`value(x)` → r (m,), float64; `flat`: the same in JAX, None for a black box of NumPy arrays."""

    flat: Callable[..., Any] | None
    black_box: Callable[..., Any] | None
    compiled: Callable[..., Any]
    plan: Any
    pattern: csr_array
    dense: Callable[..., Any]
    sparse: Callable[..., Any] | None
    dtype: np.dtype[Any]
    shape: tuple[int, int]
    ways: dict[Any, Any] = field(default_factory=dict)  # how steps are solved for, by the wishes asked

    def value(self, x: Array, args: tuple[Any, ...]) -> Array:
        return np.asarray(self.compiled(self.cast(x), *args), dtype=float)

    def array(self, x: Array, args: tuple[Any, ...]) -> Array:
        """J (m, n)."""
        return np.asarray(self.dense(self.cast(x), *args), dtype=float)

    def matrix(self, x: Array, args: tuple[Any, ...]) -> csr_array:
        """J as CSR on the pattern, explicit zeros kept."""
        assert self.sparse is not None
        data = np.asarray(self.sparse(self.cast(x), *args).data, dtype=float)
        return csr_array((data, self.pattern.indices, self.pattern.indptr), shape=self.shape)

    def operator(self, x: Array, args: tuple[Any, ...]) -> LinearOperator:
        """J by its products, one pass each, never a matrix."""
        at, (push, pull) = self.cast(x), self._products

        def forward(v: Array) -> Array:
            return np.asarray(push(at, self.cast(v.ravel()), args), dtype=float)

        def reverse(u: Array) -> Array:
            return np.asarray(pull(at, self.cast(u.ravel()), args), dtype=float)

        return LinearOperator(self.shape, matvec=forward, rmatvec=reverse, dtype=float)

    @functools.cached_property
    def _products(self) -> tuple[Callable[..., Any], Callable[..., Any]]:
        flat = self.flat
        assert flat is not None

        def push(x: Any, v: Any, args: Any) -> Any:
            return jax.jvp(lambda x: flat(x, *args), (x,), (v,))[1]

        def pull(x: Any, u: Any, args: Any) -> Any:
            value, back = jax.vjp(lambda x: flat(x, *args), x)
            return back(u.astype(value.dtype))[0]

        return jax.jit(push), jax.jit(pull)

    def cast(self, x: Array) -> Any:
        return x if self.black_box is not None else jnp.asarray(x, self.dtype)


def start(x0: Any) -> tuple[Array, Callable[[Array], Any], Any, np.dtype[Any]]:
    """(x (n,) float64, function back to x0's form, key of that form, dtype): lists of numbers are arrays."""
    if isinstance(x0, (int, float, list, tuple, np.ndarray, np.generic)) and not _nested(x0):
        array = np.atleast_1d(np.asarray(x0))
        if array.dtype.kind not in "fiu":
            raise ArgumentError(
                f"x0: got dtype {array.dtype}, expected real numbers; split complex ones into two parts"
            )
        dtype = array.dtype if array.dtype.kind == "f" else np.dtype(float)
        shape = array.shape
        return array.astype(float).ravel(), lambda x: x.reshape(shape), shape, dtype
    leaves = jax.tree_util.tree_leaves(x0)
    kinds = {np.asarray(leaf).dtype.kind for leaf in leaves}
    if not kinds <= set("fiu"):
        raise ArgumentError("x0: got leaves that are no real numbers, expected a pytree of real arrays")
    promoted = jax.tree_util.tree_map(lambda leaf: jnp.asarray(leaf, None if _is_float(leaf) else float), x0)
    flat, unravel = ravel_pytree(promoted)
    key = jax.tree_util.tree_structure(x0), tuple(np.shape(leaf) for leaf in leaves)
    return np.asarray(flat, float), lambda x: unravel(jnp.asarray(x, flat.dtype)), key, np.dtype(flat.dtype)


def numbered(x0: Any) -> Any:
    """0 to n − 1 in x0's form: which unknown is which."""
    if isinstance(x0, (int, float, list, tuple, np.ndarray, np.generic)) and not _nested(x0):
        return np.arange(np.size(x0)).reshape(np.shape(x0) or (1,))
    leaves, form = jax.tree_util.tree_flatten(x0)
    parts = np.split(np.arange(sum(map(np.size, leaves))), np.cumsum([np.size(leaf) for leaf in leaves])[:-1])
    numbers = [part.reshape(np.shape(leaf)) for part, leaf in zip(parts, leaves, strict=True)]
    return jax.tree_util.tree_unflatten(form, numbers)


def _is_float(leaf: Any) -> bool:
    return bool(jnp.issubdtype(jnp.result_type(leaf), jnp.floating))


def _nested(x0: Any) -> bool:
    return isinstance(x0, (list, tuple)) and not all(np.ndim(part) == 0 and not isinstance(part, dict) for part in x0)


def prepare(f: Callable[..., Any], x0: Any, args: tuple[Any, ...]) -> tuple[Problem, Array, Callable[[Array], Any]]:
    """The problem, x as a vector and the way back to x0's form; the same f with the same shapes is prepared once."""
    if not callable(f):
        raise ArgumentError(f"f: got {type(f).__name__}, expected a function of x that returns the residuals")
    x, back, form, dtype = start(x0)
    if not x.size:
        raise ArgumentError("x0: got no numbers, expected at least one unknown")
    shapes = tuple((np.shape(a), str(jnp.result_type(a))) if hasattr(a, "shape") else a for a in args)
    key = (f, form, str(dtype), str(jnp.result_type(float)), shapes)
    try:
        known = _prepared.get(key)
    except TypeError:  # f or an argument cannot be hashed
        return _prepare(f, x, back, dtype, args), x, back
    if known is None:
        known = _prepare(f, x, back, dtype, args)
        while len(_prepared) >= KEPT:
            _prepared.pop(next(iter(_prepared)))
        _prepared[key] = known
    return known, x, back


KEPT = 16
COMPLEX = "f: returned complex residuals, expected real ones; return real and imaginary parts apart"
_prepared: dict[Any, Problem] = {}


def _prepare(
    f: Callable[..., Any], x: Array, back: Callable[[Array], Any], dtype: np.dtype[Any], args: tuple[Any, ...]
) -> Problem:
    def flat(x: Any, *args: Any) -> Any:
        leaves = jax.tree_util.tree_leaves(f(back(x), *args))
        parts = [jnp.ravel(leaf) for leaf in leaves]
        return parts[0] if len(parts) == 1 else jnp.concatenate(parts)

    try:
        out = jax.eval_shape(flat, jax.ShapeDtypeStruct(x.shape, jnp.result_type(dtype)), *args)
    except (jax.errors.JAXTypeError, TypeError, AttributeError, ValueError, IndexError):
        return _black_box(f, x, back, args)
    if jnp.issubdtype(out.dtype, jnp.complexfloating):
        raise ArgumentError(COMPLEX)
    if not out.size:
        raise ArgumentError("f: returned no numbers, expected at least one residual")
    used = np.dtype(jnp.result_type(dtype))
    sparse = jacobian(flat, form="sparse")
    plan = sparse.plan(jnp.asarray(x, used), *args)
    pattern = csr_array(plan.planned.pattern.tocsr())
    pattern.sort_indices()
    shape = (int(out.size), len(x))
    return Problem(flat, None, jax.jit(flat), plan, pattern, jacobian(flat), sparse, used, shape)


def _black_box(f: Callable[..., Any], x: Array, back: Callable[[Array], Any], args: tuple[Any, ...]) -> Problem:
    """f runs in NumPy alone: its Jacobian is measured by differences, as a dense matrix."""

    def flat(x: Array, *args: Any) -> Array:
        r = np.atleast_1d(np.asarray(f(back(np.asarray(x, float)), *args))).ravel()
        if r.dtype.kind == "c":
            raise ArgumentError(COMPLEX)
        return r.astype(float)

    m = flat(x, *args).size
    if not m:
        raise ArgumentError("f: returned no numbers, expected at least one residual")
    dense = jacobian(flat)
    pattern = csr_array(np.ones((m, len(x)), bool))
    return Problem(None, flat, flat, None, pattern, dense, None, np.dtype(float), (m, len(x)))
