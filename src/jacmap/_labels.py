"""What the entries of a point and of a value are called: x[3, 4] for an array, params['w'][0] for a pytree."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from math import prod
from typing import Any

import jax
import numpy as np


class Labels:
    """The name of each entry of a flattened pytree, made when asked for: there may be a million of them."""

    def __init__(self, leaves: Iterable[tuple[str, tuple[int, ...]]]) -> None:
        self.leaves = list(leaves)
        self.ends = list(accumulate(prod(shape) for _, shape in self.leaves))

    @classmethod
    def of(cls, names: Sequence[str], trees: Sequence[Any]) -> "Labels":
        """The entries of several pytrees laid end to end, each under a name of its own."""
        return cls(leaf for name, tree in zip(names, trees, strict=True) for leaf in _leaves(name, tree))

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def __iter__(self) -> Iterator[str]:
        return (self[entry] for entry in range(len(self)))

    def __getitem__(self, entry: int) -> str:
        if not 0 <= entry < len(self):
            raise IndexError(entry)
        leaf = bisect_right(self.ends, entry)
        name, shape = self.leaves[leaf]
        if not shape:
            return name
        within = entry - (self.ends[leaf - 1] if leaf else 0)
        return f"{name}[{', '.join(str(index) for index in np.unravel_index(within, shape))}]"


def leaf_names(name: str, tree: Any) -> list[str]:
    """What the leaves of a pytree are called that is itself called `name`."""
    return [leaf for leaf, _ in _leaves(name, tree)]


def _leaves(name: str, tree: Any) -> list[tuple[str, tuple[int, ...]]]:
    with_paths, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [(name + jax.tree_util.keystr(path), np.shape(leaf)) for path, leaf in with_paths]
