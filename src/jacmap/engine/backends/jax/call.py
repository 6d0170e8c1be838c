"""One operation as the rule tables see it, and what a rule is."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from ...graph import Pattern

Shape = tuple[int, ...]
Local = Mapping[tuple[int, int], Pattern]


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


@dataclass(frozen=True, slots=True)
class Rule:
    """A row of the table: how an operation's outputs depend on its inputs.

    `kind` names the dependence kind for people; `local` gives the local patterns; `affine` tells whether this call
    is affine in its active inputs; `exact` whether the pattern is exact (else it over-estimates); `work` counts
    scalar operations (None: one per output entry); `modes` tells whether forward and reverse mode are supported.
    """

    kind: str
    local: Callable[[Call], Local]
    affine: Callable[[Call], bool] = lambda call: False
    exact: bool = True
    modes: Callable[[Call], tuple[bool, bool]] = lambda call: (True, True)
    work: Callable[[Call], float] | None = None
    note: str = ""


def always(call: Call) -> bool:
    return True


def one_varying(call: Call) -> bool:
    """Affine when a single operand varies: products, contractions."""
    return sum(call.varying) == 1


def first_alone(call: Call) -> bool:
    """Affine when nothing but the first operand varies: division, indexing, selecting by it."""
    return not any(call.varying[1:])


def rest_vary(call: Call) -> bool:
    """Affine when the first operand (a predicate) does not vary."""
    return not call.varying[0]


def neither_mode(call: Call) -> tuple[bool, bool]:
    """JAX has no derivative of the operation and raises."""
    return False, False
