"""What a rule of the table is given and owes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from .interval import Interval, Operand, outward
from .program import Step

Array = jax.Array


@dataclass(frozen=True, eq=False)
class Bound:
    """What is known of a value. `centre`: at the centre of the region; `value`: over all of it; `slope`: its partial
    derivatives by the n inputs over all of it, (n, *shape), None for what is no float."""

    centre: Interval
    value: Interval
    slope: Interval | None


@dataclass(frozen=True, eq=False)
class Call:
    """A step with what is known of its operands (`Bound`s, or arrays), and of its value over the region.

    `at_threshold()`: for a choice, the two cases where its comparison is a tie, None where that cannot be told.
    """

    step: Step
    operands: list[Any]
    value: list[Interval]
    n: int
    at_threshold: Callable[[], tuple[Operand, Operand] | None]

    def slope(self, k: int) -> Interval:
        """Of operand k; zero for one that is known."""
        operand = self.operands[k]
        if isinstance(operand, Bound):
            return operand.slope if operand.slope is not None else no_slope(operand.value, self.n)
        # A number beside arrays stands for an array of it.
        shape = jnp.shape(operand) or (1,) * len(self.value[0].shape)
        zero = jnp.zeros((self.n, *shape), jnp.result_type(operand))
        return Interval(zero, zero)

    def range(self, k: int) -> Operand:
        operand = self.operands[k]
        return operand.value if isinstance(operand, Bound) else operand


@dataclass(frozen=True)
class Rule:
    """`value(step, operands)`: intervals of the results, from intervals or arrays. `slope(call)`: of the results."""

    value: Callable[[Step, list[Operand]], list[Interval]]
    slope: Callable[[Call], list[Interval]]


def no_slope(value: Interval, n: int) -> Interval:
    """Of a value that may jump: zero where it is one number all over the region, else without bound."""
    kind = value.lo.dtype if value.is_float else jnp.result_type(float)
    wide = jnp.where(value.lo == value.hi, 0, jnp.inf).astype(kind)
    wide = jnp.broadcast_to(wide, (n, *wide.shape))
    return Interval(-wide, wide)


def hull(possible: list[Array], cases: list[Interval]) -> Interval:
    """The smallest interval that holds every possible case; `possible` without the axis of inputs."""
    lo = [jnp.where(may, case.lo, jnp.inf) for may, case in zip(possible, cases, strict=True)]
    hi = [jnp.where(may, case.hi, -jnp.inf) for may, case in zip(possible, cases, strict=True)]
    least, most = lo[0], hi[0]
    for a, b in zip(lo[1:], hi[1:], strict=True):
        least, most = jnp.minimum(least, a), jnp.maximum(most, b)
    return outward(least, most)
