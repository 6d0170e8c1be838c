"""Custom derivative rules: the rule is analysed, never the primal body, since what AD returns is what the rule says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from ....graph import Graph
from ...rule import Rule, neither_mode
from .. import compat
from ..call import Call
from .bodies import Local, body_graph, body_work, inexact, knowledge, modes_of, remembered, summary, wrapped


def traced_rule(trace: Callable[[Any, tuple[int, ...]], Any], call: Call) -> Any:
    """The traced custom rule of a call. All parameters count: two rules can share one primal body."""
    avals = tuple((atom.aval.shape, atom.aval.dtype) for atom in call.eqn.invars)
    which = tuple(i for i, a in enumerate(call.active) if a)
    owners = list(call.params.values())
    return remembered(trace.__name__, owners, (avals, which), lambda: trace(call.eqn, which))


def jvp_rule(eqn: Any, which: tuple[int, ...]) -> Any:
    """(primals, tangents of the inputs `which`) → output tangents."""

    def pushforward(primals: list[Any], tangents: list[Any]) -> list[Any]:
        return jax.jvp(of_moving(eqn, primals, which), [primals[i] for i in which], tangents)[1]

    avals = [_struct(atom.aval) for atom in eqn.invars]
    return jax.make_jaxpr(pushforward)(avals, [avals[i] for i in which])


def vjp_rule(eqn: Any, which: tuple[int, ...]) -> Any:
    """(primals, cotangents of the inexact outputs) → cotangents of the inputs `which`."""
    carried = _inexact_outputs(eqn)

    def pullback(primals: list[Any], cotangents: list[Any]) -> Any:
        primal = of_moving(eqn, primals, which)
        _, pull = jax.vjp(lambda *moving: [primal(*moving)[k] for k in carried], *(primals[i] for i in which))
        return pull(cotangents)

    avals = [_struct(atom.aval) for atom in eqn.invars]
    return jax.make_jaxpr(pullback)(avals, [_struct(eqn.outvars[k].aval) for k in carried])


def _struct(aval: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype)


def of_moving(eqn: Any, primals: Sequence[Any], which: Sequence[int]) -> Callable[..., list[Any]]:
    def primal(*moving: Any) -> list[Any]:
        full = list(primals)
        for i, value in zip(which, moving, strict=True):
            full[i] = value
        return compat.bind(eqn, full)

    return primal


def _inexact_outputs(eqn: Any) -> list[int]:
    return [k for k, var in enumerate(eqn.outvars) if inexact(var.aval)]


def _rule_graph(call: Call, rule: Any) -> Graph:
    """The rule as a function of its tangents or cotangents; the primals are unknown but for what is known of them."""
    count = len(call.inputs)
    active = [False] * count + [True] * (len(rule.in_avals) - count)
    return body_graph(rule.jaxpr, rule.consts, active, knowledge(call, range(count)), values=True)


def _custom_jvp(call: Call) -> Local:
    """The pattern of the rule's output tangents with respect to its input tangents."""
    which = [i for i, a in enumerate(call.active) if a]
    found = summary(_rule_graph(call, traced_rule(jvp_rule, call)))
    return {(k, which[j]): pattern for (k, j), pattern in found.items()}


def _custom_vjp(call: Call) -> Local:
    """The transpose of the pattern of the rule's input cotangents with respect to its output cotangents."""
    which, carried = [i for i, a in enumerate(call.active) if a], _inexact_outputs(call.eqn)
    found = summary(_rule_graph(call, traced_rule(vjp_rule, call)))
    return {(carried[j], which[k]): pattern.T for (k, j), pattern in found.items()}


def _custom_jvp_modes(call: Call) -> tuple[bool, bool]:
    rule = traced_rule(jvp_rule, call)
    count = len(call.inputs)
    active = (*[False] * count, *[True] * (len(rule.in_avals) - count))
    return modes_of(rule.jaxpr, rule.consts, active, values=True)


RULES: dict[str, Rule] = {
    "custom_jvp_call": Rule(
        "custom rule", _custom_jvp, modes=_custom_jvp_modes, work=body_work("call_jaxpr", lambda call: 1)
    ),
    "custom_vjp_call": Rule(
        "custom rule",
        _custom_vjp,
        modes=lambda call: (False, True),
        work=body_work("call_jaxpr", lambda call: 1),
    ),
    "custom_vmap_call": Rule(
        "call", wrapped("call"), modes=lambda call: (True, False), work=body_work("call", lambda call: 1)
    ),
    "composite": Rule("call", wrapped("jaxpr"), modes=neither_mode, work=body_work("jaxpr", lambda call: 1)),
}
