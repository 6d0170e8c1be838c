"""How a pytree of real arrays lies in one flat vector, and what its entries are called."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from ..._errors import ArgumentError
from ..._labels import Labels

Names: TypeAlias = "Sequence[str] | Labels"


class Layout:
    """The structure, shapes and dtypes of a pytree; `size` entries in all, in the order of its leaves."""

    def __init__(self, tree: Any):
        leaves, treedef = jax.tree_util.tree_flatten(tree)
        self.treedef: Any = treedef
        self.tree = tree  # arrays or their shapes: only what they are like is read
        self.shapes = [tuple(np.shape(leaf)) for leaf in leaves]
        self.dtypes = [jnp.result_type(leaf) for leaf in leaves]
        self.sizes = [math.prod(shape) for shape in self.shapes]
        self.size = sum(self.sizes)

    @property
    def dtype(self) -> Any:
        """That of a flat vector that holds every leaf without loss."""
        return np.result_type(*self.dtypes)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the tree's only leaf, else (size,)."""
        return self.shapes[0] if len(self.shapes) == 1 else (self.size,)

    def flat(self, tree: Any) -> np.ndarray:
        """The entries of such a tree as one vector in double precision."""
        leaves = jax.tree_util.tree_leaves(tree)
        return np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in leaves])

    def restore(self, vector: np.ndarray) -> Any:
        """The tree, of NumPy arrays, whose entries are this vector's."""
        parts = np.split(vector, np.cumsum(self.sizes)[:-1])
        leaves = [part.reshape(shape) for part, shape in zip(parts, self.shapes, strict=True)]
        return jax.tree_util.tree_unflatten(self.treedef, leaves)

    def fill(self, values: Any, what: str) -> np.ndarray:
        """`values` for every entry, (size,): given as one number, as a flat vector, or laid out as the tree."""
        like_the_tree = jax.tree_util.tree_structure(values) == self.treedef
        leaves = jax.tree_util.tree_leaves(values) if like_the_tree else [values]
        try:
            arrays = [np.asarray(leaf, np.float64) for leaf in leaves]
        except (TypeError, ValueError) as error:
            raise ArgumentError(f"{what}: got {values!r:.60}, expected real numbers") from error
        if like_the_tree and [a.shape for a in arrays] == self.shapes:
            return np.concatenate([a.ravel() for a in arrays])
        if len(arrays) == 1 and arrays[0].shape in ((), (self.size,)):
            return np.broadcast_to(arrays[0], (self.size,)).copy()
        got = ", ".join(str(a.shape) for a in arrays)
        expected = f"{self.size} numbers" + (f" (shape {self.shape})" if len(self.shape) != 1 else "")
        raise ArgumentError(f"{what}: got shape {got}, expected one number or {expected}, one for each entry")

    def spread(self, values: Any) -> np.ndarray:
        """Standard deviations of every entry, (size,)."""
        found = self.fill(values, "spread")
        if not (np.isfinite(found).all() and (found >= 0).all()):
            raise ArgumentError("spread: got a negative number or NaN, expected standard deviations, 0 or more")
        return found

    def names(self, given: str | Sequence[str] | None, base: str, what: str) -> Names:
        """What the entries are called: by `given`, one name each or a name for the whole, else by `base`."""
        if given is None or isinstance(given, str):
            return Labels.of([base if given is None else given], [self.tree])
        names = tuple(str(name) for name in given)
        if len(names) != self.size:
            raise ArgumentError(
                f"{what}: got {len(names)} names, expected {self.size}, one for each entry (or one name for all)"
            )
        return names


def on_vectors(f: Callable[..., Any], layout: Layout) -> Callable[[Any], Any]:
    """f as a function of the flat vector of its argument, with one flat vector as its answer."""

    def call(vector: Any) -> Any:
        ends = np.cumsum(layout.sizes)
        leaves = [
            vector[end - size : end].reshape(shape).astype(dtype)
            for end, size, shape, dtype in zip(ends, layout.sizes, layout.shapes, layout.dtypes, strict=True)
        ]
        out = [jnp.asarray(leaf) for leaf in jax.tree_util.tree_leaves(f(layout.treedef.unflatten(leaves)))]
        dtype = np.result_type(*(leaf.dtype for leaf in out))
        return jnp.concatenate([leaf.ravel().astype(dtype) for leaf in out])

    call.__name__ = getattr(f, "__name__", "f")
    return call


def position(names: Names, wanted: int | str, what: str) -> int:
    """The entry of that number or name."""
    if isinstance(wanted, str):
        for entry in range(len(names)):
            if names[entry] == wanted:
                return entry
        shown = ", ".join(names[entry] for entry in range(min(5, len(names))))
        more = ", ..." if len(names) > 5 else ""
        raise ArgumentError(f"{what}: got {wanted!r}, expected one of {shown}{more}, or a number")
    if isinstance(wanted, bool) or not isinstance(wanted, (int, np.integer)) or not -len(names) <= wanted < len(names):
        raise ArgumentError(f"{what}: got {wanted!r}, expected a name or an integer from 0 to {len(names) - 1}")
    return int(wanted) % len(names)


def in_full(names: Names) -> list[str]:
    """Every name; there may be many."""
    return [names[entry] for entry in range(len(names))]
