"""Ways to answer a question, as data: what the planner compares, what `explain` shows and what the run follows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..graph.cuts import Cut
from .colouring import Colouring


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """`cost` is in counted scalar operations, `memory` in bytes; both only rank candidates."""

    name: str
    forward: int = 0
    reverse: int = 0
    cost: float = 0.0
    memory: float = 0.0
    note: str = ""
    chunk: int = 0  # seeds per batch; 0: all at once

    @property
    def passes(self) -> str:
        parts = [
            f"{n} {word}{'s' if n != 1 else ''}" for n, word in ((self.forward, "JVP"), (self.reverse, "VJP")) if n
        ]
        return " + ".join(parts) or "none"


@dataclass(frozen=True, kw_only=True)
class Plain(Recipe):
    """One pass per input (forward) or per output (reverse): what jacfwd and jacrev do."""

    mode: str


@dataclass(frozen=True, kw_only=True)
class Scaled(Recipe):
    """J = diag(b) M diag(a) along four cuts, M in plain forward or reverse mode (`plan.ends`)."""

    mode: str
    cuts: tuple[Cut, Cut, Cut, Cut]


@dataclass(frozen=True)
class Part:
    """`count` forward passes in a row along which the tangents of the same edges are zero, so many seeds at a time."""

    count: int
    still: frozenset[tuple[int, int]]
    chunk: int = 0  # as in `Recipe`


@dataclass(frozen=True, kw_only=True)
class Coloured(Recipe):
    """Seeds shared by columns (rows) that never meet; entries are read off the compressed result.

    `dropped`: edges (node position, input position) whose tangents the question does not need. `parts`: the forward
    passes, where some of them can do without some tangents.
    """

    colouring: Colouring
    dropped: frozenset[tuple[int, int]] = frozenset()
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Bracketed(Recipe):
    """J = J_k ⋯ J_1 along cuts, multiplied in the cheapest order: `tree` says which."""

    tree: Any
    cuts: tuple[Cut, ...]


@dataclass(frozen=True, kw_only=True)
class Constant(Recipe):
    """f is affine: `inner` answers once, when the plan is built; no pass after that."""

    inner: Recipe
