"""What the printed forms share: numbers, lists and tables of at most 100 columns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

WIDTH = 100
NAMED = 5  # entries named in a sentence
LONGEST = 32  # characters of a name in a table


def number(value: float) -> str:
    """Four figures; no minus before a zero."""
    return f"{value + 0.0:.4g}"


def percent(share: float) -> str:
    """A share of 1 as a whole number of percent."""
    return f"{100 * share:.0f} %"


def listed(names: Iterable[str], most: int = NAMED) -> str:
    """The names, those beyond the first few counted."""
    found = list(names)
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(found[:most]) + more


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Aligned lines: the first `left` columns to the left, the others to the right."""
    cells = [list(heads), *([_short(cell) for cell in row] for row in rows)]
    widths = [max(len(row[k]) for row in cells) for k in range(len(heads))]
    lines = []
    for row in cells:
        shown = [
            cell.ljust(width) if k < left else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  " + "  ".join(shown).rstrip())
    return lines


def wrapped(text: str) -> str:
    """One paragraph, broken at spaces; further lines indented."""
    lines, line = [], ""
    for word in text.split(" "):
        if line and len(line) + 1 + len(word) > WIDTH:
            lines.append(line)
            line = "  " + word
        else:
            line = f"{line} {word}" if line else word
    return "\n".join([*lines, line])


def plain(value: Any) -> Any:
    """The value as JSON holds it: lists and numbers; None for what is not finite."""
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
