"""The dense answer: the m×n matrix and the pytree of blocks that jax.jacobian returns."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._errors import ArgumentError
from .engine.backends.jax.function import Traced


def dense_matrix(blocks: Any, traced: Traced) -> Any:
    """The m×n matrix of a pytree of blocks ``out.shape + in.shape``."""
    leaves = jax.tree_util.tree_leaves(blocks)
    common = np.result_type(*(leaf.dtype for leaf in leaves))
    width = len(traced.inputs)
    rows = []
    for k, out in enumerate(traced.outputs):
        height = int(np.prod(out.shape, dtype=int))
        sizes = [int(np.prod(inp.shape, dtype=int)) for inp in traced.inputs]
        mine = zip(leaves[k * width : (k + 1) * width], sizes, strict=True)
        rows.append([block.reshape(height, size).astype(common) for block, size in mine])
    stacked = [row[0] if width == 1 else jnp.concatenate(row, axis=1) for row in rows]
    return stacked[0] if len(stacked) == 1 else jnp.concatenate(stacked)


def blocks_of(matrix: Any, traced: Traced, many: bool) -> Any:
    """The m×n matrix as a pytree of blocks out.shape + in.shape, laid out as jax.jacobian does."""
    whole = len(traced.outputs) == len(traced.inputs) == 1
    rows, row = [], 0
    for out in traced.outputs:
        height, blocks, col = int(np.prod(out.shape, dtype=int)), [], 0
        for inp in traced.inputs:
            width = int(np.prod(inp.shape, dtype=int))
            block = matrix if whole else matrix[row : row + height, col : col + width]
            blocks.append(block.reshape(out.shape + inp.shape))
            col += width
        rows.append(blocks)
        row += height
    return as_tree(rows, traced, many)


def as_tree(blocks: list[list[Any]], traced: Traced, many: bool) -> Any:
    """blocks[output leaf][input leaf] as the pytree of outputs of pytrees of inputs.

    A block's dtype is the wider of its output's and its input's, whichever AD mode computed it.
    """
    rows = []
    for out, row in zip(traced.outputs, blocks, strict=True):
        cast_row = [
            block.astype(np.result_type(out.dtype, inp.dtype))
            for inp, block in zip(traced.inputs, row, strict=True)
        ]
        tree = jax.tree_util.tree_unflatten(traced.in_tree, cast_row)
        rows.append(tree if many else tree[0])
    return jax.tree_util.tree_unflatten(traced.out_tree, rows)


def check_size(shape: tuple[int, int], traced: Traced) -> None:
    """XLA counts entries in int32; beyond that a dense answer is hopeless anyway."""
    m, n = shape
    if m * n >= 2**31:
        size = m * n * max(a.dtype.itemsize for a in traced.inputs) / 1e9
        raise ArgumentError(
            f"form: a dense {m}×{n} Jacobian is an array of {size:.0f} GB, expected less than 2³¹ entries; ask for "
            'form="sparse" (J.sparse()), for rows, columns or entries, or for products'
        )
