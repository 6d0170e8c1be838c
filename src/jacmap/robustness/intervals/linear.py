"""Operations that are linear in what varies: moves of data, sums; and those linear in each of two operands."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from .interval import (
    ARITHMETIC,
    Interval,
    Operand,
    as_interval,
    contract,
    magnitude,
    outward,
    plus,
    reciprocal,
    square,
    times,
)
from .program import Step
from .rule import Bound, Call, Rule, no_slope

Array = jax.Array


# -- moves of data, sums of two ----------------------------------------------------------------------------------------
def moves(*signs: int, roundings: int = 0) -> Rule:
    """An operation that is linear in its float operands, each with one sign (+ where none is given)."""

    def value(step: Step, operands: list[Operand]) -> list[Interval]:
        return _ends(step.run, operands, signs, roundings)

    def slope(call: Call) -> list[Interval]:
        tangents, axes = [], []
        for k, operand in enumerate(call.operands):
            moving = isinstance(operand, Bound)
            is_float = not moving and jnp.issubdtype(jnp.result_type(operand), jnp.floating)
            tangents.append(call.slope(k) if moving else jnp.zeros_like(operand) if is_float else operand)
            axes.append(0 if moving else None)
        return _ends(jax.vmap(call.step.run, tuple(axes)), tangents, signs, roundings)

    return Rule(value, slope)


def _ends(
    run: Callable[..., list[Array]], operands: list[Operand], signs: tuple[int, ...], roundings: int
) -> list[Any]:
    signs = signs or (1,) * len(operands)
    pairs = [
        ((a.lo, a.hi) if sign > 0 else (a.hi, a.lo)) if isinstance(a, Interval) else (a, a)
        for a, sign in zip(operands, signs, strict=True)
    ]
    lows, highs = run(*(low for low, _ in pairs)), run(*(high for _, high in pairs))
    return [outward(low, high, roundings) for low, high in zip(lows, highs, strict=True)]


# -- sums along axes ---------------------------------------------------------------------------------------------------
def sums(terms: Callable[[Step, tuple[int, ...]], int]) -> Rule:
    """A sum of `terms(step, shape)` entries each; every partial sum may round."""

    def added(step: Step, a: Interval) -> Interval:
        count = terms(step, a.shape)
        lo, hi, size = (step.run(end)[0] for end in (a.lo, a.hi, magnitude(a)))
        margin = (count + 4) * float(jnp.finfo(lo.dtype).eps) * size if a.is_float else 0
        return outward(lo - margin, hi + margin)

    return Rule(
        lambda step, operands: [added(step, operands[0])],
        lambda call: [jax.vmap(lambda t: added(call.step, t))(call.slope(0))],
    )


def reduced(step: Step, shape: tuple[int, ...]) -> int:
    return math.prod(shape[axis] for axis in step.params["axes"])


def windowed(step: Step, shape: tuple[int, ...]) -> int:
    return math.prod(step.params["window_dimensions"])


def along(step: Step, shape: tuple[int, ...]) -> int:
    return shape[step.params["axis"]]


# -- products ----------------------------------------------------------------------------------------------------------
def _product(step: Step, a: Operand, b: Operand) -> Interval:
    return times(a, b)


def _contraction(step: Step, a: Operand, b: Operand) -> Interval:
    terms = _terms(step, as_interval(a).shape, as_interval(b).shape)
    return contract(lambda x, y: step.run(x, y)[0], terms, a, b)


def _terms(step: Step, a: tuple[int, ...], b: tuple[int, ...]) -> int:
    """How many products each entry sums."""
    if step.name == "dot_general":
        return math.prod(a[axis] for axis in step.params["dimension_numbers"][0][0])
    out_feature = step.params["dimension_numbers"].rhs_spec[0]
    return math.prod(b) // b[out_feature]


def bilinear(product: Callable[[Step, Operand, Operand], Interval]) -> Rule:
    """A product of two operands, either or both of which vary."""

    def value(step: Step, operands: list[Operand]) -> list[Interval]:
        a, b = operands
        if step.name == "mul" and step.reads[0] == step.reads[1]:
            return [square(as_interval(a))]
        return [product(step, a, b)]

    def slope(call: Call) -> list[Interval]:
        parts = []
        for k, operand in enumerate(call.operands):
            if isinstance(operand, Bound):
                other = call.range(1 - k)
                of = (lambda t, o=other: product(call.step, t, o)) if k == 0 else (
                    lambda t, o=other: product(call.step, o, t))  # fmt: skip
                parts.append(jax.vmap(of)(call.slope(k)))
        return [parts[0] if len(parts) == 1 else plus(*parts)]

    return Rule(value, slope)


def _quotient() -> Rule:
    def value(step: Step, operands: list[Operand]) -> list[Interval]:
        return [times(operands[0], reciprocal(as_interval(operands[1])))]

    def slope(call: Call) -> list[Interval]:
        """(a/b)' = (a' − (a/b) b') / b."""
        over = reciprocal(as_interval(call.range(1)))
        top = call.slope(0)
        if isinstance(call.operands[1], Bound):
            pulled = times(call.value[0], call.slope(1))
            top = plus(top, Interval(-pulled.hi, -pulled.lo))
        return [times(top, over)]

    return Rule(value, slope)


def _convert() -> Rule:
    plain = moves(roundings=1)

    def slope(call: Call) -> list[Interval]:
        operand = call.operands[0]
        if operand.slope is None:  # a number that counts or decides: its value jumps
            return [no_slope(call.value[0], call.n)]
        return plain.slope(call)

    def value(step: Step, operands: list[Operand]) -> list[Interval]:
        found = plain.value(step, operands)
        return found if operands[0].is_float else _ends(step.run, operands, (), 0)

    return Rule(value, slope)


MOVES = (
    "broadcast_in_dim", "concatenate", "copy", "copy_p", "dynamic_slice", "expand_dims", "gather",
    "optimization_barrier", "pad", "reshape", "rev", "slice", "split", "squeeze", "stack", "stop_gradient",
    "transpose",
)  # fmt: skip

LINEAR: dict[str, Rule] = {
    **{name: moves() for name in MOVES},
    "add": moves(1, 1, roundings=ARITHMETIC),
    "add_any": moves(1, 1, roundings=ARITHMETIC),
    "sub": moves(1, -1, roundings=ARITHMETIC),
    "neg": moves(-1),
    "convert_element_type": _convert(),
    "reduce_sum": sums(reduced),
    "reduce_window_sum": sums(windowed),
    "cumsum": sums(along),
    "mul": bilinear(_product),
    "div": _quotient(),
    "dot_general": bilinear(_contraction),
    "conv_general_dilated": bilinear(_contraction),
}
