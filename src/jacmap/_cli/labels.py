"""What the entries of a point and of a value are called: x, y for an expression, x[3, 4] for an array."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from math import prod
from typing import Any

import jax
import numpy as np

from .target import Target


class Labels:
    """The name of each entry of a flattened pytree, made when asked for: there may be a million of them."""

    def __init__(self, leaves: list[tuple[str, tuple[int, ...]]]) -> None:
        self.leaves = leaves
        self.ends = list(accumulate(prod(shape) for _, shape in leaves))

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def __getitem__(self, entry: int) -> str:
        leaf = bisect_right(self.ends, entry)
        name, shape = self.leaves[leaf]
        if not shape:
            return name
        within = entry - (self.ends[leaf - 1] if leaf else 0)
        return f"{name}[{', '.join(str(index) for index in np.unravel_index(within, shape))}]"


def of_inputs(target: Target, arguments: tuple[Any, ...], moving: Sequence[int]) -> Labels:
    """The names of the entries of the arguments at the positions `moving`."""
    if target.variables is not None:
        return Labels([(name, ()) for name in target.variables])
    names = target.arguments
    if names is None or len(names) != len(arguments):
        names = ("x",) if len(arguments) == 1 else tuple(f"x{number}" for number in range(len(arguments)))
    return Labels([leaf for k in moving for leaf in _leaves(names[k], arguments[k])])


def of_outputs(value: Any) -> Labels:
    return Labels(_leaves("y", value))


def _leaves(name: str, tree: Any) -> list[tuple[str, tuple[int, ...]]]:
    with_paths, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [(name + jax.tree_util.keystr(path), np.shape(leaf)) for path, leaf in with_paths]
