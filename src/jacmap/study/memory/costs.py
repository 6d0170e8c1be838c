"""What a segment keeps for its VJP and what doing it again costs, read from XLA's compiled programs and a clock."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import jax

from ..._data_path import DataPath, Stretch, Values, bytes_of
from .recompute import is_float

RUNS = 5  # of which the median counts
LONG = 0.2  # seconds; what takes longer is timed fewer times


@dataclass(frozen=True)
class Way:
    """One way to keep a segment: all (`chunk` 0), or of a scan the carry of every `chunk`-th step.

    `kept`: bytes alive from its forward to its backward pass, with what the next one reads of the state. `forward`,
    `pull`: bytes alive at most in its forward pass and in its VJP, beside arguments, the state entering and the
    cotangent. `extra`: work beyond that of keeping all.
    """

    chunk: int
    kept: int
    forward: int
    pull: int
    extra: float


@dataclass(frozen=True)
class Cost:
    """A segment, measured. `state`, `cotangent`: bytes of the state it makes, and of the floats in it.

    `forward`: bytes alive at most when it is run without a VJP. `work`: of one evaluation, seconds or operations;
    `both`: of evaluation and VJP.
    """

    name: str
    state: int
    cotangent: int
    forward: int
    work: float
    both: float
    ways: tuple[Way, ...]

    def way(self, chunk: int) -> Way:
        """The way of keeping with that chunk."""
        return next(way for way in self.ways if way.chunk == chunk)

    @property
    def kept(self) -> int:
        """Bytes alive from forward to backward pass when everything is kept."""
        return self.ways[0].kept


def costs_of(path: DataPath, args: tuple[Any, ...], clock: bool, tick: Callable[[str], None]) -> list[Cost]:
    """The cost of every segment; segments that do the same to other numbers are measured once."""
    found: dict[Any, _Measured] = {}
    measured = []
    state: Values = ()
    for stretch, operands in zip(path.stretches, jax.jit(path.operands)(args), strict=True):
        tick(stretch.name)
        forward = jax.jit(stretch.run).lower(state, operands).compile()
        made = forward(state, operands)
        if stretch.key not in found:
            found[stretch.key] = _measured(stretch, forward, state, operands, made, clock)
        measured.append(found[stretch.key])
        state = made
    known: dict[Any, Cost] = {}
    costs = []
    for stretch, own, following in zip(path.stretches, measured, [*measured[1:], None], strict=True):
        reads = following.ways[0][0].reads if following else (True,) * len(stretch.made)
        cost = _cost(stretch, own, reads)
        costs.append(known.setdefault((stretch.key, reads), cost))
    return costs


@dataclass(frozen=True)
class _Way:
    chunk: int
    kept: Kept
    reads: tuple[bool, ...]  # which values of the state entering the backward pass reads
    pulling: int


@dataclass(frozen=True)
class _Measured:
    running: int
    work: float
    ways: tuple[tuple[_Way, float], ...]


def _measured(
    stretch: Stretch, forward: Any, state: Values, operands: Values, made: Values, clock: bool
) -> _Measured:
    running = temporary(forward) + sum(map(bytes_of, made))
    work = _work(forward, (state, operands), clock)
    chunks = (0, *_chunks(stretch.steps))
    return _Measured(running, work, tuple(_way(stretch, c, state, operands, made, clock) for c in chunks))


def _cost(stretch: Stretch, measured: _Measured, reads: tuple[bool, ...]) -> Cost:
    """`reads`: which values of the state that it hands on the next segment's backward pass reads."""
    sizes = [bytes_of(kind) for kind in stretch.made]
    floats = sum(bytes_of(kind) for kind in stretch.made if is_float(kind))
    both = max(measured.ways[0][1], measured.work)
    ways = []
    for way, work in measured.ways:
        wanted = [own or later for own, later in zip(way.kept.made, reads, strict=True)]
        kept = way.kept.inside + sum(size for size, flag in zip(sizes, wanted, strict=True) if flag)
        forward, pull = max(measured.running, kept), max(way.pulling, kept)
        ways.append(Way(way.chunk, kept, forward, pull, max(work - both, 0.0)))
    return Cost(stretch.name, sum(sizes), floats, measured.running, measured.work, both, tuple(ways))


