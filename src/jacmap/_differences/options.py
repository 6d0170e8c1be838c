"""How a black box is differentiated, where the defaults do not fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import sparse
from scipy.sparse import csr_array

from .._errors import ArgumentError
from ..engine.graph import Pattern

METHODS = ("auto", "central", "complex")


@dataclass(frozen=True, eq=False)
class Differences:
    """How the Jacobian of a black box is found: ``jm.jacobian(f, differences=jm.Differences(...))``.

    `pattern`: which entries can differ from zero, outputs × inputs: a SciPy sparse matrix, an array, or a `Pattern`;
    "probe" to look for it by moving inputs, "dense" not to; None looks where there are more than 32 inputs.
    `method`: "central" differences, the "complex" step, or "auto": the complex step where f is seen to support it.
    `tolerance`: the relative error at which an entry is good enough. None refines until rounding stops it, and goes to
    1e-8 where there are more than 64 inputs.
    `workers`: processes that call f side by side. f must then be picklable.
    `progress`: show it on stderr; None does for work of more than two seconds, on a terminal.
    `seed`: of the random directions and probes.

    Raises `ArgumentError` for values it does not know.
    """

    pattern: Any = None
    method: Literal["auto", "central", "complex"] = "auto"
    tolerance: float | None = None
    workers: int = 1
    progress: bool | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ArgumentError(f"method: got {self.method!r}, expected one of {', '.join(map(repr, METHODS))}")
        if isinstance(self.workers, bool) or not isinstance(self.workers, int) or self.workers < 1:
            raise ArgumentError(f"workers: got {self.workers!r}, expected a number of processes, 1 or more")
        if self.tolerance is not None and not 0 < self.tolerance < 1:
            raise ArgumentError(f"tolerance: got {self.tolerance!r}, expected a relative error below 1, or None")
        if isinstance(self.pattern, str) and self.pattern not in ("probe", "dense"):
            raise ArgumentError(f'pattern: got {self.pattern!r}, expected "probe", "dense" or an m×n matrix of zeros')

    @property
    def word(self) -> str:
        """The pattern where it is a word."""
        return self.pattern if isinstance(self.pattern, str) else ""

    @property
    def given(self) -> bool:
        """Is the pattern the user's own?"""
        return self.pattern is not None and not isinstance(self.pattern, str)

    def matrix(self, shape: tuple[int, int]) -> csr_array:
        """The pattern given, as a boolean CSR. ArgumentError where it has another shape."""
        given = self.pattern.tocsr() if isinstance(self.pattern, Pattern) else self.pattern
        try:
            found = csr_array(given if sparse.issparse(given) else np.atleast_2d(np.asarray(given)))
            found = csr_array((found.data != 0, found.indices, found.indptr), shape=found.shape)
        except (TypeError, ValueError) as error:
            kind = type(self.pattern).__name__
            raise ArgumentError(f"pattern: got {kind}, expected an m×n matrix of zeros and ones") from error
        if found.shape != shape:
            (m, n), (a, b) = shape, found.shape
            turned = "; it seems transposed" if (b, a) == shape else ""
            raise ArgumentError(f"pattern: got shape {a}×{b}, expected outputs × inputs, {m}×{n}{turned}")
        found.sum_duplicates()
        found.eliminate_zeros()
        return found
