"""Schedules as trees: which segments keep what their VJP reads, and which blocks are done again, and how deep.

A schedule is a sequence over segments. `Keep(k)`: segment k keeps all that its VJP reads. `Again(items)`: only the
state that enters is kept; in the backward pass the block is run again, by the schedule `items`. That is the model of
Beaumont et al., "Optimal memory-aware backpropagation of deep join networks" (2020), sections 3 and 4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from math import comb, inf

import numpy as np

from .costs import Cost


@dataclass(frozen=True)
class Keep:
    """Segment `segment` keeps what its VJP reads; of a scan the carry of every `chunk`-th step only (0: all)."""

    segment: int
    chunk: int = 0


@dataclass(frozen=True)
class Again:
    """The segments of `items`, done again by that schedule in the backward pass."""

    items: Items


Items = tuple[Keep | Again, ...]
SLOTS = 1000  # into which the dynamic programme divides the bytes


def keep_all(first: int, stop: int) -> Items:
    """Every segment from `first` up to `stop` keeps all."""
    return tuple(Keep(k) for k in range(first, stop))


def every(count: int, size: int) -> Items:
    """The state before every `size`-th segment is kept; the last block is not done again, it is needed at once."""
    starts = range(0, count, size)
    blocks = [keep_all(a, min(a + size, count)) for a in starts]
    return (*(Again(block) for block in blocks[:-1]), *blocks[-1])


def recompute_all(count: int) -> Items:
    """Nothing but the input is kept: every state is made anew from the start, count (count − 1)/2 segments in all."""
    return _binomial(0, count, 0)


def binomial(count: int, checkpoints: int) -> Items:
    """The schedule of fewest evaluations of equal segments with that many states kept at once, beside the input.

    Griewank & Walther, "Algorithm 799: revolve", ACM TOMS 26 (2000), 19-45.
    """
    return _binomial(0, count, checkpoints)


def _binomial(first: int, stop: int, checkpoints: int) -> Items:
    if stop - first == 1:
        return (Keep(first),)
    middle = first + fewest(stop - first, checkpoints)[1]
    return Again(_binomial(first, middle, checkpoints)), *_binomial(middle, stop, max(checkpoints - 1, 0))


@cache
def fewest(count: int, checkpoints: int) -> tuple[int, int]:
    """(segments evaluated beside the taping runs, segments before the first checkpoint).

    `checkpoints`: states kept at once beside the input. The recursion whose closed form is Griewank's:
    r·count − β(s + 1, r − 1) with s = checkpoints + 1 and β(s, r − 1) < count ≤ β(s, r).
    """
    if count == 1:
        return 0, 0
    if checkpoints == 0:
        return count * (count - 1) // 2, count - 1
    return min(
        (j + fewest(count - j, checkpoints - 1)[0] + fewest(j, checkpoints)[0], j) for j in range(1, count)
    )


def beta(s: int, r: int) -> int:
    """Griewank's β(s, r) = C(s + r, s): the longest chain that s states kept and r evaluations of each will reverse."""
    return comb(s + r, s) if r >= 0 else 0


def fitting(count: int, repeats: int = 2) -> int:
    """The fewest checkpoints with which no segment is evaluated more than `repeats` times beside its taping run."""
    return next(c for c in range(count) if beta(c + 1, repeats) >= count)


def evaluations(items: Items) -> list[int]:
    """The segments in the order in which a schedule evaluates them, the taping runs included."""
    found = []
    for item in items:
        found += [item.segment] if isinstance(item, Keep) else segments_of(item.items)
    for item in items[::-1]:
        found += evaluations(item.items) if isinstance(item, Again) else []
    return found


def segments_of(items: Items) -> list[int]:
    """The segments of a schedule in order, each once."""
    return [k for item in items for k in ([item.segment] if isinstance(item, Keep) else segments_of(item.items))]


def depth(items: Items) -> int:
    """How deep the blocks are nested."""
    return max((1 + depth(item.items) for item in items if isinstance(item, Again)), default=0)


