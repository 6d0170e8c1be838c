"""The table: JAX primitive → what is known of it beyond its pattern. An operation without a row gives no hints."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ....graph import Graph, Pattern, dependence
from ....graph.hints import NOTHING, Hints, Loop, Tied, Weights
from .. import compat
from ..call import Call
from ..moves import MOVES, operands, scatter_rows
from .bodies import body_graph, knowledge
from .loops import step_knowledge


def hints(call: Call) -> Hints:
    """What the operation at this call site tells."""
    return TABLE[call.name](call) if call.name in TABLE else NOTHING


# -- entries that are 1 ------------------------------------------------------------------------------------------


def _moves(call: Call) -> Hints:
    """Data that is only moved; the indices must be known, or an entry of the pattern may be 0."""
    data, index = operands(call.name, len(call.inputs))
    return Hints(unit=data) if all(call.known(i) is not None for i in index) else NOTHING


def _scatter(call: Call) -> Hints:
    indices = call.known(1)
    if indices is None:
        return NOTHING
    landed = scatter_rows(call, indices).ravel()
    landed = landed[landed >= 0]
    # Of two updates of one entry only one counts, and which one is left to the device.
    alone = call.name == "scatter-add" or np.unique(landed).size == landed.size
    return Hints(unit=(0, 2)) if alone else NOTHING


def _passes(*positions: int) -> Callable[[Call], Hints]:
    return lambda call: Hints(unit=positions)


# -- contractions ------------------------------------------------------------------------------------------------


def _dot_general(call: Call) -> Hints:
    weights = {i: _weights_of_dot(call, i) for i in (0, 1) if call.active[i]}
    return Hints(weights=weights, tied={i: _tied_of_dot(call, i) for i in weights})


def _axes_of_dot(call: Call, me: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]], list[tuple[int, int]]]:
    """(my free axis, out axis), (your axis, my axis) for batch and contraction, (your free axis, out axis)."""
    contract, batch = call.params["dimension_numbers"]
    you, count = 1 - me, len(batch[0])
    free = [[a for a in range(len(call.inputs[k])) if a not in (*contract[k], *batch[k])] for k in (0, 1)]
    first = [count, count + len(free[0])]
    mine = [(a, first[me] + k) for k, a in enumerate(free[me])]
    yours = [(a, first[you] + k) for k, a in enumerate(free[you])]
    shared = [*zip(batch[you], batch[me], strict=True), *zip(contract[you], contract[me], strict=True)]
    return mine, shared, yours


def _weights_of_dot(call: Call, me: int) -> Weights:
    you = 1 - me
    contract, batch = call.params["dimension_numbers"]
    mine, shared, yours = _axes_of_dot(call, me)
    known = call.nonzero(you)

    def mask(rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        at_out, at_in = _coordinates(rows, call.out), _coordinates(cols, call.inputs[me])
        at: list[Any] = [0] * len(call.inputs[you])
        for a, i in shared:
            at[a] = at_in[i]
        for a, o in yours:
            at[a] = at_out[o]
        found = np.zeros(call.inputs[you], bool)
        found[tuple(at) if at else ...] = rows.size > 0
        return found

    def pattern(mask: np.ndarray) -> Pattern:
        paired = [(k, a) for k, a in enumerate(batch[me])] + [(o, a) for a, o in mine]
        nonzero = mask if known is None else mask & known
        other = (call.inputs[you], nonzero, contract[you], list(zip(batch[you], batch[me], strict=True)), yours)
        return dependence.contraction(call.out, call.inputs[me], paired, contract[me], other)

    return Weights(you, mask, pattern)


def _coordinates(flat: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    return np.unravel_index(flat, shape) if shape else ()  # NumPy refuses a shape without axes


def _tied_of_dot(call: Call, me: int) -> Tied:
    """Along my free axes the same weights come again."""
    mine, _, _ = _axes_of_dot(call, me)
    return Tied(_labels(call.out, [o for _, o in mine]), _labels(call.inputs[me], [a for a, _ in mine]))


def _convolution(call: Call) -> Hints:
    """A kernel of one tap and one step everywhere is the same product of channels at every place."""
    p = call.params
    numbers = p["dimension_numbers"]
    kernel, space = call.inputs[1], range(len(call.inputs[1]) - 2)
    one_tap = all(kernel[numbers.rhs_spec[2 + k]] == 1 for k in space) and all(s == 1 for s in p["window_strides"])
    plain = all(tuple(pad) == (0, 0) for pad in p["padding"]) and all(d == 1 for d in p["lhs_dilation"])
    if not (one_tap and plain and call.active[0] and p["batch_group_count"] == 1):
        return NOTHING
    lhs, out = numbers.lhs_spec, numbers.out_spec
    rows = _labels(call.out, [out[0], *out[2:]])
    return Hints(tied={0: Tied(rows, _labels(call.inputs[0], [lhs[0], *lhs[2:]]))})


def _labels(shape: Sequence[int], without: Sequence[int]) -> np.ndarray:
    """Numbers of the entries of an array that differ only along the axes that are kept."""
    kept = [1 if a in without else extent for a, extent in enumerate(shape)]
    return np.broadcast_to(np.arange(math.prod(kept)).reshape(kept), shape).ravel()


# -- loops -------------------------------------------------------------------------------------------------------


def _scan(call: Call) -> Hints:
    def loop(active: tuple[int, ...]) -> Loop | None:
        """The loop with respect to the inputs at these positions, when all of them are carried."""
        p = call.params
        n_consts, n_carry, length = p["num_consts"], p["num_carry"], p["length"]
        if length == 0 or not active or any(not n_consts <= i < n_consts + n_carry for i in active):
            return None
        jaxpr, consts = compat.sub_jaxpr(p["jaxpr"])
        marks = [i in active for i in range(len(call.inputs))]
        stacked = {i: call.peek(i) for i in range(n_consts + n_carry, len(call.inputs)) if not call.varying[i]}
        given = knowledge(call, range(n_consts))
        differ = {i: value for i, value in stacked.items() if value is not None and not _is_key(value)}

        carry = tuple(i - n_consts for i in active)

        def body(known: dict[int, np.ndarray]) -> Graph:
            graph = body_graph(jaxpr, consts, marks, known)
            return replace(graph, outputs=tuple(graph.outputs[k] for k in carry))

        def at(t: int) -> Graph:
            return body(given | {i: value[t] for i, value in differ.items()})

        whole = body_graph(jaxpr, consts, marks, given | step_knowledge(call, n_consts + n_carry))
        graph = replace(whole, outputs=tuple(whole.outputs[k] for k in carry))
        return Loop(graph, whole.outputs, carry, length, at if differ else None)

    return Hints(loop=loop)


def _is_key(value: Any) -> bool:
    return not isinstance(getattr(value, "dtype", None), np.dtype)


TABLE: dict[str, Callable[[Call], Hints]] = {
    **{name: _moves for name in MOVES},
    "scatter": _scatter,
    "scatter-add": _scatter,
    "add": _passes(0, 1),
    "add_any": _passes(0, 1),
    "sub": _passes(0),
    "copy": _passes(0),
    "convert_element_type": _passes(0),
    "reduce_precision": _passes(0),
    "optimization_barrier": _passes(0),
    "dot_general": _dot_general,
    "conv_general_dilated": _convolution,
    "scan": _scan,
}
