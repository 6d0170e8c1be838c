"""What a segment keeps for its VJP and what doing it again costs, read from XLA's compiled programs and a clock."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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

    `kept`: bytes alive from its forward to its backward pass, the state it makes included. `forward`, `pull`: bytes
    alive at most in its forward pass and in its VJP, beside arguments, the state entering and the cotangent.
    `extra`: work beyond that of keeping all.
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
    found: dict[Any, Cost] = {}
    costs = []
    state: Values = ()
    for stretch, operands in zip(path.stretches, jax.jit(path.operands)(args), strict=True):
        tick(stretch.name)
        forward = jax.jit(stretch.run).lower(state, operands).compile()
        made = forward(state, operands)
        if stretch.key not in found:
            found[stretch.key] = _measured(stretch, forward, state, operands, made, clock)
        costs.append(found[stretch.key])
        state = made
    return costs


def _measured(stretch: Stretch, forward: Any, state: Values, operands: Values, made: Values, clock: bool) -> Cost:
    size = sum(map(bytes_of, made))
    floats = sum(bytes_of(value) for value in made if is_float(value))
    running = forward.memory_analysis().temp_size_in_bytes + size
    work = _work(forward, (state, operands), clock)
    ways, both = [], 0.0
    for chunk in (0, *_chunks(stretch.steps)):
        way, own = _way(stretch, chunk, state, operands, made, running, clock)
        both = both if chunk else own
        ways.append(Way(chunk, way.kept, way.forward, way.pull, max(own - both, 0.0)))
    return Cost(stretch.name, size, floats, running, work, max(both, work), tuple(ways))


def _chunks(steps: int) -> list[int]:
    """Numbers of steps between the carries of a scan that are kept: 1, and about √steps and its half and double."""
    root = round(steps**0.5)
    return sorted({c for c in (1, root // 2, root, 2 * root) if 1 <= c < steps}) if steps > 2 else []


def _way(
    stretch: Stretch, chunk: int, state: Values, operands: Values, made: Values, running: int, clock: bool
) -> tuple[Way, float]:
    def run(floats: list[Any], others: list[Any], flags: tuple[bool, ...], treedef: Any) -> Values:
        one, other = iter(floats), iter(others)
        leaves = [next(one) if flag else next(other) for flag in flags]
        return stretch.run(*jax.tree_util.tree_unflatten(treedef, leaves), chunk=chunk)

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
    kept = kept_bytes(open_ended.as_text(), len(leaves), len(made))
    entering = sum(bytes_of(value) for value in state if is_float(value))
    pulling = max(both.memory_analysis().temp_size_in_bytes + entering, kept)
    return Way(chunk, kept, max(running, kept), pulling, 0.0), _work(both, (floats, others, along), clock)


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


def kept_bytes(text: str, first_cotangent: int, states: int) -> int:
    """Bytes that the forward pass of a compiled VJP makes and its backward pass, or the caller, reads.

    `text`: XLA's optimised program, whose parameters from number `first_cotangent` on are cotangents and whose first
    `states` results are the function's own. The backward pass is whatever depends on a cotangent; what XLA would
    rather make again inside a fused operation than store is in no buffer, and so not counted.
    """
    source: dict[str, frozenset[str]] = {}  # instruction -> the buffers that it stands for
    size: dict[str, int] = {}
    backward: set[str] = set()
    kept: set[str] = set()
    for root, name, kind, op, rest in _entry(text):
        inputs = [word for word in _NAMES.findall(_arguments(rest)) if word in source]
        read = frozenset().union(*(source[word] for word in inputs))
        if op == "parameter":
            source[name] = frozenset()
            if int(rest.split(")")[0]) >= first_cotangent:
                backward.add(name)
            continue
        if op == "constant":
            source[name] = frozenset()
            continue
        if root:
            own = inputs[:states] if op == "tuple" else [name]
            kept.update(*(source[word] for word in own if word in source and word not in backward))
            if op == "tuple":
                continue
        if backward.intersection(inputs):
            backward.add(name)
            kept |= read
            source[name] = frozenset()
        elif op in _SAME_BUFFER or op == "tuple":
            source[name] = read
        elif kind.startswith("("):
            source[name] = frozenset()  # its parts are counted where they are taken out
        else:
            source[name] = frozenset([name])
            size[name] = _bytes(kind)
    return sum(size[name] for name in kept)


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
