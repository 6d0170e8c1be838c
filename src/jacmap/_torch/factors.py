"""log|det J| of a function of tensors, factor by factor along the chain of square cuts: run on the graph.

The values are worked out once, as the function itself would. What a factor's tangents need is worked out a second
time, from the values that it starts with, which stand for themselves there; along dropped edges the first values are
read. So a tangent that is not needed is never made, and yet the answer can be differentiated by everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch

from ..engine.backends.torch import compat
from ..engine.backends.torch.passes import PULLS, PUSHES, in_turn
from ..engine.backends.torch.program import Program
from ..engine.backends.torch.run import Ways, ravel, split
from ..engine.plan.determinant import Entrywise, Equal, LowRank, Stored
from .stages import Passed, Programs, Stretch, Written

Tensor = torch.Tensor


Place = tuple[tuple[Tensor, Tensor], Tensor | None, np.ndarray]


class _Sum:
    """sign and log|det| so far."""

    def __init__(self, sign: int, log: float, like: Tensor, ways: Ways):
        self.sign: Any = sign
        self.log: Any = log
        self.like, self.ways = like, ways

    def result(self) -> tuple[Tensor, Tensor]:
        """Both as scalars of the dtype and on the device of `like`."""
        return self._plain(self.sign), self._plain(self.log)

    def _plain(self, number: Any) -> Tensor:
        return number.to(self.like) if isinstance(number, Tensor) else torch.full_like(self.like, number)

    def numbers(self, numbers: Tensor, times: np.ndarray | int = 1) -> None:
        """Blocks of size 1, counting so many times: each its own, or all alike."""
        self.several(numbers.detach().sign(), numbers.abs().log(), times)

    def several(self, signs: Tensor, logs: Tensor, times: np.ndarray | int) -> None:
        """Determinants, likewise."""
        if isinstance(times, int):
            sign, log = signs.prod(), logs.sum()
            if times != 1:
                sign, log = sign if times % 2 else sign * sign, log * times
        else:
            counts = self.ways.index(times, logs.device)
            sign, log = torch.where(counts % 2 == 1, signs, signs * signs).prod(), (logs * counts).sum()
        self.sign, self.log = self.sign * sign, self.log + log

    def blocks(self, blocks: Tensor, times: np.ndarray) -> None:
        """Blocks (count, s, s) of any one size."""
        alike: np.ndarray | int = int(times[0]) if times.size and (times == times[0]).all() else times
        if blocks.shape[-1] == 1:
            self.numbers(blocks[:, 0, 0], alike)
        else:
            found = torch.linalg.slogdet(blocks)
            self.several(found.sign.detach(), found.logabsdet, alike)


class Factors:
    """The plan of a determinant at a point: `env` holds the inputs, the other arguments and the constants.

    Values are attached to whatever the answer may be differentiated by, and to nothing else.
    """

    def __init__(self, programs: Programs, env: dict[Any, Tensor], ways: Ways, differentiable: bool):
        self.programs, self.env, self.ways, self.differentiable = programs, env, ways, differentiable

    def _evaluated(self, program: Program) -> list[Tensor]:
        with nullcontext() if self.differentiable else torch.no_grad():
            return program(self.env)

    def outputs(self) -> list[Tensor]:
        """The values of the graph's outputs, once the factors are done."""
        return self._evaluated(self.programs.outputs)

    def result(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """(sign, log|det|) as scalars of the dtype and on the device of `like`."""
        total = _Sum(self.programs.sign, self.programs.log, like, self.ways)
        pending: list[tuple[Sequence[Tensor], Sequence[Tensor]]] = []
        found: dict[int, list[Tensor]] = {1: []}  # entries that count alone, by how often each is there
        for stage in self.programs.stages:
            self.env |= zip(stage.before.wanted, self._evaluated(stage.before), strict=True)
            if isinstance(stage, Written):
                for name, size in stage.slopes:
                    slope = self.env[name]
                    if size:
                        found.setdefault(size // slope.numel(), []).append(slope)
                for step in stage.stored:
                    self._stored(step, total)
            elif isinstance(stage.step, LowRank):
                self._low_rank(stage, total)
            elif stage.alone:
                if compat.inside_functorch():
                    found[1] += self._pulled(stage)
                else:
                    pending.append(self._taped(stage))
                    if self.differentiable:  # later factors start from this one's values: apart, or they would mix
                        found[1] += self._gradients([pending.pop()])
            else:
                self._entrywise(stage, total)
        if pending:
            found[1] += self._gradients(pending)
        for times, parts in found.items():
            if parts:
                total.numbers(torch.cat([g.reshape(-1) for g in parts]) if len(parts) > 1 else parts[0], times)
        return total.result()

    # -- factors with one entry in each row and column of what is left -------------------------------------
    # A reverse pass from ones shows the entries column by column; each counts once, in whatever order.
    def _taped(self, stage: Passed) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """(what the stretch makes, the values it starts from), with a tape between them."""
        stretch = stage.passes["all"]
        with torch.inference_mode(False), torch.enable_grad():
            starts = {("moving", v): self._start(self.env[v]) for v in stretch.starts}
            made = stretch.program({**self.env, **starts})
        self._keep(stage, made)
        return made, list(starts.values())

    def _pulled(self, stage: Passed) -> Sequence[Tensor]:
        """The gradients inside a transformation of `torch.func`."""
        stretch = stage.passes["all"]

        def run(*points: Tensor) -> tuple[Tensor, ...]:
            names = (("moving", v) for v in stretch.starts)
            return tuple(stretch.program({**self.env, **dict(zip(names, points, strict=True))}))

        made, pull = torch.func.vjp(run, *(self.env[v] for v in stretch.starts))  # type: ignore[misc]
        self._keep(stage, made)
        gradients: Sequence[Tensor] = pull(tuple(torch.ones_like(y) for y in made))
        return gradients

    def _keep(self, stage: Passed, made: Sequence[Tensor]) -> None:
        """What the stretch made need not be made again."""
        values = made if self.differentiable or compat.inside_functorch() else [y.detach() for y in made]
        self.env.update((v, y) for v, y in zip(stage.step.factor.after, values, strict=True) if v in stage.known)

    def _gradients(self, taped: Sequence[tuple[Sequence[Tensor], Sequence[Tensor]]]) -> Sequence[Tensor]:
        made, starts = [y for ys, _ in taped for y in ys], [z for _, zs in taped for z in zs]
        ones = [self._ones(y) for y in made]
        found = torch.autograd.grad(made, starts, ones, create_graph=self.differentiable)
        return found if self.differentiable else [g.detach() for g in found]

    def _start(self, value: Tensor) -> Tensor:
        """The value again, so that a derivative by it stops there."""
        value = value.clone() if value.is_inference() else value
        follows = self.differentiable and value.requires_grad
        return value.view_as(value) if follows else value.detach().requires_grad_()

    def _ones(self, like: Tensor) -> Tensor:
        key = "ones", like.shape, like.dtype, like.device
        if key not in self.ways.indices:
            with torch.inference_mode(False):
                self.ways.indices[key] = None, torch.ones(like.shape, dtype=like.dtype, device=like.device)
        found: Tensor = self.ways.indices[key][1]
        return found

    # -- passes through one factor -------------------------------------------------------------------------
    def _function(self, stretch: Stretch) -> tuple[Any, Tensor]:
        """(a stretch as a function of one vector, its point)."""
        points = [self.env[v] for v in stretch.starts]
        shapes = [(tuple(a.shape), a.dtype) for a in points]
        names = [("moving", v) for v in stretch.starts]

        def function(x: Tensor) -> Tensor:
            made = stretch.program({**self.env, **dict(zip(names, split(x, shapes), strict=True))})
            return ravel(made, x.dtype)

        return function, ravel(points)

    def _pass(self, ways: Any, found: tuple[Any, Tensor], seeds: Tensor) -> Tensor:
        function, point = found
        return in_turn(ways, self.ways.failed, function, point, seeds.to(point.dtype), 0, self.differentiable)

    def _seeds(self, labels: np.ndarray, count: int, like: Tensor) -> Tensor:
        """(count, size): entry j is one in seed labels[j] (−1: in none)."""
        return self.ways.one_hot(labels, count, like.dtype, like.device).T

    # -- the kinds of step ---------------------------------------------------------------------------------
    def _entrywise(self, stage: Passed, total: _Sum) -> None:
        s: Any = stage.step
        colouring = s.colouring
        function, point = self._function(stage.passes["all"])
        if colouring.reverse:
            seeds = self._seeds(colouring.row_colours, colouring.reverse, point)
            compressed = self._pass(PULLS, (function, point), seeds)
        else:
            seeds = self._seeds(colouring.column_colours, colouring.forward, point)
            compressed = self._pass(PUSHES, (function, point), seeds)
        self._read(s, compressed.to(total.like.dtype), total)

    def _read(self, s: Entrywise, compressed: Tensor, total: _Sum) -> None:
        for at, there, times in self._places(s):
            taken = compressed[at]
            total.blocks(taken if there is None else torch.where(there, taken, torch.zeros_like(taken)), times)

    def _places(self, s: Entrywise) -> list[Place]:
        """For each size of blocks: where their entries stand in the passes, which are there at all, and how often."""
        kept = self.programs.kept
        if id(s) not in kept:
            found = kept[id(s)] = []
            for size in np.unique(s.blocks.sizes):
                rows, columns = s.blocks.of_size(int(size))
                times = s.times[s.blocks.sizes == size]
                rows, columns, times = rows[times > 0], columns[times > 0], times[times > 0]
                at_row = np.broadcast_to(rows[:, :, None], (*rows.shape, size))
                at_col = np.broadcast_to(columns[:, None, :], (*columns.shape[:1], size, size))
                reverse = s.colouring.reverse > 0
                colour = s.colouring.row_colours[at_row] if reverse else s.colouring.column_colours[at_col]
                place = np.array(at_col if reverse else at_row, np.int64)
                at = torch.as_tensor(colour.astype(np.int64)), torch.as_tensor(place)
                mask = np.asarray(s.pattern[at_row.ravel(), at_col.ravel()]).reshape(at_row.shape)
                found.append((at, None if mask.all() else torch.as_tensor(mask), times))
        places: list[Place] = kept[id(s)]
        return places

    def _stored(self, step: Stored, total: _Sum) -> None:
        """The blocks that an operand holds."""
        operand = self.env[step.operand]
        if operand.layout != torch.strided:
            operand = operand.to_dense()
        flat = operand.reshape(-1)
        for group in step.groups:
            at, there = self._at(group, flat.device)
            blocks = flat[at] if there is None else torch.where(there, flat[at], 0)
            total.blocks(blocks if step.scale == 1 else step.scale * blocks, group.times)

    @torch.inference_mode(False)
    def _at(self, group: Equal, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """Where the entries stand, and which are there at all (None: all)."""
        key = id(group), device
        if key not in self.programs.kept:
            at, there = torch.as_tensor(group.at, device=device), group.at >= 0
            mask = None if there.all() else torch.as_tensor(there, device=device)
            self.programs.kept[key] = at if mask is None else at.clamp(min=0), mask
        found: tuple[Tensor, Tensor | None] = self.programs.kept[key]
        return found

    def _low_rank(self, stage: Passed, total: _Sum) -> None:
        """det(D + U V) = det D · det(I + V D⁻¹ U); see `plan.determinant.LowRank`."""
        s: Any = stage.step
        r, inner = s.width, s.inner
        rows, columns = inner.blocks.of_size(1)
        start = self._function(stage.passes["out"])
        eye = torch.eye(r, dtype=start[1].dtype, device=start[1].device)
        u = self._pass(PUSHES, start, eye)[:, self.ways.index(rows[:, 0], eye.device)].T.to(total.like.dtype)
        way = self._function(stage.passes["in"])
        v = self._pass(PULLS, way, eye).to(total.like.dtype)[:, self.ways.index(columns[:, 0], eye.device)]
        if not s.unit:
            function, point = self._function(stage.passes["all"])
            ones = torch.ones((1, point.numel()), dtype=point.dtype, device=point.device)
            diagonal = self._pass(PULLS, (function, point), ones)[0].to(total.like.dtype)
            diagonal, u, v = _bordered(diagonal[self.ways.index(columns[:, 0], eye.device)], u, v)
            total.numbers(diagonal)
            v = v / diagonal
        total.blocks((torch.eye(u.shape[1], dtype=u.dtype, device=u.device) + v @ u)[None], np.ones(1, int))


def _bordered(diagonal: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """D + U V = D' + U' V' where D' has no small entry among the r smallest: those move to the low-rank part.

    D' = D + s E Eᵀ, U' = [U, −s E], V' = [V; Eᵀ] with E the unit vectors of those entries; exact for any s.
    """
    n, r = u.shape
    still = diagonal.detach()
    smallest = torch.topk(-still.abs(), min(r, n)).indices
    unit = torch.nn.functional.one_hot(smallest, n).to(diagonal.dtype)
    size = still.abs().max() + u.detach().abs().max() * v.detach().abs().max()
    shift = torch.where(still < 0, -size, size)
    u, v = torch.cat([u, -(shift * unit).T], dim=1), torch.cat([v, unit])
    return diagonal + (shift * unit).sum(dim=0), u, v
