"""How values, not derivatives, depend on each other: what a custom rule does to its tangents or cotangents.

AD runs a custom rule as it stands. Where it rounds a cotangent, stops its gradient, or calls a function with a
custom rule of its own, the number still arrives; so inside a rule these pass everything on.
"""

from __future__ import annotations

import functools

from ....graph import Pattern, dependence
from ...rule import Rule, every_pair
from ..call import Call, is_inexact
from .bodies import wrapped

# Their outcome is decided by values that pass no derivative.
_DECIDED = {"while", "sort", "select_and_gather_add", "select_and_scatter_add"}


@functools.cache
def by_value(name: str, rule: Rule) -> Rule:
    """The rule for value dependence that belongs to a rule for derivatives."""
    if name in ("custom_jvp_call", "custom_vjp_call"):
        return Rule("call", wrapped("call_jaxpr"), work=rule.work)
    if rule.kind == "none":
        return Rule("value", _entry_or_all, exact=False)
    if name in _DECIDED:
        return Rule("value", every_pair, exact=False, work=rule.work)

    def local(call: Call) -> dict[tuple[int, int], Pattern]:
        found = dict(rule.local(call))
        for pair, pattern in every_pair(call).items():
            if not (
                is_inexact(call.eqn.outvars[pair[0]].aval.dtype) and is_inexact(call.eqn.invars[pair[1]].aval.dtype)
            ):
                found[pair] = pattern
        return found

    return Rule(rule.kind, local, exact=False, modes=rule.modes, work=rule.work)


def _entry_or_all(call: Call) -> dict[tuple[int, int], Pattern]:
    """Rounding and comparisons go entry by entry, as the shapes tell; whatever changes its shape reads everything."""
    if all(shape in ((), call.out) for shape in call.inputs) and len(call.outputs) == 1:
        return {(0, i): dependence.elementwise(call.out, s) for i, s in enumerate(call.inputs) if call.active[i]}
    return every_pair(call)
