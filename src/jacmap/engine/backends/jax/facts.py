"""What is known of values when the graph is read: constants, and entries of varying values that are always the same.

A fact is an array; NaN marks an entry that is not known. Nothing is evaluated before a rule asks, because most
constants (weights, say) never matter to a pattern.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from scipy import special

from . import compat
from .call import Call
from .moves import MOVES, operands, select

LARGEST_FACT = 2**25  # entries; beyond it a value counts as unknown

_Recipe = tuple[Any, Call, tuple[int, ...], tuple[int, ...]]


class Facts:
    def __init__(self) -> None:
        self.found: dict[int, np.ndarray | None] = {}
        self.recipes: dict[int, _Recipe] = {}
        self.partial: set[int] = set()

    def give(self, v: int, value: Any) -> None:
        """Record a value that is known from the start."""
        dtype = getattr(value, "dtype", None)
        if dtype is not None and jax.dtypes.issubdtype(dtype, jax.dtypes.extended):
            return
        self.recipes.pop(v, None)
        self.found[v] = value
        if isinstance(value, np.ndarray) and value.dtype.kind == "f" and np.isnan(value).any():
            self.partial.add(v)

    def derive(self, eqn: Any, call: Call, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> None:
        """Note how the outputs' values could be found, if they could."""
        if eqn.effects or any(math.prod(s) > LARGEST_FACT for s in call.outputs):
            return
        has = [v in self.found or v in self.recipes for v in inputs]
        if not any(call.varying):
            usable = all(has)
        elif call.name in _ORIGINS:
            usable = any(has)
        else:
            usable = (call.name in _PARTIAL or call.name in MOVES) and any(v in self.partial for v in inputs)
        if not usable:
            return
        for v in outputs:
            self.recipes[v] = (eqn, call, inputs, outputs)
            if any(call.varying):
                self.partial.add(v)

    def peek(self, v: int) -> np.ndarray | None:
        """The value of v with NaN where it is not known; None when nothing is."""
        stack = [v]
        while stack:
            top = stack[-1]
            if top in self.found or top not in self.recipes:
                stack.pop()
                continue
            eqn, call, inputs, outputs = self.recipes[top]
            missing = [w for w in inputs if w not in self.found and w in self.recipes]
            if missing:
                stack.extend(missing)
                continue
            results = _evaluate(eqn, call, [self.found.get(w) for w in inputs])
            for w, result in zip(outputs, results, strict=True):
                self.found[w] = result
                self.recipes.pop(w, None)
            stack.pop()
        value = self.found.get(v)
        return None if value is None else np.asarray(value)


def _evaluate(eqn: Any, call: Call, raw: list[Any]) -> list[np.ndarray | None]:
    nothing: list[np.ndarray | None] = [None] * len(call.outputs)
    varying = any(call.varying)
    if not varying and any(value is None for value in raw):
        return nothing
    values = [
        np.broadcast_to(np.nan, shape) if value is None else np.asarray(value)
        for value, shape in zip(raw, call.inputs, strict=True)
    ]
    with np.errstate(all="ignore"):
        try:
            if call.name in MOVES:
                return _moved(call, values, raw)
            if call.name in _PARTIAL:
                result = np.asarray(_PARTIAL[call.name](call, *values))
                if not varying:
                    return [result.astype(eqn.outvars[0].aval.dtype, copy=False)]
                return [None if np.isnan(result).all() else np.asarray(np.broadcast_to(result, call.out))]
            if varying:
                return nothing
            if call.name in _EXACT:
                return [np.asarray(_EXACT[call.name](call, *values))]
            with jax.ensure_compile_time_eval():
                return [np.asarray(out) for out in compat.bind(eqn, [jax.numpy.asarray(v) for v in raw])]
        except (TypeError, ValueError, NotImplementedError, jax.errors.JAXTypeError):
            return nothing  # a fact that cannot be worked out is only a fact less


def _moved(call: Call, values: list[np.ndarray], raw: list[Any]) -> list[np.ndarray | None]:
    data, index = operands(call.name, len(values))
    if any(raw[i] is None or call.varying[i] for i in index):
        return [None] * len(call.outputs)
    kind = np.result_type(*(values[i].dtype for i in data)) if len(data) > 1 else values[data[0]].dtype
    arrays = [values[i].astype(kind, copy=False) for i in data]
    result = MOVES[call.name][1](call, *arrays, *(values[i] for i in index))
    return list(result) if isinstance(result, list) else [result]


