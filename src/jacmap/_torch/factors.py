"""log|det J| of a function of tensors, factor by factor along the chain of square cuts: run on the graph.

The values are worked out once, as the function itself would. What a factor's tangents need is worked out a second
time, from the values that it starts with, which stand for themselves there; along dropped edges the first values are
read. So a tangent that is not needed is never made, and yet the answer can be differentiated by everything.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..engine.backends.torch import compat
from ..engine.backends.torch.passes import PULLS, PUSHES, in_turn
from ..engine.backends.torch.program import Program
from ..engine.backends.torch.run import Ways, ravel, split
from ..engine.graph import Graph
from ..engine.plan.determinant import Determinant, Entrywise, LowRank, Moved, Step
from .tangents import At, Tangents

Tensor = torch.Tensor


Place = tuple[tuple[Tensor, Tensor], Tensor | None, np.ndarray]


class _Sum:
    """sign and log|det| so far."""

    def __init__(self, sign: int, like: Tensor, ways: Ways):
        self.sign: Any = sign
        self.log: Any = 0.0
        self.like, self.ways = like, ways

    def result(self) -> tuple[Tensor, Tensor]:
        """Both as scalars of the dtype and on the device of `like`."""
        plain = [torch.as_tensor(x).to(self.like) for x in (self.sign, self.log)]
        return plain[0], plain[1]

    def numbers(self, numbers: Tensor, times: np.ndarray | None = None) -> None:
        """Blocks of size 1, each counting so many times."""
        self.several(numbers.detach().sign(), numbers.abs().log(), times)

    def several(self, signs: Tensor, logs: Tensor, times: np.ndarray | None) -> None:
        """Determinants that each count so many times."""
        if times is not None and (times != 1).any():
            counts = self.ways.index(times, logs.device)
            signs, logs = torch.where(counts % 2 == 1, signs, signs * signs), logs * counts
        self.sign, self.log = self.sign * signs.prod(), self.log + logs.sum()

    def blocks(self, blocks: Tensor, times: np.ndarray) -> None:
        """Blocks (count, s, s) of any one size."""
        if blocks.shape[-1] == 1:
            self.numbers(blocks[:, 0, 0], times)
        else:
            found = torch.linalg.slogdet(blocks)
            self.several(found.sign.detach(), found.logabsdet, times)


@dataclass(frozen=True, eq=False)
class Stage:
    """One factor made ready to run: `before` works out what it reads that stands still, `passes` its own stretches.

    `alone`: has what is left of it one entry in each row and column? `known`: the values that its stretch then gives.
    `slopes`: the program of those entries, from ones in the place of `starts`, where every operation has its row.
    """

    step: Step
    alone: bool
    before: Program
    passes: dict[str, Stretch]
    known: tuple[int, ...]
    starts: tuple[int, ...] = ()
    slopes: Program | None = None


@dataclass(frozen=True, eq=False)
class Stretch:
    """What moves when `starts` move, without the edges dropped: a program of those and of values that stand still."""

    starts: tuple[int, ...]
    program: Program


class Programs:
    """The plan of a determinant made ready to run, factor after factor; `with_value`: f's value is asked for, too."""

    def __init__(self, plan: Determinant, graph: Graph, with_value: bool):
        self.graph = graph
        steps = [(node.payload, node.inputs, node.outputs) for node in graph.nodes]
        known = dict.fromkeys((*graph.inputs, *graph.others, *graph.constants))
        self.stages: list[Stage] = []
        ahead = [step for step in plan.steps if not isinstance(step, Moved)]
        for step in ahead:
            alone = isinstance(step, Entrywise) and _is_alone(step)
            found = self._tangents(step) if alone else None
            if found is not None:
                starts, slopes = found
                needed = dict.fromkeys((*starts, *(v for v in slopes.given if isinstance(v, int))))
                if with_value or step is not ahead[-1]:  # together, or what both need would be worked out twice
                    needed |= dict.fromkeys(step.factor.after)
                before = Program(steps, known, tuple(needed))
                known |= dict.fromkeys(before.wanted)
                self.stages.append(Stage(step, True, before, {}, (), starts, slopes))
                continue
            passes = {name: self._stretch(step, *ends) for name, *ends in _stretches(step)}
            wanted = {v: None for s in passes.values() for v in s.starts}
            wanted |= {v: None for s in passes.values() for v in s.program.given if isinstance(v, int)}
            before = Program(steps, known, tuple(wanted))
            known |= wanted
            made = tuple(step.factor.after) if alone else ()
            known |= dict.fromkeys(made)
            self.stages.append(Stage(step, alone, before, passes, made))
        self.outputs = Program(steps, known, graph.outputs)
        moved = [step.signs[0] for step in plan.steps if isinstance(step, Moved)]
        blocks = [step.blocks.sign for step in plan.steps if isinstance(step, Entrywise)]
        blocks += [step.inner.blocks.sign for step in plan.steps if isinstance(step, LowRank)]
        self.sign = plan.sign * math.prod((*moved, *blocks))
        self.places: dict[int, list[Place]] = {}

    def _tangents(self, step: Any) -> tuple[tuple[int, ...], Program] | None:
        """(the values that the factor starts with, a program of its slopes); None where a row is lacking."""
        factor, dropped = step.factor, step.thinning.dropped
        tangents = Tangents(lambda v: self.graph.values[v].shape, {v: At(("one", v)) for v in factor.before})
        for k, position in enumerate(factor.positions):
            node = self.graph.nodes[position]
            live = [v in tangents.of and (k, i) not in dropped for i, v in enumerate(node.inputs)]
            fresh = not any(v in factor.before for v in node.outputs)
            if any(live) and not (fresh and tangents.follow(node.payload, node.inputs, node.outputs, live)):
                return None
        if any(v not in tangents.of for v in factor.after):
            return None
        wanted = [tangents.whole(v).name for v in factor.after]
        read = {name for _, inputs, _ in tangents.steps for name in inputs}
        given = [*(("one", v) for v in factor.before), *(v for v in read if isinstance(v, int))]
        return tuple(factor.before), Program(tangents.steps, given, wanted)

    def _stretch(self, step: Step, starts: Sequence[int], stops: Sequence[int], dropped: Any) -> Stretch:
        moving: dict[int, Any] = {v: ("moving", v) for v in starts}
        steps: list[Any] = []
        still: dict[int, None] = {}
        for k, position in enumerate(step.factor.positions):
            node = self.graph.nodes[position]
            live = [v in moving and (k, i) not in dropped for i, v in enumerate(node.inputs)]
            if any(live):
                names = [moving[v] if flag else v for v, flag in zip(node.inputs, live, strict=True)]
                still |= {v: None for v, flag in zip(node.inputs, live, strict=True) if not flag}
                made = [("moving", v) if v not in starts else ("again", v) for v in node.outputs]
                moving |= {v: name for v, name in zip(node.outputs, made, strict=True) if v not in starts}
                steps.append((node.payload, names, made))
        still |= {v: None for v in stops if v not in moving}
        given = [*(("moving", v) for v in starts), *still]
        return Stretch(tuple(starts), Program(steps, given, [moving.get(v, v) for v in stops]))


