"""Increasing maps of single numbers, with parameters from a network: what couplings and autoregressive layers apply."""

from __future__ import annotations

import math
from typing import Any, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp

from ._arguments import whole

SMALLEST_SCALE = 1e-2
SMALLEST_BIN = 1e-3
SMALLEST_SLOPE = 1e-3


class Elementwise(Protocol):
    """`raw` (parameters, n) are real numbers without bounds; all zero means (nearly) the identity."""

    @property
    def parameters(self) -> int:
        """Parameters per entry."""

    def __call__(self, x: jax.Array, raw: jax.Array) -> jax.Array:
        """x (n,) -> z (n,)."""

    def inverse(self, z: jax.Array, raw: jax.Array) -> jax.Array:
        """z (n,) -> x (n,)."""


class Affine(eqx.Module):
    """z = scale·x + shift, with scale = softplus(raw) + 0.01, so that it cannot vanish."""

    @property
    def parameters(self) -> int:
        """Scale and shift."""
        return 2

    def __call__(self, x: jax.Array, raw: jax.Array) -> jax.Array:
        """x (n,) -> z (n,)."""
        return x * _positive(raw[0], SMALLEST_SCALE) + raw[1]

    def inverse(self, z: jax.Array, raw: jax.Array) -> jax.Array:
        """z (n,) -> x (n,)."""
        return (z - raw[1]) / _positive(raw[0], SMALLEST_SCALE)


class Spline(eqx.Module):
    """A monotone rational quadratic spline on [-interval, interval], the identity outside of it.

    Durkan et al. 2019, "Neural spline flows", equations 4 (values) and 6 to 8 (inverse).
    """

    bins: int = eqx.field(static=True)
    interval: float = eqx.field(static=True)

    def __init__(self, bins: int = 8, interval: float = 4.0) -> None:
        self.bins = whole("bins", bins, at_least=2)
        self.interval = float(interval)

    @property
    def parameters(self) -> int:
        """Widths and heights of the bins, slopes at the knots between them."""
        return 3 * self.bins - 1

    def _bin(self, at: jax.Array, raw: jax.Array, inverted: bool) -> tuple[jax.Array, ...]:
        """Left edge, width, bottom, height, and the slopes at both ends, of the bin that each number lies in."""
        widths, heights, slopes = jnp.split(raw, (self.bins, 2 * self.bins))
        ends = jnp.ones((1, *slopes.shape[1:]), raw.dtype)
        slopes = jnp.concatenate([ends, _positive(slopes, SMALLEST_SLOPE), ends])
        widths, heights = (self._sizes(sizes) for sizes in (widths, heights))
        edges, bottoms = (jnp.cumsum(sizes, axis=0) - sizes - self.interval for sizes in (widths, heights))
        # One-hot sums instead of an index: no gather, whose batched form XLA runs one number after the other.
        starts = jax.lax.stop_gradient(bottoms if inverted else edges)
        above = at >= starts
        here = (above & ~jnp.concatenate([above[1:], jnp.zeros_like(above[:1])])).at[0].set(~above[1])
        chosen = (edges, widths, bottoms, heights, slopes[:-1], slopes[1:])
        return tuple(jnp.sum(jnp.where(here, values, 0), axis=0) for values in chosen)

    def _sizes(self, raw: jax.Array) -> jax.Array:
        share = SMALLEST_BIN + (1 - SMALLEST_BIN * self.bins) * jax.nn.softmax(raw, axis=0)
        return 2 * self.interval * share

    def __call__(self, x: jax.Array, raw: jax.Array) -> jax.Array:
        """x (n,) -> z (n,)."""
        within = jnp.abs(x) < self.interval
        safe = jnp.where(within, x, 0)
        left, width, bottom, height, slope, after = self._bin(safe, raw, inverted=False)
        t = (safe - left) / width
        mean = height / width
        between = t * (1 - t)
        z = bottom + height * (mean * t**2 + slope * between) / (mean + (slope + after - 2 * mean) * between)
        return jnp.where(within, z, x)

    def inverse(self, z: jax.Array, raw: jax.Array) -> jax.Array:
        """z (n,) -> x (n,)."""
        within = jnp.abs(z) < self.interval
        safe = jnp.where(within, z, 0)
        left, width, bottom, height, slope, after = self._bin(safe, raw, inverted=True)
        mean, up = height / width, safe - bottom
        bend = up * (slope + after - 2 * mean)
        a, b, c = height * (mean - slope) + bend, height * slope - bend, -mean * up
        t = 2 * c / (-b - jnp.sqrt(jnp.maximum(b**2 - 4 * a * c, 0)))
        return jnp.where(within, left + width * t, z)


def _positive(raw: Any, smallest: float) -> Any:
    """One where raw is zero, never below `smallest`."""
    one = math.log(math.expm1(1 - smallest))
    return jax.nn.softplus(raw + one) + smallest
