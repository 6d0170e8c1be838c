"""Richardson extrapolation with an error estimate per entry: Ridders' tableau.

Ridders, "Accurate computation of F'(x) and F'(x)F''(x)", Advances in Engineering Software 4 (1982). A central
difference errs by a series in h²; each column of the tableau removes one term of it by combining steps h and h/2.
A cell is as good as it agrees with its neighbours; rounding bounds from below how good it can be.
"""

from __future__ import annotations

import numpy as np

SHARP = 16.0  # safety of the two-level estimate, see `Tableau.settle`


class Tableau:
    """Extrapolation of r difference quotients at once. `order`: 2 for central differences, 1 for one-sided ones.

    `best` and `error` (r,) hold the entry of least estimated error seen so far, and that estimate.
    """

    def __init__(self, size: int, order: int = 2):
        self.order = order
        self.best = np.full(size, np.nan)
        self.error = np.full(size, np.inf)
        self.rounding = np.full(size, np.inf)  # the part of `error` that is rounding
        self.row: list[np.ndarray] = []
        self.stale = np.zeros(size, int)  # levels since the last improvement
        self.levels = 0
        self.change = np.full(size, np.inf)  # |D(h) − D(2h)|

    def restart(self) -> None:
        """Begin again at other steps, keeping the best so far."""
        self.row, self.levels = [], 0
        self.stale[:] = 0

    def adopt(self, other: Tableau) -> np.ndarray:
        """Take over what another tableau knows better and does not contradict; which entries (a mask)."""
        with np.errstate(all="ignore"):
            better = (other.error < self.error) & (np.abs(other.best - self.best) <= 2 * self.error + other.error)
        self.best = np.where(better, other.best, self.best)
        self.error = np.where(better, other.error, self.error)
        self.rounding = np.where(better, other.rounding, self.rounding)
        return better

    def forget(self, rows: np.ndarray) -> None:
        """Drop the best of these entries (a mask)."""
        self.error = np.where(rows, np.inf, self.error)

    def add(self, quotient: np.ndarray, rounding: np.ndarray) -> None:
        """The difference quotients (r,) with the next smaller step, half the last one, and their rounding errors."""
        before, self.row = self.row, [quotient]
        improved = np.zeros(quotient.size, bool)
        self.change = np.abs(quotient - before[0]) if before else np.full(quotient.size, np.inf)
        for column, lower in enumerate(before, start=1):
            here = self.row[-1]
            cell = here + (here - lower) / (2.0 ** (self.order * column) - 1)
            self.row.append(cell)
            # Weights of the combined quotients add up to less than 2 in absolute value (4 for one-sided ones).
            round_off = 4.0 / self.order * rounding
            apart = np.maximum(np.abs(cell - here), np.abs(cell - lower))
            if column < len(before):  # the same column one level up: agreement by chance is less likely with three
                apart = np.maximum(apart, np.abs(cell - before[column]))
            improved |= self._offer(cell, apart + round_off, round_off)
        self.levels += 1
        self.stale = np.where(improved, 0, self.stale + 1)

    def _offer(self, cell: np.ndarray, error: np.ndarray, rounding: np.ndarray) -> np.ndarray:
        better = np.isfinite(cell) & (error < self.error)
        self.best = np.where(better, cell, self.best)
        self.error = np.where(better, error, self.error)
        self.rounding = np.where(better, rounding, self.rounding)
        return better

    def settle(self, rounding: np.ndarray) -> np.ndarray:
        """A sharper estimate of the error after two levels, where the steps are small against how fast f changes.

        The terms of the error's series fall about geometrically: the one removed was c = |T₁ − T₀|, the first neglected
        is about c·ρ with ρ = c/|T₀|, each entry's own or the median one, whichever is more.
        """
        if self.levels != 2:
            return self.error
        first, cell = self.row
        removed = np.abs(cell - first)
        size = np.abs(first)
        sizes = size[np.isfinite(size) & (size > 0)]
        # An entry that happens to be almost zero does not say how fast f changes: at least a tenth of the usual.
        least = float(np.median(sizes)) / 10 if sizes.size else 1.0
        own = removed / np.maximum(size, least)
        own = np.where(np.isfinite(own), own, 1.0)
        moving = own[removed > 0]
        typical = float(np.median(moving)) if moving.size else 0.0
        ratio = np.minimum(np.maximum(own, typical), 1.0)
        round_off = 4.0 / self.order * rounding
        sharp = SHARP * (removed * ratio + typical**2 * np.abs(cell)) + round_off
        better = np.isfinite(cell) & (sharp < self.error)
        self.best = np.where(better, cell, self.best)
        self.error = np.where(better, sharp, self.error)
        return self.error