def _times(call: Call, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    # 0·u = 0 for an unknown u (taken to be finite: see the limitations page).
    return np.where((x == 0) | (y == 0), 0, x * y)


def _divided(call: Call, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if x.dtype.kind in "iu" and y.dtype.kind in "iu":
        magnitude = np.abs(x) // np.maximum(np.abs(y), 1)
        return (magnitude * np.sign(x) * np.sign(y)).astype(x.dtype)
    return np.where((x == 0) & ~(y == 0), 0.0, x / y)


def _plus(sign: int) -> Callable[..., np.ndarray]:
    def combine(call: Call, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        y = y if sign > 0 else -y if y.dtype.kind not in "bu" else -y.astype(np.int64)
        if np.isinf(x).any() or np.isinf(y).any():
            # −∞ + u = −∞ for an unknown finite u: what a mask before a softmax relies on.
            return np.where(np.isinf(x) & np.isnan(y), x, np.where(np.isinf(y) & np.isnan(x), y, x + y))
        return x + y

    return combine


def _reduced(function: Callable[..., Any]) -> Callable[..., np.ndarray]:
    return lambda call, x: function(x, axis=tuple(call.params["axes"]))


def _unary(function: Callable[..., Any]) -> Callable[..., np.ndarray]:
    return lambda call, x: function(x)


def _select(call: Call, which: np.ndarray, *cases: np.ndarray) -> np.ndarray:
    if call.varying[0]:
        # Whatever case is taken: known where all the cases agree.
        first = cases[0].astype(float)
        agree = np.all([case == first for case in cases], axis=0)
        return np.where(agree, first, np.nan)
    return select(call, which, *cases)


def _iota(call: Call) -> np.ndarray:
    shape, dimension = call.params["shape"], call.params["dimension"]
    ramp = np.arange(shape[dimension]).reshape([-1 if k == dimension else 1 for k in range(len(shape))])
    return np.broadcast_to(ramp, shape)


def _convert(call: Call, x: np.ndarray) -> np.ndarray:
    return x if any(call.varying) else x.astype(call.params["new_dtype"])


# Operations on entries that may be NaN (= not known). Only those belong here whose result is right, or NaN,
# wherever an argument is NaN: comparisons, rounding to integers, argmax do not.
_PARTIAL: dict[str, Callable[..., Any]] = {
    "add": _plus(1),
    "add_any": _plus(1),
    "sub": _plus(-1),
    "mul": _times,
    "div": _divided,
    "neg": _unary(np.negative),
    "abs": _unary(np.abs),
    "sign": _unary(np.sign),
    "exp": _unary(np.exp),
    "exp2": _unary(np.exp2),
    "expm1": _unary(np.expm1),
    "log1p": _unary(np.log1p),
    "tanh": _unary(np.tanh),
    "sin": _unary(np.sin),
    "sinh": _unary(np.sinh),
    "asinh": _unary(np.arcsinh),
    "atan": _unary(np.arctan),
    "erf": _unary(special.erf),
    "logistic": _unary(special.expit),
    "sqrt": _unary(np.sqrt),
    "square": _unary(np.square),
    "copy": _unary(np.positive),
    "stop_gradient": _unary(np.positive),
    "convert_element_type": _convert,
    "integer_pow": lambda call, x: np.asarray(x, float) ** call.params["y"],
    "max": lambda call, x, y: np.maximum(x, y),
    "min": lambda call, x, y: np.minimum(x, y),
    "select_n": _select,
    "reduce_sum": _reduced(np.sum),
    "reduce_max": _reduced(np.max),
    "reduce_min": _reduced(np.min),
}

# Operations whose result can hold known entries although the varying operand holds none.
_ORIGINS = {"mul", "div", "select_n", "pad", "concatenate", "stack", "scatter", "dynamic_update_slice"}

# Constants have exact NumPy counterparts for these, too; they are only right when nothing is NaN.
_EXACT: dict[str, Callable[..., Any]] = {
    "iota": _iota,
    "eq": lambda call, x, y: x == y,
    "ne": lambda call, x, y: x != y,
    "lt": lambda call, x, y: x < y,
    "le": lambda call, x, y: x <= y,
    "gt": lambda call, x, y: x > y,
    "ge": lambda call, x, y: x >= y,
    "and": lambda call, x, y: x & y,
    "or": lambda call, x, y: x | y,
    "xor": lambda call, x, y: x ^ y,
    "not": lambda call, x: ~x,
}
