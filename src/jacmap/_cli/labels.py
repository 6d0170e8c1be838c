"""What the entries of a target's point are called: x, y for an expression, the argument's name for a function."""

from collections.abc import Sequence
from typing import Any

from .._labels import Labels
from .target import Target


def of_inputs(target: Target, arguments: tuple[Any, ...], moving: Sequence[int]) -> Labels:
    """The names of the entries of the arguments at the positions `moving`."""
    if target.variables is not None:
        return Labels((name, ()) for name in target.variables)
    names = target.arguments
    if names is None or len(names) != len(arguments):
        names = ("x",) if len(arguments) == 1 else tuple(f"x{number}" for number in range(len(arguments)))
    return Labels.of([names[k] for k in moving], [arguments[k] for k in moving])


def of_outputs(value: Any) -> Labels:
    return Labels.of(["y"], [value])
