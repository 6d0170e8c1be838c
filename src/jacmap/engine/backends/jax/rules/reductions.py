"""Reductions, windows, and operations that couple entries along an axis."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from ....graph import Pattern, dependence
from ...rule import Rule, always, neither_mode
from ..call import Call

Local = dict[tuple[int, int], Pattern]


def _reduce(call: Call) -> Local:
    return {(0, 0): dependence.reduction(call.inputs[0], call.params["axes"])} if call.active[0] else {}


def _generic_reduce(call: Call) -> Local:
    axes = call.params["dimensions"]
    local: Local = {}
    half = len(call.inputs) // 2
    for k, out in enumerate(call.outputs):
        for i, shape in enumerate(call.inputs):
            if call.active[i]:
                local[k, i] = dependence.reduction(shape, axes) if i < half else dependence.full(out, shape)
    return local


def _cumulative(call: Call) -> Local:
    p = call.params
    return {(0, 0): dependence.cumulative(call.out, p["axis"], p["reverse"])}


def _sort(call: Call) -> Local:
    # The keys decide the order, but they move no derivative into the arrays that are carried along.
    axis = call.params["dimension"]
    return {(k, k): dependence.axis_coupling(s, [axis]) for k, s in enumerate(call.inputs) if call.active[k]}


def _top_k(call: Call) -> Local:
    shape = call.inputs[0]
    axis = call.params.get("axis", len(shape) - 1) % len(shape)
    kept = [a for a in range(len(shape)) if a != axis]
    return {(0, 0): dependence.by_axes(call.out, kept, shape, kept)}


def _approx_top_k(call: Call) -> Local:
    shape = call.inputs[0]
    axis = call.params["reduction_dimension"] % len(shape)
    kept = [a for a in range(len(shape)) if a != axis]
    return {(0, 0): dependence.by_axes(call.out, kept, shape, kept)}


def _slides(call: Call, out: tuple[int, ...], inp: tuple[int, ...]) -> dict[int, csr_array]:
    p = call.params
    ones = (1,) * len(inp)
    base = p.get("base_dilation") or ones
    dilation = p.get("window_dilation") or ones
    return {
        a: dependence.sliding(
            out[a],
            inp[a],
            p["window_dimensions"][a],
            p["window_strides"][a],
            p["padding"][a][0],
            base[a],
            dilation[a],
        )
        for a in range(len(inp))
    }


def _reduce_window(call: Call) -> Local:
    if call.name == "reduce_window":
        half = len(call.inputs) // 2
        spread = dependence.windows(call.out, call.inputs[0], _slides(call, call.out, call.inputs[0]), [])
        return {
            (k, i): spread if i < half else dependence.full(out, call.inputs[i])
            for k, out in enumerate(call.outputs)
            for i in range(len(call.inputs))
            if call.active[i]
        }
    return {(0, 0): dependence.windows(call.out, call.inputs[0], _slides(call, call.out, call.inputs[0]), [])}


def _select_and_gather_add(call: Call) -> Local:
    # Tangents (input 0) are picked where the operand (input 1) is largest or smallest in each window.
    spread = dependence.windows(call.out, call.inputs[0], _slides(call, call.out, call.inputs[0]), [])
    return {(0, 0): spread} if call.active[0] else {}


def _select_and_scatter_add(call: Call) -> Local:
    # The source (input 0) is added to the winner of its window in the operand (input 1).
    shape = call.inputs[1]
    spread = dependence.windows(call.inputs[0], shape, _slides(call, call.inputs[0], shape), [])
    return {(0, 0): spread.T} if call.active[0] else {}


def _window_work(call: Call) -> float:
    return float(dependence.size_of(call.out) * np.prod(call.params["window_dimensions"]))


def _input_work(call: Call) -> float:
    return float(dependence.size_of(call.inputs[0]))


RULES: dict[str, Rule] = {
    "reduce_sum": Rule("reduction", _reduce, affine=always, work=_input_work),
    "reduce_max": Rule("reduction", _reduce, work=_input_work),
    "reduce_min": Rule("reduction", _reduce, work=_input_work),
    "reduce_prod": Rule("reduction", _reduce, work=_input_work),
    "reduce": Rule("reduction", _generic_reduce, work=_input_work, exact=False),
    "cumsum": Rule("axis coupling", _cumulative, affine=always),
    "cumprod": Rule("axis coupling", _cumulative),
    "cummax": Rule("axis coupling", _cumulative),
    "cummin": Rule("axis coupling", _cumulative),
    "cumlogsumexp": Rule("axis coupling", _cumulative),
    "sort": Rule("axis coupling", _sort),
    "top_k": Rule("axis coupling", _top_k),
    "approx_top_k": Rule("axis coupling", _approx_top_k),
    "reduce_window": Rule("window", _reduce_window, work=_window_work, exact=False, modes=neither_mode),
    "reduce_window_sum": Rule("window", _reduce_window, affine=always, work=_window_work),
    "reduce_window_max": Rule("window", _reduce_window, work=_window_work),
    "reduce_window_min": Rule("window", _reduce_window, work=_window_work),
    "select_and_gather_add": Rule("window", _select_and_gather_add, work=_window_work),
    "select_and_scatter_add": Rule("window", _select_and_scatter_add, work=_input_work),
}
