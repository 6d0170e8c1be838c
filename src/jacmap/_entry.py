"""What is kept per signature, and the sparse answer that rides on it."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import sparse as jax_sparse

from .engine.backends.jax import compat
from .engine.backends.jax.function import Traced
from .engine.plan.plan import Plan
from .engine.plan.recipe import Recipe


@dataclass(eq=False)
class Entry:
    """What is kept per signature: the plan, J itself when it is constant, and the way that is best under `vmap`."""

    traced: Traced
    plan: Plan
    constant: np.ndarray | None = None
    mapped: Recipe | None = None

    @functools.cached_property
    def indices(self) -> jax.Array:
        """(nse, 2) row-major indices of the wanted entries."""
        read = self.plan.planned.entries()
        with jax.ensure_compile_time_eval():
            return jnp.asarray(np.stack([read.rows, read.cols], axis=1))

    @functools.cached_property
    def matrix_form(self) -> Any:
        """All of the BCOO answer but its arrays: with it no call pays the 0.1 ms of the constructor's checks."""
        example = jax_sparse.BCOO(
            (jnp.zeros(len(self.indices)), self.indices),
            shape=self.plan.shape,
            indices_sorted=True,
            unique_indices=True,
        )
        return example.tree_flatten()[1]


@jax.tree_util.register_pytree_node_class
class Numbers:
    """The entries of a sparse answer on their way out of compiled code.

    Their indices are known when planning; riding along as static data they are not copied at every call.
    """

    def __init__(self, data: Any, entry: Entry):
        self.data, self.entry = data, entry

    def tree_flatten(self) -> tuple[tuple[Any], Entry]:
        return (self.data,), self.entry

    @classmethod
    def tree_unflatten(cls, entry: Entry, children: tuple[Any]) -> Numbers:
        return cls(children[0], entry)


def matrix(out: Numbers) -> jax_sparse.BCOO:
    entry = out.entry
    return compat.sparse_matrix(entry.matrix_form, out.data, entry.indices)


def matrix_and_aux(out: tuple[Numbers, Any]) -> tuple[jax_sparse.BCOO, Any]:
    return matrix(out[0]), out[1]
