"""What can be asked of a Jacobian, and which of its entries an answer needs."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.sparse import csr_array

KINDS = ("dense", "sparse", "diagonal", "trace", "rows", "columns", "entries")


@dataclass(frozen=True)
class Question:
    """`kind` is one of `KINDS`; `rows` and `columns` hold flat indices for the kinds that need them."""

    kind: str
    rows: tuple[int, ...] = field(default=())
    columns: tuple[int, ...] = field(default=())
    matrix: str = "Jacobian"  # what explanations call the matrix asked about

    def __str__(self) -> str:
        return self.kind

    @property
    def needs_all(self) -> bool:
        """Does the answer hold every entry?"""
        return self.kind in ("dense", "sparse")

    def wanted(self, pattern: csr_array) -> csr_array:
        """The entries of the pattern that the answer holds."""
        m, n = pattern.shape
        if self.needs_all:
            return pattern
        if self.kind in ("diagonal", "trace"):
            size = min(m, n)
            mask = csr_array((np.ones(size, bool), (np.arange(size), np.arange(size))), shape=(m, n))
        elif self.kind == "rows":
            mask = csr_array((np.ones(len(self.rows), bool), (self.rows, self.rows)), shape=(m, m)) @ pattern
        elif self.kind == "columns":
            mask = pattern @ csr_array((np.ones(len(self.columns), bool), (self.columns, self.columns)), shape=(n, n))
        else:
            mask = csr_array((np.ones(len(self.rows), bool), (self.rows, self.columns)), shape=(m, n))
        found = csr_array(pattern.multiply(mask), dtype=bool)
        found.eliminate_zeros()
        found.sort_indices()
        return found