def calibrated(costs: list[Cost], predicted: int, measured: int) -> list[Cost]:
    """The costs with what is kept scaled so that keeping everything comes to what XLA needs for the whole gradient.

    XLA fuses across segments, and puts what it keeps into the buffers of gradients that are not yet written.
    """
    total = sum(cost.kept for cost in costs) or 1
    factor = min(max(1 - (predicted - measured) / total, 0.02), 2.0)

    def scaled(way: Way) -> Way:
        return replace(way, kept=round(factor * way.kept))

    known = {id(cost): replace(cost, ways=tuple(map(scaled, cost.ways))) for cost in costs}
    return [known[id(cost)] for cost in costs]


def _chunks(steps: int) -> list[int]:
    """Numbers of steps between the carries of a scan that are kept: 1, and about √steps, which keeps the least."""
    return sorted({1, round(steps**0.5)}) if steps > 2 else []


def _way(
    stretch: Stretch, chunk: int, state: Values, operands: Values, made: Values, clock: bool
) -> tuple[_Way, float]:
    def run(floats: list[Any], others: list[Any], flags: tuple[bool, ...], treedef: Any) -> Values:
        one, other = iter(floats), iter(others)
        leaves = [next(one) if flag else next(other) for flag in flags]
        entering, own = jax.tree_util.tree_unflatten(treedef, leaves)
        return stretch.run(entering, own, chunk)

    leaves, treedef = jax.tree_util.tree_flatten((state, operands))
    flags = tuple(map(is_float, leaves))
    floats = [leaf for leaf, flag in zip(leaves, flags, strict=True) if flag]
    others = [leaf for leaf, flag in zip(leaves, flags, strict=True) if not flag]
    along = [value for value in made if is_float(value)]

    def pull(floats: list[Any], others: list[Any], along: list[Any]) -> tuple[Any, Any]:
        def moving(values: list[Any]) -> tuple[list[Any], Values]:
            out = run(values, others, flags, treedef)
            return [value for value in out if is_float(value)], out

        _, back, out = jax.vjp(moving, floats, has_aux=True)
        return out, back(along)[0]

    both = jax.jit(lambda *given: pull(*given)[1], keep_unused=True).lower(floats, others, along).compile()
    open_ended = jax.jit(pull, keep_unused=True).lower(floats, others, along).compile()
    kept = kept_by(open_ended.as_text() or "", len(leaves), len(made))
    # Parameters are numbered floats first; the state comes first among both.
    at = [k for k, flag in enumerate(flags) if flag] + [k for k, flag in enumerate(flags) if not flag]
    reads = tuple(kept.given[at.index(k)] for k in range(len(state)))
    entering = sum(bytes_of(value) for value in state if is_float(value))
    pulling = temporary(both) + entering
    return _Way(chunk, kept, reads, pulling), _work(both, (floats, others, along), clock)


def temporary(program: Any) -> int:
    """XLA's own figure: the bytes that a compiled program holds at most beside its arguments and results."""
    return int(program.memory_analysis().temp_size_in_bytes)


def _work(program: Any, given: tuple[Any, ...], clock: bool) -> float:
    """Seconds of a run, the median of several; or without a clock operations, counted by XLA."""
    if not clock:
        counted = program.cost_analysis() or {}
        # Entrywise work moves bytes and does little else: a byte counts as an operation.
        return float(counted.get("flops", 0.0)) + float(counted.get("bytes accessed", 0.0))
    jax.block_until_ready(program(*given))
    times: list[float] = []
    while len(times) < RUNS and sum(times) < LONG * RUNS:
        start = perf_counter()
        jax.block_until_ready(program(*given))
        times.append(perf_counter() - start)
    return statistics.median(times)


