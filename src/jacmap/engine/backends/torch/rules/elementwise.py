"""Entry i of the output reads entry i of each input; and the operations that pass no derivative at all."""

from __future__ import annotations

import numpy as np

from ....graph import Pattern, dependence
from ...rule import Rule, always, entrywise, first_alone, nothing, one_varying
from ..call import Call, Ref

Local = dict[tuple[int, int], Pattern]


def each_output(call: Call) -> Local:
    """Entry by entry; an output or input of another size than the rest (an empty buffer, a sum) reads everything."""
    local = {}
    for k, out in enumerate(call.outputs):
        for i, shape in enumerate(call.inputs):
            if call.active[i]:
                missing = len(out) - len(shape)
                fits = missing >= 0 and all(n in (1, m) for n, m in zip(shape, out[missing:], strict=True))
                local[k, i] = dependence.elementwise(out, shape) if fits else dependence.full(out, shape)
    return local


def entrywise_of(call: Call, inputs: list[int]) -> Local:
    return {(0, i): dependence.elementwise(call.out, call.inputs[i]) for i in inputs}


def masked(pattern: Pattern, keep: np.ndarray | None, call: Call) -> Pattern:
    """The pattern with the rows dropped whose factor is known to be zero."""
    if keep is None:
        return pattern
    keep = np.broadcast_to(keep, call.out).ravel()
    rows = np.arange(keep.size, dtype=np.int32) if pattern.rows is None else pattern.rows
    kept = np.where(keep, rows, np.int32(-1))
    return Pattern(pattern.shape, kept, pattern.core, pattern.cols, inner=pattern.core_shape[0])


def _scaled(call: Call, i: int, factor: np.ndarray | None) -> Local:
    if not call.active[i]:
        return {}
    return {(0, i): masked(dependence.elementwise(call.out, call.inputs[i]), factor, call)}


def _product(call: Call) -> Local:
    local: Local = {}
    for me, you in (("self", "other"), ("other", "self")):
        i = call.at(me)
        if i is not None:
            local |= _scaled(call, i, call.factor(you))
    return local


def _quotient(call: Call) -> Local:
    # d(x/y) = dx/y − (x/y) dy/y: the denominator passes nothing where the numerator is zero.
    if call.params.get("rounding_mode"):
        return {}
    local: Local = {}
    x, y = call.at("self"), call.at("other")
    if x is not None:
        local |= _scaled(call, x, None)
    if y is not None:
        local |= _scaled(call, y, call.factor("self"))
    return local


def _where(call: Call) -> Local:
    condition = call.at("condition")
    assert condition is not None
    known = call.known(condition)
    local: Local = {}
    for name, keep in (("self", True), ("other", False)):
        i = call.at(name)
        if i is not None:
            local |= _scaled(call, i, None if known is None else known.cpu().numpy().astype(bool) == keep)
    return local


def _masked_fill(call: Call) -> Local:
    mask = call.at("mask")
    known = None if mask is None else call.known(mask)
    keep = None if known is None else known.cpu().numpy().astype(bool)
    local: Local = {}
    for name in ("self", "value"):
        i = call.at(name)
        if i is not None:
            local |= _scaled(call, i, keep if keep is None or name == "value" else ~keep)
    return local


def _power(call: Call) -> Local:
    exponent = call.params.get("exponent")
    return {} if not isinstance(exponent, Ref) and exponent == 0 else entrywise(call)


def _power_is_affine(call: Call) -> bool:
    exponent = call.params.get("exponent")
    return not isinstance(exponent, Ref) and exponent in (0, 1)


def _multiply_add(call: Call) -> Local:
    """self + value · tensor1 · tensor2 (or / tensor2)."""
    local: Local = {}
    for name, factor in (("self", None), ("tensor1", "tensor2"), ("tensor2", "tensor1")):
        i = call.at(name)
        if i is not None:
            zeros = None if factor is None or (call.name == "addcdiv" and name == "tensor1") else call.factor(factor)
            local |= _scaled(call, i, zeros)
    return local


