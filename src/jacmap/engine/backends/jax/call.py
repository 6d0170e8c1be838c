"""One operation as the rule tables see it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

Shape = tuple[int, ...]


@functools.cache
def is_inexact(dtype: Any) -> bool:
    """Real or complex, bfloat16 included: what a derivative can flow through, and what can hold a NaN."""
    return bool(jax.numpy.issubdtype(dtype, np.inexact))


@dataclass(frozen=True, slots=True)
class Call:
    """An operation at one call site.

    `active[i]`: a derivative reaches input i. `varying[i]`: its value depends on x. `peek(i)`: what is known of
    input i when the graph is read: its value (NaN where an entry is not known), or None. `values`: it is asked how
    values depend on each other, not derivatives (inside a custom rule).
    """

    name: str
    params: Mapping[str, Any]
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    active: tuple[bool, ...]
    varying: tuple[bool, ...]
    peek: Callable[[int], np.ndarray | None]
    eqn: Any
    values: bool = False

    @property
    def out(self) -> Shape:
        return self.outputs[0]

    def known(self, i: int) -> np.ndarray | None:
        """Input i's value when it is known in full, else None."""
        value = None if self.varying[i] else self.peek(i)
        return None if value is None or (is_inexact(value.dtype) and np.isnan(value).any()) else value

    def nonzero(self, i: int) -> np.ndarray | None:
        """False where input i is known to be zero; None when nothing is known."""
        value = self.peek(i)
        if value is None:
            return None
        mask = value != 0
        return None if mask.all() else mask
