"""The table: JAX primitive → which pairs of its input entries have a second derivative.

What is not in the table couples all that an output entry reads, which is right for every operation whose derivative is
that of its value. The truth is what AD returns: `max` and its like are linear piece by piece, and so they bend nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from ....graph import Pattern, dependence
from ....graph.coupling import DEFAULT, NONE, Coupling, Curvature
from ....graph.pattern import relation
from ...rule import entrywise, every_pair
from .. import compat
from ..call import Call
from .bodies import body_graph, inexact, knowledge, summary
from .custom import jvp_rule, of_moving, traced_rule, vjp_rule

Local = Mapping[tuple[int, int], Pattern]
Bends = Callable[[Call, Local], Curvature]


def curvature(call: Call, local: Local) -> Curvature:
    """The couplings of an operation at one call site; `local` are its local patterns."""
    if call.name in TABLE:
        return TABLE[call.name](call, local)
    return _with_everything(call) if _holds_foreign_rule(call.eqn) else DEFAULT


# -- products ----------------------------------------------------------------------------------------------------


def _linear(call: Call, local: Local) -> Curvature:
    """Linear in what a derivative flows through, piece by piece: masks, choices and indices have no derivative."""
    return NONE


def _abs(call: Call, local: Local) -> Curvature:
    return DEFAULT if np.issubdtype(call.eqn.invars[0].aval.dtype, np.complexfloating) else NONE


def _mul(call: Call, local: Local) -> Curvature:
    # Not the local patterns: those leave out factors known to be zero, and a zero has a second derivative, too.
    return _paired(entrywise(call), [(0, 1)])


def _div(call: Call, local: Local) -> Curvature:
    return _paired(entrywise(call), [(0, 1), (1, 1)])


def _rows(*pairs: tuple[int, int]) -> Bends:
    """Of all that an output entry reads, only these pairs of operands meet."""
    return lambda call, local: _paired(local, pairs)


def _paired(local: Local, pairs: Any) -> Curvature:
    outputs = sorted({k for k, _ in local})
    found = [
        Coupling(i, j, local[k, i], local[k, j], k)
        for k in outputs
        for i, j in pairs
        if (k, i) in local and (k, j) in local
    ]
    return Curvature(tuple(found))


def _linear_solve(call: Call, local: Local) -> Curvature:
    """x = A⁻¹ b: the constants of A meet each other and b; b meets nothing of its own."""
    consts = range(call.params["const_lengths"].matvec)
    if _holds_foreign_rule(call.eqn):
        return _with_everything(call)
    return _paired(local, [(i, j) for i in consts for j in range(len(call.inputs)) if j not in consts or j >= i])


def _dot_general(call: Call, local: Local) -> Curvature:
    """An entry of one side meets those of the other with the same contracted and batch coordinates."""
    if not all(call.active):
        return NONE
    (contract_l, contract_r), (batch_l, batch_r) = call.params["dimension_numbers"]
    left = dependence.group_numbers(call.inputs[0], [*batch_l, *contract_l])
    right = dependence.group_numbers(call.inputs[1], [*batch_r, *contract_r])
    terms = dependence.size_of(tuple(call.inputs[0][a] for a in (*batch_l, *contract_l)))
    groups = np.arange(terms, dtype=np.int32)
    return Curvature((Coupling(0, 1, Pattern.grouped(groups, left, terms), Pattern.grouped(groups, right, terms)),))


# -- products over an axis ---------------------------------------------------------------------------------------


def _product_over_axes(call: Call, local: Local) -> Curvature:
    """Each entry meets the others of its product, not itself: here those that come before it."""
    shape, axes = call.inputs[0], call.params["axes"]
    return _with_earlier(shape, [a for a in range(len(shape)) if a not in axes])


def _running_product(call: Call, local: Local) -> Curvature:
    axis = call.params["axis"]
    return _with_earlier(call.inputs[0], [a for a in range(len(call.inputs[0])) if a != axis])


def _with_earlier(shape: tuple[int, ...], kept: list[int]) -> Curvature:
    size = dependence.size_of(shape)
    group = np.asarray(dependence.group_numbers(shape, kept))
    length = size // max(1, dependence.size_of(tuple(shape[a] for a in kept)))
    if size * length > dependence.LARGEST_LOCAL:
        return DEFAULT
    members = np.argsort(group, kind="stable").reshape(-1, length)
    later, earlier = np.tril_indices(length, -1)
    rows, cols = members[:, later].ravel(), members[:, earlier].ravel()
    before = Pattern.from_csr(relation(rows, cols, (size, size)))
    return Curvature((Coupling(0, 0, Pattern.identity(size), before),))


# -- custom derivative rules -------------------------------------------------------------------------------------
#
# AD differentiates the rule as a program: what it makes of the inputs besides the tangents is the second derivative.
# And it differentiates the value that the rule returns, which need not have the rule as its derivative: a
# straight-through `round` has the derivative 1 and a value that differentiates to 0.


def _custom_jvp(call: Call, local: Local) -> Curvature:
    bends = _reads(call, traced_rule(jvp_rule, call))
    couplings = tuple(
        Coupling(i, j, pattern, bent, k)
        for (k, i), pattern in local.items()
        for (out, j), bent in bends.items()
        if out == k
    )
    if compat.rule_of_library(call.eqn):
        return Curvature(couplings)
    return Curvature(couplings, _reads(call, traced_rule(_jvp_value, call)), symmetric=False)


def _custom_vjp(call: Call, local: Local) -> Curvature:
    which = [i for i, a in enumerate(call.active) if a]
    bends = _reads(call, traced_rule(vjp_rule, call))
    couplings = tuple(Coupling(which[a], j, Pattern.identity(bent.shape[0]), bent) for (a, j), bent in bends.items())
    return Curvature(couplings, _reads(call, traced_rule(_vjp_value, call)), symmetric=False)


def _reads(call: Call, rule: Any) -> dict[tuple[int, int], Pattern]:
    """(output of the rule, input of the call) → pattern of the derivative of the rule itself, tangents held fixed."""
    count = len(call.inputs)
    active = [*call.active, *[False] * (len(rule.in_avals) - count)]
    found = summary(body_graph(rule.jaxpr, rule.consts, active, knowledge(call, range(count))))
    names = [i for i, a in enumerate(call.active) if a]
    return {(k, names[j]): pattern for (k, j), pattern in found.items()}


def _jvp_value(eqn: Any, which: tuple[int, ...]) -> Any:
    """(primals) → the value that the forward rule returns."""

    def value(primals: list[Any]) -> list[Any]:
        moving = [primals[i] for i in which]
        zeros = [jax.numpy.zeros_like(a) for a in moving]
        return jax.jvp(of_moving(eqn, primals, which), moving, zeros)[0]

    return jax.make_jaxpr(value)([jax.ShapeDtypeStruct(a.aval.shape, a.aval.dtype) for a in eqn.invars])


def _vjp_value(eqn: Any, which: tuple[int, ...]) -> Any:
    """(primals) → the value that the reverse rule's first half returns."""

    def value(primals: list[Any]) -> list[Any]:
        return jax.vjp(of_moving(eqn, primals, which), *(primals[i] for i in which))[0]

    return jax.make_jaxpr(value)([jax.ShapeDtypeStruct(a.aval.shape, a.aval.dtype) for a in eqn.invars])


