"""Normalisation layers: entries of one group couple through their mean and variance; scale and shift go by channel."""

from __future__ import annotations

import numpy as np

from ....graph import Pattern, dependence
from ...rule import Rule, reverse_only
from ..call import Call

Local = dict[tuple[int, int], Pattern]


def _layer_norm(call: Call) -> Local:
    shape = call.inputs[0]
    tail = len(call.params["normalized_shape"])
    lead = list(range(len(shape) - tail))
    return _normalised(call, lead, list(range(len(shape) - tail, len(shape))))


def _normalised(call: Call, lead: list[int], scaled: list[int]) -> Local:
    """Groups agree on the axes `lead`; weight and bias lie along the axes `scaled`; the rest are statistics."""
    x = call.at("input")
    assert x is not None
    local: Local = {}
    if call.active[x]:
        for k, out in enumerate(call.outputs):
            local[k, x] = _by_group(out, call.inputs[x], lead)
    for name in ("weight", "bias"):
        i = call.at(name)
        if i is not None and call.active[i]:
            local[0, i] = dependence.by_axes(call.out, scaled, call.inputs[i], range(len(call.inputs[i])))
    return local


def _by_group(out: tuple[int, ...], shape: tuple[int, ...], lead: list[int]) -> Pattern:
    """The normalised values have the input's shape, the statistics one entry for each group."""
    if out == shape:
        return dependence.by_axes(out, lead, shape, lead)
    groups = dependence.group_numbers(shape, lead)
    if dependence.size_of(out) != int(groups.max(initial=-1)) + 1:
        return dependence.full(out, shape)
    return Pattern.grouped(np.arange(dependence.size_of(out)), groups, dependence.size_of(out))


def _batch_norm(call: Call) -> Local:
    shape = call.inputs[0]
    training = call.params.get("training", call.params.get("train"))
    local = _normalised(call, [1], [1])
    if not training:
        for i in range(len(call.inputs)):
            local.pop((1, i), None)
            local.pop((2, i), None)
        if call.active[0]:
            local[0, 0] = dependence.elementwise(call.out, shape)
        for name in ("running_mean", "running_var"):
            i = call.at(name) or 0
            if call.at(name) is not None and call.active[i]:
                local[0, i] = dependence.by_axes(call.out, [1], call.inputs[i], [0])
    return local


def _group_norm(call: Call) -> Local:
    """Input (N, C, *): the channels fall into groups, each normalised with all its places."""
    shape, groups = call.inputs[0], call.params["group"]
    channel = dependence.group_numbers(shape, [1])
    number = dependence.group_numbers(shape, [0]) * groups + channel // (shape[1] // groups)
    local: Local = {}
    if call.active[0]:
        count = shape[0] * groups
        local[0, 0] = Pattern.grouped(number, number, count)
        for k in (1, 2):
            local[k, 0] = Pattern.grouped(np.arange(count), number, count)
    for name in ("weight", "bias"):
        i = call.at(name)
        if i is not None and call.active[i]:
            local[0, i] = Pattern.grouped(channel, np.arange(shape[1]), shape[1])
    return local


def _weight_norm(call: Call) -> Local:
    """g · v / ‖v‖, the norm over all axes but `dim`."""
    v, g = call.inputs
    axis = call.params["dim"] % len(v)
    local: Local = {}
    if call.active[0]:
        local[0, 0] = dependence.by_axes(v, [axis], v, [axis])
        local[1, 0] = Pattern.grouped(np.arange(v[axis]), dependence.group_numbers(v, [axis]), v[axis])
    if call.active[1]:
        local[0, 1] = Pattern.grouped(dependence.group_numbers(v, [axis]), np.arange(v[axis]), v[axis])
    return local


def _evaluating(call: Call) -> bool:
    training = call.params.get("training", call.params.get("train"))
    return not training and call.varying[0] and not any(call.varying[1:])


def _work(call: Call) -> float:
    return 5.0 * dependence.size_of(call.inputs[0])


RULES: dict[str, Rule] = {
    "native_layer_norm": Rule("grouped coupling", _layer_norm, work=_work),
    "native_group_norm": Rule("grouped coupling", _group_norm, work=_work),
    "native_batch_norm": Rule("grouped coupling", _batch_norm, affine=_evaluating, work=_work),
    "_weight_norm_interface": Rule("grouped coupling", _weight_norm, work=_work, modes=reverse_only),
}
