"""The integrand in the region's coordinates: g(u) = f(map(u)) |det J(u)|, with J's determinant found from the map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._determinant import value_and_slogdet
from .._errors import ArgumentError, RegionError
from .regions import Box, Region
from .words import place

Array = np.ndarray
SIZES = (2**8, 2**12)  # points per compiled call: few sizes, so that little is compiled
SPREAD = 3.0  # of a line on the cube: Gauss needs the fewest nodes for normal densities from 0.2 to 5 wide


@dataclass(frozen=True)
class Stretch:
    """The unit cube onto a box, axis by axis and increasing, infinite limits included.

    `low` and `high` are powers: near a face the distance goes as the power of that in the cube, which smooths an
    integrand that is a broken power there.
    """

    box: Box
    low: Array
    high: Array

    @staticmethod
    def plain(box: Box) -> Stretch:
        return Stretch(box, np.ones(box.size), np.ones(box.size))

    def __call__(self, t: Any) -> Any:
        lower, upper = np.ravel(self.box.lower), np.ravel(self.box.upper)
        left, right = np.isfinite(lower), np.isfinite(upper)
        inner = jnp.asarray
        if np.any(self.low > 1) or np.any(self.high > 1):
            t = _powers(t, self.low, self.high)
        rest = 1 - t
        low, high = (inner(np.where(ok, side, 0.0), t.dtype) for ok, side in ((left, lower), (right, upper)))
        if not (left & right).all():
            line = SPREAD * (t - rest) / (4 * t * rest)
            half = jnp.where(left, low + t / rest, high - rest / t)
            unbounded = jnp.where(left | right, half, line)
            u = jnp.where(left & right, low + (high - low) * t, unbounded)
        else:
            u = low + (high - low) * t
        return jnp.reshape(u, self.box.lower.shape)


def _powers(t: Any, low: Array, high: Array) -> Any:
    """[0, 1] onto itself, like t^low near 0 and 1 − (1 − t)^high near 1; exactly so where only one is not 1."""
    p, q = jnp.asarray(low, t.dtype), jnp.asarray(high, t.dtype)
    up, down = t**p, (1 - t) ** q
    return jnp.where(high == 1, up, jnp.where(low == 1, 1 - down, up / (up + down)))


class Pullback:
    """f over a region in coordinates t: those of the unit cube, or the region's own where `stretch` is None.

    `log`: f gives log f. `values` then gives exp(log g − shift). Counts the evaluations of f.
    """

    def __init__(self, f: Callable[[Any], Any], region: Region, stretch: Stretch | None, log: bool):
        self.f, self.region, self.stretch, self.log = f, region, stretch, log
        box = region.box
        self.dtype = np.dtype(jnp.result_type(float))
        self.eps = float(np.finfo(self.dtype).eps)
        self.lower = np.zeros(box.size) if stretch else np.ravel(box.lower)
        self.upper = np.ones(box.size) if stretch else np.ravel(box.upper)
        self.size = box.size
        self.shift = 0.0
        self.evaluations = 0
        self.notes: list[str] = []
        start = jnp.asarray(_middle(self.lower, self.upper), self.dtype)
        x = jax.eval_shape(self.place, start)
        if not hasattr(x, "shape") or np.prod(x.shape, dtype=int) != self.size:
            raise ArgumentError(
                f"over: the map takes {self.size} coordinates to {_shape(x)}, expected an array of {self.size} "
                f"number{'s' if self.size > 1 else ''}: a volume needs as many outputs as inputs"
            )
        self._both = value_and_slogdet(self.place)
        self._both(start)  # its plan is probed here, at concrete numbers
        self._geometry = jax.jit(jax.vmap(self._located))
        self.black_box = not self._traceable(x)
        self.shape: tuple[int, ...] = self._output_shape(x, start)
        self.width = int(np.prod(self.shape))
        self._values = jax.jit(jax.vmap(self._weighted))

    def place(self, t: Any) -> Any:
        """The point of the region at t."""
        u = self.stretch(t) if self.stretch else jnp.reshape(t, self.region.box.lower.shape)
        return self.region.map(u)

    def coordinates(self, t: Array) -> Array:
        """u in the region's box, for words."""
        return np.asarray(self.stretch(jnp.asarray(t, self.dtype)) if self.stretch else t)

    def geometry(self, t: Array) -> tuple[Array, Array, Array]:
        """(points N×n, sign of det, log|det|) at N points of the coordinates."""
        x, sign, logdet = self._batches(self._geometry, t)
        return x, sign, logdet

    def logs(self, t: Array) -> Array:
        """log g (log f + log|det|) at N points; only where f gives logarithms."""
        _, g, logdet = self._parts(t)
        return g[:, 0] + logdet

    def values(self, t: Array) -> Array:
        """g at N points: N×k in double precision, k the size of f's value. Raises where it is not a finite number."""
        x, fx, logdet = self._parts(t)
        if self.log:
            with np.errstate(over="ignore"):
                g = np.exp(fx + logdet[:, None] - self.shift)
        else:
            with np.errstate(over="ignore", invalid="ignore"):
                g = np.where(fx == 0, 0.0, fx * np.exp(logdet)[:, None])  # 0 where f is, however large the volume
        bad = np.flatnonzero(~np.isfinite(g).all(axis=1))
        if bad.size:
            k = bad[0]
            what = "log f" if self.log else "f"
            raise RegionError(
                f"over: f·|det J| is not a finite number at {place(self.coordinates(t[k]), x[k])}: {what} is "
                f"{fx[k].ravel()[0]:.3g}, log|det J| is {logdet[k]:.3g}. Mend f there, or keep the region away from it"
            )
        return g

    def _parts(self, t: Array) -> tuple[Array, Array, Array]:
        self.evaluations += len(t)
        if not self.black_box:
            x, fx, logdet = self._batches(self._values, t)
        else:
            x, _, logdet = self.geometry(t)
            shaped = x.reshape(len(x), *self._point_shape)
            fx = np.array([np.ravel(np.asarray(self.f(point), float)) for point in shaped])
        return x, fx.astype(float).reshape(len(t), -1), logdet.astype(float)

    def _located(self, t: Any) -> Any:
        x, (sign, logdet) = self._both(t)
        return jnp.ravel(x), sign, logdet

    def _weighted(self, t: Any) -> Any:
        x, (_, logdet) = self._both(t)
        return jnp.ravel(x), jnp.ravel(self.f(x)), logdet

    def _batches(self, run: Callable[[Any], Any], t: Array) -> list[Array]:
        """run's answers over t, by padded batches of a few sizes; points on the cube's faces go a rounding inside."""
        if self.stretch:
            t = np.clip(t, self.eps, 1 - self.eps)
        found, start = [], 0
        while start < len(t):
            size = next((s for s in SIZES if s >= len(t) - start), SIZES[-1])
            part = t[start : start + size]
            padded = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)]).astype(self.dtype)
            found.append(tuple(np.asarray(answer)[: len(part)] for answer in run(padded)))
            start += size
        return [np.concatenate(part) for part in zip(*found, strict=True)]

    def _traceable(self, x: Any) -> bool:
        """Can JAX read f? What it cannot read for NumPy's sake is called point by point."""
        self._point_shape = x.shape
        try:
            jax.eval_shape(self.f, x)
        except (jax.errors.TracerArrayConversionError, jax.errors.ConcretizationTypeError,
                jax.errors.NonConcreteBooleanIndexError) as error:  # fmt: skip
            self.notes.append(f"f is called point by point, as JAX cannot read it ({type(error).__name__})")
            return False
        return True

    def _output_shape(self, x: Any, start: Any) -> tuple[int, ...]:
        out = self.f(np.asarray(self.place(start))) if self.black_box else jax.eval_shape(self.f, x)
        dtype = getattr(out, "dtype", np.asarray(out).dtype if np.isscalar(out) else np.dtype(object))
        if dtype.kind not in "biuf":
            raise ArgumentError(f"f: returns {_shape(out)}, expected a real number or array; stack the parts of others")
        if self.log and np.size(out) != 1:
            raise ArgumentError(f"f: returns {_shape(out)}, expected one number: with log=True it is log f")
        return tuple(np.shape(out))


def _middle(lower: Array, upper: Array) -> Array:
    """A point well inside, and not in the middle, where symmetric maps are often singular."""
    low = np.where(np.isfinite(lower), lower, np.where(np.isfinite(upper), upper - 1.0, -0.53))
    high = np.where(np.isfinite(upper), upper, low + 1.0)
    return low + (high - low) * (0.41 + 0.13 * np.sin(np.arange(len(low))))


def _shape(x: Any) -> str:
    return f"shape {x.shape} of {x.dtype}" if hasattr(x, "shape") else type(x).__name__