def _holds_foreign_rule(eqn: Any) -> bool:
    """Is there, in a body of this operation at any depth, a custom rule that is not JAX's own?"""
    return any(
        inner.primitive.name == "custom_vjp_call"
        or (inner.primitive.name == "custom_jvp_call" and not compat.rule_of_library(inner))
        or _holds_foreign_rule(inner)
        for body in _bodies(eqn.params.values())
        for inner in body.eqns
    )


def _bodies(params: Any) -> list[Any]:
    found = []
    for value in params:
        if hasattr(value, "eqns") or hasattr(value, "jaxpr"):
            found.append(compat.sub_jaxpr(value)[0])
        elif isinstance(value, (tuple, list)):
            found += _bodies(value)
    return found


def _with_everything(call: Call) -> Curvature:
    """A loop or branch around such a rule: everything meets everything."""
    active = [i for i, a in enumerate(call.active) if a]
    size = {i: dependence.size_of(call.inputs[i]) for i in active}
    couplings = tuple(
        Coupling(i, j, Pattern.full((1, size[i])), Pattern.full((1, size[j]))) for i in active for j in active
    )
    value = {pair: p for pair, p in every_pair(call).items() if inexact(call.eqn.outvars[pair[0]].aval)}
    return Curvature(couplings, value, symmetric=False)


_PIECEWISE_LINEAR = """
max min clamp rem select_n sort top_k approx_top_k cummax cummin reduce_max reduce_min reduce_window_max
reduce_window_min select_and_gather_add select_and_scatter_add gather dynamic_slice dynamic_update_slice scatter
scatter-add scatter-sub scatter-min scatter-max
""".split()

TABLE: dict[str, Bends] = {
    **{name: _linear for name in _PIECEWISE_LINEAR},
    "abs": _abs,
    "mul": _mul,
    "div": _div,
    "dot_general": _dot_general,
    "conv_general_dilated": _rows((0, 1)),
    "triangular_solve": _rows((0, 0), (0, 1)),
    "tridiagonal_solve": _rows(*((i, j) for i in range(3) for j in range(i, 4))),
    "custom_linear_solve": _linear_solve,
    "reduce_prod": _product_over_axes,
    "cumprod": _running_product,
    "custom_jvp_call": _custom_jvp,
    "custom_vjp_call": _custom_vjp,
}
