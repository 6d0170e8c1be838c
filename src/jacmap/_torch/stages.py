"""The plan of a determinant made ready to run: programs of what is evaluated, factor after factor.

What needs no pass, factors whose slopes can be written down and factors whose entries an operand holds, is one program
together with the values around it. The others have programs for the stretch that their passes go through.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..engine.backends.torch.program import Program, needed
from ..engine.backends.torch.program import Step as Line
from ..engine.graph import Graph
from ..engine.plan.determinant import Determinant, Entrywise, LowRank, Moved, Step, Stored
from .tangents import At, Tangents


@dataclass(frozen=True, eq=False)
class Written:
    """Factors whose determinants are read off values: `before` works them out.

    `slopes`: names of entries that count one by one, each with the size of the value that it broadcasts to. `stored`:
    factors whose entries an operand holds.
    """

    before: Program
    slopes: tuple[tuple[Hashable, int], ...]
    stored: tuple[Stored, ...]


@dataclass(frozen=True, eq=False)
class Passed:
    """A factor that takes passes: `before` works out what they read that stands still, `passes` are its own stretches.

    `alone`: has what is left of it one entry in each row and column? `known`: the values that its stretch then gives.
    """

    before: Program
    step: Step
    alone: bool
    passes: dict[str, Stretch]
    known: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Stretch:
    """What moves when `starts` move, without the edges dropped: a program of those and of values that stand still."""

    starts: tuple[int, ...]
    program: Program


@dataclass
class _Request:
    """A program to be made: of these lines, giving what is `wanted`; what the stage `gives` is known after it."""

    lines: list[Line]
    wanted: dict[Hashable, None] = field(default_factory=dict)
    gives: tuple[int, ...] = ()
    slopes: list[tuple[Hashable, int]] = field(default_factory=list)
    stored: list[Stored] = field(default_factory=list)
    step: Step | None = None
    passes: dict[str, Stretch] = field(default_factory=dict)


class Programs:
    """The plan of a determinant made ready to run; `with_value`: f's value is asked for, too.

    `sign` and `log` are of the parts that are the same at every point.
    """

    def __init__(self, plan: Determinant, graph: Graph, with_value: bool):
        self.graph = graph
        self.sign, self.log = plan.sign * math.prod(_signs(plan)), 0.0
        lines: list[Line] = [(node.payload, node.inputs, node.outputs) for node in graph.nodes]
        requests: list[_Request] = []
        for k, step in enumerate(plan.steps):
            if isinstance(step, Moved):
                continue
            if isinstance(step, Stored):
                _open(requests, lines).stored.append(step)
                requests[-1].wanted[step.operand] = None
                continue
            alone = isinstance(step, Entrywise) and _is_alone(step)
            tangents = self._tangents(step, k) if alone else None
            if tangents is not None:
                self._write(_open(requests, lines), step, tangents)
            else:
                requests.append(self._request(step, lines, alone))
        requests.append(_Request(lines, dict.fromkeys(graph.outputs) if with_value else {}))
        known = dict.fromkeys((*graph.inputs, *graph.others, *graph.constants))
        *programs, self.outputs = _programs(requests, known)
        self.stages = [_stage(request, program) for request, program in zip(requests, programs, strict=False)]
        self.kept: dict[Any, Any] = {}  # index tensors of a step, made once

    def _tangents(self, step: Any, label: int) -> Tangents | None:
        """The factor's tangents from those of its start, all 1; None where a row is lacking."""
        factor, dropped = step.factor, step.thinning.dropped
        tangents = Tangents(lambda v: self.graph.values[v].shape, dict.fromkeys(factor.before, 1.0), label)
        for k, position in enumerate(factor.positions):
            node = self.graph.nodes[position]
            live = [v in tangents.of and (k, i) not in dropped for i, v in enumerate(node.inputs)]
            fresh = not any(v in factor.before for v in node.outputs)
            if any(live) and not (fresh and tangents.follow(node.payload, node.inputs, node.outputs, live)):
                return None
        return tangents if all(v in tangents.of for v in factor.after) else None

    def _write(self, request: _Request, step: Step, tangents: Tangents) -> None:
        """Add a factor's slopes to what the request works out; numbers are counted at once."""
        last = self.graph.nodes[step.factor.positions[-1]].outputs
        at = next(k for k, (_, _, outputs) in enumerate(request.lines) if outputs == last) + 1
        request.lines[at:at] = tangents.steps
        for v in step.factor.after:
            slope, size = tangents.of[v], self.graph.values[v].size
            if isinstance(slope, At):
                request.slopes.append((slope.name, size))
                request.wanted[slope.name] = None
            else:
                self._count(slope, size)

    def _count(self, slope: float, size: int) -> None:
        """So many entries that are the same number."""
        if size:
            self.sign *= (slope > 0) - (slope < 0) if size % 2 else int(slope != 0)
            self.log += size * (math.log(abs(slope)) if slope else -math.inf)

    def _request(self, step: Step, lines: list[Line], alone: bool) -> _Request:
        passes = {name: self._stretch(step, *ends) for name, *ends in _stretches(step)}
        wanted: dict[Hashable, None] = {v: None for s in passes.values() for v in s.starts}
        wanted |= {v: None for s in passes.values() for v in s.program.given if isinstance(v, int)}
        made = tuple(step.factor.after) if alone else ()
        return _Request(lines, wanted, made, step=step, passes=passes)

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


def _signs(plan: Determinant) -> list[int]:
    """Of the permutations in the plan, and of the orders of rows and columns in its blocks."""
    found = [step.signs[0] for step in plan.steps if isinstance(step, Moved)]
    found += [step.blocks.sign for step in plan.steps if isinstance(step, (Entrywise, Stored))]
    return found + [step.inner.blocks.sign for step in plan.steps if isinstance(step, LowRank)]


def _open(requests: list[_Request], lines: list[Line]) -> _Request:
    """The request that is being collected: factors without a pass that follow each other are one."""
    if not requests or requests[-1].step is not None:
        requests.append(_Request(list(lines)))
    return requests[-1]


def _programs(requests: Sequence[_Request], known: Iterable[Hashable]) -> list[Program]:
    """Each gives what is wanted of it, and what a later one would otherwise work out anew."""
    have = set(known)
    maker: dict[Hashable, _Request] = {}
    for request in requests:
        kept = needed(request.lines, have, tuple(request.wanted))
        for name in [*request.wanted, *(name for _, inputs, _ in kept for name in inputs)]:
            if name in maker:
                maker[name].wanted[name] = None
        maker |= {name: request for _, _, outputs in kept for name in outputs}
        have.update(maker, request.gives)
    programs: list[Program] = []
    given = dict.fromkeys(known)
    for request in requests:
        programs.append(Program(request.lines, given, tuple(request.wanted)))
        given |= dict.fromkeys((*request.wanted, *request.gives))
    return programs


def _stage(request: _Request, program: Program) -> Written | Passed:
    if request.step is None:
        return Written(program, tuple(request.slopes), tuple(request.stored))
    return Passed(program, request.step, bool(request.gives), request.passes, request.gives)


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
