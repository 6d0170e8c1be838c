"""What the entries of a flattened pytree are called: x[3, 4] for an array, x['w'][0] for a dictionary."""

from bisect import bisect_right
from itertools import accumulate
from math import prod
from typing import Any

import jax
import numpy as np


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


def leaf_names(name: str, tree: Any) -> list[tuple[str, tuple[int, ...]]]:
    """The name and the shape of each leaf of the tree."""
    with_paths, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [(name + jax.tree_util.keystr(path), np.shape(leaf)) for path, leaf in with_paths]
