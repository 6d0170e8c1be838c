"""Arrays of either library as NumPy's, to be printed."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import scipy.sparse


def plain(tree: Any) -> Any:
    """The tree with NumPy arrays in place of PyTorch's tensors."""

    def numbers(leaf: Any) -> Any:
        if not hasattr(leaf, "detach"):
            return leaf
        short = leaf.is_floating_point() and leaf.dtype.itemsize < 4  # bfloat16, which NumPy does not have
        return (leaf.float() if short else leaf).numpy(force=True)

    return jax.tree.map(numbers, tree)


def sparse(matrix: Any) -> scipy.sparse.csr_array:
    """A BCOO of JAX, or a sparse tensor of PyTorch, as SciPy's."""
    if hasattr(matrix, "detach"):
        at, data = plain(matrix.indices()), plain(matrix.values())
    else:
        at, data = np.asarray(matrix.indices).T, np.asarray(matrix.data)
    return scipy.sparse.coo_array((data, (at[0], at[1])), shape=tuple(matrix.shape)).tocsr()
