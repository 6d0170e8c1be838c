"""The derivative of entrywise stretches as operations of their own, beside the values: no tape, and nothing twice.

For a scaling and a shift, all that a coupling or autoregressive layer does to its input, the engine of autograd costs
more than the layer. A stretch with an operation that has no row here is taped as ever.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ..engine.backends.torch.call import Operation, Ref

Name = Any  # of a value in a program
Step = tuple[Operation, Sequence[Name], Sequence[Name]]


@dataclass(frozen=True)
class At:
    """A value among the arguments of a step, by its name."""

    name: Name


# A tangent is one number for all entries of its value, or a tensor that broadcasts to the value's shape.
Slope = float | At


@dataclass
class Tangents:
    """The steps written so far, and the tangent of each moving value: every entry of the start moves by 1.

    `label` tells the names of these steps from those of other stretches in the same program.
    """

    shapes: Callable[[Name], tuple[int, ...]]
    of: dict[Name, Slope] = field(default_factory=dict)
    label: Any = None
    steps: list[Step] = field(default_factory=list)

    def emit(self, function: Callable[..., Any], *args: Any) -> At:
        """Write a step; its result."""
        names: list[Name] = []

        def place(arg: Any) -> Any:
            if isinstance(arg, list):
                return [place(part) for part in arg]
            if not isinstance(arg, At):
                return arg
            names.append(arg.name)
            return Ref(len(names) - 1)

        made = At(("tangent", self.label, len(self.steps)))
        self.steps.append((Operation("tangent", function, tuple(place(arg) for arg in args)), names, [made.name]))
        return made

    def times(self, a: Slope, b: Slope) -> Slope:
        """a·b, without a step where one is a number and the other too, or where it is 1."""
        if isinstance(a, float):
            a, b = b, a
        if not isinstance(b, float):
            return self.emit(torch.mul, a, b)
        if isinstance(a, float):
            return a * b
        return a if b == 1 else self.emit(torch.neg, a) if b == -1 else self.emit(torch.mul, a, b)

    def plus(self, a: Slope, b: Slope) -> Slope:
        if isinstance(a, float):
            a, b = b, a
        return a + b if isinstance(a, float) and isinstance(b, float) else self.emit(torch.add, a, b)

    def whole(self, v: Name) -> At:
        """The tangent of v in v's own shape."""
        slope = self.of[v]
        if isinstance(slope, float):
            return self.emit(torch.full_like, At(v), slope)
        return self.emit(torch.broadcast_to, slope, self.shapes(v))

    def follow(
        self, operation: Operation, inputs: Sequence[Name], outputs: Sequence[Name], live: Sequence[bool]
    ) -> bool:
        """Write the tangents of the outputs; False where there is no row for the operation or its arguments."""
        rule = TABLE.get(operation.name)
        along = [self.of[v] if moves else None for v, moves in zip(inputs, live, strict=True)]
        return rule is not None and rule(Call(self, operation, inputs, outputs, along))


@dataclass
class Call:
    """One operation: `tangents[i]` is None where its input i stands still."""

    all: Tangents
    operation: Operation
    inputs: Sequence[Name]
    outputs: Sequence[Name]
    tangents: list[Slope | None]

    def argument(self, k: int) -> tuple[Any, Slope | None]:
        """(the k-th argument as a value or a number, its tangent)."""
        given = self.operation.args[k]
        if isinstance(given, Ref):
            return At(self.inputs[given.index]), self.tangents[given.index]
        return given, None

    def give(self, tangent: Slope) -> bool:
        self.all.of[self.outputs[0]] = tangent
        return True


Rule = Callable[[Call], bool]


def _scaled(slope: Callable[[Call, At, At], At], factor: float = 1.0) -> Rule:
    """An entrywise function of one input: `factor` times `slope(call, x, y)` is its derivative."""

    def rule(call: Call) -> bool:
        x, along = call.argument(0)
        if along is None or len(call.operation.args) != 1 or call.operation.kwargs:
            return False
        return call.give(call.all.times(call.all.times(along, factor), slope(call, x, At(call.outputs[0]))))

    return rule


