"""Factorisations, solves, transforms: full inside each matrix (or along the transformed axes), batch by batch."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from ....graph import Pattern, dependence
from ...rule import Rule, neither_mode, one_varying
from ..call import Call

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


def _cholesky(call: Call) -> Local:
    """L[i, j] reads A[:i, :j], ends included: what is structurally nonzero in JAX's derivative rule.

    Mathematically rows between j and i cancel; in floating point they leave rounding errors behind.
    """
    n, lead = call.out[-1], len(call.out) - 2
    row, col = np.indices((n, n)).reshape(2, -1)
    i, j = row[:, None], col[:, None]
    reads = csr_array((j <= i) & (row <= i) & (col <= j))
    return {(0, 0): _in_each(call, 0, list(range(lead + 2)), reads)}


def _in_each(call: Call, i: int, axes: list[int], reads: csr_array) -> Pattern:
    """`reads` (coordinates along the last of `axes` × one matrix of input i) in every element of the batch."""
    lead = len(call.inputs[i]) - 2
    batch = dependence.size_of(call.inputs[i][:lead])
    if batch * reads.nnz > dependence.LARGEST_LOCAL:
        return dependence.by_axes(call.out, range(lead), call.inputs[i], range(lead))
    shape = (dependence.size_of(call.out), dependence.size_of(call.inputs[i]))
    every = dependence.repeated(dependence.eye(batch), Pattern.from_csr(reads))
    return Pattern(shape, dependence.group_numbers(call.out, axes), every.core, None)


def _triangular_solve(call: Call) -> Local:
    """a X = b (left) or X a = b: the columns (rows) of b do not mix; the triangle orders the rest."""
    p = call.params
    a, b = call.inputs
    lead = len(b) - 2
    batch = list(range(lead))
    flipped = bool(p["transpose_a"]) ^ (not p["left_side"])
    side = lead + 1 if p["left_side"] else lead  # the axis of b that is only carried along
    solved = lead if p["left_side"] else lead + 1
    # Solved from the top for a lower triangle: entry i of X reads entries j ≤ i of b and rows j ≤ i of a.
    n = b[solved]
    lower = np.tril(np.ones((n, n), bool))
    earlier = lower if p["lower"] ^ flipped else lower.T
    local = {}
    if call.active[1]:
        paired = [(k, k) for k in (*batch, side)]
        if n * dependence.size_of(b) <= dependence.LARGEST_LOCAL:
            local[0, 1] = dependence.windows(call.out, b, {solved: csr_array(earlier)}, paired)
        else:
            local[0, 1] = dependence.axis_coupling(b, [solved])
    if call.active[0] and n**3 > dependence.LARGEST_LOCAL:
        local[0, 0] = dependence.by_axes(call.out, batch, a, batch)
    elif call.active[0]:
        triangle = earlier & ~np.eye(n, dtype=bool) if p["unit_diagonal"] else earlier
        reads = earlier[:, :, None] & triangle
        reads = reads.transpose(0, 2, 1) if flipped else reads
        local[0, 0] = _in_each(call, 0, [*batch, solved], csr_array(reads.reshape(n, n * n)))
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


# JAX differentiates the first; the others are the raw pieces it builds them from, and it refuses their derivative.
_FACTORISATIONS = "lu qr svd eig eigh".split()
_PIECES = ("schur hessenberg householder_product tridiagonal ormqr cholesky_update symmetric_product").split()

RULES: dict[str, Rule] = {
    **{name: Rule("block full", _by_batch, work=_cubic, exact=False) for name in _FACTORISATIONS},
    **{name: Rule("block full", _by_batch, work=_cubic, exact=False, modes=neither_mode) for name in _PIECES},
    "cholesky": Rule("block full", _cholesky, work=_cubic, exact=False),
    "triangular_solve": Rule("block full", _triangular_solve, affine=lambda call: not call.varying[0], work=_cubic),
    "tridiagonal_solve": Rule("block full", _tridiagonal_solve, affine=lambda call: not any(call.varying[:3])),
    "fft": Rule("block full", _fft, affine=one_varying, work=_fft_work),
}
