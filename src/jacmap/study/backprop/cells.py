"""The workbook as data: which cell holds which entry, and by what formula. Nothing here knows the file format.

Every number of f is an entry: a cell, or a plain number that stands in the code. Operations that only move numbers make
no cells, they read other cells; so the cotangent of a cell is the sum over whoever reads it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

FORWARD, BACKWARD = "Forward", "Backward"
FIRST_COLUMN, FIRST_ROW = 5, 5  # of the numbers: columns A to D and rows 1 to 3 are headings
LONGEST = 8000  # characters of a formula; Excel takes 8192
LARGEST = 1.7e308  # stands for infinity


@dataclass(frozen=True)
class Cell:
    sheet: str
    row: int
    column: int

    @property
    def address(self) -> str:
        letters, k = "", self.column
        while k:
            k, rest = divmod(k - 1, 26)
            letters = chr(65 + rest) + letters
        return f"{letters}{self.row}"

    def seen_from(self, sheet: str) -> str:
        return self.address if sheet == self.sheet else f"{self.sheet}!{self.address}"


Entry = Cell | float | bool


@dataclass
class Block:
    """Cells under one heading. `kind`: input, value, local, cotangent or gradient; `frozen`: plain numbers."""

    sheet: str
    row: int
    name: str
    formula: str
    line: str
    kind: str
    shape: tuple[int, ...]
    texts: list[str | float | bool] = field(default_factory=list)
    note: str = ""
    frozen: bool = False

    @property
    def cells(self) -> list[Cell]:
        width = self.shape[-1] if self.shape else 1
        return [
            Cell(self.sheet, self.row + k // width, FIRST_COLUMN + k % width) for k in range(math.prod(self.shape))
        ]

    @property
    def rows(self) -> int:
        return max(1, math.prod(self.shape[:-1]))


class TooLong(Exception):
    """A formula of more characters than a spreadsheet takes."""


@dataclass
class Layout:
    """Both sheets. `frozen`: the operations that stand there as numbers; `fixed`: those whose choice stays as saved."""

    blocks: list[Block]
    frozen: list[str]
    fixed: list[str]
    result: Entry


def sum_of(terms: Sequence[str]) -> str:
    text = ""
    for term in terms:
        text += term if term.startswith("-") or not text else f"+{term}"
    return f"={text or '0'}"


def plain_of(number: Any) -> float | bool:
    if isinstance(number, (bool, np.bool_)):
        return bool(number)
    return number.item() if isinstance(number, np.integer) else float(number)


def text_of(entry: Entry, sheet: str) -> str:
    """A reference, or a number as a formula writes it."""
    if isinstance(entry, Cell):
        return entry.seen_from(sheet)
    if isinstance(entry, bool):
        return "TRUE" if entry else "FALSE"
    if math.isnan(entry):
        return "NA()"
    text = repr(min(max(entry, -LARGEST), LARGEST)).upper()
    return f"({text})" if text.startswith("-") else text
