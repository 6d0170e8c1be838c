"""What a pattern is named: the form, and how rows and columns fall into it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Blocks:
    """Which block each row and column belongs to.

    `row_labels` (m,) and `column_labels` (n,) number the blocks from 0 down the diagonal of the (permuted)
    matrix; -1 marks a row or column in none of them. `uniform` is the common (rows, columns) of all blocks,
    or None. `contiguous` says that the blocks, rows and columns in none aside, stand one after another as the
    matrix is.
    """

    row_labels: np.ndarray
    column_labels: np.ndarray
    count: int
    uniform: tuple[int, int] | None
    contiguous: bool


@dataclass(frozen=True, eq=False)
class Structure:
    """The name of a pattern of shape (m, n) = (outputs, inputs); `str()` gives `text`.

    `kind` is one of "empty", "scalar", "gradient", "column", "dense", "diagonal", "diagonals" (a few, far
    apart), "banded", "block-diagonal", "lower-triangular", "upper-triangular", "block-lower-triangular",
    "block-upper-triangular", "arrow", "low-rank", "sparse".

    `row_order` and `column_order` are None where the matrix has the form as it stands; otherwise
    `J[row_order][:, column_order]` has it. `admits` counts the entries that the form allows to be nonzero.
    `bandwidths` is (lower, upper): every entry has -lower <= column - row <= upper. `blocks` gives the blocks
    of a block-diagonal form, the diagonal ones of a block triangular form, or those beside an arrow's dense
    lines. `dense_rows` and `dense_columns` are an arrow's; its `bandwidths` are those of the rest, in place
    or closed up. `structural_rank` is the largest number of entries in distinct rows and columns, or None if
    not computed.
    """

    kind: str
    text: str
    shape: tuple[int, int]
    admits: int
    row_order: np.ndarray | None = None
    column_order: np.ndarray | None = None
    blocks: Blocks | None = None
    bandwidths: tuple[int, int] | None = None
    dense_rows: np.ndarray | None = None
    dense_columns: np.ndarray | None = None
    structural_rank: int | None = None

    def __str__(self) -> str:
        return self.text

    @property
    def permuted(self) -> bool:
        return self.row_order is not None
