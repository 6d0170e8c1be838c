"""What the linear algebra needs of a Jacobian at a point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import jax.numpy as jnp
import numpy as np

from .form import Form


@dataclass(frozen=True, eq=False)
class Subject:
    """J at a point, as the rest of this room sees it.

    `numbers()` gives the entries row by row (nnz,), or the matrix (m, n) where the form is full; `push(leaves, V)` and
    `pull(leaves, U)` give J V and Jᵀ U of (n, k) and (m, k). `symbolic(*arrays)`: are these, or the point, traced by a
    transformation of JAX? `entries()` tells how the numbers are computed. `arrays` makes the answers (jax.numpy or
    numpy); `accuracy` is the relative error of the numbers where it is more than rounding.
    """

    name: str
    shape: tuple[int, int]
    dtype: Any
    memory: float | None
    form: Form
    leaves: Any
    numbers: Callable[[], Any]
    push: Callable[[Any, Any], Any]
    pull: Callable[[Any, Any], Any]
    symbolic: Callable[..., bool]
    entries: Callable[[], str]
    arrays: ModuleType = jnp
    accuracy: float = 0.0

    @property
    def eps(self) -> float:
        """The precision of J's numbers."""
        rounding = float(np.finfo(np.float32 if np.dtype(self.dtype).itemsize < 4 else self.dtype).eps)
        return max(rounding, self.accuracy)
