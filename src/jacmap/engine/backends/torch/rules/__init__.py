"""The table: ATen operation → rule. To add an operation, add a row to the file of its kind.

`tests/test_torch_rules.py` finds every row by itself and checks it numerically; it asks for an example of each. An
operation without a row is taken entry by entry where PyTorch tags it as pointwise, else in full, with a note.
"""

from __future__ import annotations

import functools

import torch

from ....graph import Pattern
from ...rule import Rule, entrywise, every_pair
from ..call import Call, Operation
from . import contractions, elementwise, indexing, linalg, movement, normalise, reductions, windows

RULES: dict[str, Rule] = {
    **elementwise.RULES,
    **movement.RULES,
    **indexing.RULES,
    **reductions.RULES,
    **normalise.RULES,
    **contractions.RULES,
    **windows.RULES,
    **linalg.RULES,
}

POINTWISE = Rule("elementwise", lambda call: elementwise.each_output(call), work=elementwise.costly, exact=False)
UNKNOWN = Rule(
    "unknown",
    every_pair,
    exact=False,
    note="no rule for this operation, every output taken to read every input",
)


HIDDEN = Rule(
    "unknown",
    every_pair,
    exact=False,
    note="made outside of Python and not to be read, taken to read every input",
)


def lookup(operation: Operation) -> Rule:
    """The rule of an operation; the sound full one, with a note for `explain`, when nothing is known of it."""
    if operation.name == "hidden derivative":
        return HIDDEN
    rule = RULES.get(operation.name) or RULES.get(operation.name.removesuffix("_copy"))
    if rule is not None:
        return rule
    return POINTWISE if torch.Tag.pointwise in getattr(operation.function, "tags", ()) else UNKNOWN


@functools.cache
def by_value(rule: Rule) -> Rule:
    """The rule for value dependence that belongs to a rule for derivatives: inside the backward of a custom function.

    AD runs such a backward as it stands. Where it rounds a cotangent or selects by it, the number still arrives.
    """
    if rule.kind == "none":
        return Rule("value", _entry_or_all, exact=False)
    if rule.kind in ("elementwise", "select"):
        return Rule(rule.kind, lambda call: dict(rule.local(call)) | _more(call, entrywise), exact=False)
    return Rule(rule.kind, lambda call: dict(rule.local(call)) | _more(call, every_pair), exact=False)


def _more(call: Call, kind: object) -> dict[tuple[int, int], Pattern]:
    """What the inputs decide that carry no derivative: conditions, indices; and an order of entries."""
    decided = call.name in _DECIDED
    found = entrywise(call) if kind is entrywise else every_pair(call)
    return {(k, i): p for (k, i), p in found.items() if decided or not call.inexact(i)}


_DECIDED = {"sort", "topk", "max", "min", "median", "nanmedian", "mode", "kthvalue", "cummax", "cummin"}


def _entry_or_all(call: Call) -> dict[tuple[int, int], Pattern]:
    """Rounding and comparisons go entry by entry, as the shapes tell; whatever changes its shape reads everything."""
    if len(call.outputs) == 1 and all(_spreads(shape, call.out) for shape in call.inputs):
        return entrywise(call)
    return every_pair(call)


def _spreads(shape: tuple[int, ...], out: tuple[int, ...]) -> bool:
    missing = len(out) - len(shape)
    return missing >= 0 and all(n in (1, m) for n, m in zip(shape, out[missing:], strict=True))


__all__ = ["POINTWISE", "RULES", "UNKNOWN", "by_value", "lookup"]
