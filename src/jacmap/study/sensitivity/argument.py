"""What a Jacobian was differentiated for: its arguments as one tree, and f as a function of them alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..._jacobian import Jacobian


def argument(jacobian: Jacobian) -> Any:
    """The differentiated argument, or the tuple of them."""
    if isinstance(jacobian.argnums, int):
        return jacobian.args[jacobian.argnums]
    return tuple(jacobian.args[k] for k in jacobian.argnums)


def function_of(jacobian: Jacobian) -> Callable[[Any], Any]:
    """f as a function of what `argument` gives; the other arguments stay."""
    argnums = jacobian.argnums

    def call(moved: Any) -> Any:
        parts = {argnums: moved} if isinstance(argnums, int) else dict(zip(argnums, moved, strict=True))
        return jacobian.f(*(parts.get(k, given) for k, given in enumerate(jacobian.args)))

    return call


def unread(jacobian: Jacobian) -> tuple[int, ...]:
    """The inputs that no output can depend on, by f's graph: the columns without an entry in its pattern."""
    entries = np.diff(jacobian.pattern.tocsr().tocsc().indptr)
    return tuple(np.flatnonzero(entries == 0).tolist())
