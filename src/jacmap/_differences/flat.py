"""A function of pytrees as a function of one vector, for calls by differences; it can be sent to other processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from .._arguments import check_inputs, check_outputs
from .._errors import ArgumentError
from ..engine.backends.jax import function as backend


@dataclass(frozen=True)
class Leaf:
    """One array among the differentiated arguments, or among the outputs. `python`: a number of Python's own."""

    shape: tuple[int, ...]
    dtype: np.dtype
    python: bool = False

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=int))


@dataclass(frozen=True)
class Layout:
    """Outputs and inputs as pytrees: how blocks of J are put together."""

    outputs: tuple[Leaf, ...]
    inputs: tuple[Leaf, ...]
    out_tree: Any
    in_tree: Any

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n)."""
        return sum(leaf.size for leaf in self.outputs), sum(leaf.size for leaf in self.inputs)

    @property
    def dtype(self) -> np.dtype:
        """J's: the widest of inputs and outputs."""
        return np.result_type(*(leaf.dtype for leaf in (*self.outputs, *self.inputs)))

    def tree(self, matrix: np.ndarray, many: bool) -> Any:
        """The m×n matrix as blocks out.shape + in.shape, laid out as `jax.jacobian` does."""
        rows, top = [], 0
        for out in self.outputs:
            blocks, left = [], 0
            for inp in self.inputs:
                block = matrix[top : top + out.size, left : left + inp.size].reshape(out.shape + inp.shape)
                blocks.append(block.astype(np.result_type(out.dtype, inp.dtype)))
                left += inp.size
            tree = jax.tree_util.tree_unflatten(self.in_tree, blocks)
            rows.append(tree if many else tree[0])
            top += out.size
        return jax.tree_util.tree_unflatten(self.out_tree, rows)


class Flat:
    """f of the differentiated numbers alone, x (n,) → y (m,); each call gets arrays of its own."""

    def __init__(
        self, f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], argnums: Sequence[int], aux: bool
    ):
        check_inputs(args, tuple(argnums), holomorphic=False)
        sig = backend.signature(args, kwargs, argnums)
        self.f, self.aux = f, aux
        self.leaves, self.treedef = jax.tree_util.tree_flatten((args, kwargs))
        self.moving, self.in_tree = sig.moving, sig.in_tree
        self.inputs = tuple(_leaf(self.leaves[p]) for p in self.moving)
        self.outputs: tuple[Leaf, ...] | None = None
        self.out_tree: Any = None
        self.value: Any = None  # of the first call, and what came beside it
        self.extra: Any = None

    @property
    def x(self) -> np.ndarray:
        """The point (n,), in double precision."""
        return np.concatenate([np.asarray(self.leaves[p], float).ravel() for p in self.moving])

    @property
    def key(self) -> Any:
        """Calls with equal keys may share a pattern."""
        others = [leaf for p, leaf in enumerate(self.leaves) if p not in self.moving]
        static = tuple(repr(leaf) for leaf in others if not backend.is_array(leaf))
        return self.treedef, self.inputs, tuple(np.shape(leaf) for leaf in others if backend.is_array(leaf)), static

    @property
    def layout(self) -> Layout:
        """Known after the first call."""
        assert self.outputs is not None
        return Layout(self.outputs, self.inputs, self.out_tree, self.in_tree)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        leaves, start = list(self.leaves), 0
        for p, leaf in zip(self.moving, self.inputs, strict=True):
            part = x[start : start + leaf.size].reshape(leaf.shape)
            part = part.astype(np.result_type(leaf.dtype, np.complex64) if np.iscomplexobj(x) else leaf.dtype)
            leaves[p] = part.item() if leaf.python else part
            start += leaf.size
        args, kwargs = jax.tree_util.tree_unflatten(self.treedef, leaves)
        out = self.f(*args, **kwargs)
        if self.aux:
            out, extra = self._pair(out)
        found, tree = jax.tree_util.tree_flatten(out)
        arrays = [np.asarray(leaf) for leaf in found]
        if self.outputs is None:
            check_outputs(arrays, None, False, self.f)
            self._refuse_complex(arrays)
            self.outputs = tuple(Leaf(array.shape, array.dtype) for array in arrays)
            self.out_tree, self.value = tree, jax.tree_util.tree_unflatten(tree, [np.array(a) for a in arrays])
            self.extra = extra if self.aux else None
        elif tuple(array.shape for array in arrays) != tuple(leaf.shape for leaf in self.outputs):
            shapes = ", ".join(str(array.shape) for array in arrays)
            raise ArgumentError(
                f"{name_of(self.f)}: returned arrays of shape {shapes} near the point, expected those that it has at "
                f"it ({', '.join(str(leaf.shape) for leaf in self.outputs)}); pad them to one shape"
            )
        flat = [array.astype(complex if array.dtype.kind == "c" else float).ravel() for array in arrays]
        return np.concatenate(flat)

    def _pair(self, out: Any) -> tuple[Any, Any]:
        if not (isinstance(out, tuple) and len(out) == 2):
            raise ArgumentError(
                f"{name_of(self.f)}: returned {type(out).__name__}, expected a pair (output, aux) because has_aux=True"
            )
        return out

    def _refuse_complex(self, arrays: list[np.ndarray]) -> None:
        if any(array.dtype.kind == "c" for array in arrays):
            raise ArgumentError(
                f"{name_of(self.f)}: returned complex numbers, expected real ones from a black box; "
                "return their real and imaginary parts"
            )


def _leaf(value: Any) -> Leaf:
    array = np.asarray(value)
    return Leaf(array.shape, array.dtype, isinstance(value, float) and not isinstance(value, np.generic))


def name_of(f: Callable[..., Any]) -> str:
    """What messages call f."""
    return getattr(f, "__name__", type(f).__name__)
