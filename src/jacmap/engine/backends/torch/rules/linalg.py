"""Factorisations, solves, transforms: full inside each matrix (or along the transformed axes), batch by batch."""

from __future__ import annotations

import numpy as np

from ....graph import Pattern, dependence
from ...rule import Rule, always, reverse_only
from ..call import Call
from .reductions import axes_of

Local = dict[tuple[int, int], Pattern]


def _by_batch(call: Call) -> Local:
    """Inside a batch element everything reads everything; the batches of the operands broadcast."""
    vector = _vector_sides(call)
    cores = [1 if i == vector else 2 for i in range(len(call.inputs))]
    batches = [shape[: len(shape) - core] for shape, core in zip(call.inputs, cores, strict=True)]
    batch = np.broadcast_shapes(*batches)
    local: Local = {}
    for k, out in enumerate(call.outputs):
        if out[: len(batch)] != batch:
            local |= {(k, i): dependence.full(out, s) for i, s in enumerate(call.inputs) if call.active[i]}
            continue
        inner = dependence.size_of(out[len(batch) :])
        for i, shape in enumerate(call.inputs):
            if call.active[i]:
                mine = np.broadcast_to(dependence.row_numbers(batches[i]), batch).ravel()
                core = dependence.size_of(shape[len(batches[i]) :])
                count = dependence.size_of(batches[i])
                local[k, i] = Pattern.grouped(np.repeat(mine, inner), np.repeat(np.arange(count), core), count)
    return local


def _vector_sides(call: Call) -> int:
    """The number of the right-hand side where it is a vector (torch.linalg.solve), else -1."""
    if call.name != "_linalg_solve_ex":
        return -1
    a, b = call.inputs
    return 1 if len(b) == 1 or (len(b) == len(a) - 1 and b == a[:-1]) else -1


def _fft(call: Call) -> Local:
    shape = call.inputs[0]
    axes = axes_of(call, len(shape))
    kept = [a for a in range(len(shape)) if a not in axes]
    return {(0, 0): dependence.by_axes(call.out, kept, shape, kept)}


def _solves(call: Call) -> bool:
    """Affine in the right-hand side alone."""
    side = {"linalg_solve_triangular": 1, "_linalg_solve_ex": 1, "triangular_solve": 0, "cholesky_solve": 0,
            "linalg_lu_solve": 2}[call.name]  # fmt: skip
    return not any(v for i, v in enumerate(call.varying) if i != side)


def _cubic(call: Call) -> float:
    shape = call.inputs[0]
    return float(dependence.size_of(call.inputs[-1]) * (shape[-1] if shape else 1) * 4)


def _fft_work(call: Call) -> float:
    size = dependence.size_of(call.out)
    return 5.0 * size * np.log2(max(2, size))


_FACTORISATIONS = """
linalg_cholesky_ex cholesky_inverse linalg_inv_ex linalg_qr _linalg_eigh linalg_eig _linalg_svd _linalg_det
_linalg_slogdet linalg_lu_factor_ex linalg_lu lu_unpack linalg_matrix_exp linalg_householder_product
""".split()
_SOLVES = "linalg_solve_triangular _linalg_solve_ex triangular_solve cholesky_solve linalg_lu_solve".split()

RULES: dict[str, Rule] = {
    **{name: Rule("block full", _by_batch, work=_cubic, exact=False) for name in _FACTORISATIONS},
    "cholesky": Rule("block full", _by_batch, work=_cubic, exact=False, modes=reverse_only),
    **{name: Rule("block full", _by_batch, affine=_solves, work=_cubic, exact=False) for name in _SOLVES},
    **{
        name: Rule("block full", _fft, affine=always, work=_fft_work, exact=False)
        for name in ("_fft_r2c", "_fft_c2r", "_fft_c2c")
    },
}
