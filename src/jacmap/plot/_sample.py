"""Functions of the plane at many points at once: one compiled batch, never a loop over points."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from .._arguments import translated
from .._errors import ArgumentError
from .._questions import jacobian
from ._axes import called, counted

AT_ONCE = 4096  # points in one batch: bounds the memory of a large f


class PlaneMap:
    """A function of two numbers, laid out as `like` (any array of two entries), with its Jacobians.

    `outputs` is how many numbers f must return at least and at most. Raises `ArgumentError` otherwise.
    """

    def __init__(self, f: Callable[..., Any], like: Any, outputs: tuple[int, float] = (2, 2)):
        if not callable(f):
            raise ArgumentError(f"f: got {type(f).__name__}, expected a function of two numbers")
        self.f, self.name, self._shape = f, called(f), np.shape(like)
        floats = hasattr(like, "dtype") and jnp.issubdtype(like.dtype, jnp.floating)
        self._dtype = jax.dtypes.canonicalize_dtype(like.dtype if floats else float)
        with translated(f):
            made = jax.eval_shape(self._flat, jnp.zeros(2, self._dtype))
        if not jnp.issubdtype(made.dtype, jnp.floating):
            raise ArgumentError(f"f: {self.name} returns {made.dtype}, expected real numbers, as [z.real, z.imag]")
        low, high = outputs
        if not low <= made.size <= high:
            wanted = f"{low}" if low == high else f"{low} or more"
            raise ArgumentError(
                f"f: {self.name} returns {counted(made.size, 'number')}, expected {wanted}; of more choose two, as in "
                "lambda x: f(x)[:2], or draw jm.plot.matrix(jm.linearize(f, x))"
            )
        self.outputs, self.eps = made.size, float(jnp.finfo(made.dtype).eps)
        self._values = jax.jit(lambda points: jax.lax.map(self._flat, points, batch_size=AT_ONCE))
        self._both = jax.jit(
            lambda points: jax.lax.map(lambda x: (self._flat(x), jacobian(self._flat)(x)), points, batch_size=AT_ONCE)
        )

    def _flat(self, x: jax.Array) -> jax.Array:
        return ravel_pytree(self.f(x.reshape(self._shape)))[0]

    def _at(self, run: Callable[..., Any], points: np.ndarray) -> Any:
        flat = jnp.asarray(points.reshape(-1, 2), self._dtype)
        lead = points.shape[:-1]
        return jax.tree_util.tree_map(lambda a: np.asarray(a, np.float64).reshape(*lead, *a.shape[1:]), run(flat))

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """f: (..., 2) → (..., m)."""
        return self._at(self._values, points)

    def jacobians(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(f, J): (..., 2) → (..., m), (..., m, 2)."""
        return self._at(self._both, points)


def box(lower: Any, upper: Any) -> tuple[np.ndarray, np.ndarray]:
    """The two corners of a rectangle, (2,) each; ArgumentError where they are none."""
    corners = []
    for name, corner in (("lower", lower), ("upper", upper)):
        flat = numbers(corner, name).ravel()
        if flat.size != 2 or not np.isfinite(flat).all():
            raise ArgumentError(f"{name}: got {_shown(corner)}, expected two finite numbers, a corner of a rectangle")
        corners.append(flat)
    low, high = corners
    if not (low < high).all():
        raise ArgumentError(
            f"lower, upper: got {_shown(lower)} and {_shown(upper)}, expected each entry of lower below that of upper"
        )
    return low, high


def numbers(values: Any, name: str) -> np.ndarray:
    """`values` as an array of double precision; ArgumentError where they are no real numbers."""
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "biuf" and not jnp.issubdtype(array.dtype, jnp.floating):
            raise TypeError(array.dtype)
        return np.asarray(array, np.float64)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"{name}: got {_shown(values)}, expected an array of real numbers") from error


def lattice(low: np.ndarray, high: np.ndarray, across: int, up: int) -> np.ndarray:
    """Points (up, across, 2) of a regular lattice over the rectangle; the first input runs along axis 1."""
    x, y = np.meshgrid(np.linspace(low[0], high[0], across), np.linspace(low[1], high[1], up))
    return np.stack([x, y], axis=-1)


def count(value: Any, name: str, least: int) -> int:
    """A whole number that is large enough."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ArgumentError(f"{name}: got {value!r}, expected an integer of at least {least}")
    return int(value)


def some_finite(values: np.ndarray, what: str) -> None:
    """A picture of nothing but NaN is none."""
    if not np.isfinite(values).any():
        raise ArgumentError(
            f"{what}: got no finite number among {values.size}, expected some; draw another region or point"
        )


def _shown(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{type(value).__name__} of shape {np.shape(value)}"
