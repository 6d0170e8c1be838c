"""Entry i of the output reads entry i of each input; and the operations that pass no derivative at all."""

from __future__ import annotations

import numpy as np

from ....graph import Pattern, dependence
from ...rule import Rule, always, entrywise, first_alone, neither_mode, nothing, one_varying, rest_vary
from ..call import Call


def one_to_one(call: Call) -> dict[tuple[int, int], Pattern]:
    """Several arrays at once: output k is input k."""
    return {(k, k): dependence.elementwise(s, s) for k, s in enumerate(call.outputs) if call.active[k]}


def _masked(pattern: Pattern, keep: np.ndarray | None, call: Call) -> Pattern:
    """The pattern with the rows dropped whose factor is known to be zero."""
    if keep is None:
        return pattern
    keep = np.broadcast_to(keep, call.out).ravel()
    rows = np.arange(keep.size, dtype=np.int32) if pattern.rows is None else pattern.rows
    return Pattern(
        pattern.shape,
        np.where(keep, rows, np.int32(-1)),
        pattern.core,
        pattern.cols,
        inner=pattern.core_shape[0],
    )


def _product(call: Call) -> dict[tuple[int, int], Pattern]:
    local = entrywise(call)
    return {(k, i): _masked(p, call.nonzero(1 - i), call) for (k, i), p in local.items()}


def _quotient(call: Call) -> dict[tuple[int, int], Pattern]:
    # d(x/y) = dx/y − (x/y) dy/y: the denominator passes nothing where the numerator is zero.
    local = entrywise(call)
    if (0, 1) in local:
        local[0, 1] = _masked(local[0, 1], call.nonzero(0), call)
    return local


def _select(call: Call) -> dict[tuple[int, int], Pattern]:
    which = call.known(0)
    local = {(k, i): p for (k, i), p in entrywise(call).items() if i > 0}
    if which is None:
        return local
    which = np.clip(np.asarray(which).astype(int), 0, len(call.inputs) - 2)  # as XLA does out of bounds
    return {(0, i): _masked(p, which == i - 1, call) for (_, i), p in local.items()}


def _integer_power(call: Call) -> dict[tuple[int, int], Pattern]:
    return {} if call.params["y"] == 0 else entrywise(call)


def _power_is_affine(call: Call) -> bool:
    return call.params["y"] in (0, 1)


_NONLINEAR = """
abs acos acosh asin asinh atan atan2 atanh bessel_i0e bessel_i1e cbrt clamp cos cosh digamma erf erf_inv erfc
exp exp2 expm1 igamma igammac lgamma log log1p logistic max min pow random_gamma rem rsqrt sin sinh sqrt square
tan tanh
""".split()

_AFFINE = """
add add_any sub neg real imag conj complex copy convert_element_type name sharding_constraint reduce_precision
""".split()

_NONE = """
and argmax argmin bitcast_convert_type ceil clz debug_callback eq floor ge gt iota is_finite le le_to lt lt_to
lu_pivots_to_permutation mulhi ne not or platform_index population_count random_bits random_clone random_fold_in
random_seed random_split random_unwrap random_wrap reduce_and reduce_or reduce_xor rng_bit_generator round
shift_left shift_right_arithmetic shift_right_logical sign stop_gradient threefry2x32 xor
""".split()

# JAX differentiates these with respect to their last argument alone.
_IN_THE_LAST = "polygamma regularized_incomplete_beta".split()


def _last_mode(call: Call) -> tuple[bool, bool]:
    supported = not any(call.active[:-1])
    return supported, supported


# Operations that cost far more than one multiplication per entry: rough counts, only their order matters.
_COSTLY = {
    "pow": 20, "exp": 10, "log": 10, "tanh": 10, "sin": 10, "cos": 10, "logistic": 10, "erf": 15, "lgamma": 30,
    "digamma": 30, "igamma": 200, "igammac": 200, "regularized_incomplete_beta": 300, "zeta": 100, "polygamma": 100,
}  # fmt: skip


def _work(name: str):  # type: ignore[no-untyped-def]
    factor = _COSTLY.get(name)
    return None if factor is None else lambda call: float(factor * dependence.size_of(call.out))


RULES: dict[str, Rule] = {
    **{name: Rule("elementwise", entrywise, work=_work(name)) for name in _NONLINEAR},
    **{name: Rule("elementwise", entrywise, work=_work(name), modes=_last_mode) for name in _IN_THE_LAST},
    **{name: Rule("elementwise", entrywise, affine=always) for name in _AFFINE},
    **{name: Rule("none", nothing) for name in _NONE},
    **{name: Rule("elementwise", one_to_one, affine=always) for name in ("device_put", "optimization_barrier")},
    **{name: Rule("elementwise", entrywise, modes=neither_mode) for name in ("igamma_grad_a", "nextafter", "zeta")},
    "mul": Rule("elementwise", _product, affine=one_varying),
    "div": Rule("elementwise", _quotient, affine=first_alone),
    "integer_pow": Rule("elementwise", _integer_power, affine=_power_is_affine),
    "select_n": Rule("select", _select, affine=rest_vary),
}
