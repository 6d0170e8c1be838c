"""A sparsity pattern by looking: which outputs move when these inputs are moved?

An output that stays, to the last bit, when a set of inputs moves reads none of them. Random sets rule out many
pairs at once (group testing, decoded by elimination: Chan et al., "Non-adaptive probabilistic group testing", 2011);
a pair that was never ruled out stays, so errors fall on the safe side. What is found holds where f was looked at: it is
'probed', not proven. It is confirmed at other points and scales: outputs must stay when no input they read moves.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from .evaluate import Evaluator
from .point import Point
from .steps import scales

SAMPLE = 6  # single inputs moved first, to see how many outputs each moves
DENSE = 1 / 3  # share of outputs that makes further probing a waste
ONE_BY_ONE = 200  # up to this many inputs each is moved alone
LARGEST = 10**10  # pairs; beyond, ruling them out takes longer than the calls it saves
SAMPLED_ROWS = 64  # outputs that are watched to see when nothing more is ruled out
LOOKS = 8  # at each other place, times one more than an output reads inputs: finds 19 of 20 missing entries
BLOCK = 2**24  # pairs that are decoded at once
PLACES = ((0.0, 1e-3), (1e-2, 0.1), (0.3, 0.02))  # (how far from x, how far moved) in sizes of the inputs


@dataclass(frozen=True, eq=False)
class Probed:
    """`pattern`: (m, n), None when it looks dense; `grown`: entries that only other points showed."""

    pattern: csr_array | None
    grown: int = 0


class Probe:
    """Looking for the pattern at a point."""

    def __init__(self, evaluate: Evaluator, point: Point, seed: int):
        self.evaluate, self.point = evaluate, point
        self.rng = np.random.default_rng(seed)
        self.shape = point.y.size, point.x.size
        self.size = scales(point.x)

    def run(self, certain: bool) -> Probed:
        """The pattern; `certain`: go on although it looks dense."""
        self.evaluate.phase = "probing"
        again = self.evaluate.batch([self.point.x])[0]
        self.restless = again != self.point.y  # outputs that move by themselves
        m, n = self.shape
        sample = self.rng.choice(n, min(SAMPLE, n), replace=False)
        moved = [self._moved(self.point.x, np.array([j]), 0.1) for j in sample]
        share = float(np.mean([self._differs(y, self.point.y).mean() for y in self.evaluate.batch(moved)]))
        if share > DENSE and not certain:
            return Probed(None)
        pattern = self._pattern_at(self.point.x, self.point.y, share)
        before = pattern.nnz
        for far, step in PLACES:
            pattern = self._confirmed(pattern, far, step, share)
        return Probed(pattern, pattern.nnz - before)

    # -- the pattern at one place --------------------------------------------------------------------------
    def _pattern_at(self, x: np.ndarray, y: np.ndarray, share: float) -> csr_array:
        m, n = self.shape
        alone = n <= ONE_BY_ONE or m * n > LARGEST
        return self._one_by_one(x, y) if alone else self._eliminated(x, y, share)

    def _one_by_one(self, x: np.ndarray, y: np.ndarray) -> csr_array:
        rows, columns = [], []
        for block in np.array_split(np.arange(x.size), max(1, x.size // 64)):
            values = self.evaluate.batch([self._moved(x, np.array([j]), 0.1) for j in block])
            for j, value in zip(block, values, strict=True):
                hit = np.flatnonzero(self._differs(value, y))
                rows.append(hit)
                columns.append(np.full(hit.size, j))
        return _csr(np.concatenate(rows), np.concatenate(columns), self.shape)

    def _eliminated(self, x: np.ndarray, y: np.ndarray, share: float) -> csr_array:
        m, n = self.shape
        degree = max(1.0, share * n)
        tests = int(np.ceil(4 * (degree + 1)))
        sample = self.rng.choice(m, min(m, SAMPLED_ROWS), replace=False)
        # Once nothing changes in the sample, so many rounds more bring the other rows as far.
        rounds_left = 1 + int(np.ceil(np.log(m / sample.size)))
        chosen, still = np.zeros((0, n), np.float32), np.zeros((0, m), np.float32)
        left = -1
        while len(chosen) + tests < n:  # from there on moving each alone would have been as cheap
            sets = self.rng.random((tests, n)) < 1 / (degree + 1)
            values = self.evaluate.batch([self._moved(x, np.flatnonzero(members), 0.1) for members in sets])
            chosen = np.concatenate([chosen, sets.astype(np.float32)])
            still = np.concatenate([still, [~self._differs(value, y) for value in values]]).astype(np.float32)
            before, left = left, int((still[:, sample].T @ chosen == 0).sum())
            rounds_left -= before == left
            if not rounds_left:
                return self._decoded(chosen, still)
        return self._one_by_one(x, y)

    def _decoded(self, chosen: np.ndarray, still: np.ndarray) -> csr_array:
        """The pairs that no test rules out: none that moved the input and left the output."""
        rows, columns = [], []
        block = max(1, BLOCK // self.shape[1])
        for start in range(0, self.shape[0], block):
            # A product of matrices counts the tests that rule each pair out.
            row, column = np.nonzero(still[:, start : start + block].T @ chosen == 0)
            rows.append(row + start)
            columns.append(column)
        return _csr(np.concatenate(rows), np.concatenate(columns), self.shape)

    # -- elsewhere -----------------------------------------------------------------------------------------
    def _confirmed(self, pattern: csr_array, far: float, step: float, share: float) -> csr_array:
        """The pattern, with what a look at another place adds: outputs that move although nothing they read did."""
        n = self.shape[1]
        x = self.point.x + far * self.size * self.rng.uniform(-1, 1, n)
        y = self.evaluate.batch([x])[0]
        degree = max(1.0, pattern.nnz / self.shape[0])
        sets = self.rng.random((int(np.ceil(LOOKS * (degree + 1))), n)) < 1 / (degree + 1)
        values = self.evaluate.batch([self._moved(x, np.flatnonzero(members), step) for members in sets])
        counts = pattern.astype(np.int32)
        for members, value in zip(sets, values, strict=True):
            if (self._differs(value, y) & (counts @ members.astype(np.int32) == 0) & np.isfinite(y)).any():
                return csr_array((counts + self._pattern_at(x, y, share).astype(np.int32)) != 0)
        return pattern

    def _moved(self, x: np.ndarray, columns: np.ndarray, step: float) -> np.ndarray:
        point = x.copy()
        by = self.rng.uniform(0.5, 1.0, columns.size) * self.rng.choice([-1.0, 1.0], columns.size)
        point[columns] += step * self.size[columns] * by
        return point

    def _differs(self, value: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Which outputs moved, to the last bit; by more than their noise where they move by themselves."""
        moved = (value != y) & ~(np.isnan(value) & np.isnan(y))
        return moved & ~(self.restless & (np.abs(value - y) <= 4 * self.point.floor))


def _csr(rows: np.ndarray, columns: Iterable[int], shape: tuple[int, int]) -> csr_array:
    return csr_array((np.ones(len(rows), bool), (rows, columns)), shape=shape)
