"""Contractions: matrix products, convolutions, sparse products; the known zeros of one side thin the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from ....graph import Pattern, dependence
from ...rule import Rule, every_pair, neither_mode, one_varying
from ..call import Call

Local = dict[tuple[int, int], Pattern]


def _dot_general(call: Call) -> Local:
    (contract_l, contract_r), (batch_l, batch_r) = call.params["dimension_numbers"]
    shapes = call.inputs
    free_l = [a for a in range(len(shapes[0])) if a not in (*contract_l, *batch_l)]
    free_r = [a for a in range(len(shapes[1])) if a not in (*contract_r, *batch_r)]
    batch = range(len(batch_l))
    at_l = list(zip(range(len(batch), len(batch) + len(free_l)), free_l, strict=True))
    at_r = list(zip(range(len(batch) + len(free_l), len(call.out)), free_r, strict=True))
    sides = [
        (0, 1, list(zip(batch, batch_l, strict=True)) + at_l, contract_l, contract_r, batch_r, batch_l, at_r),
        (1, 0, list(zip(batch, batch_r, strict=True)) + at_r, contract_r, contract_l, batch_l, batch_r, at_l),
    ]
    local = {}
    for me, you, paired, contracted, your_contracted, your_batch, my_batch, your_free in sides:
        if call.active[me]:
            mask = call.nonzero(you)
            other = None
            if mask is not None:
                batch_pairs = list(zip(your_batch, my_batch, strict=True))
                other = (shapes[you], mask, your_contracted, batch_pairs, [(a, o) for o, a in your_free])
            local[0, me] = dependence.contraction(call.out, shapes[me], paired, contracted, other)
    return local


def _dot_work(call: Call) -> float:
    (contract_l, _), _ = call.params["dimension_numbers"]
    depth = dependence.size_of(tuple(call.inputs[0][a] for a in contract_l))
    return 2.0 * dependence.size_of(call.out) * depth


def _convolution(call: Call) -> Local:
    """Windows over space, groups over channels; kernel taps known to be zero are left out."""
    p = call.params
    numbers = p["dimension_numbers"]
    lhs, rhs, out = numbers.lhs_spec, numbers.rhs_spec, numbers.out_spec
    shape, kernel = call.inputs
    local = {}
    if call.active[0]:
        local[0, 0] = _with_respect_to_image(call, shape, kernel, lhs, rhs, out)
    if call.active[1]:
        # Output channel o reads the kernels of o, those taps that lie inside the image.
        cores, partner = {}, {}
        for k in range(len(shape) - 2):
            steps = _taps_along(call.out[out[2 + k]], shape[lhs[2 + k]], kernel[rhs[2 + k]], p, k)
            used = np.stack([np.diff(step.indptr) > 0 for step in steps], axis=1)
            cores[out[2 + k]], partner[out[2 + k]] = csr_array(used), rhs[2 + k]
        local[0, 1] = dependence.windows(call.out, kernel, cores, [(out[1], rhs[0])], partner)
    return local


def _with_respect_to_image(
    call: Call,
    shape: tuple[int, ...],
    kernel: tuple[int, ...],
    lhs: tuple[int, ...],
    rhs: tuple[int, ...],
    out: tuple[int, ...],
) -> Pattern:
    p = call.params
    features, batches = p["feature_group_count"], p["batch_group_count"]
    space = range(len(shape) - 2)
    nonzero = call.nonzero(1)
    steps = [_taps_along(call.out[out[2 + k]], shape[lhs[2 + k]], kernel[rhs[2 + k]], p, k) for k in space]
    everywhere: tuple[Any, ...] = tuple(slice(None) for _ in space)
    used: list[tuple[tuple[Any, ...], np.ndarray | None]] = [(everywhere, None)]
    if nonzero is not None:
        # One term per tap position that is not all zero, with its own channel relation.
        weights = np.transpose(nonzero, (*rhs[2:], rhs[0], rhs[1]))
        taps = [tuple(at) for at in np.argwhere(weights.any(axis=(-1, -2))).tolist()]
        if len(taps) * dependence.size_of(call.out) * kernel[rhs[1]] <= dependence.LARGEST_LOCAL:
            used = [(at, weights[at]) for at in taps]
    total = None
    for at, mask in used:
        cores = {}
        for k in space:
            union = steps[k][0] * False
            chosen = steps[k] if isinstance(at[k], slice) else [steps[k][at[k]]]
            for step in chosen:
                union = union + step
            union.eliminate_zeros()
            cores[out[2 + k]] = csr_array(union, dtype=bool)
        if features > 1 or mask is not None:  # else the channels couple fully, and grouping says it for free
            cores[out[1]] = _channels(call.out[out[1]], shape[lhs[1]], features, mask)
        paired = [(out[0], lhs[0])] if batches == 1 else []
        partner = {out[2 + k]: lhs[2 + k] for k in space} | {out[1]: lhs[1]}
        found = dependence.windows(call.out, shape, cores, paired, partner)
        total = found if total is None else total | found
    return Pattern.empty((dependence.size_of(call.out), dependence.size_of(shape))) if total is None else total


def _taps_along(out: int, inp: int, window: int, p: Mapping[str, Any], k: int) -> list[csr_array]:
    """One relation (out × in) per tap of the kernel along a spatial axis."""
    low = p["padding"][k][0]
    dilation = p["rhs_dilation"][k]
    return [
        dependence.sliding(out, inp, 1, p["window_strides"][k], low - t * dilation, p["lhs_dilation"][k], 1)
        for t in range(window)
    ]


def _channels(outs: int, ins: int, groups: int, mask: np.ndarray | None) -> csr_array:
    if mask is None:
        mask = np.ones((outs, ins // groups), bool)
    rows, cols = np.nonzero(mask)
    group = rows // (outs // groups)
    return csr_array((np.ones(rows.size, bool), (rows, cols + group * (ins // groups))), shape=(outs, ins))


def _convolution_work(call: Call) -> float:
    rhs = call.params["dimension_numbers"].rhs_spec
    kernel = call.inputs[1]
    return 2.0 * dependence.size_of(call.out) * dependence.size_of(kernel) / kernel[rhs[0]]


RULES: dict[str, Rule] = {
    "dot_general": Rule("contraction", _dot_general, affine=one_varying, work=_dot_work),
    "conv_general_dilated": Rule("windowed contraction", _convolution, affine=one_varying, work=_convolution_work),
    **{
        name: Rule("contraction", every_pair, affine=one_varying, exact=False, modes=neither_mode)
        for name in ("ragged_dot_general", "scaled_dot")
    },
}
