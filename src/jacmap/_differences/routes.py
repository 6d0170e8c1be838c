"""The doors by which `jacmap._dispatch` hands a call over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .jacobian import DifferencesJacobian
from .options import Differences
from .transform import BlackBox


def transform(asked: Any) -> BlackBox:
    """The same question as a `Transform` of JAX asks, put to a black box."""
    name = str(asked.question)
    if getattr(asked, "with_value", False):
        name = f"value_and_{name}"
    return BlackBox(asked.f, name, asked.argnums if asked.many else asked.argnums[0], asked.has_aux)


def linearize(
    f: Callable[..., Any],
    args: tuple[Any, ...],
    argnums: int | Sequence[int],
    memory: str | float | None,
    options: Differences | None = None,
) -> DifferencesJacobian:
    """The Jacobian of a black box at a point."""
    return DifferencesJacobian(f, args, argnums, memory, options)
