"""Implicit solves: the derivative rule of `custom_linear_solve`."""

from __future__ import annotations

import numpy as np

from ....graph import dependence, jacobian_pattern
from ...rule import Rule
from .. import compat
from ..call import Call
from .bodies import Local, body_graph, inexact, knowledge


def _linear_solve(call: Call) -> Local:
    """x = A⁻¹ b with A given by its product: dx = A⁻¹ (db − dA x), and A⁻¹ couples A's connected components."""
    lengths, jaxprs = call.params["const_lengths"], call.params["jaxprs"]
    n_consts = lengths.matvec
    first_b = sum(lengths)
    jaxpr, consts = compat.sub_jaxpr(jaxprs.matvec)
    active = [*call.active[:n_consts], *(inexact(v.aval) for v in jaxpr.invars[n_consts:])]
    graph = body_graph(jaxpr, consts, active, knowledge(call, range(n_consts)))
    whole = jacobian_pattern(graph)
    names = [i for i in range(n_consts) if call.active[i]]
    widths = [dependence.size_of(call.inputs[i]) for i in names]
    at = [0, *np.cumsum(widths).tolist()]
    inverse = dependence.connected(whole.columns(at[-1], whole.shape[1]).tocsr())
    blocks = {i: inverse @ whole.columns(at[j], at[j + 1]) for j, i in enumerate(names)}
    col = 0
    for i in range(first_b, len(call.inputs)):
        width = dependence.size_of(call.inputs[i])
        if call.active[i]:
            blocks[i] = inverse.columns(col, col + width)
        col += width
    local: Local = {}
    row = 0
    for k, shape in enumerate(call.outputs):
        height = dependence.size_of(shape)
        rows = np.arange(row, row + height, dtype=np.int32)
        row += height
        local.update({(k, i): block.take(rows) for i, block in blocks.items()})
    return local


def _linear_solve_modes(call: Call) -> tuple[bool, bool]:
    return True, call.params["jaxprs"].transpose_solve is not None


def _linear_solve_is_affine(call: Call) -> bool:
    return not any(call.varying[: call.params["const_lengths"].matvec])


RULES: dict[str, Rule] = {
    "custom_linear_solve": Rule(
        "implicit solve",
        _linear_solve,
        affine=_linear_solve_is_affine,
        modes=_linear_solve_modes,
        exact=False,
    ),
}
