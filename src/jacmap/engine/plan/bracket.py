"""The cheapest order for J = J_k ⋯ J_2 J_1 by dynamic programming.

Between boundaries i and j (widths w_i, w_j) the Jacobian can be had forward (w_i JVPs), in reverse (w_j VJPs), or from
a split at k: push J(i→k) through the rest forward, pull J(k→j) back in reverse, or multiply the two. This is the
matrix-chain problem with matrix-free factors (Griewank, Naumann 2003: "Accumulating Jacobians as chained sparse
matrix products"; Naumann 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# One multiply-add of a matrix product, relative to an entry moved through memory.
_MULTIPLY = 0.2


@dataclass(frozen=True)
class Tree:
    """How to get the Jacobian from boundary `start` to boundary `stop`.

    `kind`: "forward", "reverse" (identity seeds); "push" (`first`, then forward from `split`); "pull" (`last`, then
    reverse back from `split`); "multiply" (`last` @ `first`).
    """

    kind: str
    start: int
    stop: int
    split: int = 0
    first: Any = None
    last: Any = None

    def passes(self, widths: Sequence[int]) -> tuple[int, int]:
        """(JVPs, VJPs) in all, counting each pass through a part of the chain as one."""
        counts = [t.passes(widths) for t in (self.first, self.last) if t is not None]
        forward, reverse = sum(c[0] for c in counts), sum(c[1] for c in counts)
        if self.kind == "forward":
            forward += widths[self.start]
        elif self.kind == "reverse":
            reverse += widths[self.stop]
        return forward, reverse

    def describe(self) -> str:
        """The bracket in words, boundary by boundary."""
        if self.kind in ("forward", "reverse"):
            return f"{self.kind} {self.start}→{self.stop}"
        if self.kind == "push":
            return f"({self.first.describe()}, pushed to {self.stop})"
        if self.kind == "pull":
            return f"({self.last.describe()}, pulled to {self.start})"
        return f"({self.last.describe()})·({self.first.describe()})"


def best_bracket(
    widths: Sequence[int], work: Sequence[float], forward: Sequence[bool], reverse: Sequence[bool]
) -> tuple[float, Tree] | None:
    """The cheapest tree from the first boundary to the last, and its cost.

    `work[i]`: one pass through segment i → i+1; `forward[i]`, `reverse[i]`: may that segment run in that mode? None
    when no order is possible.
    """
    count = len(widths)
    total = [0.0]
    for w in work:
        total.append(total[-1] + w)

    def allowed(modes: Sequence[bool], i: int, j: int) -> bool:
        return all(modes[i:j])

    best: dict[tuple[int, int], tuple[float, Tree]] = {}
    for length in range(1, count):
        for i in range(count - length):
            j = i + length
            options: list[tuple[float, Tree]] = []
            through = total[j] - total[i]
            if allowed(forward, i, j):
                options.append((widths[i] * through, Tree("forward", i, j)))
            if allowed(reverse, i, j):
                options.append((widths[j] * through * 1.1, Tree("reverse", i, j)))
            for k in range(i + 1, j):
                options += _splits(best, widths, total, allowed, forward, reverse, i, k, j)
            if options:
                best[i, j] = min(options, key=lambda option: option[0])
    return best.get((0, count - 1))


def _splits(
    best: dict[tuple[int, int], tuple[float, Tree]], widths: Sequence[int], total: Sequence[float], allowed: Any,
    forward: Sequence[bool], reverse: Sequence[bool], i: int, k: int, j: int,
) -> list[tuple[float, Tree]]:  # fmt: skip
    options = []
    first, last = best.get((i, k)), best.get((k, j))
    if first and allowed(forward, k, j):
        options.append((first[0] + widths[i] * (total[j] - total[k]), Tree("push", i, j, k, first=first[1])))
    if last and allowed(reverse, i, k):
        options.append((last[0] + widths[j] * (total[k] - total[i]) * 1.1, Tree("pull", i, j, k, last=last[1])))
    if first and last:
        product = _MULTIPLY * widths[i] * widths[k] * widths[j]
        options.append((first[0] + last[0] + product, Tree("multiply", i, j, k, first[1], last[1])))
    return options
