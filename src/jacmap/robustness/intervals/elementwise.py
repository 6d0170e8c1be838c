"""Functions of single entries: their range over an interval, and that of their derivative."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from .interval import (
    TRANSCENDENTAL,
    Interval,
    Operand,
    as_interval,
    magnitude,
    mignitude,
    outward,
    reciprocal,
    square,
    times,
)
from .program import Step
from .rule import Call, Rule, no_slope

Array = jax.Array
Range = Callable[[Interval], Interval]


def rising(f: Callable[[Array], Array]) -> Range:
    """Of a function that never falls."""
    return lambda a: outward(f(a.lo), f(a.hi), TRANSCENDENTAL)


def falling(f: Callable[[Array], Array]) -> Range:
    """Of a function that never rises."""
    return lambda a: outward(f(a.hi), f(a.lo), TRANSCENDENTAL)


def peaked(f: Callable[[Array], Array]) -> Range:
    """Of an even function that falls away from zero."""

    def over(a: Interval) -> Interval:
        return outward(f(magnitude(a)), f(mignitude(a)), TRANSCENDENTAL)

    return over


def computed_from_value(over: Range) -> Range:
    """Also what is computed of a slope such as 1 − y², which loses all digits where y is nearly one."""

    def wider(a: Interval) -> Interval:
        found = over(a)
        lost = 2 * TRANSCENDENTAL * jnp.finfo(a.lo.dtype).eps
        return Interval(found.lo - lost, found.hi + lost)

    return wider


def negative(over: Range) -> Range:
    def turned(a: Interval) -> Interval:
        found = over(a)
        return Interval(-found.hi, -found.lo)

    return turned


def where_positive(over: Range) -> Range:
    """Of what is defined for positive numbers only; elsewhere nothing is known."""

    def guarded(a: Interval) -> Interval:
        safe = a.lo > 0
        found = over(Interval(jnp.where(safe, a.lo, 1), jnp.where(safe, a.hi, 1)))
        return Interval(jnp.where(safe, found.lo, -jnp.inf), jnp.where(safe, found.hi, jnp.inf))

    return guarded


def cosine(a: Interval) -> Interval:
    """Ends, and ±1 where a multiple of π lies between, told with a margin."""
    slack = 4 * jnp.finfo(a.lo.dtype).eps * (1 + magnitude(a))

    def passes(offset: float) -> Array:
        """Is there a k with a.lo ≤ offset + 2πk ≤ a.hi?"""
        return jnp.floor((a.hi + slack - offset) / (2 * math.pi)) >= jnp.ceil((a.lo - slack - offset) / (2 * math.pi))

    ends = jnp.cos(a.lo), jnp.cos(a.hi)
    found = outward(jnp.minimum(*ends), jnp.maximum(*ends), TRANSCENDENTAL)
    known = jnp.isfinite(a.lo) & jnp.isfinite(a.hi)
    lo = jnp.where(passes(math.pi) | ~known, -1, jnp.maximum(found.lo, -1))
    return Interval(lo, jnp.where(passes(0.0) | ~known, 1, jnp.minimum(found.hi, 1)))


def sine(a: Interval) -> Interval:
    shifted = outward(a.lo - math.pi / 2, a.hi - math.pi / 2, 4)
    slack = 4 * float(jnp.finfo(a.lo.dtype).eps)
    return cosine(Interval(shifted.lo - slack, shifted.hi + slack))


def absolute(a: Interval) -> Interval:
    return Interval(mignitude(a), magnitude(a))


def sign(a: Interval) -> Interval:
    return Interval(jnp.where(a.lo > 0, 1, -1).astype(a.lo.dtype), jnp.where(a.hi < 0, -1, 1).astype(a.lo.dtype))


def _bell(x: Array) -> Array:
    """1/cosh², without overflow."""
    small = jnp.exp(-2 * jnp.abs(x))
    return 4 * small / (1 + small) ** 2


def _logistic_slope(x: Array) -> Array:
    return jax.nn.sigmoid(x) * jax.nn.sigmoid(-x)


def _gauss(x: Array) -> Array:
    return 2 / math.sqrt(math.pi) * jnp.exp(-x * x)


# Operation → (range, range of the derivative).
FUNCTIONS: dict[str, tuple[Range, Range]] = {
    "abs": (absolute, sign),
    "asinh": (rising(jnp.arcsinh), peaked(lambda x: 1 / jnp.sqrt(1 + x * x))),
    "atan": (rising(jnp.arctan), peaked(lambda x: 1 / (1 + x * x))),
    "cos": (cosine, negative(sine)),
    "erf": (rising(jax.lax.erf), peaked(_gauss)),
    "erfc": (falling(jax.lax.erfc), negative(peaked(_gauss))),
    "exp": (rising(jnp.exp), rising(jnp.exp)),
    "expm1": (rising(jnp.expm1), rising(jnp.exp)),
    "log": (where_positive(rising(jnp.log)), where_positive(reciprocal)),
    "log1p": (
        lambda a: where_positive(lambda b: rising(jnp.log1p)(a))(Interval(a.lo + 1, a.hi + 1)),
        lambda a: where_positive(reciprocal)(outward(a.lo + 1, a.hi + 1, 2)),
    ),
    "logistic": (rising(jax.nn.sigmoid), computed_from_value(peaked(_logistic_slope))),
    "rsqrt": (where_positive(falling(jax.lax.rsqrt)), where_positive(rising(lambda x: -0.5 * x**-1.5))),
    "sin": (sine, cosine),
    "sinh": (rising(jnp.sinh), lambda a: negative(peaked(lambda x: -jnp.cosh(x)))(a)),
    "sqrt": (rising(lambda x: jnp.sqrt(jnp.maximum(x, 0))), where_positive(falling(lambda x: 0.5 / jnp.sqrt(x)))),
    "square": (square, lambda a: Interval(2 * a.lo, 2 * a.hi)),
    "tanh": (rising(jnp.tanh), computed_from_value(peaked(_bell))),
}


def smooth(over: Range, slopes: Range) -> Rule:
    return Rule(
        lambda step, operands: [over(as_interval(operands[0]))],
        lambda call: [times(slopes(call.range(0)), call.slope(0))],
    )


def power(a: Interval, k: int) -> Interval:
    """aᵏ for a whole k."""
    if k < 0:
        return reciprocal(power(a, -k))
    if k == 0:
        one = jnp.ones_like(a.lo)
        return Interval(one, one)
    if k % 2:
        return rising(lambda x: x**k)(a)
    found = absolute(a)
    raised = rising(lambda x: x**k)(found)
    return Interval(jnp.maximum(raised.lo, 0), raised.hi)


def _integer_power() -> Rule:
    def value(step: Step, operands: list[Operand]) -> list[Interval]:
        return [power(as_interval(operands[0]), step.params["y"])]

    def slope(call: Call) -> list[Interval]:
        k = call.step.params["y"]
        return [times(times(jnp.asarray(k, call.value[0].lo.dtype), power(call.range(0), k - 1)), call.slope(0))]

    return Rule(value, slope)


def _real_power() -> Rule:
    """x^y for x > 0 as exp(y log x); nothing is known elsewhere."""

    def value(step: Step, operands: list[Operand]) -> list[Interval]:
        x, y = (as_interval(a) for a in operands)
        y = Interval(y.lo.astype(x.lo.dtype), y.hi.astype(x.lo.dtype))
        logarithm = FUNCTIONS["log"][0](x)
        return [FUNCTIONS["exp"][0](times(y, logarithm))]

    def slope(call: Call) -> list[Interval]:
        """x^y (y x'/x + log x · y')."""
        x, y = as_interval(call.range(0)), as_interval(call.range(1))
        y = Interval(y.lo.astype(x.lo.dtype), y.hi.astype(x.lo.dtype))
        factor = times(y, where_positive(reciprocal)(x))
        inner = times(factor, call.slope(0))
        if not isinstance(call.operands[1], jax.Array) and hasattr(call.operands[1], "slope"):
            other = times(FUNCTIONS["log"][0](x), call.slope(1))
            inner = Interval(inner.lo + other.lo, inner.hi + other.hi)
        return [times(call.value[0], inner)]

    return Rule(value, slope)


def jumping() -> Rule:
    """A function that never falls, with jumps."""
    return Rule(
        lambda step, operands: [Interval(step.run(operands[0].lo)[0], step.run(operands[0].hi)[0])],
        lambda call: [no_slope(call.value[0], call.n)],
    )


ELEMENTWISE: dict[str, Rule] = {
    **{name: smooth(*ranges) for name, ranges in FUNCTIONS.items()},
    "integer_pow": _integer_power(),
    "pow": _real_power(),
    **{name: jumping() for name in ("ceil", "floor", "round", "sign")},
}
