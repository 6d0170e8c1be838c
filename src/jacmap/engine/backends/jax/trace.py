"""JAX function → graph: trace to a jaxpr, inline the calls, share what is computed twice, drop what is dead.

Each call site of an inner function is walked afresh, because what is known of its arguments (constants, zeros)
differs from site to site; a walk shared between sites is how stale constants become wrong zeros.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...._errors import TraceError
from ...graph import Graph, Node, Place, Value
from ..rule import PASS_WEIGHT, Rule
from . import compat
from .call import Call, is_inexact
from .facts import Facts
from .rules import lookup
from .rules.by_value import by_value
from .rules.curvature import curvature
from .rules.hints import hints

_INLINED = {"jit": "jaxpr", "closed_call": "call_jaxpr", "call": "call_jaxpr", "remat2": "jaxpr"}



def differentiable(aval: Any) -> bool:
    """Is this the type of a value that can carry a derivative?"""
    return is_inexact(aval.dtype)


def graph_of(
    jaxpr: Any,
    consts: Sequence[Any],
    active: Sequence[bool],
    given: Mapping[int, np.ndarray] | None = None,
    values: bool = False,
) -> Graph:
    """The graph of an open jaxpr with respect to the inputs marked `active`.

    The other inputs are unknown at reading time, unless `given` holds their value by position (NaN: unknown entry).
    Constants that are tracers of an outer transformation are unknown, too. With `values` the patterns tell how values
    depend on each other instead of derivatives: integers count, rounding passes.
    """
    jaxpr, consts = compat.without_references(jaxpr, consts)
    return _Builder(values).build(jaxpr, consts, active, given or {})


class _Builder:
    def __init__(self, by_value: bool) -> None:
        self.by_value = by_value
        self.values: list[Value] = []
        self.nodes: list[Node] = []
        self.facts = Facts()
        self.constants: dict[int, Any] = {}
        self.shared: dict[Any, tuple[int, ...]] = {}
        self.literals: dict[Any, int] = {}

    def build(
        self, jaxpr: Any, consts: Sequence[Any], active: Sequence[bool], given: Mapping[int, np.ndarray]
    ) -> Graph:
        const_ids = [self.constant(c, v.aval) for c, v in zip(consts, jaxpr.constvars, strict=True)]
        input_ids = []
        for position, (var, is_active) in enumerate(zip(jaxpr.invars, active, strict=True)):
            live = is_active and (self.by_value or differentiable(var.aval))
            input_ids.append(self.value(var.aval, varying=is_active, active=live))
            if position in given:
                self.facts.give(input_ids[-1], given[position])
        outputs = self.walk(jaxpr, const_ids, input_ids, _Site())
        return self.finish(
            [v for v, a in zip(input_ids, active, strict=True) if a],
            [v for v, a in zip(input_ids, active, strict=True) if not a],
            outputs,
        )

    def value(self, aval: Any, varying: bool, active: bool) -> int:
        shape = tuple(getattr(aval, "shape", ()))
        is_complex = active and np.issubdtype(aval.dtype, np.complexfloating)
        self.values.append(Value(shape, math.prod(shape), varying, active, bool(is_complex)))
        return len(self.values) - 1

    def constant(self, value: Any, aval: Any) -> int:
        v = self.value(aval, varying=False, active=False)
        self.constants[v] = value
        if not isinstance(value, compat.Tracer):
            self.facts.give(v, value)
        return v

    def literal(self, atom: Any) -> int:
        key = (str(atom.aval), np.asarray(atom.val).tobytes())
        if key not in self.literals:
            self.literals[key] = self.constant(atom.val, atom.aval)
        return self.literals[key]

    def walk(self, jaxpr: Any, const_ids: Sequence[int], input_ids: Sequence[int], site: _Site) -> list[int]:
        env = dict(zip(jaxpr.constvars, const_ids, strict=True)) | dict(zip(jaxpr.invars, input_ids, strict=True))

        def read(atom: Any) -> int:
            return self.literal(atom) if compat.is_literal(atom) else env[atom]

        for eqn in jaxpr.eqns:
            inputs = tuple(read(atom) for atom in eqn.invars)
            inner = _INLINED.get(eqn.primitive.name)
            if inner is not None:
                body, body_consts = compat.sub_jaxpr(eqn.params[inner])
                ids = [self.constant(c, v.aval) for c, v in zip(body_consts, body.constvars, strict=True)]
                outputs = self.walk(body, ids, inputs, _Site(site, eqn))
            else:
                outputs = list(self.operation(eqn, inputs, site))
            env.update(zip(eqn.outvars, outputs, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def operation(self, eqn: Any, inputs: tuple[int, ...], site: _Site) -> tuple[int, ...]:
        key = _sharing_key(eqn, inputs)
        if key is not None and key in self.shared:
            return self.shared[key]
        if any(compat.is_reference(atom.aval) for atom in (*eqn.invars, *eqn.outvars)):
            raise TraceError(
                f"cannot read {eqn.primitive.name!r}: it changes a mutable array made outside the function; "
                "make the array inside (jax.new_ref) or pass and return plain arrays"
            )
        rule = lookup(eqn.primitive.name)
        if self.by_value:
            rule = by_value(eqn.primitive.name, rule)
        varying = any(self.values[v].varying for v in inputs)
        active = any(self.values[v].active for v in inputs) and rule.kind != "none"
        outputs = tuple(
            self.value(var.aval, varying, active and (self.by_value or differentiable(var.aval)))
            for var in eqn.outvars
        )
        call = self.call(eqn, inputs)
        self.facts.derive(eqn, call, inputs, outputs)
        self.nodes.append(self.node(eqn, rule, call, inputs, outputs, site))
        if key is not None:
            self.shared[key] = outputs
        return outputs

    def call(self, eqn: Any, inputs: tuple[int, ...]) -> Call:
        facts = self.facts
        return Call(
            name=eqn.primitive.name,
            params=eqn.params,
            inputs=tuple(self.values[v].shape for v in inputs),
            outputs=tuple(tuple(getattr(var.aval, "shape", ())) for var in eqn.outvars),
            active=tuple(self.values[v].active for v in inputs),
            varying=tuple(self.values[v].varying for v in inputs),
            peek=lambda i: facts.peek(inputs[i]),
            eqn=eqn,
            values=self.by_value,
        )

    def node(
        self, eqn: Any, rule: Rule, call: Call, inputs: tuple[int, ...], outputs: tuple[int, ...], site: _Site
    ) -> Node:
        is_active = any(call.active)
        modes = rule.modes(call) if is_active else (True, True)
        work = rule.work(call) if rule.work is not None else float(sum(self.values[v].size for v in outputs))
        node = Node(
            op=call.name,
            inputs=inputs,
            outputs=outputs,
            local_of=lambda: rule.local(call),
            place_of=lambda: site.place(eqn),
            affine=is_active and rule.affine(call),
            forward=modes[0],
            reverse=modes[1],
            work=work,
            pass_work=PASS_WEIGHT.get(rule.kind, 1.0) * work if rule.work else work,
            payload=eqn,
            note=f"{call.name}: {rule.note}" if rule.note else "",
            curvature_of=lambda: curvature(call, node.local),
            hints_of=lambda: hints(call),
        )
        return node

    def finish(self, inputs: list[int], others: list[int], outputs: list[int]) -> Graph:
        return Graph.of_what_is_needed(self.values, self.nodes, inputs, outputs, others, self.constants)


@dataclass(frozen=True)
class _Site:
    """Where in the user's code an equation stands: inside which inlined calls. Read only when somebody asks."""

    outer: _Site | None = None
    call: Any = None

    def place(self, eqn: Any) -> Place:
        around = Place() if self.outer is None else self.outer.place(self.call)
        within = "" if self.call is None else str(self.call.params.get("name", ""))
        scope = "/".join(part for part in (around.scope, compat.scope(eqn.source_info)) if part)
        return Place(scope, compat.user_line(eqn.source_info, within) or around.line)


def _sharing_key(eqn: Any, inputs: tuple[int, ...]) -> Any:
    """Two equations with the same key compute the same values; None when that cannot be told cheaply."""
    if eqn.effects:
        return None
    try:
        key = (eqn.primitive, inputs, tuple(eqn.params.items()), tuple(v.aval for v in eqn.outvars))
        hash(key)
    except TypeError:
        return None
    return key
