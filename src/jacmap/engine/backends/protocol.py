"""What a backend is: the smallest contract from which everything else follows.

A backend reads a function into a `Graph` and runs batches of JVPs and VJPs through it. It never hears of questions or
plans; the passes themselves (`Runner`) are described beside the code that follows a recipe, in `plan/execute.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ..graph import Graph


class Traced(Protocol):
    """A function read at one signature (shapes, dtypes, tree structure, static values)."""

    graph: Graph
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    in_tree: Any
    out_tree: Any
    closes_over_tracers: bool

    @property
    def constant(self) -> bool:
        """Does nothing but x vary from call to call?"""

    @property
    def reverse(self) -> bool:
        """Can reverse mode answer for this function?"""


class Backend(Protocol):
    """The functions of a backend's `function` module."""

    def signature(self, args: tuple[Any, ...], kwargs: dict[str, Any], argnums: Sequence[int]) -> Any:
        """What a plan is made for: hashable by its parts, equal for calls that may share a plan."""

    def on_leaves(self, f: Callable[..., Any], sig: Any, aux: bool) -> Callable[..., Any]:
        """f as a function of (differentiated leaves, other leaves) returning (output leaves, their tree, aux)."""

    def trace(self, call: Callable[..., Any], sig: Any) -> Traced:
        """Read the function; raises when its Python code depends on values."""

    def runner(self, call: Callable[..., Any], traced: Traced, moving: Sequence[Any], others: Sequence[Any]) -> Any:
        """The passes at given leaves: a `Runner`."""
