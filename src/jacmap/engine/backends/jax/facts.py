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
from .call import Call, is_inexact
from .moves import MOVES, gather_rows, operands, scatter_rows, select

LARGEST_FACT = 2**25  # entries; beyond it a value counts as unknown

_Recipe = tuple[Any, Call, tuple[int, ...], tuple[int, ...]]


class Facts:
    def __init__(self) -> None:
        self.found: dict[int, np.ndarray | None] = {}
        self.recipes: dict[int, _Recipe] = {}
        self.partial: set[int] = set()

    def give(self, v: int, value: Any) -> None:
        """Record a value that is known from the start."""
        self.recipes.pop(v, None)
        self.found[v] = value
        if isinstance(value, np.ndarray) and _unknown(value).any():
            self.partial.add(v)

    def derive(self, eqn: Any, call: Call, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> None:
        """Note how the outputs' values could be found, if they could."""
        if eqn.effects or any(math.prod(s) > LARGEST_FACT for s in call.outputs):
            return
        has = [v in self.found or v in self.recipes for v in inputs]
        whole = not any(call.varying) and all(has)
        if whole:
            usable = True
        elif call.name in _ORIGINS:
            usable = any(has)
        else:
            usable = call.name in _MARKS and any(v in self.partial for v in inputs)
        if not usable:
            return
        for v in outputs:
            self.recipes[v] = (eqn, call, inputs, outputs)
            if not whole or any(w in self.partial for w in inputs):
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
        return _array(self.found.get(v))


def _evaluate(eqn: Any, call: Call, raw: list[Any]) -> list[np.ndarray | None]:
    nothing: list[np.ndarray | None] = [None] * len(call.outputs)
    with np.errstate(all="ignore"):
        try:
            results = _results(eqn, call, raw)
        except (TypeError, ValueError, OverflowError, NotImplementedError, jax.errors.JAXTypeError):
            return nothing  # a fact that cannot be worked out is only a fact less
        return [
            None if result is None else _cast(result, var.aval, shape)
            for result, var, shape in zip(results, eqn.outvars, call.outputs, strict=True)
        ]


def _results(eqn: Any, call: Call, raw: list[Any]) -> list[Any]:
    values = [
        np.broadcast_to(np.nan, shape) if value is None else _array(value)
        for value, shape in zip(raw, call.inputs, strict=True)
    ]
    if any(_is_key(value) for value in values):
        return [None] * len(call.outputs) if any(value is None for value in raw) else _run(eqn, values)
    if call.name == "scatter":
        return [_scattered(call, *values)]
    if call.name == "gather":
        return [_gathered(call, *values)]
    if call.name in MOVES:
        return _moved(call, values)
    if call.name in _PARTIAL:
        return [_PARTIAL[call.name](call, *values)]
    if any(_unknown(value).any() for value in values):
        return [None] * len(call.outputs)
    if call.name in _EXACT:
        return [_EXACT[call.name](call, *values)]
    return _run(eqn, values)


def _run(eqn: Any, values: list[Any]) -> list[Any]:
    with jax.ensure_compile_time_eval():
        return compat.bind(eqn, [v if _is_key(v) else jax.numpy.asarray(v) for v in values])


def _is_key(value: Any) -> bool:
    """Random keys are arrays that NumPy cannot hold."""
    dtype = getattr(value, "dtype", None)
    return dtype is not None and not isinstance(dtype, np.dtype)


def _array(value: Any) -> Any:
    return value if value is None or _is_key(value) else np.asarray(value)


def _cast(result: Any, aval: Any, shape: tuple[int, ...]) -> np.ndarray | None:
    """The result in the value's own dtype; None where that dtype cannot say NaN, or all is NaN."""
    if _is_key(result):
        return result
    found = np.broadcast_to(np.asarray(result), shape)
    unknown = _unknown(found)
    if unknown.any() and (unknown.all() or not is_inexact(aval.dtype)):
        return None
    return found if found.dtype == aval.dtype else found.astype(aval.dtype)


_NOWHERE = np.zeros((), bool)


def _unknown(value: np.ndarray) -> np.ndarray:
    return np.isnan(value) if is_inexact(value.dtype) else _NOWHERE


def _refuse_unknown(index: np.ndarray) -> None:
    if _unknown(index).any():
        raise ValueError("an index that is not known")


def _moved(call: Call, values: list[np.ndarray]) -> list[Any]:
    data, index = operands(call.name, len(values))
    for i in index:
        _refuse_unknown(values[i])
    kind = np.result_type(*(values[i].dtype for i in data)) if len(data) > 1 else values[data[0]].dtype
    arrays = [values[i].astype(kind, copy=False) for i in data]
    result = MOVES[call.name][1](call, *arrays, *(values[i] for i in index))
    return result if isinstance(result, list) else [result]


def _gathered(call: Call, x: np.ndarray, indices: np.ndarray) -> np.ndarray:
    _refuse_unknown(indices)
    rows = gather_rows(call, indices)
    if rows.size and rows.min() < 0:
        fill = call.params["fill_value"]
        if fill is None and not is_inexact(x.dtype):
            raise ValueError("the default fill value of integers is left to JAX")
        return np.where(rows < 0, np.asarray(np.nan if fill is None else fill, x.dtype), x.ravel()[rows])
    return x.ravel()[rows]


def _scattered(call: Call, x: np.ndarray, indices: np.ndarray, updates: np.ndarray) -> np.ndarray:
    _refuse_unknown(indices)
    rows = scatter_rows(call, indices).ravel()
    inside = rows >= 0
    out = np.array(x, dtype=np.result_type(x, updates)).ravel()
    out[rows[inside]] = updates.ravel()[inside]
    landed, times = np.unique(rows[inside], return_counts=True)
    if (times > 1).any():  # which of two updates of one entry comes last is left to the device
        if not is_inexact(out.dtype):
            raise ValueError("an integer that is not known")
        out[landed[times > 1]] = np.nan
    return out.reshape(x.shape)


def _times(call: Call, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    # 0·u = 0 for an unknown u (taken to be finite: see the limitations page), but 0·∞ is not known.
    x_zero, y_zero = (x == 0) & ~np.isinf(y), (y == 0) & ~np.isinf(x)
    return np.where(x_zero | y_zero, np.zeros((), np.result_type(x, y)), x * y)


def _divided(call: Call, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if x.dtype.kind in "iu" and y.dtype.kind in "iu":
        if not y.all():
            raise ValueError("integer division by zero is left to JAX")
        # Truncated, like XLA's; NumPy's floor is one off where the signs differ and there is a rest.
        floor = x // y
        return floor + ((x % y != 0) & ((x < 0) != (y < 0)))
    return np.where((x == 0) & ~(y == 0), np.zeros((), np.result_type(x, y)), x / y)


def _plus(call: Call, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if x.dtype.kind == "f" and y.dtype.kind == "f" and (np.isinf(x).any() or np.isinf(y).any()):
        # −∞ + u = −∞ for an unknown finite u: what a mask before a softmax relies on.
        return np.where(np.isinf(x) & np.isnan(y), x, np.where(np.isinf(y) & np.isnan(x), y, x + y))
    return x + y


def _minus(call: Call, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if x.dtype.kind == "f" and y.dtype.kind == "f":
        return _plus(call, x, -y)
    return x - y


def _reduced(function: Callable[..., Any]) -> Callable[..., np.ndarray]:
    return lambda call, x: function(x, axis=tuple(call.params["axes"]))


def _unary(function: Callable[..., Any]) -> Callable[..., np.ndarray]:
    return lambda call, x: function(x)


def _power(call: Call, x: np.ndarray) -> np.ndarray:
    y = call.params["y"]
    return x**y if y >= 0 else 1 / x ** (-y)


def _cumsum(call: Call, x: np.ndarray) -> np.ndarray:
    axis = call.params["axis"]
    return np.flip(np.cumsum(np.flip(x, axis), axis), axis) if call.params["reverse"] else np.cumsum(x, axis)


def _select(call: Call, which: np.ndarray, *cases: np.ndarray) -> np.ndarray:
    if not _unknown(which).any():
        return select(call, which, *cases)
    # Whatever case is taken: known where all the cases agree.
    agree = np.all([case == cases[0] for case in cases], axis=0)
    return np.where(agree, cases[0], np.nan)


def _iota(call: Call) -> np.ndarray:
    shape, dimension = call.params["shape"], call.params["dimension"]
    ramp = np.arange(shape[dimension]).reshape([-1 if k == dimension else 1 for k in range(len(shape))])
    return np.broadcast_to(ramp, shape)


def _convert(call: Call, x: np.ndarray) -> np.ndarray:
    if not is_inexact(call.params["new_dtype"]):
        _refuse_unknown(x)
    return x.astype(call.params["new_dtype"])


# Operations on entries that may be NaN (= not known). Only those belong here whose result is right, or NaN,
# wherever an argument is NaN: comparisons, rounding to integers, argmax do not.
_PARTIAL: dict[str, Callable[..., Any]] = {
    "add": _plus,
    "add_any": _plus,
    "sub": _minus,
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
    "integer_pow": _power,
    "max": lambda call, x, y: np.maximum(x, y),
    "min": lambda call, x, y: np.minimum(x, y),
    "select_n": _select,
    "reduce_sum": _reduced(np.sum),
    "reduce_max": _reduced(np.max),
    "reduce_min": _reduced(np.min),
}

# Operations whose result can hold known entries although the varying operand holds none.
_ORIGINS = {"mul", "div", "select_n", "pad", "concatenate", "stack", "scatter", "dynamic_update_slice"}

# Operations that carry known entries of a varying value on.
_MARKS = {*_PARTIAL, *MOVES, "scatter"}

# Constants have exact NumPy counterparts for these, too; they are only right when nothing is NaN.
_EXACT: dict[str, Callable[..., Any]] = {
    "iota": _iota,
    "log": lambda call, x: np.log(x),
    "cos": lambda call, x: np.cos(x),
    "floor": lambda call, x: np.floor(x),
    "ceil": lambda call, x: np.ceil(x),
    "rsqrt": lambda call, x: 1 / np.sqrt(x),
    "pow": lambda call, x, y: np.power(x, y),
    "rem": lambda call, x, y: np.fmod(x, y),
    "is_finite": lambda call, x: np.isfinite(x),
    "real": lambda call, x: np.real(x),
    "imag": lambda call, x: np.imag(x),
    "reduce_prod": _reduced(np.prod),
    "reduce_and": _reduced(np.all),
    "reduce_or": _reduced(np.any),
    "cumsum": _cumsum,
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