def _is_alone(step: Entrywise) -> bool:
    """Has what is left of the factor one entry in each row and column, and reverse mode?"""
    single = step.colouring.passes == 1 and int(step.blocks.sizes.max()) == 1 and bool((step.times == 1).all())
    return single and all(node.reverse for node in step.factor.graph.nodes)


def _stretches(step: Step) -> list[tuple[str, Sequence[int], Sequence[int], Any]]:
    """(name, values that move, values wanted, edges dropped) of each pass through a factor."""
    before, after = step.factor.before, step.factor.after
    if isinstance(step, Entrywise):
        return [("all", before, after, step.thinning.dropped)]
    if isinstance(step, LowRank):
        narrow = [step.factor.numbers[step.narrow]]
        both: list[Any] = [("out", narrow, after, ()), ("in", before, narrow, ())]
        return both if step.unit else [*both, ("all", before, after, step.inner.thinning.dropped)]
    return []


class Factors:
    """The plan of a determinant at a point: `env` holds the inputs, the other arguments and the constants.

    Values are attached to whatever the answer may be differentiated by, and to nothing else.
    """

    def __init__(self, programs: Programs, env: dict[int, Tensor], ways: Ways, differentiable: bool):
        self.programs, self.env, self.ways, self.differentiable = programs, env, ways, differentiable

    def _evaluated(self, program: Program) -> list[Tensor]:
        with nullcontext() if self.differentiable else torch.no_grad():
            return program(self.env)

    def outputs(self) -> list[Tensor]:
        """The values of the graph's outputs, once the factors are done."""
        return self._evaluated(self.programs.outputs)

    def result(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """(sign, log|det|) as scalars of the dtype and on the device of `like`."""
        total = _Sum(self.programs.sign, like, self.ways)
        pending: list[tuple[Sequence[Tensor], Sequence[Tensor]]] = []
        found: list[Tensor] = []
        for stage in self.programs.stages:
            self.env |= zip(stage.before.wanted, self._evaluated(stage.before), strict=True)
            if stage.slopes is not None:
                ones = {("one", v): self._ones(self.env[v]) for v in stage.starts}
                with nullcontext() if self.differentiable else torch.no_grad():
                    found += stage.slopes({**self.env, **ones})
            elif isinstance(stage.step, LowRank):
                self._low_rank(stage, total)
            elif stage.alone:
                if compat.inside_functorch():
                    found += self._pulled(stage)
                else:
                    pending.append(self._taped(stage))
                    if self.differentiable:  # later factors start from this one's values: apart, or they would mix
                        found += self._gradients([pending.pop()])
            else:
                self._entrywise(stage, total)
        if pending:
            found += self._gradients(pending)
        if found:
            total.numbers(torch.cat([g.reshape(-1) for g in found]) if len(found) > 1 else found[0])
        return total.result()

    # -- factors with one entry in each row and column of what is left -------------------------------------
    # A reverse pass from ones shows the entries column by column; each counts once, in whatever order.
    def _taped(self, stage: Stage) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """(what the stretch makes, the values it starts from), with a tape between them."""
        stretch = stage.passes["all"]
        with torch.inference_mode(False), torch.enable_grad():
            starts = {("moving", v): self._start(self.env[v]) for v in stretch.starts}
            made = stretch.program({**self.env, **starts})
        self._keep(stage, made)
        return made, list(starts.values())

    def _pulled(self, stage: Stage) -> Sequence[Tensor]:
        """The gradients inside a transformation of `torch.func`."""
        stretch = stage.passes["all"]

        def run(*points: Tensor) -> tuple[Tensor, ...]:
            names = (("moving", v) for v in stretch.starts)
            return tuple(stretch.program({**self.env, **dict(zip(names, points, strict=True))}))

        made, pull = torch.func.vjp(run, *(self.env[v] for v in stretch.starts))  # type: ignore[misc]
        self._keep(stage, made)
        gradients: Sequence[Tensor] = pull(tuple(torch.ones_like(y) for y in made))
        return gradients

    def _keep(self, stage: Stage, made: Sequence[Tensor]) -> None:
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
    def _entrywise(self, stage: Stage, total: _Sum) -> None:
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
        if id(s) not in self.programs.places:
            found = self.programs.places[id(s)] = []
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
        return self.programs.places[id(s)]

    def _low_rank(self, stage: Stage, total: _Sum) -> None:
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
