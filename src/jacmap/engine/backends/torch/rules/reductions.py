"""Reductions, and operations that couple entries along an axis."""

from __future__ import annotations

import numpy as np

from ....graph import Pattern, dependence
from ...rule import Rule, always, first_alone
from ..call import Call

Local = dict[tuple[int, int], Pattern]


def axes_of(call: Call, rank: int, *names: str) -> list[int]:
    """The axes that the call names as `dim`; none named: all."""
    dim = next((call.params[n] for n in (*names, "dim") if call.params.get(n) is not None), None)
    if dim is None or dim == []:
        return list(range(rank))
    dims = dim if isinstance(dim, (list, tuple)) else [dim]
    return [d % rank for d in dims] if rank else []


def _reduce(call: Call) -> Local:
    if not call.active[0]:
        return {}
    shape = call.inputs[0]
    found = dependence.reduction(shape, axes_of(call, len(shape)))
    return {(k, 0): found for k, out in enumerate(call.outputs) if dependence.size_of(out) == found.shape[0]}


def _norm(call: Call) -> Local:
    return {} if call.params.get("ord", call.params.get("p")) == 0 else _reduce(call)


def _coupled(call: Call) -> Local:
    """Every output reads all along the axis, and may have another extent there."""
    shape = call.inputs[0]
    axes = axes_of(call, len(shape))
    kept = [a for a in range(len(shape)) if a not in axes]
    return {
        (k, i): dependence.by_axes(out, kept, call.inputs[i], kept)
        for k, out in enumerate(call.outputs)
        for i in range(len(call.inputs))
        if call.active[i]
    }


def _softmax(call: Call) -> Local:
    """∂pᵢ/∂xⱼ = pᵢ (δᵢⱼ − pⱼ): entries known to be zero (their score is −∞) pass nothing, neither in nor out.

    The logarithm has ∂/∂xⱼ = δᵢⱼ − pⱼ: there such an entry still reads the others, and itself.
    """
    local = _coupled(call)
    score = call.peek(0) if (0, 0) in local else None
    if score is None:
        return local
    masked = score == -float("inf")
    # Where a whole row is masked the result is NaN.
    dead = (masked & ~masked.all(call.params["dim"], keepdim=True)).cpu().numpy().ravel()
    if not dead.any():
        return local
    coupled, size = local[0, 0], dead.size
    cols = dependence.row_numbers((size,)) if coupled.cols is None else coupled.cols
    rows = dependence.row_numbers((size,)) if coupled.rows is None else coupled.rows
    if call.name == "_log_softmax":
        reading = Pattern.grouped(rows, _without(cols, dead), coupled.core_shape[0])
        return {(0, 0): reading | dependence.gather(np.where(dead, np.arange(size), -1), size)}
    return {(0, 0): Pattern.grouped(_without(rows, dead), _without(cols, dead), coupled.core_shape[0])}


def _without(index: np.ndarray, dead: np.ndarray) -> np.ndarray:
    return np.where(dead, np.int32(-1), index)


def _cumulative(call: Call) -> Local:
    shape = call.inputs[0]
    if not shape:
        return {(0, 0): dependence.elementwise(shape, shape)}
    return {(0, 0): dependence.cumulative(shape, call.params["dim"] % len(shape), False)}


def _trace(call: Call) -> Local:
    rows, cols = call.inputs[0]
    diagonal = [k * cols + k for k in range(min(rows, cols))]
    return {(0, 0): Pattern.full((1, len(diagonal))) @ dependence.gather(np.array(diagonal), rows * cols)}


def _each_slice(call: Call) -> Local:
    """Each slice along `dim` is scaled by its own norm."""
    axis = call.params["dim"] % len(call.inputs[0])
    return {(0, 0): dependence.by_axes(call.out, [axis], call.inputs[0], [axis])}


def _negative_log_likelihood(call: Call) -> Local:
    """Scores (N, C, …) → losses (N, …), or their sum."""
    scores, out = call.inputs[0], call.out
    if not call.active[0]:
        return {}
    if len(out) != len(scores) - 1 or len(scores) == 1:
        return {(0, 0): dependence.full(out, scores)}
    kept = [0, *range(2, len(scores))]
    return {(0, 0): dependence.by_axes(out, range(len(out)), scores, kept)}


def _input_work(call: Call) -> float:
    return float(dependence.size_of(call.inputs[0]))


def _exponential(call: Call) -> float:
    return 10.0 * dependence.size_of(call.inputs[0])


_COUPLED = ("sort", "topk")

RULES: dict[str, Rule] = {
    **{name: Rule("reduction", _reduce, affine=always, work=_input_work) for name in ("sum", "mean", "nansum")},
    **{
        name: Rule("reduction", _reduce, work=_input_work)
        for name in """
        prod amax amin max min aminmax median nanmedian mode kthvalue var std var_mean std_mean
        """.split()
    },
    "logsumexp": Rule("reduction", _reduce, work=_exponential),
    **{name: Rule("reduction", _norm, work=_input_work) for name in ("norm", "linalg_vector_norm")},
    **{
        name: Rule("reduction", _negative_log_likelihood, affine=first_alone, exact=False)
        for name in ("nll_loss_forward", "nll_loss2d_forward")
    },
    "trace": Rule("reduction", _trace, affine=always),
    "cumsum": Rule("axis coupling", _cumulative, affine=always),
    **{name: Rule("axis coupling", _cumulative) for name in "cumprod cummax cummin logcumsumexp".split()},
    **{name: Rule("axis coupling", _coupled) for name in _COUPLED},
    "renorm": Rule("axis coupling", _each_slice),
    **{
        name: Rule("axis coupling", _softmax, work=_exponential)
        for name in ("_softmax", "_log_softmax", "_safe_softmax")
    },
    **{
        name: Rule("axis coupling", _coupled, affine=first_alone, exact=False)
        for name in ("_softmax_backward_data", "_log_softmax_backward_data")
    },
}
