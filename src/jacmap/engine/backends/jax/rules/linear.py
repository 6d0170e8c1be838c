"""Contractions: matrix products, convolutions, sparse products; the known zeros of one side thin the other."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from ....graph import Pattern, dependence
from ....graph.pattern import relation
from ..call import Call, Rule, one_varying

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
        # Output channel o reads the kernels of o; at the border it reads fewer taps (over-estimated).
        local[0, 1] = dependence.by_axes(call.out, [out[1]], kernel, [rhs[0]])
    return local


def _with_respect_to_image(
    call: Call, shape: tuple[int, ...], kernel: tuple[int, ...], lhs: tuple[int, ...], rhs: tuple[int, ...], out: tuple[int, ...]
) -> Pattern:
    p = call.params
    features, batches = p["feature_group_count"], p["batch_group_count"]
    space = range(len(shape) - 2)
    taps = call.known(1)
    steps = [
        _taps_along(call.out[out[2 + k]], shape[lhs[2 + k]], kernel[rhs[2 + k]], p, k) for k in space
    ]
    if taps is None or (taps != 0).all():
        used = [(tuple(slice(None) for _ in space), None)]
    else:
        # One term per tap position that is not all zero, with its own channel relation.
        weights = np.transpose(taps != 0, (*rhs[2:], rhs[0], rhs[1]))
        used = [((*at,), weights[tuple(at)]) for at in np.argwhere(weights.any(axis=(-1, -2)))]
        if len(used) * dependence.size_of(call.out) * kernel[rhs[1]] > dependence.LARGEST_LOCAL:
            used = [(tuple(slice(None) for _ in space), None)]
    total = None
    for at, mask in used:
        cores = {}
        for k in space:
            union = steps[k][0] * False
            chosen = steps[k] if isinstance(at[k], slice) else [steps[k][int(at[k])]]
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


def _taps_along(out: int, inp: int, window: int, p: dict, k: int) -> list[csr_array]:  # type: ignore[type-arg]
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


def _sparse_product(call: Call) -> Local:
    """BCOO (values, indices) times a dense operand; the sparsity is read from the indices when they are known."""
    (contract_l, contract_r), (batch_l, batch_r) = call.params["dimension_numbers"]
    info = call.params["lhs_spinfo"]
    indices, dense = call.known(1), call.inputs[2]
    plain = not batch_l and not batch_r and indices is not None and indices.shape[-1] == len(info.shape) and indices.ndim == 2
    if not plain:
        return {(0, i): dependence.full(call.out, call.inputs[i]) for i in (0, 2) if call.active[i]}
    keep = (indices < np.asarray(info.shape)).all(axis=1)
    free_l = [a for a in range(len(info.shape)) if a not in contract_l]
    free_r = [a for a in range(len(dense)) if a not in contract_r]
    out_row = np.ravel_multi_index([indices[keep][:, a] for a in free_l], [info.shape[a] for a in free_l]) if free_l else np.zeros(int(keep.sum()), int)
    columns = dependence.size_of(tuple(dense[a] for a in free_r))
    out = out_row[:, None] * columns + np.arange(columns)
    size = dependence.size_of(call.out)
    local = {}
    if call.active[2]:
        inp = np.zeros((int(keep.sum()), columns), np.int64)
        free = np.indices([dense[a] for a in free_r]).reshape(len(free_r), -1) if free_r else np.zeros((0, 1), int)
        stride = np.cumprod([1, *dense[:0:-1]])[::-1]
        for a_l, a_r in zip(contract_l, contract_r, strict=True):
            inp += (indices[keep][:, a_l] * stride[a_r])[:, None]
        for row, a in enumerate(free_r):
            inp += free[row] * stride[a]
        local[0, 2] = _pairs(out, inp, (size, dependence.size_of(dense)))
    if call.active[0]:
        entry = np.broadcast_to(np.flatnonzero(keep)[:, None], out.shape)
        local[0, 0] = _pairs(out, entry, (size, dependence.size_of(call.inputs[0])))
    return local


def _pairs(rows: np.ndarray, cols: np.ndarray, shape: tuple[int, int]) -> Pattern:
    return Pattern.from_csr(relation(rows.ravel(), cols.ravel(), shape))


RULES: dict[str, Rule] = {
    "dot_general": Rule("contraction", _dot_general, affine=one_varying, work=_dot_work),
    "conv_general_dilated": Rule(
        "windowed contraction", _convolution, affine=one_varying, work=_convolution_work, exact=False
    ),
    "bcoo_dot_general": Rule("contraction", _sparse_product, affine=one_varying),
}
