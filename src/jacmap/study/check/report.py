"""What a comparison of Jacobians found, to print."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SHOWN = 8  # wrong entries that a report lists


@dataclass(frozen=True)
class Wrong:
    """One entry that differs: `theirs` is the one checked, `allowed` the difference that would have been none."""

    output: str
    input: str
    ours: float
    theirs: float
    allowed: float


@dataclass(frozen=True, eq=False)
class Check:
    """What a comparison found; true where all entries agree. `str()` tells it.

    `wrong` lists the entries that differ, worst first; `mask` (m, n) marks all of them (None where the shapes differ).
    `hints`: what the mistakes look like. `ours`, `theirs`: the matrices; `allowed` (m, n): the tolerance.
    """

    name: str
    ours: np.ndarray
    theirs: np.ndarray
    allowed: np.ndarray
    mask: np.ndarray | None
    wrong: tuple[Wrong, ...]
    hints: tuple[str, ...]
    approximate: bool

    def __bool__(self) -> bool:
        return self.mask is not None and not self.mask.any()

    def __str__(self) -> str:
        m, n = self.ours.shape
        if self.mask is None:
            head = f"{self.name}: the Jacobian has shape {_size(self.theirs)}, expected {m}×{n} (outputs × inputs)"
        elif self:
            largest = float(np.max(np.abs(self.theirs - self.ours), initial=0.0))
            head = f"{self.name}: all {m}×{n} entries agree (largest difference {largest:.1e})"
        else:
            count = int(self.mask.sum())
            head = f"{self.name}: {count} of {m}×{n} entries differ"
        lines = [head, *(f"  likely: {hint}" for hint in self.hints), *self._table()]
        if self.approximate:
            lines.append("  ours is by differences: each entry is allowed the error that it is estimated to have")
        return "\n".join(lines)

    def _table(self) -> list[str]:
        if not self.wrong:
            return []
        rows = [("output", "input", "expected", "got", "difference", "allowed")]
        for entry in self.wrong[:SHOWN]:
            apart = f"{entry.theirs - entry.ours:.3g}"
            allowed = f"{entry.allowed:.1e}"
            rows.append((entry.output, entry.input, f"{entry.ours:.6g}", f"{entry.theirs:.6g}", apart, allowed))
        widths = [max(len(row[k]) for row in rows) for k in range(6)]
        lines = [
            "  " + "  ".join(
                text.ljust(width) if k < 2 else text.rjust(width)
                for k, (text, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]  # fmt: skip
        more = len(self.wrong) - SHOWN
        return lines + ([f"  and {more} more"] if more > 0 else [])


def _size(matrix: np.ndarray) -> str:
    return "×".join(map(str, matrix.shape)) or "()"
