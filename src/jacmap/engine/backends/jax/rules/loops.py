"""Loops: scan and while, by the pattern of one step, or step by step where the loop is short."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from ....graph import Pattern, dependence
from ...rule import Rule
from .. import compat
from ..call import Call
from .bodies import Local, all_modes, body_graph, body_work, inexact, knowledge, named_summary
from .loop_patterns import Body, closure, over_time


def _scan(call: Call) -> Local:
    p = call.params
    jaxpr, consts = compat.sub_jaxpr(p["jaxpr"])
    length, n_consts, n_carry = p["length"], p["num_consts"], p["num_carry"]
    if length == 0:
        return {(k, n_consts + k): dependence.elementwise(s, s) for k, s in enumerate(call.outputs[:n_carry])}
    if length * max(len(jaxpr.eqns), 1) <= MOST_UNROLLED:
        return _unrolled(call, jaxpr, consts)
    active = [
        call.active[i] or (n_consts <= i < n_consts + n_carry and (call.values or inexact(jaxpr.invars[i].aval)))
        for i in range(len(call.inputs))
    ]
    given = knowledge(call, range(n_consts)) | step_knowledge(call, n_consts + n_carry)
    graph = body_graph(jaxpr, consts, active, given, call.values)
    layout = _Layout(call, jaxpr, active, n_consts, n_carry)
    body = Body(graph, layout.rows, layout.widths)
    return layout.split(over_time(body, length, bool(p["reverse"])))


MOST_UNROLLED = 256  # equations: a loop this short is read step by step, with its counters known


def _unrolled(call: Call, jaxpr: Any, consts: Sequence[Any]) -> Local:
    p = call.params
    n_consts, n_carry, length = p["num_consts"], p["num_carry"], p["length"]

    def run(*args: Any) -> list[Any]:
        fixed, carry, xs = (
            args[:n_consts],
            list(args[n_consts : n_consts + n_carry]),
            args[n_consts + n_carry :],
        )
        collected: list[list[Any]] = []
        for t in reversed(range(length)) if p["reverse"] else range(length):
            results = jax.core.eval_jaxpr(jaxpr, consts, *fixed, *carry, *(x[t] for x in xs))
            carry, ys = results[:n_carry], results[n_carry:]
            collected.append(ys)
        if p["reverse"]:
            collected.reverse()
        return [*carry, *(jax.numpy.stack(column) for column in zip(*collected, strict=True))]

    flat = jax.make_jaxpr(run)(*(jax.ShapeDtypeStruct(a.aval.shape, a.aval.dtype) for a in call.eqn.invars))
    return named_summary(call, flat.jaxpr, flat.consts, knowledge(call, range(len(call.inputs))))


def step_knowledge(call: Call, first: int) -> dict[int, np.ndarray]:
    """What is the same in every step of the scanned inputs; the rest is NaN, not known."""
    found = {}
    for i in range(first, len(call.inputs)):
        value = call.peek(i)
        if value is None or not isinstance(value.dtype, np.dtype) or not len(value):
            continue
        same = (value == value[0]).all(axis=0)
        if value.dtype.kind == "f":
            found[i] = np.where(same, value[0], np.nan)
        elif same.all():
            found[i] = value[0]
    return found


class _Layout:
    """Sizes of a loop body's blocks, and how a block's pattern falls apart into operands again."""

    def __init__(self, call: Call, jaxpr: Any, active: Sequence[bool], n_consts: int, n_carry: int, skip: int = 0):
        self.call, self.n_carry, self.skip = call, n_carry, skip
        size = [math.prod(v.aval.shape) for v in jaxpr.invars]
        out = [math.prod(v.aval.shape) for v in jaxpr.outvars]
        bounds = (range(n_consts), range(n_consts, n_consts + n_carry), range(n_consts + n_carry, len(size)))
        self.groups = [[i for i in group if active[i]] for group in bounds]
        self.widths = tuple(sum(size[i] for i in group) for group in self.groups)
        # Only carries through which a derivative can flow are rows of the carry block, so that it is square.
        self.carried = [i - n_consts for i in self.groups[1]]
        start = np.concatenate([[0], np.cumsum(out)])
        rows = [np.arange(start[k], start[k + 1], dtype=np.int32) for k in range(len(out))]
        none = [np.zeros(0, np.int32)]
        self.rows = (
            np.concatenate(none + [rows[k] for k in self.carried]),
            np.concatenate(none + rows[n_carry:]),
        )

    def split(self, blocks: Mapping[tuple[str, int], Pattern]) -> Local:
        local: Local = {}
        for kind, ks in (("carry", self.carried), ("ys", range(self.n_carry, len(self.call.outputs)))):
            for group, names in enumerate(self.groups):
                block = blocks.get((kind, group))
                if block is None:
                    continue
                for k, index in self._row_index(kind, ks):
                    rows = block.take(index)
                    for i, columns in self._col_index(group, names):
                        if self.call.active[i]:
                            local[k, i] = rows.T.take(columns).T
        return local

    def _col_index(self, group: int, names: Sequence[int]) -> list[tuple[int, np.ndarray]]:
        sizes = [dependence.size_of(self.call.inputs[i + self.skip]) for i in names]
        steps = self.call.params["length"] if group == 2 else 1
        return [(i + self.skip, index) for i, index in zip(names, _interleaved(sizes, steps), strict=True)]

    def _row_index(self, kind: str, ks: Sequence[int]) -> list[tuple[int, np.ndarray]]:
        sizes = [dependence.size_of(self.call.outputs[k]) for k in ks]
        steps = 1 if kind == "carry" else self.call.params["length"]
        return list(zip(ks, _interleaved(sizes, steps), strict=True))


def _interleaved(sizes: Sequence[int], steps: int) -> list[np.ndarray]:
    """Where each array's entries stand when arrays stacked over `steps` are laid side by side step by step."""
    per_step = [size // steps for size in sizes]
    total, found, offset = sum(per_step), [], 0
    for width in per_step:
        at = np.arange(steps, dtype=np.int32)[:, None] * total + np.arange(offset, offset + width, dtype=np.int32)
        found.append(at.ravel())
        offset += width
    return found


def _while(call: Call) -> Local:
    p = call.params
    skip, n_consts = p["cond_nconsts"], p["body_nconsts"]
    jaxpr, consts = compat.sub_jaxpr(p["body_jaxpr"])
    inner = range(skip, len(call.inputs))
    active = [call.active[i] or (i >= skip + n_consts and inexact(jaxpr.invars[i - skip].aval)) for i in inner]
    graph = body_graph(jaxpr, consts, active, knowledge(call, range(skip, skip + n_consts)))
    layout = _Layout(call, jaxpr, active, n_consts, len(call.outputs), skip)
    body = Body(graph, layout.rows, layout.widths)
    reach = closure(body.carry_carry)
    return layout.split({("carry", 0): reach @ body.carry_consts, ("carry", 1): reach})


def _while_modes(call: Call) -> tuple[bool, bool]:
    jaxpr, consts = compat.sub_jaxpr(call.params["body_jaxpr"])
    return all_modes(jaxpr, consts)[0], False


def _scan_modes(call: Call) -> tuple[bool, bool]:
    jaxpr, consts = compat.sub_jaxpr(call.params["jaxpr"])
    return all_modes(jaxpr, consts)


RULES: dict[str, Rule] = {
    "scan": Rule("loop", _scan, modes=_scan_modes, work=body_work("jaxpr", lambda call: call.params["length"])),
    # How often a while loop runs is not known: ten times is a guess that only ranks candidates.
    "while": Rule("loop", _while, modes=_while_modes, work=body_work("body_jaxpr", lambda call: 10), exact=False),
}
