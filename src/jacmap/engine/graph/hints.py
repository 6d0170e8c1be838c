"""What an operation tells beyond its local patterns, for questions that look at values: determinants, above all."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .pattern import Pattern

if TYPE_CHECKING:
    from .graph import Graph


@dataclass(frozen=True)
class Weights:
    """The other operand of a contraction, as seen from one input: which of its entries carry which edges.

    `mask(rows, cols)`: True for the weights that carry an entry (row, col) of the local pattern. `pattern(mask)`: the
    local pattern when all other weights are zero. `operand`: the position of the weights among the node's inputs.
    """

    operand: int
    mask: Callable[[np.ndarray, np.ndarray], np.ndarray]
    pattern: Callable[[np.ndarray], Pattern]


@dataclass(frozen=True)
class Tied:
    """Entries (i, j) and (k, l) of a local pattern are equal where rows and columns carry the same two labels."""

    rows: np.ndarray
    columns: np.ndarray


@dataclass(frozen=True)
class Entries:
    """Entry (i, j) of a local pattern is `scale` times the entry rows[i] + columns[j] of another operand, row by row.

    `operand`: its position among the node's inputs.
    """

    operand: int
    rows: np.ndarray
    columns: np.ndarray
    scale: float = 1.0


@dataclass(frozen=True)
class Loop:
    """A body run `length` times.

    `carry`: the node's outputs that hand on the moving inputs, in their order. `graph`: the body from the moving part
    of the carry to itself; `results` are all that the body returns, in its values. `at(t)`: the same graph with what is
    known of step t; None when nothing more is known of single steps.
    """

    graph: Graph
    results: tuple[int, ...]
    carry: tuple[int, ...]
    length: int
    at: Callable[[int], Graph] | None


@dataclass(frozen=True)
class Hints:
    """`unit`: the inputs whose entries in the local pattern are all 1. The rest by input position."""

    unit: Collection[int] = ()
    weights: Mapping[int, Weights] = field(default_factory=dict)
    tied: Mapping[int, Tied] = field(default_factory=dict)
    entries: Mapping[int, Entries] = field(default_factory=dict)
    loop: Callable[[tuple[int, ...]], Loop | None] | None = None


NOTHING: Any = Hints()
