"""The pattern of a loop from its body's: powers of what one step does to the carry, or their closure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from ....graph import Graph, Pattern, dependence, jacobian_pattern
from ....graph.pattern import stack

# Exact per-step patterns of a scan are worth it up to this many steps; beyond, the closure over all steps stands
# in for the later ones.
MOST_EXACT_STEPS = 128
MOST_STORED = 2**24


class Body:
    """A loop body's pattern, cut into the blocks (carry, ys) × (consts, carry, xs)."""

    def __init__(self, graph: Graph, rows: tuple[np.ndarray, np.ndarray], widths: Sequence[int]):
        whole = jacobian_pattern(graph)
        carry, ys = whole.take(rows[0]), whole.take(rows[1])
        at = (0, *np.cumsum(widths).tolist())
        self.carry_consts, self.carry_carry, self.carry_xs = (carry.columns(at[k], at[k + 1]) for k in range(3))
        self.ys_consts, self.ys_carry, self.ys_xs = (ys.columns(at[k], at[k + 1]) for k in range(3))


def over_time(body: Body, length: int, reverse: bool) -> dict[tuple[str, int], Pattern]:
    """The blocks of all the steps together: (carry after the last step, ys stacked) × (consts, carry, xs stacked)."""
    step = body.carry_carry
    grown = Pattern.identity(step.shape[0]) | step
    blocks = {
        ("carry", 0): _power(grown, length - 1) @ body.carry_consts,
        ("carry", 1): _power(step, length),
    }
    if body.ys_xs.shape[0] == 0 and body.carry_xs.shape[1] == 0:
        return blocks
    powers = _powers(step, length)
    order = list(range(length))[::-1] if reverse else list(range(length))

    def after(lag: int) -> Pattern:
        return powers[min(lag, len(powers) - 1)]

    if body.carry_xs.shape[1]:
        reached = [after(length - 1 - order[s]) @ body.carry_xs for s in range(length)]
        blocks["carry", 2] = stack([p.T for p in reached]).T
    blocks["ys", 1] = stack([body.ys_carry @ after(order[t]) for t in range(length)])
    spread = [
        body.ys_consts | (body.ys_carry @ grown_power @ body.carry_consts) for grown_power in _growth(grown, length)
    ]
    blocks["ys", 0] = stack(
        [spread[min(order[t], len(spread) - 1)] if order[t] else body.ys_consts for t in range(length)]
    )
    if body.ys_xs.shape[1]:
        blocks["ys", 2] = _causal(body, after, length, len(powers), reverse)
    return blocks


def _causal(body: Body, after: Any, length: int, settled: int, reverse: bool) -> Pattern:
    """ys × xs: block Toeplitz, one block per lag until the powers of the step have settled."""

    def lagged(first: int, last: int) -> csr_array:
        band = np.tril(np.ones((length, length), bool), -first) & ~np.tril(np.ones((length, length), bool), -last - 1)
        return csr_array(band.T if reverse else band)

    total = dependence.repeated(lagged(0, 0), body.ys_xs)
    for lag in range(1, min(settled, length - 1) + 1):
        last = length if lag == settled else lag
        total = total | dependence.repeated(lagged(lag, last), body.ys_carry @ after(lag - 1) @ body.carry_xs)
    return total


def _equal(a: Pattern, b: Pattern) -> bool:
    return a.nnz == b.nnz and (a | b).nnz == a.nnz


def _powers(step: Pattern, length: int) -> list[Pattern]:
    """step⁰, step¹, … until they stop changing; past the limits the closure stands in for all later ones."""
    powers = [Pattern.identity(step.shape[0])]
    stored = 0
    while len(powers) <= length:
        following = powers[-1] @ step
        if _equal(following, powers[-1]):
            break
        stored += following.stored
        if len(powers) > MOST_EXACT_STEPS or stored > MOST_STORED:
            return [powers[0], _power(powers[0] | step, length)]
        powers.append(following)
    return powers


def _growth(grown: Pattern, length: int) -> list[Pattern]:
    """For step t ≥ 1 what t−1 or fewer steps reach; entry 0 is a place holder for step 0."""
    sums = [Pattern.identity(grown.shape[0])] * 2
    stored = 0
    while len(sums) < length:
        following = sums[-1] @ grown
        stored += following.stored
        if following.nnz == sums[-1].nnz:
            break
        if len(sums) > MOST_EXACT_STEPS or stored > MOST_STORED:
            return [sums[0], _power(grown, length)]
        sums.append(following)
    return sums


def _power(base: Pattern, exponent: int) -> Pattern:
    """base^exponent by repeated squaring; full when it grows past what is worth storing."""
    result = Pattern.identity(base.shape[0])
    while exponent:
        if max(result.stored, base.stored) > MOST_STORED:
            return Pattern.full(base.shape)
        if exponent & 1:
            result = result @ base
        exponent >>= 1
        base = base @ base if exponent else base
    return result


def closure(base: Pattern) -> Pattern:
    """I ∪ base ∪ base² ∪ …: what any number of steps can reach."""
    reach = Pattern.identity(base.shape[0]) | base
    while True:
        further = reach @ reach
        if further.nnz == reach.nnz:
            return reach
        if further.stored > MOST_STORED:
            return dependence.connected(base.tocsr())
        reach = further
