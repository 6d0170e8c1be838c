"""What the entries of a point and of a value are called: x, y for an expression, x[3, 4] for an array."""

from collections.abc import Sequence
from typing import Any

from .._labels import Labels, leaf_names
from .target import Target


def of_inputs(target: Target, arguments: tuple[Any, ...], moving: Sequence[int]) -> Labels:
    """The names of the entries of the arguments at the positions `moving`."""
    if target.variables is not None:
        return Labels([(name, ()) for name in target.variables])
    names = target.arguments
    if names is None or len(names) != len(arguments):
        names = ("x",) if len(arguments) == 1 else tuple(f"x{number}" for number in range(len(arguments)))
    return Labels([leaf for k in moving for leaf in leaf_names(names[k], arguments[k])])


def of_outputs(value: Any) -> Labels:
    return Labels(leaf_names("y", value))