# -- what lives from the forward to the backward pass, in a compiled program ---------------------------------------
_LINE = re.compile(r"^\s*(ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*)$")
_ARRAY = re.compile(r"([a-z]+)(\d*)\w*\[([\d,]*)\]")
_NAMES = re.compile(r"%([\w.\-]+)")
_SAME_BUFFER = ("bitcast", "copy", "optimization-barrier", "reshape")


@dataclass(frozen=True)
class Kept:
    """`inside`: bytes that the forward pass makes for the backward pass and does not hand on.

    `made`: for each state value, does the own backward pass read it? `given`: for each parameter, does it?
    """

    inside: int
    made: tuple[bool, ...]
    given: tuple[bool, ...]


def kept_by(text: str, first_cotangent: int, states: int) -> Kept:
    """What the forward pass of a compiled VJP makes and its backward pass reads.

    `text`: XLA's optimised program, whose parameters from number `first_cotangent` on are cotangents and whose first
    `states` results are the function's own. The backward pass is whatever depends on a cotangent; what XLA would
    rather make again inside a fused operation than store is in no buffer, and so not counted.
    """
    lines = list(_entry(text))
    forward = _forward(lines, states)
    source: dict[str, frozenset[str]] = {}  # instruction -> the buffers that it stands for
    size: dict[str, int] = {}
    number: dict[str, int] = {}
    read: set[str] = set()
    results: list[frozenset[str]] = []
    for root, name, kind, op, rest in lines:
        inputs = [word for word in _NAMES.findall(_arguments(rest)) if word in source]
        taken = frozenset().union(*(source[word] for word in inputs))
        if root:
            results = [source[word] for word in inputs] if op == "tuple" else [frozenset([name])]
        elif op == "parameter":
            number[name] = int(rest.split(")")[0])
            source[name] = frozenset([name])
        elif op == "constant":
            source[name] = frozenset()
        elif op in _SAME_BUFFER or op == "tuple":
            source[name] = taken
        elif name not in forward:
            read |= taken
            source[name] = frozenset([name])
        elif kind.startswith("("):
            source[name] = frozenset()  # its parts are counted where they are taken out
        else:
            source[name] = frozenset([name])
            size[name] = _bytes(kind)
    made = results[:states]
    handed = frozenset().union(*made)
    given = dict.fromkeys((number[name] for name in read if name in number), True)
    return Kept(
        inside=sum(size[name] for name in read if name in size and name not in handed),
        made=tuple(bool(value & read) for value in made),
        given=tuple(given.get(k, False) for k in range(first_cotangent)),
    )


def _forward(lines: list[tuple[bool, str, str, str, str]], states: int) -> set[str]:
    """The instructions that the first `states` results need."""
    operands = {name: _NAMES.findall(_arguments(rest)) for _, name, _, _, rest in lines}
    root, op = next((name, op) for is_root, name, _, op, _ in lines if is_root)
    todo = operands[root][:states] if op == "tuple" else [root]
    found: set[str] = set()
    while todo:
        name = todo.pop()
        if name in operands and name not in found:
            found.add(name)
            todo += operands[name]
    return found


def _entry(text: str) -> Iterator[tuple[bool, str, str, str, str]]:
    body = text[text.index("\nENTRY") :]
    for line in body.splitlines()[1:]:
        if line.startswith("}"):
            return
        if found := _LINE.match(line):
            yield bool(found[1]), found[2], found[3], found[4], found[5]


def _arguments(rest: str) -> str:
    """What stands between the parentheses of an instruction."""
    deep = 1
    for position, letter in enumerate(rest):
        deep += (letter == "(") - (letter == ")")
        if not deep:
            return rest[:position]
    return rest


def _bytes(kind: str) -> int:
    found = _ARRAY.match(kind)
    if not found:
        return 0
    count = 1
    for length in filter(None, found[3].split(",")):
        count *= int(length)
    return count * max(int(found[2] or 8) // 8, 1)
