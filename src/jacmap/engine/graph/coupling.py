"""How one operation bends: which pairs of its input entries have a second derivative."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .pattern import Pattern


@dataclass(frozen=True, slots=True)
class Coupling:
    """Pairs of entries of inputs `first` and `second` that meet in a product.

    In each term every entry of `first` that `left` reads is paired with every entry of `second` that `right` reads
    (terms × entries, both). Term t is a part of entry t of output number `output`; None: of outputs not told.
    """

    first: int
    second: int
    left: Pattern
    right: Pattern
    output: int | None = None


@dataclass(frozen=True, slots=True)
class Curvature:
    """All couplings of an operation; `couplings` None: an output entry couples all that it reads.

    A custom derivative rule need not be the derivative of the value that it returns. `value` then tells what
    differentiating that value reads, beyond the node's own local patterns, and `symmetric` is False: the matrix of
    second derivatives that AD gives need not be symmetric.
    """

    couplings: tuple[Coupling, ...] | None = None
    value: Mapping[tuple[int, int], Pattern] | None = None
    symmetric: bool = True


DEFAULT = Curvature()
NONE = Curvature(couplings=())
