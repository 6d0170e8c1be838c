"""Indexing with indices that may or may not be known when the graph is read."""

from __future__ import annotations

import numpy as np

from ....graph import Pattern, dependence
from ...rule import Rule, first_alone
from ..call import Call
from ..moves import scatter_rows
from .movement import _free, moved

Local = dict[tuple[int, int], Pattern]


def _dynamic_slice(call: Call) -> Local:
    if all(call.known(i) is not None for i in range(1, len(call.inputs))):
        return moved(call)
    # An axis sliced in full is untouched whatever the start; along the others anything may be read.
    kept = [a for a, (n, k) in enumerate(zip(call.inputs[0], call.out, strict=True)) if n == k]
    return {(0, 0): dependence.by_axes(call.out, kept, call.inputs[0], kept)} if call.active[0] else {}


def _dynamic_update_slice(call: Call) -> Local:
    if all(call.known(i) is not None for i in range(2, len(call.inputs))):
        return moved(call)
    local = {}
    if call.active[0]:
        local[0, 0] = dependence.elementwise(call.out, call.inputs[0])
    if call.active[1]:
        kept = [a for a, (n, k) in enumerate(zip(call.inputs[0], call.inputs[1], strict=True)) if n == k]
        local[0, 1] = dependence.by_axes(call.out, kept, call.inputs[1], kept)
    return local


def _gather(call: Call) -> Local:
    if not call.active[0]:
        return {}
    if call.known(1) is not None:
        return moved(call)
    numbers, shape = call.params["dimension_numbers"], call.inputs[0]
    collapsed = {*numbers.collapsed_slice_dims, *numbers.operand_batching_dims}
    kept = [d for d in range(len(shape)) if d not in collapsed]
    pairs = [
        (axis, d)
        for axis, d in zip(numbers.offset_dims, kept, strict=True)
        if d not in numbers.start_index_map or call.params["slice_sizes"][d] == shape[d]
    ]
    grid = [a for a in range(len(call.out)) if a not in numbers.offset_dims]
    pairs += [
        (grid[index_axis], d)
        for d, index_axis in zip(numbers.operand_batching_dims, numbers.start_indices_batching_dims, strict=True)
    ]
    return {(0, 0): dependence.by_axes(call.out, [o for o, _ in pairs], shape, [d for _, d in pairs])}


def _scatter(call: Call) -> Local:
    """scatter and its combining forms: entry → entry for the operand, updates land where the indices say."""
    indices = call.known(1)
    size, updates = dependence.size_of(call.inputs[0]), call.inputs[2]
    if indices is None:
        numbers = call.params["dimension_numbers"]
        collapsed = {*numbers.inserted_window_dims, *numbers.operand_batching_dims}
        kept = [d for d in range(len(call.out)) if d not in collapsed]
        pairs = [
            (d, axis)
            for d, axis in zip(kept, numbers.update_window_dims, strict=True)
            if d not in numbers.scatter_dims_to_operand_dims or call.out[d] == updates[axis]
        ]
        spread = dependence.by_axes(call.out, [d for d, _ in pairs], updates, [a for _, a in pairs])
        landed = None
    else:
        landed = scatter_rows(call, indices).ravel()
        spread = dependence.gather(landed, size).T
    local = {}
    if call.active[0]:
        local[0, 0] = dependence.elementwise(call.out, call.inputs[0])
    if call.active[2]:
        local[0, 2] = spread
    if landed is None or call.name == "scatter-add":
        return local
    if call.name == "scatter":
        return _overwritten(call, local, landed, size)
    return local


def _overwritten(call: Call, local: Local, landed: np.ndarray, size: int) -> Local:
    winner = np.full(size, -1, np.int32)
    inside = landed >= 0
    winner[landed[inside]] = np.flatnonzero(inside)
    if (0, 0) in local:
        local[0, 0] = dependence.gather(np.where(winner < 0, np.arange(size), -1), size)
    unique = np.unique(landed[inside]).size == int(inside.sum())
    if (0, 2) in local and unique:
        local[0, 2] = dependence.gather(winner, landed.size)
    return local


RULES: dict[str, Rule] = {
    "dynamic_slice": Rule("gather", _dynamic_slice, affine=first_alone, work=_free),
    "dynamic_update_slice": Rule(
        "scatter", _dynamic_update_slice, affine=lambda call: not any(call.varying[2:]), work=_free
    ),
    "gather": Rule("gather", _gather, affine=first_alone, work=_free),
    "scatter": Rule("scatter", _scatter, affine=lambda call: not call.varying[1]),
    "scatter-add": Rule("scatter", _scatter, affine=lambda call: not call.varying[1]),
    "scatter-sub": Rule("scatter", _scatter, affine=lambda call: not call.varying[1]),
    "scatter-mul": Rule("scatter", _scatter, exact=False),
    "scatter-min": Rule("scatter", _scatter),
    "scatter-max": Rule("scatter", _scatter),
}
