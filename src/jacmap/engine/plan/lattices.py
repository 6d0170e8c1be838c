"""Lattice colourings: colour = a linear form of the column's grid coordinates, modulo k (Goldfarb, Toint 1984)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain as concatenated
from itertools import combinations, product

import numpy as np

from .problem import Problem

# Pairs of columns that a lattice is first fitted to; the rest is checked afterwards.
LATTICE_PAIRS = 30_000
# Most linear forms to go through for one number of colours and one grid.
LATTICE_FORMS = 30_000
# Longest row that a lattice beyond "modulo k" is tried for: the widest stencils have some 125 points.
LATTICE_ROW = 256
# Moduli tried on a stencil, counted from the lower bound; stencils that need more are better coloured greedily.
MODULI = 48


def lattice(problem: Problem, fewest: int, too_many: int) -> tuple[str, np.ndarray | None]:
    """A colouring "modulo k" with the least k in [fewest, too_many), over column numbers or grid coordinates.

    A grid is recognised by its strides: differences of two columns of one row that divide `n`. A lattice is
    fitted to a sample of the rows; where it then fails on the whole pattern, some failing rows join the
    sample.
    """
    column = np.arange(problem.n)
    sample = problem.pick_rows(_spread(problem))
    grids: list[Grid] | None = None
    # Rows that are not copies of one another seldom fit a lattice: there a few moduli are tried, not all.
    stencil = _repeats(sample)
    tries = MODULI if stencil else 4
    for k in range(max(fewest, 1), min(too_many, fewest + tries)):
        colours = column % k
        if not len(sample.clashes(colours, k)) and not len(problem.clashes(colours, k)):
            return f"modulo {k}", colours
        grids = (_grids(sample) if stencil else []) if grids is None else grids
        for grid in grids:
            for colours, form in grid.forms(k):
                failing = problem.clashes(colours, k)
                if not len(failing):
                    return f"lattice {form} modulo {k} over strides {grid.strides}", colours
                grid.learn(_pairs(problem.pick_rows(failing[:: max(1, len(failing) // 8)])))
    return "", None


class Grid:
    """Column numbers as coordinates in a mixed-radix grid, and the coordinate differences that conflict."""

    def __init__(self, strides: tuple[int, ...], n: int, pairs: tuple[np.ndarray, np.ndarray]):
        self.strides = strides
        self.sizes = [upper // lower for lower, upper in zip(strides, (*strides[1:], n), strict=True)]
        self.n = n
        self.steps = np.empty((0, len(strides)), np.int64)
        self.learn(pairs)

    def coordinates(self, columns: np.ndarray) -> np.ndarray:
        digits = zip(self.strides, self.sizes, strict=True)
        return np.stack([columns // stride % size for stride, size in digits], axis=1)

    def learn(self, pairs: tuple[np.ndarray, np.ndarray]) -> None:
        steps = np.concatenate([self.steps, self.coordinates(pairs[1]) - self.coordinates(pairs[0])])
        # One number per step vector: sorting numbers is ten times faster than np.unique over rows.
        key = np.ravel_multi_index(tuple((steps + self.sizes).T), [2 * size for size in self.sizes])
        self.steps = steps[np.unique(key, return_index=True)[1]]

    def forms(self, k: int) -> Iterator[tuple[np.ndarray, tuple[int, ...]]]:
        """Linear forms modulo k that send no known step to 0; `learn` may be called between two of them."""
        # Multiplying a form by a unit modulo k only renames colours, so the first coefficient may divide k.
        divisors = [d for d in range(1, k + 1) if k % d == 0]
        others = len(self.strides) - 1
        if len(divisors) * k**others > LATTICE_FORMS:
            return
        forms = np.array(list(product(divisors, *[range(k)] * others)))
        known = 0
        for _ in range(12):
            for step in self.steps if known < len(self.steps) else ():
                forms = forms[forms @ step % k != 0]
            if not len(forms):
                return
            known = len(self.steps)
            form = forms[0]
            yield self.coordinates(np.arange(self.n)) @ form % k, tuple(form.tolist())
            forms = forms[1:]


def _spread(problem: Problem) -> np.ndarray:
    """Rows spread evenly over the pattern, both ends included, with about LATTICE_PAIRS pairs of columns."""
    rows = np.flatnonzero(problem.lengths > 1)
    # No row may have two entries: the pattern of a large linear layer by its weights.
    mean_pairs = float((problem.lengths[rows].astype(float) ** 2).sum()) / 2 / max(len(rows), 1)
    count = int(min(len(rows), max(2, LATTICE_PAIRS / max(mean_pairs, 1))))
    return rows[np.unique(np.linspace(0, len(rows) - 1, count).astype(np.int64))]


def _grids(sample: Problem) -> list[Grid]:
    """The grids that the columns may be points of, with the conflicts of the sample; none if no stencil."""
    if sample.lengths.max() > LATTICE_ROW:
        return []
    pairs = _pairs(sample)
    chains = _stride_chains(sample.n, pairs, len(sample.lengths))
    return [Grid(strides, sample.n, pairs) for strides in chains]


def _repeats(sample: Problem) -> bool:
    """Most rows are shifted copies of other rows, as they are in a stencil."""
    starts = sample.indptr[:-1]
    shifted = sample.indices - np.repeat(sample.indices[starts], sample.lengths)
    hashes = np.random.default_rng(0).integers(2**63, size=sample.n, dtype=np.uint64)
    return 2 * len(np.unique(np.add.reduceat(hashes[shifted], starts))) <= len(starts)


def _pairs(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """All pairs (a < b) of columns that may not share a colour, repeated for each row that says so."""
    left = np.repeat(problem.indptr[1:], problem.lengths) - np.arange(len(problem.indices))
    at = np.arange(len(problem.indices))
    first, second = [], []
    for shift in range(1, int(problem.lengths.max(initial=0))):
        at = at[left[at] > shift]
        bound = at if problem.wanted is None else at[problem.wanted[at] | problem.wanted[at + shift]]
        first.append(problem.indices[bound])
        second.append(problem.indices[bound + shift])
    none = np.empty(0, np.int64)
    return np.concatenate([none, *first]), np.concatenate([none, *second])


def _stride_chains(n: int, pairs: tuple[np.ndarray, np.ndarray], rows: int) -> list[tuple[int, ...]]:
    """Nested strides of grids that `rows` rows with these pairs may come from; none where few steps recur."""
    steps, seen = np.unique(pairs[1] - pairs[0], return_counts=True)
    if len(steps) > 400:
        return []
    recurs = (steps > 1) & (n % np.maximum(steps, 1) == 0) & (3 * seen >= rows)
    frequent = steps[recurs][np.argsort(-seen[recurs], kind="stable")][:6]
    strides = sorted(int(step) for step in frequent)
    chains = concatenated(combinations(strides, 1), combinations(strides, 2), combinations(strides, 3))
    nested = [c for c in chains if all(b % a == 0 for a, b in zip(c, c[1:], strict=False))]
    return [(1, *c) for c in nested[:24]]
