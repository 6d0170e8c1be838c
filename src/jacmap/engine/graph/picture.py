"""Patterns and small matrices as plain text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse

_DOTS_ACROSS, _DOTS_DOWN = 2, 4  # in one braille character
# Bits of the Unicode braille block (U+2800), which numbers the fourth row after the first three.
_DOT_BITS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
# A very long pattern keeps at least this many dots on its short side, or it would shrink to a line.
_SHORT_SIDE = 16
_GRID_LIMIT = 8


def braille(pattern: Any, *, width: int = 40, height: int = 12) -> str:
    """Draw a sparsity pattern of shape (m, n) with at most `width` × `height` braille characters.

    A dot stands for one entry where the pattern is small enough, else for a rectangle of entries, and is set
    if any of them is. Both axes shrink by the same factor unless that leaves the short one fewer than 16
    dots. `pattern` is a SciPy sparse matrix or a dense array-like. Raises ValueError if it is not
    two-dimensional or a size is not positive.
    """
    if width < 1 or height < 1:
        raise ValueError(f"width, height: got {width} and {height}, expected at least 1 character each")
    entries = pattern if sparse.issparse(pattern) else np.asarray(pattern)
    if entries.ndim != 2:
        raise ValueError(
            f"pattern: got {entries.ndim} dimension(s), expected 2 (m×n); reshape it to outputs × inputs"
        )
    m, n = entries.shape
    if m == 0 or n == 0:
        return ""
    rows, columns = entries.nonzero()

    limits = np.array([_DOTS_DOWN * height, _DOTS_ACROSS * width])
    sizes = np.array([m, n])
    shrink = max(1.0, *(sizes / limits))
    dots_down, dots_across = np.minimum(
        np.minimum(sizes, limits), np.maximum(np.ceil(sizes / shrink), _SHORT_SIDE)
    )
    dots_down, dots_across = int(dots_down), int(dots_across)

    dots = np.zeros(
        (-(-dots_down // _DOTS_DOWN) * _DOTS_DOWN, -(-dots_across // _DOTS_ACROSS) * _DOTS_ACROSS), bool
    )
    dots[rows.astype(np.int64) * dots_down // m, columns.astype(np.int64) * dots_across // n] = True
    cells = dots.reshape(dots.shape[0] // _DOTS_DOWN, _DOTS_DOWN, dots.shape[1] // _DOTS_ACROSS, _DOTS_ACROSS)
    codes = 0x2800 + np.einsum("idjk,dk->ij", cells, _DOT_BITS)
    return "\n".join("".join(map(chr, line)) for line in codes)


def grid(
    matrix: Any,
    *,
    row_labels: Sequence[str] | None = None,
    column_labels: Sequence[str] | None = None,
) -> str:
    """Print a small matrix (at most 8×8) with 4 significant digits, decimal points under each other.

    Labels, one per row or column, are optional. Raises ValueError if the matrix is larger or not
    two-dimensional, or if the number of labels is not that of the lines they name.
    """
    if sparse.issparse(matrix):
        matrix = matrix.toarray()
    values = np.asarray(matrix)
    if values.ndim != 2:
        raise ValueError(
            f"matrix: got {values.ndim} dimension(s), expected 2; use numpy.atleast_2d for a vector"
        )
    if max(values.shape) > _GRID_LIMIT:
        raise ValueError(
            f"matrix: got {values.shape[0]}×{values.shape[1]}, expected at most {_GRID_LIMIT}×{_GRID_LIMIT}; "
            "slice it, or draw its pattern with braille"
        )
    for name, labels, size in (
        ("row_labels", row_labels, values.shape[0]),
        ("column_labels", column_labels, values.shape[1]),
    ):
        if labels is not None and len(labels) != size:
            raise ValueError(f"{name}: got {len(labels)} labels, expected {size}, one per line of the matrix")

    columns = [_aligned([_number(value) for value in column]) for column in values.T]
    if column_labels is not None:
        columns = [
            _right([str(label), *column]) for label, column in zip(column_labels, columns, strict=True)
        ]
    if row_labels is not None:
        names = ["", *map(str, row_labels)] if column_labels is not None else list(map(str, row_labels))
        columns.insert(0, [name.ljust(max(map(len, names))) for name in names])
    return "\n".join("  ".join(line).rstrip() for line in zip(*columns, strict=True))


def _number(value: Any) -> str:
    return f"{value + 0.0:.4g}"  # adding zero turns -0.0 into 0.0


def _aligned(numbers: list[str]) -> list[str]:
    """Pad numbers to one width with their decimal points in one place."""
    if any(number.endswith("j") for number in numbers):
        return _right(numbers)
    before = [number.partition(".")[0].partition("e")[0] for number in numbers]
    after = [number[len(left) :] for number, left in zip(numbers, before, strict=True)]
    longest_before, longest_after = max(map(len, before), default=0), max(map(len, after), default=0)
    return [
        left.rjust(longest_before) + right.ljust(longest_after)
        for left, right in zip(before, after, strict=True)
    ]


def _right(words: list[str]) -> list[str]:
    return [word.rjust(max(map(len, words))) for word in words]
