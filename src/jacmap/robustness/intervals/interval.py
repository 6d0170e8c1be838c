"""Intervals of arrays, rounded outward.

Floating-point results are widened by a margin that scales with eps: `ARITHMETIC` roundings for the four operations,
`TRANSCENDENTAL` for functions of the library, (terms + 4) eps Σ|a||b| for sums and products of arrays. So an interval
holds the exact real value as well as what any run of the same program in this precision gives. Where a bound is not a
number, it becomes infinite: what is not known is not bounded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

Array = jax.Array
ARITHMETIC, TRANSCENDENTAL = 2, 16


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Interval:
    """All arrays between `lo` and `hi`, entry by entry; of booleans: surely true, possibly true."""

    lo: Any
    hi: Any

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(jnp.shape(self.lo))

    @property
    def is_float(self) -> bool:
        return bool(jnp.issubdtype(jnp.result_type(self.lo), jnp.floating))


Operand = Any  # an Interval, or an array that is known


def as_interval(a: Operand) -> Interval:
    return a if isinstance(a, Interval) else Interval(a, a)


def magnitude(a: Operand) -> Array:
    """max |a| over the interval."""
    return jnp.maximum(jnp.abs(a.lo), jnp.abs(a.hi)) if isinstance(a, Interval) else jnp.abs(a)


def mignitude(a: Interval) -> Array:
    """min |a| over the interval."""
    return jnp.where((a.lo <= 0) & (a.hi >= 0), 0, jnp.minimum(jnp.abs(a.lo), jnp.abs(a.hi)))


def outward(lo: Array, hi: Array, roundings: int = 0) -> Interval:
    """[lo, hi] widened by so many roundings of each end; not a number becomes infinite."""
    if not jnp.issubdtype(jnp.result_type(lo), jnp.floating):
        return Interval(lo, hi)
    kind = jnp.finfo(jnp.result_type(lo))
    lo, hi = jnp.where(jnp.isnan(lo), -jnp.inf, lo), jnp.where(jnp.isnan(hi), jnp.inf, hi)
    if roundings:
        share, least = roundings * float(kind.eps), float(kind.tiny)
        lo = jnp.where(jnp.isfinite(lo), lo - (share * jnp.abs(lo) + least), lo)
        hi = jnp.where(jnp.isfinite(hi), hi + (share * jnp.abs(hi) + least), hi)
    return Interval(lo, hi)


def intersect(a: Interval, b: Interval) -> Interval:
    return Interval(jnp.maximum(a.lo, b.lo), jnp.minimum(a.hi, b.hi))


def plus(a: Interval, b: Interval) -> Interval:
    return outward(a.lo + b.lo, a.hi + b.hi, ARITHMETIC)


def times(a: Operand, b: Operand) -> Interval:
    """Entry by entry; 0 · ∞ = 0, for an end that is infinite only says that the number is not bounded."""
    a, b = as_interval(a), as_interval(b)
    products = [jnp.where(jnp.isnan(p := x * y), 0, p) for x in (a.lo, a.hi) for y in (b.lo, b.hi)]
    lo, hi = products[0], products[0]
    for p in products[1:]:
        lo, hi = jnp.minimum(lo, p), jnp.maximum(hi, p)
    return outward(lo, hi, ARITHMETIC)


def square(a: Interval) -> Interval:
    least = mignitude(a)
    return Interval(jnp.maximum(outward(least * least, least, ARITHMETIC).lo, 0),
                    outward(least, magnitude(a) ** 2, ARITHMETIC).hi)  # fmt: skip


def reciprocal(a: Interval) -> Interval:
    """1/a; everything where a may be zero."""
    through = (a.lo <= 0) & (a.hi >= 0)
    one = jnp.where(through, 1, a.lo), jnp.where(through, 1, a.hi)
    found = outward(1 / one[1], 1 / one[0], ARITHMETIC)
    return Interval(jnp.where(through, -jnp.inf, found.lo), jnp.where(through, jnp.inf, found.hi))


def middle_and_reach(a: Interval) -> tuple[Array, Array]:
    """(c, r) with a ⊆ [c − r, c + r]."""
    c = (a.lo + a.hi) / 2
    c = jnp.where(jnp.isfinite(c), c, 0)
    return c, jnp.maximum(a.hi - c, c - a.lo)


def contract(product: Callable[[Array, Array], Array], terms: int, a: Operand, b: Operand) -> Interval:
    """A product that sums `terms` products per entry, by midpoint and radius (Rump, BIT 39, 1999):

    |Δ(ab)| ≤ |a| Δb + Δa |b| + Δa Δb.
    """
    (am, ar), (bm, br) = (middle_and_reach(as_interval(t)) for t in (a, b))
    kind = jnp.finfo(am.dtype)
    share = (terms + 4) * float(kind.eps)
    centre = product(am, bm)
    if isinstance(b, Interval):
        reach = product(jnp.abs(am), br + share * (jnp.abs(bm) + br))
        if isinstance(a, Interval):
            reach = reach + product(ar, jnp.abs(bm) + br) * (1 + share)
    else:
        reach = product(ar + share * (jnp.abs(am) + ar), jnp.abs(bm))
    reach = reach * (1 + share) + float(kind.tiny)
    return outward(centre - reach, centre + reach, ARITHMETIC)
