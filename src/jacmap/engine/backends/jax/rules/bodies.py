"""Calls with bodies: a body is a graph of its own, read afresh at each call site and summed up per output and input."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ....graph import Graph, Pattern, jacobian_pattern
from .. import compat
from ..call import Call, is_inexact

Local = dict[tuple[int, int], Pattern]


def body_graph(
    jaxpr: Any,
    consts: Sequence[Any],
    active: Sequence[bool],
    given: Mapping[int, np.ndarray] | None = None,
    values: bool = False,
) -> Graph:
    from ..trace import graph_of  # the walk asks this table and this table asks the walk

    return graph_of(jaxpr, consts, active, given, values)


def summary(graph: Graph) -> Local:
    """(output, position among graph.inputs) → pattern, for a whole body."""
    whole = jacobian_pattern(graph)
    local = {}
    row = 0
    for k, out in enumerate(graph.outputs):
        size = graph.values[out].size
        rows = whole.take(np.arange(row, row + size, dtype=np.int32))
        row += size
        if not graph.values[out].active:
            continue
        col = 0
        for j, v in enumerate(graph.inputs):
            width = graph.values[v].size
            local[k, j] = rows.columns(col, col + width)
            col += width
    return local


def named_summary(call: Call, jaxpr: Any, consts: Sequence[Any], given: Mapping[int, np.ndarray]) -> Local:
    """`summary` of a body that takes the operation's own inputs in order."""
    found = summary(body_graph(jaxpr, consts, list(call.active), given, call.values))
    names = [i for i, a in enumerate(call.active) if a]
    return {(k, names[j]): pattern for (k, j), pattern in found.items()}


def knowledge(call: Call, positions: Sequence[int]) -> dict[int, np.ndarray]:
    """What is known of the inputs at `positions`, renumbered from 0."""
    found = {}
    for new, i in enumerate(positions):
        value = call.peek(i)
        if value is not None:
            found[new] = value
    return found


def inexact(aval: Any) -> bool:
    return is_inexact(aval.dtype)


_MOST_REMEMBERED = 4096
_memory: OrderedDict[Any, tuple[Any, Any]] = OrderedDict()


def remembered(what: str, owners: Sequence[Any], key: Any, make: Callable[[], Any]) -> Any:
    """`make()`, once for the same objects. Bodies nest, and each is asked for its work and modes at every level.

    The owners are held along with the result, so that their ids stay their own.
    """
    full = (what, tuple(id(owner) for owner in owners), key)
    held = _memory.get(full)
    if held is None:
        held = _memory[full] = (tuple(owners), make())
        if len(_memory) > _MOST_REMEMBERED:
            _memory.popitem(last=False)
    return held[1]


def all_modes(jaxpr: Any, consts: Sequence[Any]) -> tuple[bool, bool]:
    return modes_of(jaxpr, consts, tuple(inexact(v.aval) for v in jaxpr.invars))


def modes_of(jaxpr: Any, consts: Sequence[Any], active: tuple[bool, ...], values: bool = False) -> tuple[bool, bool]:
    def find() -> tuple[bool, bool]:
        graph = body_graph(jaxpr, consts, active, values=values)
        return graph.forward, graph.reverse

    return remembered("modes", [jaxpr], (active, values), find)


def body_work(name: str, times: Any) -> Any:
    def work(call: Call) -> float:
        jaxpr, consts = compat.sub_jaxpr(call.params[name])
        return float(times(call)) * plain_work(jaxpr, consts)

    return work


def plain_work(jaxpr: Any, consts: Sequence[Any]) -> float:
    none = [False] * len(jaxpr.invars)
    return remembered("work", [jaxpr], None, lambda: body_graph(jaxpr, consts, none).work)


def wrapped(name: str) -> Any:
    def local(call: Call) -> Local:
        jaxpr, consts = compat.sub_jaxpr(call.params[name])
        return named_summary(call, jaxpr, consts, knowledge(call, range(len(call.inputs))))

    return local
