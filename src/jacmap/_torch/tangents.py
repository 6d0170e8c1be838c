"""The derivative of entrywise stretches as operations of their own, beside the values: no tape, and nothing twice.

For a scaling and a shift, all that a coupling or autoregressive layer does to its input, the engine of autograd costs
more than the layer. A stretch with an operation that has no row here is taped as ever.
"""

from __future__ import annotations

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


@dataclass
class Tangents:
    """The steps written so far, and the tangent of each moving value: every entry of the start moves by 1."""

    shapes: Callable[[Name], tuple[int, ...]]
    of: dict[Name, At] = field(default_factory=dict)
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

        made = At(("tangent", len(self.steps)))
        self.steps.append((Operation("tangent", function, tuple(place(arg) for arg in args)), names, [made.name]))
        return made

    def whole(self, v: Name) -> At:
        """The tangent of v in v's own shape."""
        return self.emit(torch.broadcast_to, self.of[v], self.shapes(v))

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
    tangents: list[At | None]

    def argument(self, k: int) -> tuple[Any, At | None]:
        """(the k-th argument as a value or a number, its tangent)."""
        given = self.operation.args[k]
        if isinstance(given, Ref):
            return At(self.inputs[given.index]), self.tangents[given.index]
        return given, None

    def give(self, tangent: At) -> bool:
        self.all.of[self.outputs[0]] = tangent
        return True


Rule = Callable[[Call], bool]


def _scaled(slope: Callable[[Call, At, At], At]) -> Rule:
    """An entrywise function of one input: `slope(call, x, y)` is its derivative."""

    def rule(call: Call) -> bool:
        x, along = call.argument(0)
        if along is None or len(call.operation.args) != 1 or call.operation.kwargs:
            return False
        return call.give(call.all.emit(torch.mul, slope(call, x, At(call.outputs[0])), along))

    return rule


def _product(call: Call) -> bool:
    (a, da), (b, db) = call.argument(0), call.argument(1)
    parts = [call.all.emit(torch.mul, along, other) for along, other in ((da, b), (db, a)) if along is not None]
    return call.give(parts[0] if len(parts) == 1 else call.all.emit(torch.add, *parts))


def _quotient(call: Call) -> bool:
    if len(call.operation.args) != 2 or call.operation.kwargs:
        return False  # with a rounding mode
    (_, da), (b, db) = call.argument(0), call.argument(1)
    if db is not None:
        moved = call.all.emit(torch.mul, At(call.outputs[0]), db)
        da = call.all.emit(torch.neg, moved) if da is None else call.all.emit(torch.sub, da, moved)
    return call.give(call.all.emit(torch.div, da, b))


def _sum(sign: int) -> Rule:
    def rule(call: Call) -> bool:
        if call.operation.kwargs.get("alpha", 1) != 1 or len(call.operation.args) != 2:
            return False
        (_, da), (_, db) = call.argument(0), call.argument(1)
        if db is not None and sign < 0:
            db = call.all.emit(torch.neg, db)
        parts = [along for along in (da, db) if along is not None]
        return call.give(parts[0] if len(parts) == 1 else call.all.emit(torch.add, *parts))

    return rule


def _negated(call: Call) -> bool:
    _, along = call.argument(0)
    return along is not None and call.give(call.all.emit(torch.neg, along))


def _power(call: Call) -> bool:
    (x, along), (exponent, moving) = call.argument(0), call.argument(1)
    if along is None or moving is not None or isinstance(exponent, At):
        return False
    slope = call.all.emit(torch.mul, call.all.emit(torch.pow, x, exponent - 1), exponent)
    return call.give(call.all.emit(torch.mul, slope, along))


def _moved(call: Call) -> bool:
    """The tangent moves as the value does; entries that stand still have the tangent zero."""
    if len(call.outputs) != 1:
        return False
    given = []
    for v, along in zip(call.inputs, call.tangents, strict=True):
        given.append(call.all.whole(v) if along is not None else call.all.emit(torch.zeros_like, At(v)))
    refs = iter(given)

    def filled(tree: Any) -> Any:
        if isinstance(tree, Ref):
            return next(refs)
        return [filled(part) for part in tree] if isinstance(tree, (list, tuple)) else tree

    if call.operation.kwargs or call.operation.dtype is not None:
        return False
    return call.give(call.all.emit(call.operation.function, *(filled(arg) for arg in call.operation.args)))


def _one_minus_square(call: Call, x: At, y: At) -> At:
    return call.all.emit(torch.rsub, call.all.emit(torch.square, y), 1)


def _logistic(call: Call, x: At, y: At) -> At:
    return call.all.emit(torch.mul, y, call.all.emit(torch.rsub, y, 1))


TABLE: Mapping[str, Rule] = {
    "add": _sum(1),
    "sub": _sum(-1),
    "mul": _product,
    "div": _quotient,
    "neg": _negated,
    "pow": _power,
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
    **dict.fromkeys(
        ("view", "_unsafe_view", "permute", "t", "transpose", "squeeze", "unsqueeze", "select", "slice", "flip", "cat",
         "clone"),
        _moved,
    ),
}  # fmt: skip
