"""A jaxpr as a flat list of steps: calls, and functions with custom derivatives, are opened.

Of a function with a custom derivative the body counts, not the rule: bounds are of what the function does.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
from jax.extend import core

Array = jax.Array
# Where the body of a call is kept, by JAX's names of the parameter.
BODIES = ("jaxpr", "call_jaxpr", "fun_jaxpr")
CALLS = ("jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr",
         "remat", "checkpoint", "custom_lin")  # fmt: skip


@dataclass(frozen=True, eq=False)
class Step:
    """One operation: reads and makes values by number."""

    primitive: Any
    params: dict[str, Any]
    reads: tuple[int, ...]
    makes: tuple[int, ...]

    @property
    def name(self) -> str:
        return str(self.primitive.name)

    def run(self, *values: Any) -> list[Array]:
        """The operation itself, on arrays."""
        made = self.primitive.bind(*values, **self.primitive.get_bind_params(self.params))
        return list(made) if self.primitive.multiple_results else [made]


@dataclass(frozen=True, eq=False)
class Program:
    """`known`: values that do not depend on the input, by number."""

    steps: list[Step]
    known: dict[int, Any]
    input: int
    output: int


def read(f: Callable[[Any], Any], x: Any) -> Program:
    """f of one array to one array, at the shape of x."""
    closed = jax.make_jaxpr(f)(x)
    found = Program([], {}, 0, 0)
    made = _open(closed.jaxpr, closed.consts, [0], found, itertools.count(1))
    return Program(found.steps, found.known, 0, made[0])


def _open(jaxpr: Any, constants: Any, inputs: list[int], program: Program, fresh: Iterator[int]) -> list[int]:
    """Append the steps of a jaxpr whose inputs have these numbers; gives the numbers of its outputs."""
    number = dict(zip(jaxpr.invars, inputs, strict=True))

    def known(value: Any) -> int:
        program.known[key := next(fresh)] = value
        return key

    def number_of(atom: Any) -> int:
        return known(atom.val) if isinstance(atom, core.Literal) else number[atom]

    for var, value in zip(jaxpr.constvars, constants, strict=True):
        number[var] = known(value)
    for eqn in jaxpr.eqns:
        reads = [number_of(atom) for atom in eqn.invars]
        if eqn.primitive.name in CALLS:
            body = next(eqn.params[name] for name in BODIES if name in eqn.params)
            inner, consts = (body.jaxpr, body.consts) if hasattr(body, "consts") else (body, ())
            made = _open(inner, consts, reads, program, fresh)
        else:
            made = [next(fresh) for _ in eqn.outvars]
            program.steps.append(Step(eqn.primitive, eqn.params, tuple(reads), tuple(made)))
        number.update(zip(eqn.outvars, made, strict=True))
    return [number_of(atom) for atom in jaxpr.outvars]
