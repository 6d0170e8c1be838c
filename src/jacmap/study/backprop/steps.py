"""The steps of a function as a learner wants them: one per operation, small moves folded into what reads them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..._operations import Operation, Operations

# They only lay numbers out anew: no step of their own where something reads the result.
FOLDED = frozenset("broadcast_in_dim convert_element_type copy expand_dims reshape squeeze transpose".split())

# The entries of their local Jacobians are 0, 1 or −1 (or a share of a tie): a product with them only adds and selects.
FREE = frozenset("""
add add_any clamp copy cummax cummin cumsum max min neg reduce_max reduce_min reduce_precision reduce_sum relu select_n
sort sub
""".split())


@dataclass(frozen=True, eq=False)
class Step:
    """One operation with the moves folded into its inputs. `reads`, `makes`: numbers of values.

    `paths[k]`: the moves between value `reads[k]` and the operation, first to last.
    """

    operation: Operation
    reads: tuple[int, ...]
    paths: tuple[tuple[Operation, ...], ...]

    @property
    def makes(self) -> tuple[int, ...]:
        return self.operation.outputs

    def __call__(self, *values: Any) -> list[Any]:
        """The values made, from the values read."""
        moved = []
        for value, path in zip(values, self.paths, strict=True):
            for move in path:
                (value,) = move(value)
            moved.append(value)
        return self.operation(*moved)

    def multiplications(self, position: int) -> int:
        """Of one product of the local Jacobian (or its transpose) with a vector, for the value read at `position`."""
        if self.operation.name in FREE or self.operation.moved:
            return 0
        return sum(count for (_, k), count in self.operation.nonzeros.items() if k == position)


def steps_of(found: Operations) -> list[Step]:
    """In the order in which they run. What depends on no argument is a constant, and no step."""
    root: dict[int, tuple[int, tuple[Operation, ...]]] = {}  # a folded value → (where its numbers come from, moves)
    steps = []
    for operation in found.operations:
        if not any(found.varying[v] for v in operation.inputs):
            continue
        ends = [root.get(v, (v, ())) for v in operation.inputs]
        if _folds(operation, found):
            root[operation.outputs[0]] = ends[0][0], (*ends[0][1], operation)
        else:
            steps.append(Step(operation, tuple(v for v, _ in ends), tuple(path for _, path in ends)))
    return steps


def _folds(operation: Operation, found: Operations) -> bool:
    if operation.name not in FOLDED or len(operation.inputs) != 1 or operation.outputs[0] in found.outputs:
        return False
    # A conversion that ends a derivative, or makes numbers of a comparison, is a step that is seen.
    return found.active[operation.inputs[0]] == found.active[operation.outputs[0]]


KINDS = {"elementwise": "diagonal", "select": "diagonal of 0 and 1", "reduction": "reduction",
         "contraction": "matrix product", "windowed contraction": "convolution"}  # fmt: skip


ENTRYWISE = {"relu": "diagonal of 0 and 1", "logaddexp": "diagonal"}  # custom rules of JAX's own


def kind(step: Step, position: int) -> str:
    """What the local Jacobian for the value read at `position` is like, in words."""
    operation, path = step.operation, step.paths[position]
    if operation.moved:
        return "selection"
    said = ENTRYWISE.get(operation.name) or KINDS.get(operation.kind, operation.kind)
    read = path[0].equation.invars[0] if path else operation.equation.invars[position]
    made = operation.equation.outvars[0]
    if said.startswith("diagonal") and math.prod(read.aval.shape) < math.prod(made.aval.shape):
        return "one entry per row: a number that several entries read"
    return said


SYMBOLS: dict[str, str] = {
    "add": "{} + {}", "add_any": "{} + {}", "sub": "{} - {}", "mul": "{} * {}", "div": "{} / {}", "neg": "-{}",
    "dot_general": "{} @ {}", "pow": "{} ** {}", "gt": "{} > {}", "ge": "{} >= {}", "lt": "{} < {}", "le": "{} <= {}",
    "eq": "{} == {}", "ne": "{} != {}", "logistic": "sigmoid({})", "reduce_sum": "sum({})", "reduce_max": "max({})",
    "reduce_min": "min({})", "reduce_prod": "prod({})", "square": "{} ** 2", "select_n": "where({}, {2}, {1})",
    "conv_general_dilated": "convolve({}, {})",
}  # fmt: skip


def formula(step: Step, name: Callable[[int], str]) -> str:
    """The step as one would write it: "tanh(v1)", "x @ w"."""
    operation = step.operation
    names = [name(v) for v in step.reads]
    if operation.name == "integer_pow":
        return f"{names[0]} ** {operation.params['y']}"
    if operation.name == "select_n" and len(names) == 3:
        return f"where({names[0]}, {names[2]}, {names[1]})"
    if operation.name == "slice":
        return f"{names[0]}[{_slices(operation)}]"
    if operation.name in SYMBOLS and operation.name != "select_n":
        return SYMBOLS[operation.name].format(*names)
    return f"{operation.rule or operation.name}({', '.join(names)})"


def _slices(operation: Operation) -> str:
    p = operation.params
    strides = p["strides"] or (1,) * len(p["start_indices"])
    shape = operation.equation.invars[0].aval.shape
    said = []
    for start, stop, by, size in zip(p["start_indices"], p["limit_indices"], strides, shape, strict=True):
        if by == 1 and stop == start + 1:
            said.append(f"{start}:{stop}" if size > 1 else ":")
        elif by == 1:
            said.append(f"{start if start else ''}:{stop if stop < size else ''}")
        else:
            said.append(f"{start}:{stop}:{by}")
    return ", ".join(said)


def literal(array: np.ndarray) -> str | None:
    """A number that stands in the user's code, as text; None for an array."""
    if array.size != 1 or array.dtype.kind not in "fiub":
        return None
    number = array.item()
    return str(number) if isinstance(number, (bool, int)) else f"{number:.6g}"
