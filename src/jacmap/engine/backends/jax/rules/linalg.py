"""Factorisations, solves, transforms: full inside each matrix (or along the transformed axes), batch by batch."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from ....graph import Pattern, dependence
from ....graph.pattern import relation
from ..call import Call, Rule, one_varying, rest_vary

Local = dict[tuple[int, int], Pattern]


def _by_batch(call: Call) -> Local:
    """Outputs and inputs share their leading axes; inside a batch element everything reads everything."""
    lead = len(call.inputs[0]) - 2
    axes = list(range(max(lead, 0)))
    return {
        (k, i): dependence.by_axes(out, axes, inp, axes)
        for k, out in enumerate(call.outputs)
        for i, inp in enumerate(call.inputs)
        if call.active[i]
    }


def _lower(call: Call) -> Local:
    """Cholesky: L's strict upper part is zero; L[i, j] reads the leading block up to row i."""
    shape = call.out
    n, lead = shape[-1], len(shape) - 2
    row, col = np.indices((n, n))
    reads = (col <= row).ravel()[:, None] & (np.maximum(row, col).ravel()[None, :] <= row.ravel()[:, None])
    if dependence.size_of(shape) * n * n > dependence.LARGEST_LOCAL:
        return _by_batch(call)
    batch = dependence.size_of(shape[:lead])
    rows, cols = np.nonzero(reads)
    shift = np.arange(batch)[:, None] * n * n
    pairs = relation((rows + shift).ravel(), (cols + shift).ravel(), (batch * n * n, batch * n * n))
    return {(0, 0): Pattern.from_csr(pairs)}


def _triangular_solve(call: Call) -> Local:
    """a X = b (left) or X a = b: the columns (rows) of b do not mix; the triangle orders the rest."""
    p = call.params
    a, b = call.inputs
    lead = len(b) - 2
    batch = list(range(lead))
    side = lead + 1 if p["left_side"] else lead  # the axis of b that is only carried along
    solved = lead if p["left_side"] else lead + 1
    local = {}
    if call.active[1]:
        # Row i of X reads rows j ≤ i of b for a lower triangle; the side and a transpose flip the order.
        lower = p["lower"] ^ bool(p["transpose_a"]) ^ (not p["left_side"])
        n = b[solved]
        triangle = np.tril(np.ones((n, n), bool)) if lower else np.triu(np.ones((n, n), bool))
        paired = [(k, k) for k in (*batch, side)]
        if n * dependence.size_of(b) <= dependence.LARGEST_LOCAL:
            local[0, 1] = dependence.windows(call.out, b, {solved: csr_array(triangle)}, paired)
        else:
            local[0, 1] = dependence.axis_coupling(b, [solved])
    if call.active[0]:
        local[0, 0] = dependence.by_axes(call.out, batch, a, batch)
    return local


def _fft(call: Call) -> Local:
    shape = call.inputs[0]
    kept = list(range(len(shape) - len(call.params["fft_lengths"])))
    return {(0, 0): dependence.by_axes(call.out, kept, shape, kept)}


def _tridiagonal_solve(call: Call) -> Local:
    dl, b = call.inputs[0], call.inputs[3]
    lead = list(range(len(dl) - 1))
    local = {(0, i): dependence.by_axes(call.out, lead, dl, lead) for i in range(3) if call.active[i]}
    if call.active[3]:
        kept = [*lead, len(b) - 1]
        local[0, 3] = dependence.by_axes(call.out, kept, b, kept)
    return local


def _cubic(call: Call) -> float:
    shape = call.inputs[0]
    n = shape[-1] if shape else 1
    return float(dependence.size_of(call.inputs[-1]) * n * 4)


def _fft_work(call: Call) -> float:
    size = dependence.size_of(call.out)
    return 5.0 * size * np.log2(max(2, size))


_FACTORISATIONS = "lu lu_solve qr svd eig eigh schur hessenberg householder_product tridiagonal lu_pivots_to_permutation geqrf geqp3 ormqr".split()

RULES: dict[str, Rule] = {
    **{name: Rule("block full", _by_batch, work=_cubic, exact=False) for name in _FACTORISATIONS},
    "cholesky": Rule("block full", _lower, work=_cubic),
    "triangular_solve": Rule("block full", _triangular_solve, affine=rest_vary, work=_cubic, exact=False),
    "tridiagonal_solve": Rule("block full", _tridiagonal_solve, affine=lambda call: not any(call.varying[:3])),
    "fft": Rule("block full", _fft, affine=one_varying, work=_fft_work),
}
