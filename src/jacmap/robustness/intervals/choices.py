"""Operations that choose: extremes, comparisons, and the choice by a comparison, decided or not over the region."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from .interval import Interval, Operand, as_interval, outward
from .linear import moves
from .program import Step
from .rule import Bound, Call, Rule, hull

Array = jax.Array


def _by_ends(step: Step, operands: list[Operand]) -> list[Interval]:
    """Of an operation that never falls in any operand."""
    ends = [as_interval(a) for a in operands]
    return [Interval(step.run(*(a.lo for a in ends))[0], step.run(*(a.hi for a in ends))[0])]


# -- extremes ----------------------------------------------------------------------------------------------------------
def extreme_of_two(largest: bool) -> Rule:
    def slope(call: Call) -> list[Interval]:
        a, b = (_upward(as_interval(call.range(k)), largest) for k in (0, 1))
        return [hull([a.hi >= b.lo, b.hi >= a.lo], [call.slope(0), call.slope(1)])]

    return Rule(_by_ends, slope)


def extreme_along(largest: bool) -> Rule:
    """Of `reduce_max` and `reduce_min`: the slopes of all entries that may be it."""

    def slope(call: Call) -> list[Interval]:
        a, t = _upward(call.range(0), largest), call.slope(0)
        axes = tuple(call.step.params["axes"])
        may = a.hi >= jnp.max(a.lo, axis=axes, keepdims=True)
        shifted = tuple(axis + 1 for axis in axes)
        least = jnp.min(jnp.where(may, t.lo, jnp.inf), axis=shifted)
        return [outward(least, jnp.max(jnp.where(may, t.hi, -jnp.inf), axis=shifted))]

    return Rule(_by_ends, slope)


def extreme_of_window(largest: bool) -> Rule:
    def slope(call: Call) -> list[Interval]:
        a, t = _upward(call.range(0), largest), call.slope(0)
        lows, highs = (_windows(call.step, end, -jnp.inf) for end in (a.lo, a.hi))
        best = lows[0]
        for low in lows[1:]:
            best = jnp.maximum(best, low)
        cases = [
            Interval(lo, hi)
            for lo, hi in zip(*(_windows(call.step, end, 0.0) for end in (t.lo, t.hi)), strict=True)
        ]
        # A tie with the padding is none: nothing there may be chosen.
        return [hull([(high >= best) & (high > -jnp.inf) for high in highs], cases)]

    return Rule(_by_ends, slope)


def _upward(a: Interval, largest: bool) -> Interval:
    """So that the largest is asked for."""
    return a if largest else Interval(-a.hi, -a.lo)


def _windows(step: Step, a: Array, filling: float) -> list[Array]:
    """Per place in the window, the entries that stand there; `a` may have an axis more in front."""
    params = step.params
    extra = a.ndim - len(params["window_dimensions"])
    spread = [*[(0, 0, 0)] * extra, *((lo, hi, d - 1) for (lo, hi), d in
                                       zip(params["padding"], params["base_dilation"], strict=True))]  # fmt: skip
    padded = jax.lax.pad(a, jnp.asarray(filling, a.dtype), spread)
    sides = params["window_dimensions"]
    found = []
    for place in itertools.product(*(range(side) for side in sides)):
        starts, stops, steps = [0] * extra, list(padded.shape[:extra]), [1] * extra
        for axis, (k, side) in enumerate(zip(place, sides, strict=True)):
            dilation, stride = params["window_dilation"][axis], params["window_strides"][axis]
            count = (padded.shape[extra + axis] - (side - 1) * dilation - 1) // stride + 1
            starts.append(k * dilation)
            stops.append(k * dilation + (count - 1) * stride + 1)
            steps.append(stride)
        found.append(jax.lax.slice(padded, starts, stops, steps))
    return found


def _clamp() -> Rule:
    def slope(call: Call) -> list[Interval]:
        least, a, most = (as_interval(call.range(k)) for k in range(3))
        may = [a.lo <= least.hi, (a.hi >= least.lo) & (a.lo <= most.hi), a.hi >= most.lo]
        shape = a.shape
        slopes = [call.slope(k) for k in range(3)]
        if least.shape != shape:  # one number for all
            slopes = [_to_shape(s, call.n, shape) for s in slopes]
        return [hull(may, slopes)]

    return Rule(_by_ends, slope)


def _to_shape(s: Interval, n: int, shape: tuple[int, ...]) -> Interval:
    if s.lo.ndim == 1:
        s = Interval(*(end.reshape(n, *[1] * len(shape)) for end in (s.lo, s.hi)))
    return Interval(*(jnp.broadcast_to(end, (n, *shape)) for end in (s.lo, s.hi)))


# -- comparisons and what is chosen by them ----------------------------------------------------------------------------
def _none(call: Call) -> list[Interval]:
    raise AssertionError("a value that is no float has no slope")


def comparison(decide: Callable[[Interval, Interval], tuple[Any, Any]]) -> Rule:
    """`decide` → (surely true, possibly true)."""

    def value(step: Step, operands: list[Operand]) -> list[Interval]:
        a, b = (as_interval(x) for x in operands)
        if step.reads[0] == step.reads[1]:  # x ≠ x asks for NaN, which no finite value is
            same = step.run(jnp.zeros_like(a.lo), jnp.zeros_like(a.lo))[0]
            known = jnp.isfinite(a.lo) & jnp.isfinite(a.hi)
            return [Interval(same & known, same | ~known)]
        sure, may = decide(a, b)
        return [Interval(*(jnp.broadcast_to(x, jnp.broadcast_shapes(a.shape, b.shape)) for x in (sure, may)))]

    return Rule(value, _none)


def _equal(a: Interval, b: Interval) -> tuple[Any, Any]:
    return (a.lo == a.hi) & (b.lo == b.hi) & (a.lo == b.lo), (a.lo <= b.hi) & (b.lo <= a.hi)


def _unequal(a: Interval, b: Interval) -> tuple[Any, Any]:
    sure, may = _equal(a, b)
    return ~may, ~sure


COMPARISONS: dict[str, Callable[[Interval, Interval], tuple[Any, Any]]] = {
    "lt": lambda a, b: (a.hi < b.lo, a.lo < b.hi),
    "le": lambda a, b: (a.hi <= b.lo, a.lo <= b.hi),
    "gt": lambda a, b: (a.lo > b.hi, a.hi > b.lo),
    "ge": lambda a, b: (a.lo >= b.hi, a.hi >= b.lo),
    "eq": _equal,
    "ne": _unequal,
}


def _finite(step: Step, operands: list[Operand]) -> list[Interval]:
    sure = jnp.isfinite(operands[0].lo) & jnp.isfinite(operands[0].hi)
    return [Interval(sure, jnp.ones_like(sure))]


def _select() -> Rule:
    """`select_n` between two cases (more, where the choice is known).

    Where the choice is open, value and slope are those of either case. That holds for the slope only if the function
    does not jump: the two cases are compared at the tie, and where they differ, or cannot be, the slope has no bound.
    """
    known = moves()

    def value(step: Step, operands: list[Operand]) -> list[Interval]:
        choice, *cases = operands
        if not isinstance(choice, Interval):
            return known.value(step, operands)
        zero, one = (as_interval(case) for case in cases)
        return [hull([~choice.lo, choice.hi], [zero, one])] if zero.is_float else [_hull_of_others(choice, zero, one)]

    def slope(call: Call) -> list[Interval]:
        if not isinstance(call.operands[0], Bound):
            return known.slope(call)
        choice = call.range(0)
        found = hull([~choice.lo, choice.hi], [call.slope(1), call.slope(2)])
        jumps = (choice.lo != choice.hi) & _differ(call.at_threshold(), call.value[0])
        return [Interval(jnp.where(jumps, -jnp.inf, found.lo), jnp.where(jumps, jnp.inf, found.hi))]

    return Rule(value, slope)


def _hull_of_others(choice: Interval, zero: Interval, one: Interval) -> Interval:
    """Of whole numbers and booleans."""
    lo = jnp.where(choice.lo, one.lo, jnp.where(~choice.hi, zero.lo, jnp.minimum(zero.lo, one.lo)))
    return Interval(lo, jnp.where(choice.lo, one.hi, jnp.where(~choice.hi, zero.hi, jnp.maximum(zero.hi, one.hi))))


def _differ(cases: tuple[Operand, Operand] | None, value: Interval) -> Array:
    if cases is None:
        return jnp.ones(value.shape, bool)
    a, b = (as_interval(case) for case in cases)
    slack = 256 * float(jnp.finfo(value.lo.dtype).eps)
    gap = jnp.maximum(jnp.abs(a.hi - b.lo), jnp.abs(b.hi - a.lo))
    size = jnp.maximum(jnp.maximum(jnp.abs(a.lo), jnp.abs(a.hi)), jnp.maximum(jnp.abs(b.lo), jnp.abs(b.hi)))
    return ~(gap <= slack * size + float(jnp.finfo(value.lo.dtype).tiny) * 1e3)


def _logic(step: Step, operands: list[Operand]) -> list[Interval]:
    return _by_ends(step, operands)


def _not(step: Step, operands: list[Operand]) -> list[Interval]:
    return [Interval(~operands[0].hi, ~operands[0].lo)]


CHOICES: dict[str, Rule] = {
    "max": extreme_of_two(True),
    "min": extreme_of_two(False),
    "reduce_max": extreme_along(True),
    "reduce_min": extreme_along(False),
    "reduce_window_max": extreme_of_window(True),
    "reduce_window_min": extreme_of_window(False),
    "clamp": _clamp(),
    "select_n": _select(),
    "is_finite": Rule(_finite, _none),
    "and": Rule(_logic, _none),
    "or": Rule(_logic, _none),
    "not": Rule(_not, _none),
    "reduce_and": Rule(_by_ends, _none),
    "reduce_or": Rule(_by_ends, _none),
    **{name: comparison(decide) for name, decide in COMPARISONS.items()},
}
