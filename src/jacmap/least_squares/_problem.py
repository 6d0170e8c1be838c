"""The residuals as a compiled function of one flat vector, with their planned Jacobian."""

from __future__ import annotations

import dataclasses
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

from .._brief import brief, calls_until_even
from .._errors import ArgumentError
from .._questions import as_question, jacobian
from .._transforms import Transform
from ._arguments import split

Array = np.ndarray


SMALL = 32, 10_000  # unknowns and entries of J up to which no structure is looked for: a dense step takes microseconds


@dataclass(frozen=True)
class Layout:
    """What the engine found of J: its plan, its pattern (sorted CSR) and the function of its entries.

    `settle` compiles and probes that function, which its first call would do, too.
    """

    plan: Any
    pattern: csr_array
    entries: Callable[..., Any]
    settle: Callable[[], Any]


@dataclass(frozen=True, eq=False)
class Problem:
    """`value(x)` → r (m,), float64; `flat`: the same in JAX, None for a black box of NumPy arrays.

    `dense`: J where no structure is looked for; else it is made of the layout's entries.
    """

    flat: Callable[..., Any] | None
    compiled: Callable[..., Any]
    dense: Callable[..., Any] | None
    look: Callable[[], Layout]
    dtype: np.dtype[Any]
    shape: tuple[int, int]
    ways: dict[Any, Any] = field(default_factory=dict)  # how steps are solved for, by the wishes asked

    @property
    def small(self) -> bool:
        m, n = self.shape
        return n <= SMALL[0] and m * n <= SMALL[1]

    @functools.cached_property
    def layout(self) -> Layout:
        """Planned when first asked for: a small problem never asks."""
        return self.look()

    @property
    def pattern(self) -> csr_array:
        return self.layout.pattern

    def __str__(self) -> str:
        """How J is had."""
        if self.flat is None:
            return "measured by differences (a black box)"
        return f"dense {self.shape[0]}×{self.shape[1]}" if self.small else str(self.layout.plan.summary)

    def value(self, x: Array, args: tuple[Any, ...]) -> Array:
        return np.asarray(self.compiled(self.cast(x), *args), dtype=float)

    def array(self, x: Array, args: tuple[Any, ...]) -> Array:
        """J (m, n)."""
        if self.dense is None:
            return np.asarray(self.matrix(x, args).toarray())
        return np.asarray(self.dense(self.cast(x), *args), dtype=float)

    def matrix(self, x: Array, args: tuple[Any, ...]) -> csr_array:
        """J as CSR on the pattern, explicit zeros kept."""
        data = np.asarray(self.layout.entries(self.cast(x), *args).data, dtype=float)
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
        return np.asarray(x, self.dtype)  # which compiled code takes sooner than an array of JAX made of it


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


def prepare(
    f: Callable[..., Any], x0: Any, args: Any
) -> tuple[Problem, Array, Callable[[Array], Any], tuple[Any, ...]]:
    """The problem, x as a vector, the way back to x0's form and the data among args.

    The same f with the same shapes and known arguments is prepared once.
    """
    if not callable(f):
        raise ArgumentError(f"f: got {type(f).__name__}, expected a function of x that returns the residuals")
    x, back, form, dtype = start(x0)
    if not x.size:
        raise ArgumentError("x0: got no numbers, expected at least one unknown")
    data, join, known = split(args)
    key = (f, form, str(dtype), str(jnp.result_type(float)), known)
    try:
        problem = _prepared.get(key)
    except TypeError:  # f cannot be hashed
        return _prepare(f, x, back, dtype, data, join), x, back, data
    if problem is None:
        problem = _prepare(f, x, back, dtype, data, join)
        while len(_prepared) >= KEPT:
            _prepared.pop(next(iter(_prepared)))
        _prepared[key] = problem
    return problem, x, back, data


KEPT = 16
COMPLEX = "f: returned complex residuals, expected real ones; return real and imaginary parts apart"
_prepared: dict[Any, Problem] = {}


def _prepare(
    f: Callable[..., Any], x: Array, back: Callable[[Array], Any], dtype: np.dtype[Any], data: tuple[Any, ...],
    join: Callable[[Any], tuple[Any, ...]],
) -> Problem:  # fmt: skip
    def flat(x: Any, *data: Any) -> Any:
        leaves = jax.tree_util.tree_leaves(f(back(x), *join(data)))
        parts = [jnp.ravel(leaf) for leaf in leaves]
        return parts[0] if len(parts) == 1 else jnp.concatenate(parts)

    traced = jax.jit(flat)  # once, for its shape, its values and J
    try:
        program = traced.trace(jax.ShapeDtypeStruct(x.shape, jnp.result_type(dtype)), *data)
    except (jax.errors.JAXTypeError, TypeError, AttributeError, ValueError, IndexError):
        return _black_box(f, x, back, data, join)
    out, read = program.out_info, program.jaxpr.jaxpr
    if jnp.issubdtype(out.dtype, jnp.complexfloating):
        raise ArgumentError(COMPLEX)
    if not out.size:
        raise ArgumentError("f: returned no numbers, expected at least one residual")
    used = np.dtype(jnp.result_type(dtype))

    def look() -> Layout:
        entries = Transform(traced, as_question("sparse"))
        at = jnp.asarray(x, used)
        plan = entries.unprobed_plan(at, *data)
        entries.briefly(calls_until_even(read, plan.passes))
        pattern = csr_array(plan.planned.pattern.tocsr())
        pattern.sort_indices()
        return Layout(plan, pattern, entries.function(), lambda: entries.plan(at, *data))

    found = Problem(flat, brief(traced, calls_until_even(read)), None, look, used, (int(out.size), len(x)))
    if not found.small:
        return found
    dense = Transform(traced, as_question("dense"), plan="plain")  # nothing is timed for a few calls of so small a J
    dense.briefly(calls_until_even(read, min(found.shape)))
    return dataclasses.replace(found, dense=dense.function())


def _black_box(
    f: Callable[..., Any], x: Array, back: Callable[[Array], Any], data: tuple[Any, ...],
    join: Callable[[Any], tuple[Any, ...]],
) -> Problem:  # fmt: skip
    """f runs in NumPy alone: its Jacobian is measured by differences, as a dense matrix."""

    def flat(x: Array, *data: Any) -> Array:
        r = np.atleast_1d(np.asarray(f(back(np.asarray(x, float)), *join(data)))).ravel()
        if r.dtype.kind == "c":
            raise ArgumentError(COMPLEX)
        return r.astype(float)

    m = flat(x, *data).size
    if not m:
        raise ArgumentError("f: returned no numbers, expected at least one residual")

    def look() -> Layout:
        return Layout(None, csr_array(np.ones((m, len(x)), bool)), flat, lambda: None)

    return Problem(None, flat, jacobian(flat), look, np.dtype(float), (m, len(x)))