def peak(items: Items, costs: Sequence[Cost]) -> int:
    """Bytes alive at most in forward and backward pass, beside arguments and the state entering."""
    held = highest = 0
    for item in items:
        if isinstance(item, Keep):
            way = costs[item.segment].way(item.chunk)
            highest = max(highest, held + way.forward)
            held += way.kept
        else:
            own = segments_of(item.items)
            highest = max(highest, held + forward_peak(costs, own[0], own[-1] + 1))
            held += costs[own[-1]].state
    for item, before in zip(items[::-1], (*items[-2::-1], None), strict=True):
        if isinstance(item, Keep):
            cost = costs[item.segment]
            held -= cost.way(item.chunk).kept
            highest = max(highest, held + cost.cotangent + cost.way(item.chunk).pull)
        else:
            own = segments_of(item.items)
            held -= costs[own[-1]].state
            # A block starts from a copy of its input; the segment before it may still need the original.
            copy = costs[own[0] - 1].state if isinstance(before, Keep) else 0
            highest = max(highest, held + copy + peak(item.items, costs))
    return highest


def extra(items: Items, costs: Sequence[Cost]) -> float:
    """Work (seconds or operations) beyond that of keeping everything."""
    total = 0.0
    for item in items:
        if isinstance(item, Keep):
            total += costs[item.segment].way(item.chunk).extra
        else:
            total += sum(costs[k].work for k in segments_of(item.items)) + extra(item.items, costs)
    return total


def forward_peak(costs: Sequence[Cost], first: int, stop: int) -> int:
    """Bytes alive at most when the segments are run and nothing is kept but their last state."""
    return max(costs[k].forward + (costs[k - 1].state if k > first else 0) for k in range(first, stop))


def optimum(costs: Sequence[Cost], most: int) -> Callable[[float], Items | None]:
    """The schedule of least extra work as a function of the bytes allowed, up to `most`; None where there is none.

    Dynamic programming over (first segment, last segment, bytes), Beaumont et al., theorem 1: of a stretch either the
    first segment keeps all, or some first part of it is a block that is done again. Sizes are rounded up to the
    SLOTS-th part of `most`.
    """
    n = len(costs)
    slot = max(most / SLOTS, 1.0)
    size = SLOTS + 1

    def slots(amount: float) -> int:
        return int(np.ceil(amount / slot - 1e-9))

    def given(table: np.ndarray, less: int, least: int) -> np.ndarray:
        """The table's entries with `less` slots taken away, infinite below `least` slots."""
        out = np.full(size, inf)
        if less < size:
            out[less:] = table[: size - less]
            out[: min(least, size)] = inf
        return out

    best: dict[tuple[int, int], np.ndarray] = {}
    choice: dict[tuple[int, int], np.ndarray] = {}  # ≥ 0: first segment after the block; −1 − w: way w of keeping
    nothing = np.zeros(size)
    work = np.concatenate([[0.0], np.cumsum([cost.work for cost in costs])])
    for length in range(1, n + 1):
        for s in range(n - length + 1):
            t = s + length - 1
            found, chosen = np.full(size, inf), np.zeros(size, int)
            for number, way in enumerate(costs[s].ways):
                least = max(slots(way.forward), slots(way.pull + costs[s].cotangent))
                later = given(best[s + 1, t], slots(way.kept), least) if s < t else given(nothing, 0, least)
                _take(found, chosen, later + way.extra, -1 - number)
            forward = 0
            for middle in range(s + 1, t + 1):
                forward = max(forward, costs[middle - 1].forward + (costs[middle - 2].state if middle - 1 > s else 0))
                after = given(best[middle, t], slots(costs[middle - 1].state), slots(forward))
                offered = after + best[s, middle - 1] + (work[middle] - work[s])
                _take(found, chosen, offered, middle)
            best[s, t], choice[s, t] = found, chosen

    def read(s: int, t: int, room: int) -> Items:
        if s > t:
            return ()
        chosen = int(choice[s, t][room])
        if chosen < 0:
            way = costs[s].ways[-1 - chosen]
            return Keep(s, way.chunk), *read(s + 1, t, room - slots(way.kept))
        last = costs[chosen - 1]
        return Again(read(s, chosen - 1, room)), *read(chosen, t, room - slots(last.state))

    def schedule(allowed: float) -> Items | None:
        room = min(int(allowed / slot + 1e-9), SLOTS)
        return None if room < 0 or best[0, n - 1][room] == inf else read(0, n - 1, room)

    return schedule


def _take(found: np.ndarray, chosen: np.ndarray, offered: np.ndarray, mark: int) -> None:
    better = offered < found
    found[better] = offered[better]
    chosen[better] = mark
