"""Bounds of a function's values and Jacobian over a region, by one walk along its steps.

Of every value three things are carried: its interval over the region, its interval at the centre (for rounding only),
and the interval of its partial derivatives by the inputs, as in forward mode. The values are tightened by the mean
value theorem: v(x) ∈ v(c) + v'(region) (x − c). Jacobians over boxes by interval slopes: Weng et al. (Fast-Lip, 2018),
Zhang et al. (RecurJac, 2019); the mean value form: Moore, Kearfott, Cloud, *Introduction to interval analysis*,
section 6.4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..._errors import TraceError
from .choices import CHOICES, COMPARISONS
from .elementwise import ELEMENTWISE
from .interval import Interval, Operand, intersect, magnitude, outward
from .linear import LINEAR
from .program import Program, Step, read
from .rule import Bound, Call, Rule

Array = jax.Array
RULES: dict[str, Rule] = {**LINEAR, **ELEMENTWISE, **CHOICES}


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Region:
    """Points around `centre` (n,): the box of half widths `reach` (n,), or the p-ball of `radius` inside it."""

    centre: Any
    reach: Any
    radius: Any
    norm: Any

    @staticmethod
    def ball(centre: Array, radius: Any, norm: Any) -> Region:
        return Region(centre, jnp.broadcast_to(jnp.asarray(radius, centre.dtype), centre.shape), radius, norm)

    @staticmethod
    def box(lo: Array, hi: Array) -> Region:
        """All between lo and hi."""
        centre = (lo + hi) / 2
        found = outward(lo, jnp.maximum(hi - centre, centre - lo), 2)
        return Region(centre, found.hi, None, np.inf)

    def moved(self, slope: Interval) -> Array:
        """The most that a value of this slope (n, *shape) differs from its value at the centre."""
        size = magnitude(slope).astype(self.reach.dtype)
        if self.norm == np.inf:
            found = jnp.tensordot(self.reach, jnp.where(jnp.isfinite(size), size, 0), 1)
        else:
            finite = jnp.where(jnp.isfinite(size), size, 0)
            found = jnp.sqrt(jnp.sum(finite**2, axis=0)) if self.norm == 2 else jnp.max(finite, axis=0)
            found = found * jnp.asarray(self.radius, found.dtype)
        share = 1 + (len(size) + 4) * float(jnp.finfo(found.dtype).eps)
        return jnp.where(jnp.all(jnp.isfinite(size), axis=0), found * share, jnp.inf)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Enclosure:
    """Of f over a region: its `value` (m,) and its Jacobian, `slope` (m, n)."""

    value: Interval
    slope: Interval


def enclose(f: Callable[[Any], Any], region: Region) -> Enclosure:
    """f takes a vector (n,) to a vector (m,). Runs under `jit` and `vmap`.

    Raises TraceError where f has an operation without a rule.
    """
    program = read(f, region.centre)
    n = region.centre.size
    env: dict[int, Any] = dict(program.known)
    around = outward(region.centre - region.reach, region.centre + region.reach, 2)
    unit = jnp.eye(n, dtype=region.centre.dtype)
    env[program.input] = Bound(Interval(region.centre, region.centre), around, Interval(unit, unit))
    for number, step in enumerate(program.steps):
        env.update(zip(step.makes, _result(program, number, step, env, region, n), strict=True))
    last = env[program.output]
    if not isinstance(last, Bound):  # f does not depend on x
        zero = jnp.zeros((last.size, n), region.centre.dtype)
        return Enclosure(Interval(last, last), Interval(zero, zero))
    assert last.slope is not None
    return Enclosure(last.value, Interval(last.slope.lo.T, last.slope.hi.T))


def _result(program: Program, number: int, step: Step, env: dict[int, Any], region: Region, n: int) -> list[Any]:
    operands = [env[v] for v in step.reads]
    if not any(isinstance(a, Bound) for a in operands):
        return step.run(*operands)
    rule = _rule(step, operands)
    centres = rule.value(step, [a.centre if isinstance(a, Bound) else a for a in operands])
    values = rule.value(step, [a.value if isinstance(a, Bound) else a for a in operands])
    if not values[0].is_float:
        return [Bound(centre, value, None) for centre, value in zip(centres, values, strict=True)]
    slopes = rule.slope(Call(step, operands, values, n, lambda: _at_threshold(program, number, env)))
    found = []
    for centre, value, slope in zip(centres, values, slopes, strict=True):
        far = region.moved(slope)
        far = far.astype(centre.lo.dtype)  # another one where f converts; the margin covers that rounding
        near = outward(centre.lo - far, centre.hi + far, 4)
        found.append(Bound(centre, intersect(value, near), slope))
    return found


# Which operands may vary, where not all may.
FIXED: dict[str, tuple[int, ...]] = {"dynamic_slice": (0,), "gather": (0,)}


def _rule(step: Step, operands: list[Any]) -> Rule:
    rule = RULES.get(step.name)
    varying = [k for k, a in enumerate(operands) if isinstance(a, Bound)]
    if rule is None:
        raise TraceError(
            f"f: it uses {step.name}, for which interval arithmetic has no rule, so that no bound can be certified; "
            f"rewrite that part, or bound the rest. Known: {', '.join(sorted(RULES))}"
        )
    if step.name in FIXED and varying != list(FIXED[step.name]):
        raise TraceError(f"f: it uses {step.name} at places that depend on x, which no interval can bound; index by "
                         "numbers that do not depend on x")  # fmt: skip
    return rule


def _at_threshold(program: Program, number: int, env: dict[int, Any]) -> tuple[Operand, Operand] | None:
    """The two cases of choice `number` where its comparison u ⋛ c is a tie: what reads u is run again with u = c."""
    choice = program.steps[number]
    maker = next((step for step in program.steps[:number] if choice.reads[0] in step.makes), None)
    if maker is None or maker.name not in COMPARISONS or len(choice.reads) != 3:
        return None
    a, b = maker.reads
    if set(choice.reads[1:]) == {a, b}:  # the larger or the smaller of the two: at a tie the same
        zero = jnp.zeros(jnp.shape(env[a].value.lo if isinstance(env[a], Bound) else env[a]))
        return zero, zero
    if isinstance(env[a], Bound) == isinstance(env[b], Bound):
        return None
    u, c = (a, b) if isinstance(env[a], Bound) else (b, a)
    threshold = jnp.broadcast_to(env[c], env[u].value.shape)
    again: dict[int, Any] = {u: threshold}

    def value_of(v: int) -> Any:
        found = again.get(v, env[v])
        return found.value if isinstance(found, Bound) else found

    for step in program.steps[:number]:
        if not again.keys().isdisjoint(step.reads) and u not in step.makes:
            operands = [value_of(v) for v in step.reads]
            varies = any(isinstance(operand, Interval) for operand in operands)
            again.update(zip(step.makes, RULES[step.name].value(step, operands) if varies else step.run(*operands),
                             strict=True))  # fmt: skip
    zero, one = (value_of(v) for v in choice.reads[1:])
    return zero, one
