"""From an operation that ran to a node of the graph."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor

from ...graph import Node, Place
from ..rule import PASS_WEIGHT, Rule
from .call import Call, Operation, Ref, replaced
from .rules.hints import hints


def node_of(
    operation: Operation, rule: Rule, call: Call, inputs: tuple[int, ...], outputs: tuple[int, ...], place: Place
) -> Node:
    is_active = any(call.active)
    modes = rule.modes(call) if is_active else (True, True)
    size = float(sum(math.prod(shape) for shape in call.outputs))
    work = rule.work(call) if rule.work is not None else size
    return Node(
        op=operation.name,
        inputs=inputs,
        outputs=outputs,
        local_of=lambda: rule.local(call),
        place_of=lambda: place,
        affine=is_active and rule.affine(call),
        forward=modes[0],
        reverse=modes[1],
        work=work,
        pass_work=PASS_WEIGHT.get(rule.kind, 1.0) * work if rule.work else work,
        payload=operation,
        note=f"{operation.name}: {rule.note}" if rule.note else "",
        hints_of=lambda: hints(call),
    )


def numbered(args: Any, kwargs: Any) -> tuple[Any, Any]:
    """The arguments with `Ref(0)`, `Ref(1)`, ... in place of the tensors."""
    counter = itertools.count()
    return replaced((tuple(args), dict(kwargs)), Tensor, lambda t: Ref(next(counter)))


def name_of(func: Any) -> str:
    """The operation's name without its overload; outside of ATen with its namespace."""
    return str(func._schema.name).removeprefix("aten::")


def refs_in(tree: Any) -> list[Ref]:
    found: list[Ref] = []

    def note(ref: Ref) -> Ref:
        found.append(ref)
        return ref

    replaced(tree, Ref, note)
    return found


def sharing_key(operation: Operation, inputs: tuple[int, ...], followed: bool) -> Any:
    """Two operations with the same key compute the same values; None when that cannot be told cheaply."""
    if not isinstance(operation.function, torch._ops.OpOverload):
        return None
    return operation.function, repr(operation.args), repr(operation.kwargs), operation.dtype, inputs, followed
