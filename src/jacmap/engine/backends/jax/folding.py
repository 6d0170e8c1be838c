"""Work out ahead what does not depend on the point: the first linear layer's tangents, a table, a factorisation.

XLA folds constants only where the operation is cheap; `identity @ weights`, the tangents of a linear layer, it computes
again at every call. What is known when the answer is compiled is computed then, once, and compiled in as a constant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from . import compat

# Entries of one constant, and of all together: compiled code that holds much more is slow to compile and to load.
LARGEST = 2**18
LARGEST_TOGETHER = 2**20

# What is worth working out ahead: products, solves, factorisations, loops. All else XLA fuses with what reads it, for
# less than reading a constant costs.
_HEAVY = frozenset(
    """
    cholesky conv_general_dilated custom_linear_solve dot_general eig eigh fft householder_product lu qr scan sort svd
    threefry2x32 triangular_solve tridiagonal_solve while
    """.split()
)
# Beyond this many constants XLA can take minutes to compile what took a second.
MOST = 32
_INLINED = {"jit": "jaxpr", "closed_call": "call_jaxpr"}

Ref = int


@dataclass
class _Step:
    """One equation between numbered values."""

    eqn: Any
    inputs: list[Ref]
    outputs: list[Ref]
    known: bool


@dataclass
class _Program:
    """A jaxpr with its calls inlined; `values`: what is there before it runs, `known`: what no argument reaches."""

    steps: list[_Step] = field(default_factory=list)
    values: dict[Ref, Any] = field(default_factory=dict)
    known: set[Ref] = field(default_factory=set)
    count: int = 0

    def fresh(self) -> Ref:
        self.count += 1
        return self.count

    def held(self, value: Any) -> Ref:
        """A constant: known, unless it belongs to a transformation under way."""
        ref = self.fresh()
        self.values[ref] = value
        if not compat.is_tracer(value):
            self.known.add(ref)
        return ref

    def read(self, jaxpr: Any, consts: Sequence[Any], inputs: Sequence[Ref]) -> list[Ref]:
        """Append the equations of a jaxpr at these inputs; its outputs."""
        env = dict(zip(jaxpr.invars, inputs, strict=True))
        env.update((var, self.held(const)) for var, const in zip(jaxpr.constvars, consts, strict=True))

        def ref(atom: Any) -> Ref:
            return self.held(atom.val) if compat.is_literal(atom) else env[atom]

        for eqn in jaxpr.eqns:
            inputs = [ref(atom) for atom in eqn.invars]
            if eqn.primitive.name in _INLINED:
                outputs = self.read(*compat.sub_jaxpr(eqn.params[_INLINED[eqn.primitive.name]]), inputs)
            else:
                known = all(i in self.known for i in inputs)
                outputs = [self.fresh() for _ in eqn.outvars]
                self.known.update(outputs if known else ())
                self.steps.append(_Step(eqn, inputs, outputs, known))
            env.update(zip(eqn.outvars, outputs, strict=True))
        return [ref(atom) for atom in jaxpr.outvars]

    def worthwhile(self, outputs: Iterable[Ref]) -> list[Ref]:
        """The known values that the rest reads, that took work to compute and that are few and small enough to keep."""
        avals = {ref: var.aval for step in self.steps for ref, var in zip(step.outputs, step.eqn.outvars, strict=True)}
        heavy: set[Ref] = set()
        for step in self.steps:
            if step.known and (step.eqn.primitive.name in _HEAVY or not heavy.isdisjoint(step.inputs)):
                heavy.update(step.outputs)
        wanted = dict.fromkeys(ref for step in self.steps if not step.known for ref in step.inputs)
        wanted |= dict.fromkeys(outputs)
        chosen = [ref for ref in wanted if ref in heavy and isinstance(avals[ref].dtype, np.dtype)]
        sizes = [avals[ref].size for ref in chosen]
        # All or none: what is left out would meet those constants in XLA's own folding, which is slow.
        fits = len(chosen) <= MOST and max(sizes, default=0) <= LARGEST and sum(sizes) <= LARGEST_TOGETHER
        return chosen if fits else []

    def run(self, env: dict[Ref, Any], outputs: Sequence[Ref], whole: bool) -> list[Any]:
        """The outputs from the values in `env`; computed is what they need, and if `whole` all that is not known.

        XLA drops what nothing reads, but a value that a function kept from an earlier trace is noticed by its use.
        """
        needed, steps = set(outputs), []
        for step in reversed(self.steps):
            missing = (ref for ref in step.outputs if ref not in env)
            if not needed.isdisjoint(missing) or (whole and not step.known):
                needed.update(step.inputs)
                steps.append(step)
        env = dict(env)
        for step in reversed(steps):
            with compat.as_written(step.eqn):
                made = compat.bind(step.eqn, [env[ref] for ref in step.inputs])
            env.update((ref, value) for ref, value in zip(step.outputs, made, strict=True) if ref not in env)
        return [env[ref] for ref in outputs]


def folded(function: Callable[..., Any], *args: Any) -> Any:
    """``function(*args)``, with what does not depend on the arguments' values computed now, once."""
    closed, shape = jax.make_jaxpr(function, return_shape=True)(*args)
    if closed.effects:
        return function(*args)
    program = _Program()
    leaves, out_tree = jax.tree_util.tree_leaves(args), jax.tree_util.tree_structure(shape)
    inputs = [program.fresh() for _ in leaves]
    outputs = program.read(closed.jaxpr, closed.consts, inputs)
    chosen = program.worthwhile(outputs)
    env = program.values
    if chosen:
        with jax.ensure_compile_time_eval():
            # As arguments: constants XLA would multiply itself while compiling, a thousand times as slowly.
            large = {ref: value for ref, value in env.items() if ref in program.known and np.size(value) > 1}
            ahead = jax.jit(lambda large: program.run(env | large, chosen, whole=False))(large)
        env = env | dict(zip(chosen, ahead, strict=True))
    env = env | dict(zip(inputs, leaves, strict=True))
    return jax.tree_util.tree_unflatten(out_tree, program.run(env, outputs, whole=True))
