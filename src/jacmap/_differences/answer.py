"""A Jacobian that was measured: its numbers, how good they are, and how they came about."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from scipy.sparse import csr_array

from .._labels import Labels
from ..engine.graph import Pattern
from .flat import Layout, Leaf


@dataclass(frozen=True, eq=False)
class Answer:
    """J at a point by differences. Entries are listed row by row: `rows`, `columns`, `values`, `errors`, each (nnz,).

    `found`: how the pattern is known: "given", "probed" or "dense". `method` and, where it is not the complex step,
    `why_not` that. `calls`: of f, by phase. `checked`: the relative difference along a random direction, or None.
    """

    layout: Layout
    rows: np.ndarray
    columns: np.ndarray
    values: np.ndarray
    errors: np.ndarray
    pattern: Pattern
    found: str
    method: str
    groups: int
    calls: dict[str, int]
    value: object
    extra: object = None
    why_not: str = ""
    checked: float | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, int]:
        return self.layout.shape

    @property
    def total(self) -> int:
        """All calls of f."""
        return sum(self.calls.values())

    @cached_property
    def dense(self) -> np.ndarray:
        """(m, n) in double precision."""
        return self._filled(self.values)

    @cached_property
    def error(self) -> np.ndarray:
        """(m, n): the estimated absolute error of each entry; 0 where the pattern has none."""
        return self._filled(self.errors)

    def _filled(self, entries: np.ndarray) -> np.ndarray:
        matrix = np.zeros(self.shape)
        matrix[self.rows, self.columns] = entries
        return matrix

    @cached_property
    def csr(self) -> csr_array:
        """J as a SciPy CSR array in its own dtype, with every entry of the pattern."""
        pointers = np.searchsorted(self.rows, np.arange(self.shape[0] + 1))
        return csr_array((self.values.astype(self.layout.dtype), self.columns, pointers), shape=self.shape)

    @cached_property
    def relative(self) -> np.ndarray:
        """(nnz,): each estimated error over the largest entry of its row."""
        largest = np.zeros(self.shape[0])
        np.maximum.at(largest, self.rows, np.abs(self.values))
        with np.errstate(all="ignore"):
            return np.where(self.errors > 0, self.errors / largest[self.rows], 0.0)

    @property
    def accuracy(self) -> float:
        """The largest of them that is finite; 0 without entries."""
        finite = self.relative[np.isfinite(self.relative)]
        return float(finite.max(initial=0.0))

    def worst(self) -> tuple[str, str] | None:
        """The names of the output and the input whose entry has that error."""
        relative = np.where(np.isfinite(self.relative), self.relative, -1.0)
        if not relative.size or relative.max() <= 0:
            return None
        k = int(np.argmax(relative))
        return self.outputs[int(self.rows[k])], self.inputs[int(self.columns[k])]

    @cached_property
    def outputs(self) -> Labels:
        """The names of the rows: y[0], y[1], ..."""
        return _labels("y", self.layout.outputs)

    @cached_property
    def inputs(self) -> Labels:
        """The names of the columns: x[0], x[1], ..."""
        return _labels("x", self.layout.inputs)


def _labels(name: str, leaves: tuple[Leaf, ...]) -> Labels:
    many = len(leaves) > 1
    return Labels((f"{name}{k}" if many else name, leaf.shape) for k, leaf in enumerate(leaves))
