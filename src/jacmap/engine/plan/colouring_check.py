"""A slow, obvious checker of colourings that says what is wrong in words."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import coo_array

from jacmap.engine.plan.colouring import Colouring


def check(colouring: Colouring, pattern: Any, wanted: Any = None) -> list[str]:
    """Reasons why `colouring` does not show each wanted entry of an m×n sparse pattern; empty if it does."""
    nonzero = _positions(pattern)
    asked = nonzero if wanted is None else _positions(wanted)
    reasons = _misfits(colouring, pattern.shape)
    if reasons:
        return reasons
    row_colours, column_colours = colouring.row_colours.tolist(), colouring.column_colours.tolist()
    in_row: dict[int, list[int]] = {}
    in_column: dict[int, list[int]] = {}
    for i, j in sorted(nonzero):
        in_row.setdefault(i, []).append(j)
        in_column.setdefault(j, []).append(i)

    found: dict[str, None] = {}
    for i, j in sorted(asked):
        from_row = row_colours[i] >= 0 and (colouring.first == "rows" or column_colours[j] < 0)
        colour = row_colours[i] if from_row else column_colours[j]
        if (i, j) not in nonzero:
            found[f"entry ({i}, {j}) is wanted but is not in the pattern"] = None
        elif colour < 0:
            found[f"entry ({i}, {j}) is wanted, but neither row {i} nor column {j} has a colour"] = None
        elif from_row:
            for other in in_column[j]:
                if other != i and row_colours[other] == colour:
                    a, b = sorted((i, other))
                    found[f"in colour {colour}, rows {a} and {b} both have nonzeros in column {j}"] = None
        else:
            for other in in_row[i]:
                if other != j and column_colours[other] == colour:
                    a, b = sorted((j, other))
                    found[f"in colour {colour}, columns {a} and {b} both have nonzeros in row {i}"] = None
    return list(found)


def _misfits(colouring: Colouring, shape: tuple[int, int]) -> list[str]:
    if colouring.shape != tuple(shape):
        return [f"the colouring is for shape {colouring.shape}, the pattern has shape {tuple(shape)}"]
    reasons = []
    sides = (
        ("column", colouring.column_colours, shape[1], colouring.forward),
        ("row", colouring.row_colours, shape[0], colouring.reverse),
    )
    for name, colours, length, count in sides:
        if len(colours) != length:
            reasons.append(f"there are {len(colours)} {name} colours for {length} {name}s")
        elif sorted(set(colours.tolist()) - {-1}) != list(range(count)):
            used = sorted(set(colours.tolist()) - {-1})
            reasons.append(f"the {name} colours are {used}, expected 0 to {count - 1}, each used")
    return reasons


def _positions(matrix: Any) -> set[tuple[int, int]]:
    coo = coo_array(matrix)
    stored = np.asarray(coo.data) != 0
    return set(zip(coo.row[stored].tolist(), coo.col[stored].tolist(), strict=True))
