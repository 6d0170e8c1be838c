"""Adaptive differences of one group of columns: where to step, when to stop, and what f did on the way.

Written as generators that yield the points at which they want f and are sent the values, so that many groups can
advance together and share worker processes; see `lockstep`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import numpy as np

from .point import Group, Point
from .tableau import Tableau

Steps = Generator[list[np.ndarray], list[np.ndarray], None]
Batch = Callable[[Sequence[np.ndarray]], list[np.ndarray]]

LEVELS = 12  # halvings in one go
RESTARTS, SHRINK = 8, 2.0**-4  # steps so large that f is not yet smooth on their scale, or has no value there
CLOSE = 2.0**-14  # of the first step: where a kink is looked at again
JUMPS, GROW = 6, 2.0**6  # steps so small that rounding hides the difference
GROWN_LEVELS = 6  # after that the steps are those that were taken before
LOST = 1e-5  # relative error from which it is told, where rounding does not explain it
WEAK = 1e-11  # relative error above which larger steps are tried


class Rough(IntEnum):
    """What a function showed at an entry that makes its difference quotient doubtful; the worst last."""

    SMOOTH = 0
    ONE_SIDED = 1  # f has values on one side only: no fault, but told
    UNSETTLED = 2  # the extrapolation does not converge
    KINK = 3
    JUMP = 4


@dataclass(frozen=True, eq=False)
class Found:
    """The entries of a group: values, estimated errors and `Rough` per row; `stray`: rows that moved outside of it."""

    group: Group
    values: np.ndarray
    errors: np.ndarray
    rough: np.ndarray
    stray: np.ndarray


class Walk(Protocol):
    """Something that takes steps from the point until it knows the entries of its group."""

    def run(self) -> Generator[list[np.ndarray], list[np.ndarray], Found]:
        """Yields points, is sent the values of f there, ends with the entries."""


class Column:
    """The differences of one group, until their relative error is `tolerance`; None: until rounding stops it."""

    def __init__(self, point: Point, group: Group, steps: np.ndarray, tolerance: float | None):
        self.point, self.group, self.tolerance = point, group, tolerance
        self.step = steps[group.columns]
        self.y = point.y[group.rows]
        self.table = Tableau(group.rows.size)
        self.gaps: list[np.ndarray] = []  # of the last steps taken: |f₊ − 2f + f₋|/h, which a smooth f makes small
        self.gap_rounding = np.zeros(group.rows.size)
        self.outside = np.ones(point.y.size, bool)
        self.outside[group.rows] = False
        self.stray = np.zeros(point.y.size, bool)
        rounding = point.out_eps * np.abs(point.y)
        self.noisy = (point.floor > 100 * rounding)[group.rows]
        self.wild = np.zeros(group.rows.size, bool)  # not yet smooth on the scale of the last steps

    def run(self) -> Generator[list[np.ndarray], list[np.ndarray], Found]:
        """Take the steps; the entries found are the generator's value."""
        factor = 1.0
        for _ in range(RESTARTS):
            self.table.forget(self.wild)  # what agreed at larger steps agreed by chance
            factor = yield from self._chain(factor)
            if not factor:
                break
        gaping, _ = self._gaping()
        if gaping.any():  # at the point, or merely within these steps? Much smaller ones will tell
            self.table.forget(gaping)
            yield from self._chain(CLOSE)
        gaping, jumping = self._gaping()
        gap = self.gaps[-1] if self.gaps else np.zeros(gaping.size)
        yield from self._larger()
        one_sided = ~np.isfinite(self.table.error) & np.isfinite(self.y)
        if one_sided.any():
            for side in (1.0, -1.0):
                yield from self._one_sided(side, one_sided)
        return self._found(gaping, jumping, gap, one_sided)

    def _larger(self) -> Steps:
        """Take larger steps where rounding hides the difference; what they show must agree with what is known."""
        known, factor = self.table, GROW
        for jump in range(JUMPS):
            weak = self._weak(known)
            if jump:  # noise never ends: beyond the inputs' own size nothing is learnt about f here
                weak &= ~self.noisy
            if not weak.any():
                break
            self.table = Tableau(known.best.size)
            yield from self._chain(factor, GROWN_LEVELS)
            if not known.adopt(self.table)[weak].any():
                break
            factor *= GROW
        self.table = known

    # -- central -------------------------------------------------------------------------------------------
    def _chain(self, factor: float, levels: int = LEVELS) -> Generator[list[np.ndarray], list[np.ndarray], float]:
        """Central differences with steps factor·(1, 1/2, 1/4, …); the factor to go on with, 0 when there is no need."""
        table, point, group = self.table, self.point, self.group
        table.restart()
        self.gaps = []
        for level in range(levels):
            size = self.step * factor * 2.0**-level
            plus, minus = point.moved(group.columns, size), point.moved(group.columns, -size)
            width = (plus - minus)[group.columns][group.owner]
            if not (width > 0).all():  # the step is lost in the input's last place
                return 0.0
            above, below = yield [plus, minus]
            self._look_outside(above)
            above, below = above[group.rows], below[group.rows]
            half = width / 2
            with np.errstate(all="ignore"):
                quotient = (above - below) / width
                gap = np.abs(above - 2 * self.y + below) / half
                shift = np.abs(plus + minus - 2 * point.x)[group.places] / 2  # the middle is not quite x
                waver = self._waver(above, below)
                rounding = waver / half + gap / half * shift
            self.gaps.append(gap)
            self.gap_rounding = 4 * waver / half
            table.add(quotient, rounding)
            again = self._verdict(quotient, rounding)
            if again is not None:
                return factor * 2.0**-level * SHRINK if again else 0.0
        return 0.0

    def _waver(self, *values: np.ndarray) -> np.ndarray:
        """What rounding and noise may have done to a difference of these values (r,)."""
        rows = self.group.rows
        largest = np.max([np.abs(self.y), *(np.where(np.isfinite(v), np.abs(v), 0.0) for v in values)], axis=0)
        return np.maximum(self.point.floor[rows], self.point.out_eps[rows] * largest)

    def _verdict(self, quotient: np.ndarray, rounding: np.ndarray) -> bool | None:
        """None: halve again; True: begin again much closer; False: enough."""
        table = self.table
        if table.levels < 2:
            return None
        if self.tolerance is not None:
            table.settle(rounding)
            if self._reached(rounding).all():
                return False
        if table.levels < 3:
            return None
        with np.errstate(all="ignore"):
            wild = ~np.isfinite(quotient) | (
                (table.change > 0.5 * np.abs(quotient)) & (table.change > 8 * rounding) & (table.error > 8 * rounding)
            )
        wild &= np.isfinite(self.y)
        if wild.any():
            self.wild = wild
            return True
        if (self._reached(rounding) | (table.stale >= 2)).all():
            return False
        return None

    def _reached(self, rounding: np.ndarray) -> np.ndarray:
        """Which entries are as good as asked, or as rounding lets them be."""
        table = self.table
        limit = 2 * table.rounding if self.tolerance is None else 4 * rounding
        goal = (self.tolerance or 0.0) * self._size(table)
        return (table.error <= np.maximum(goal, limit)) | (rounding > table.error) | ~np.isfinite(self.y)

    def _size(self, table: Tableau) -> np.ndarray:
        """What errors are held against: the entries, and where many share a tolerance a tenth of the usual at least.

        An entry that happens to be almost zero is then not worth more calls than the others are.
        """
        size = np.where(np.isfinite(table.best), np.abs(table.best), 0.0)
        known = size[size > 0]
        return size if self.tolerance is None or not known.size else np.maximum(size, float(np.median(known)) / 10)

    def _weak(self, table: Tableau) -> np.ndarray:
        """Entries that rounding alone keeps from being good: a larger step would serve them."""
        goal = max(WEAK, self.tolerance or 0.0)
        with np.errstate(all="ignore"):
            limited = (table.error > goal * self._size(table)) & (table.error < 8 * table.rounding)
        return limited & (table.best != 0)

    def _look_outside(self, above: np.ndarray) -> None:
        """Rows that should not have noticed these inputs, and did: the pattern misses entries."""
        if self.outside.any():
            self.stray |= self.outside & (np.abs(above - self.point.y) > 4 * self.point.floor)

    # -- where f has values on one side only ----------------------------------------------------------------
    def _one_sided(self, side: float, rows: np.ndarray) -> Steps:
        point, group = self.point, self.group
        table = Tableau(group.rows.size, order=1)
        for level in range(LEVELS):
            near = point.moved(group.columns, side * self.step * 2.0**-4 * 2.0**-level)
            width = (near - point.x)[group.places]
            if not width.all():
                break
            (value,) = yield [near]
            value = value[group.rows]
            with np.errstate(all="ignore"):
                table.add((value - self.y) / width, self._waver(value) / np.abs(width))
            if table.levels > 3 and (table.stale >= 2)[rows].all():
                break
        # One-sided series hold every power of h, so that a single term that is missing misleads more easily.
        table.error = 4 * table.error
        better = rows & (table.error < self.table.error)
        self.table.best = np.where(better, table.best, self.table.best)
        self.table.error = np.where(better, table.error, self.table.error)
        self.table.rounding = np.where(better, table.rounding, self.table.rounding)

    # -- the verdict on f ----------------------------------------------------------------------------------
    def _gaping(self) -> tuple[np.ndarray, np.ndarray]:
        """(rows whose one-sided slopes stay apart as the steps shrink, those of them where they grow apart)."""
        if len(self.gaps) < 2:
            nowhere = np.zeros(self.y.size, bool)
            return nowhere, nowhere
        before, last = self.gaps[-2:]
        with np.errstate(all="ignore"):
            known = np.where(np.isfinite(self.table.error), np.abs(self.table.best), 0.0)
            gaping = (last > 0.75 * before) & (last > 4 * self.gap_rounding) & (last > 1e-4 * known)
            gaping &= ~self.point.still[self.group.rows]  # small steps on a staircase see nothing
            return gaping, gaping & (last / before >= 1.8)

    def _found(self, gaping: np.ndarray, jumping: np.ndarray, gap: np.ndarray, one_sided: np.ndarray) -> Found:
        table = self.table
        values, errors = table.best.copy(), table.error.copy()
        rough = np.full(values.size, Rough.SMOOTH)
        rough[one_sided] = Rough.ONE_SIDED
        with np.errstate(all="ignore"):
            lost = (errors > LOST * np.abs(values)) & (errors > 8 * table.rounding) & (self._share(errors) > LOST / 100)
        rough[lost & np.isfinite(self.y)] = Rough.UNSETTLED
        rough[gaping] = Rough.KINK
        rough[jumping] = Rough.JUMP
        errors = np.where(gaping, np.maximum(errors, gap / 2), errors)
        errors[self.point.still[self.group.rows] & (values != 0)] = np.inf  # a staircase, seen from far
        bad = ~np.isfinite(self.y)
        values[bad], errors[bad] = np.nan, np.inf
        return Found(self.group, values, errors, rough, np.flatnonzero(self.stray))

    def _share(self, errors: np.ndarray) -> np.ndarray:
        """An error of the derivative over one first step, in units of the output."""
        size = np.abs(self.y)
        return errors * self.step[self.group.owner] / np.where(size > 0, size, 1.0)


def lockstep(columns: Sequence[Walk], evaluate: Batch, done: Callable[[], None] = lambda: None) -> list[Found]:
    """Run the columns side by side: each round evaluates what all of them want next in one batch."""
    runs = {k: column.run() for k, column in enumerate(columns)}
    found: dict[int, Found] = {}
    wanted = {k: next(run) for k, run in runs.items()}
    while wanted:
        values = iter(evaluate([x for points in wanted.values() for x in points]))
        following = {}
        for k, points in wanted.items():
            try:
                following[k] = runs[k].send([next(values) for _ in points])
            except StopIteration as stop:
                found[k] = stop.value
                done()
        wanted = following
    return [found[k] for k in range(len(columns))]