def _as_slope(factor: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The factor in the dtype of its product with x, where it is the derivative of that."""
    return factor if factor.dtype == x.dtype else factor.to(torch.result_type(factor, x))


def _times_factor(call: Call, along: Slope, factor: Any, x: Any) -> Slope:
    """The tangent along x of x times a factor, which is a value or a number."""
    if isinstance(factor, At) and isinstance(along, float):
        factor = call.all.emit(_as_slope, factor, x)
    return call.all.times(along, factor if isinstance(factor, At) else float(factor))


def _product(call: Call) -> bool:
    (a, da), (b, db) = call.argument(0), call.argument(1)
    if isinstance(a, complex) or isinstance(b, complex):
        return False
    sides = ((da, b, a), (db, a, b))
    parts = [_times_factor(call, along, other, x) for along, other, x in sides if along is not None]
    return call.give(parts[0] if len(parts) == 1 else call.all.plus(*parts))


def _quotient(call: Call) -> bool:
    if len(call.operation.args) != 2 or call.operation.kwargs:
        return False  # with a rounding mode
    (a, da), (b, db) = call.argument(0), call.argument(1)
    write = call.all
    if db is not None:
        moved = write.times(write.times(db, At(call.outputs[0])), -1.0)
        return call.give(write.emit(torch.div, moved if da is None else write.plus(da, moved), b))
    assert da is not None
    if isinstance(da, At):
        return call.give(write.emit(torch.div, da, b))
    if isinstance(b, At):
        return call.give(write.times(da, write.emit(torch.reciprocal, write.emit(_as_slope, b, a))))
    return not isinstance(b, complex) and b != 0 and call.give(da / b)


def _sum(sign: int) -> Rule:
    def rule(call: Call) -> bool:
        if call.operation.kwargs.get("alpha", 1) != 1 or len(call.operation.args) != 2:
            return False
        (_, da), (_, db) = call.argument(0), call.argument(1)
        if db is not None and sign < 0:
            db = call.all.times(db, -1.0)
        parts = [along for along in (da, db) if along is not None]
        return call.give(parts[0] if len(parts) == 1 else call.all.plus(*parts))

    return rule


def _negated(call: Call) -> bool:
    _, along = call.argument(0)
    return along is not None and call.give(call.all.times(along, -1.0))


def _power(call: Call) -> bool:
    (x, along), (exponent, moving) = call.argument(0), call.argument(1)
    if along is None or moving is not None or isinstance(exponent, (At, complex)):
        return False
    slope = x if exponent == 2 else call.all.emit(torch.pow, x, exponent - 1)
    return call.give(call.all.times(call.all.times(along, float(exponent)), slope))


def _mean(call: Call) -> bool:
    """The mean of the tangents over the same axes; of equal ones it is themselves."""
    _, along = call.argument(0)
    if along is None or call.operation.kwargs or call.operation.dtype is not None:
        return False
    if isinstance(along, At):
        along = call.all.emit(call.operation.function, call.all.whole(call.inputs[0]), *call.operation.args[1:])
    return call.give(along)


def _moved(call: Call) -> bool:
    """The tangent moves as the value does; entries that stand still have the tangent zero."""
    if len(call.outputs) != 1 or call.operation.kwargs or call.operation.dtype is not None:
        return False
    first = call.tangents[0]
    if isinstance(first, float) and all(along == first for along in call.tangents):
        return call.give(first)
    given = []
    for v, along in zip(call.inputs, call.tangents, strict=True):
        given.append(call.all.whole(v) if along is not None else call.all.emit(torch.zeros_like, At(v)))
    refs = iter(given)

    def filled(tree: Any) -> Any:
        if isinstance(tree, Ref):
            return next(refs)
        return [filled(part) for part in tree] if isinstance(tree, (list, tuple)) else tree

    return call.give(call.all.emit(call.operation.function, *(filled(arg) for arg in call.operation.args)))


def _one_minus_square(call: Call, x: At, y: At) -> At:
    return call.all.emit(torch.rsub, call.all.emit(torch.square, y), 1)


def _logistic(call: Call, x: At, y: At) -> At:
    return call.all.emit(torch.mul, y, call.all.emit(torch.rsub, y, 1))


def _bell(call: Call, x: At, y: At) -> At:
    return call.all.emit(torch.exp, call.all.emit(torch.neg, call.all.emit(torch.square, x)))


def _bowl(call: Call, x: At, y: At) -> At:
    return call.all.emit(torch.exp, call.all.emit(torch.square, y))


TABLE: Mapping[str, Rule] = {
    "add": _sum(1),
    "sub": _sum(-1),
    "mul": _product,
    "div": _quotient,
    "neg": _negated,
    "pow": _power,
    "reciprocal": _scaled(lambda call, x, y: call.all.emit(torch.square, y), -1.0),
    "exp": _scaled(lambda call, x, y: y),
    "log": _scaled(lambda call, x, y: call.all.emit(torch.reciprocal, x)),
    "log1p": _scaled(lambda call, x, y: call.all.emit(torch.reciprocal, call.all.emit(torch.add, x, 1))),
    "expm1": _scaled(lambda call, x, y: call.all.emit(torch.add, y, 1)),
    "tanh": _scaled(_one_minus_square),
    "sigmoid": _scaled(_logistic),
    "sin": _scaled(lambda call, x, y: call.all.emit(torch.cos, x)),
    "sinh": _scaled(lambda call, x, y: call.all.emit(torch.cosh, x)),
    "cosh": _scaled(lambda call, x, y: call.all.emit(torch.sinh, x)),
    "abs": _scaled(lambda call, x, y: call.all.emit(torch.sign, x)),
    "erf": _scaled(_bell, 2 / math.sqrt(math.pi)),
    "erfinv": _scaled(_bowl, math.sqrt(math.pi) / 2),
    "mean": _mean,
    **dict.fromkeys(
        ("view", "_unsafe_view", "permute", "t", "transpose", "squeeze", "unsqueeze", "select", "slice", "flip", "cat",
         "clone"),
        _moved,
    ),
}  # fmt: skip