def _affine_multiply_add(call: Call) -> bool:
    t1, t2 = (call.varying[i] if (i := call.at(name)) is not None else False for name in ("tensor1", "tensor2"))
    return not t2 if call.name == "addcdiv" else not (t1 and t2)


def _lerp_is_affine(call: Call) -> bool:
    weight = call.at("weight")
    ends = [call.varying[i] for name in ("self", "end") if (i := call.at(name)) is not None]
    return not any(ends) if weight is not None and call.varying[weight] else True


def _without_rounding(call: Call) -> bool:
    return first_alone(call) and not call.params.get("rounding_mode")


# Operations that cost far more than one multiplication per entry: rough counts, only their order matters.
_COSTLY = {
    "pow": 20, "exp": 10, "log": 10, "tanh": 10, "sin": 10, "cos": 10, "sigmoid": 10, "erf": 15, "gelu": 20,
    "silu": 12, "softplus": 20, "lgamma": 30, "digamma": 30, "mish": 30,
}  # fmt: skip


def costly(call: Call) -> float:
    return float(_COSTLY.get(call.name, 1) * sum(dependence.size_of(shape) for shape in call.outputs))


def _coordinates_apart(call: Call) -> Local:
    """view_as_real: a complex entry is read by its two parts; view_as_complex: the other way."""
    shape, out = call.inputs[0], call.out
    kept = range(min(len(shape), len(out)))
    return {(0, 0): dependence.by_axes(out, kept, shape, kept)}


_AFFINE = """
add sub rsub neg clone _to_copy _conj _conj_physical _neg_view copy
""".split()

_NONE = """
sign sgn round floor ceil trunc floor_divide heaviside detach argmax argmin bucketize searchsorted histc count_nonzero
running_statistics sample
""".split()


def _halves(call: Call) -> Local:
    """glu: the first half times the sigmoid of the second."""
    shape = call.inputs[0]
    first, second = np.split(dependence.row_numbers(shape), 2, axis=call.params["dim"])
    size = dependence.size_of(shape)
    return {(0, 0): dependence.gather(first, size) | dependence.gather(second, size)}


# Entry by entry, or everything where they are summed up.
_LOSSES = """
mse_loss smooth_l1_loss huber_loss binary_cross_entropy binary_cross_entropy_with_logits soft_margin_loss
""".split()

RULES: dict[str, Rule] = {
    **{name: Rule("elementwise", entrywise, affine=always, work=costly) for name in _AFFINE},
    **{name: Rule("none", nothing) for name in _NONE},
    "mul": Rule("elementwise", _product, affine=one_varying, work=costly),
    "div": Rule("elementwise", _quotient, affine=_without_rounding, work=costly),
    "where": Rule("select", _where, affine=lambda call: not call.varying[0]),
    "masked_fill": Rule("select", _masked_fill, affine=lambda call: not call.varying[call.at("mask") or 0]),
    "pow": Rule("elementwise", _power, affine=_power_is_affine, work=costly),
    "addcmul": Rule("elementwise", _multiply_add, affine=_affine_multiply_add),
    "addcdiv": Rule("elementwise", _multiply_add, affine=_affine_multiply_add),
    "lerp": Rule("elementwise", entrywise, affine=_lerp_is_affine),
    "view_as_real": Rule("elementwise", _coordinates_apart, affine=always, exact=False),
    "view_as_complex": Rule("elementwise", _coordinates_apart, affine=always, exact=False),
    "glu": Rule("elementwise", _halves, work=costly),
    "polar": Rule("elementwise", entrywise, work=costly),
    "_prelu_kernel": Rule("elementwise", each_output),
    **{name: Rule("elementwise", each_output, work=costly) for name in _LOSSES},
    "complex": Rule("elementwise", entrywise, affine=always),
    "log_sigmoid_forward": Rule("elementwise", each_output, work=costly),
}
