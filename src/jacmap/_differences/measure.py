"""The Jacobian of a black box at a point: value, noise, method, pattern, differences, check; in this order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import jax
import numpy as np
from scipy.sparse import csr_array

from .._errors import ArgumentError, StructureError
from .._progress import Tracker, tracking
from ..engine.backends.numpy.central import Column, Found, Rough, Walk, lockstep
from ..engine.backends.numpy.complex_step import ComplexColumn, why_not
from ..engine.backends.numpy.direction import along, random_direction
from ..engine.backends.numpy.evaluate import Evaluator
from ..engine.backends.numpy.noise import noise
from ..engine.backends.numpy.point import Group, Point, single
from ..engine.backends.numpy.probing import Probe
from ..engine.backends.numpy.steps import first_steps, scales
from ..engine.graph import Pattern
from ..engine.plan.colouring import colour_columns, entries
from . import words
from .answer import Answer
from .flat import Flat, name_of
from .options import Differences

LOOKED_FOR = 32  # inputs above which a pattern is looked for unasked
REFINED = 64  # inputs up to which entries are refined until rounding stops it
COARSE = 1e-8  # the tolerance above
SIGMAS = 6.0  # standard deviations of noise that are reckoned with: seven points know it to a factor of two


@dataclass(eq=False)
class Measurement:
    """One measurement under way. `known`: a pattern found at an earlier point of the same shapes."""

    flat: Flat
    options: Differences
    known: csr_array | None = None
    _apart: float | None = None  # the relative difference along a random direction

    def run(self, columns: Sequence[int] | None = None) -> Answer:
        """All of J, or these columns alone (the others are then empty)."""
        with tracking(self.options.progress) as tracker:
            self.tracker: Tracker = tracker
            self.evaluate = Evaluator(self.flat, self.options.workers, tracker.calls)
            tracker.begin("f(x)")
            self.evaluate.value(self.flat.x)  # before workers start: they need not be asked for what fails at once
            with self.evaluate.pool():
                return self._measured(columns)

    def _measured(self, columns: Sequence[int] | None) -> Answer:
        point = self._point()
        m, n = point.y.size, point.x.size
        tolerance = self.options.tolerance
        self.tolerance = COARSE if tolerance is None and n > REFINED else tolerance
        self.steps = first_steps(point.x, point.eps, self.tolerance is not None)
        complex_step, reason = self._method(point)
        notes: list[str] = []
        for pattern, how, note in self._patterns(point):
            notes += [note] if note else []
            groups = [single(j, m) for j in range(n)] if pattern is None else coloured(pattern)
            if columns is not None:
                groups = [single(j, m) for j in columns]
            found = self._entries(point, groups, complex_step)
            answer = self._assembled(found, pattern, how, complex_step, reason, notes)
            missed = self._missed(point, answer, found) if pattern is not None and columns is None else []
            if not missed:
                break
            if how == "given":
                raise _missing(missed)
            notes = [f"a {how} pattern missed entries here and was dropped"]
        self.found_pattern = pattern
        answer = replace(answer, calls=dict(self.evaluate.calls), checked=self._apart)
        notes += words.tell(name_of(self.flat.f), answer, found, point, self.noise)
        return answer

    # -- steps ---------------------------------------------------------------------------------------------
    def _point(self) -> Point:
        layout = self.flat.layout
        y = np.concatenate([np.asarray(leaf, float).ravel() for leaf in _leaves(self.flat.value)])
        sizes = [leaf.size for leaf in layout.inputs]
        eps = np.repeat([float(np.finfo(leaf.dtype).eps) for leaf in layout.inputs], sizes)
        kinds = tuple(
            (leaf.dtype, np.arange(end - leaf.size, end))
            for leaf, end in zip(layout.inputs, np.cumsum(sizes), strict=True)
            if leaf.dtype != np.float64
        )
        out_eps = np.repeat(
            [float(np.finfo(leaf.dtype).eps) for leaf in layout.outputs], [leaf.size for leaf in layout.outputs]
        )
        self.tracker.begin("noise")
        self.noise = noise(self.evaluate, self.flat.x, y, eps, self.options.seed)
        floor = np.maximum(SIGMAS * self.noise.size, out_eps * np.where(np.isfinite(y), np.abs(y), 0.0))
        return Point(self.flat.x, y, eps, kinds, out_eps, floor, self.noise.still)

    def _method(self, point: Point) -> tuple[bool, str]:
        """(by complex step?, why not)."""
        if self.options.method == "central":
            return False, ""
        self.evaluate.phase = "method"
        self.tracker.begin("method")
        noisy = bool((self.noise.size > 1e3 * point.out_eps * np.abs(point.y).max(initial=0.0)).any())
        towards, slope = self._direction(point)
        if slope.rough.any() or not np.isfinite(point.y).all():
            reason = "f is not smooth or not finite here"
        else:
            reason = why_not(self.evaluate, point, towards, slope.values, slope.errors, noisy)
        if reason and self.options.method == "complex":
            raise ArgumentError(
                f'method: got "complex", but the complex step cannot be used for {name_of(self.flat.f)}: {reason}; '
                'take "auto" or "central"'
            )
        return not reason, reason

    def _direction(self, point: Point) -> tuple[np.ndarray, Found]:
        """A random direction and the derivative along it, found once."""
        if not hasattr(self, "_along"):
            towards = random_direction(point.x, self.options.seed)
            self._along = towards, along(self.evaluate, point, towards, self.tolerance)
        return self._along

    def _patterns(self, point: Point) -> Iterator[tuple[csr_array | None, str, str]]:
        """(pattern or None for dense, how it is known, a note), the next where one turns out to miss entries."""
        shape, asked = (point.y.size, point.x.size), self.options.word == "probe"
        if self.options.given:
            yield self.options.matrix(shape), "given", ""
        elif self.options.word != "dense" and min(shape) and (shape[1] > LOOKED_FOR or asked):
            if self.known is not None:
                yield self.known, "probed", "the pattern is the one probed at an earlier point"
            self.tracker.begin("pattern")
            probed = Probe(self.evaluate, point, self.options.seed).run(asked)
            if probed.pattern is not None:
                grown = f"; {probed.grown} entries showed only at other points" if probed.grown else ""
                yield probed.pattern, "probed", f"what did not move where f was looked at counts as zero{grown}"
                yield None, "dense", ""
            else:
                yield None, "dense", "a sample of inputs moved most outputs: taken as dense"
        else:
            yield None, "dense", ""

    def _entries(self, point: Point, groups: Sequence[Group], complex_step: bool) -> list[Found]:
        self.evaluate.phase = "differences"
        self.tracker.begin("differences", len(groups))
        side_by_side = 4 * self.options.workers if self.options.workers > 1 else 1
        found: list[Found] = []
        for start in range(0, len(groups), side_by_side):
            block = groups[start : start + side_by_side]
            runs: list[Walk] = [
                ComplexColumn(point, group) if complex_step else Column(point, group, self.steps, self.tolerance)
                for group in block
            ]
            found += lockstep(runs, self.evaluate.batch, self.tracker.advance)
        return found

    def _missed(self, point: Point, answer: Answer, found: list[Found]) -> list[int]:
        """The outputs that read inputs outside of the pattern.

        Seen where they moved with a group that has nothing for them, and where the answer along a random direction is
        not f's own derivative there.
        """
        self.evaluate.phase = "check"
        stray = {int(i) for f in found for i in f.stray}
        if stray:
            return sorted(stray)
        towards, slope = self._direction(point)
        ours = answer.csr.astype(float) @ towards
        share = np.abs(towards)[answer.columns]
        size = np.bincount(answer.rows, np.abs(answer.values) * share, answer.shape[0])
        room = np.bincount(answer.rows, answer.errors * share, answer.shape[0])
        rough = np.zeros(point.y.size, bool)
        for f in found:
            rough[f.group.rows[f.rough > Rough.ONE_SIDED]] = True
        sure = np.isfinite(room) & np.isfinite(slope.errors) & (slope.rough <= Rough.ONE_SIDED) & ~rough
        with np.errstate(all="ignore"):
            apart = np.abs(ours - slope.values)
            wrong = sure & (apart > 8 * (room + slope.errors) + 1e-6 * size)
            self._apart = float(np.where(sure & (size > 0), apart / size, 0.0).max(initial=0.0))
        return [int(i) for i in np.flatnonzero(wrong)]

    def _assembled(
        self, found: list[Found], pattern: csr_array | None, how: str, complex_step: bool, reason: str, notes: list[str]
    ) -> Answer:
        layout = self.flat.layout
        rows = np.concatenate([f.group.rows for f in found]) if found else np.zeros(0, int)
        columns = np.concatenate([f.group.places for f in found]) if found else np.zeros(0, int)
        values = np.concatenate([f.values for f in found]) if found else np.zeros(0)
        errors = np.concatenate([f.errors for f in found]) if found else np.zeros(0)
        if complex_step:
            errors = self._with_rounding(rows, columns, values, errors)
        order = np.lexsort((columns, rows))
        return Answer(
            layout=layout,
            rows=rows[order],
            columns=columns[order],
            values=values[order],
            errors=errors[order],
            pattern=Pattern.full(layout.shape) if pattern is None else Pattern.from_csr(pattern),
            found=how,
            method="complex step" if complex_step else "central differences",
            groups=len(found),
            calls=dict(self.evaluate.calls),
            value=self.flat.value,
            extra=self.flat.extra,
            why_not=reason,
            notes=notes,
        )


    def _with_rounding(
        self, rows: np.ndarray, columns: np.ndarray, values: np.ndarray, errors: np.ndarray
    ) -> np.ndarray:
        """The errors of a complex step, at least what rounding does in the row on the whole.

        That is one rounding of the most that any input does to the output, and the largest of the row's estimates: each
        of them comes from two numbers alone, which may agree by chance.
        """
        size, m = scales(self.flat.x)[columns], self.flat.layout.shape[0]
        most = np.zeros(m)
        np.maximum.at(most, rows, np.abs(values) * size)
        least = float(np.finfo(self.flat.layout.dtype).eps) * most
        np.maximum.at(least, rows, np.where(np.isfinite(errors), errors * size, 0.0))
        least = least[rows] / size
        return np.where(values != 0, np.maximum(errors, least), errors)


def coloured(pattern: csr_array) -> list[Group]:
    """Groups of columns that no row reads two of."""
    colouring = colour_columns(pattern)
    rows, columns, _, colour = entries(colouring, pattern)
    order = np.argsort(colour, kind="stable")
    groups = []
    for part in np.split(order, np.flatnonzero(np.diff(colour[order])) + 1):
        if part.size:
            together, owner = np.unique(columns[part], return_inverse=True)
            groups.append(Group(together, rows[part], owner))
    return groups


def _missing(rows: list[int]) -> StructureError:
    shown = ", ".join(map(str, rows[:5])) + (f" and {len(rows) - 5} more" if len(rows) > 5 else "")
    return StructureError(
        f"pattern: outputs {shown} depend on inputs that the pattern does not give them, expected every entry that can "
        'differ from zero; add them, or leave the pattern out to have it probed (pattern="dense" uses none)'
    )


def _leaves(tree: object) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree_util.tree_leaves(tree)]
