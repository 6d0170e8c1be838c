"""Schedules against Griewank's closed form, against brute force, and against a slow simulation."""

from functools import cache
from math import comb

import numpy as np
import pytest

from jacmap.study.memory.costs import Cost, Way, kept_by
from jacmap.study.memory.schedules import (
    Again,
    Keep,
    binomial,
    depth,
    evaluations,
    every,
    extra,
    fewest,
    fitting,
    keep_all,
    optimum,
    peak,
    recompute_all,
    segments_of,
)  # fmt: skip


def unit(count, size=1):
    """Equal segments that keep just their state, without anything alive beside."""
    way = Way(0, size, size, size, 0.0)
    return [Cost("", size, 0, size, 1.0, 3.0, (way,)) for _ in range(count)]


def griewank(count, snapshots):
    """Forward steps of the optimal schedule, taping runs not counted: r·l − β(s + 1, r − 1) (Griewank & Walther)."""
    r = 0
    while comb(snapshots + r, snapshots) < count:
        r += 1
    return r * count - comb(snapshots + r, snapshots + 1) if r else 0


@pytest.mark.parametrize("checkpoints", [1, 2, 3, 5])
def test_the_binomial_schedule_reaches_griewanks_closed_form(checkpoints):
    for count in range(1, 41):
        items = binomial(count, checkpoints)
        assert fewest(count, checkpoints)[0] == griewank(count, checkpoints + 1)
        assert len(evaluations(items)) - count == griewank(count, checkpoints + 1)
        assert extra(items, unit(count)) == griewank(count, checkpoints + 1)
        assert segments_of(items) == list(range(count))


@pytest.mark.parametrize("checkpoints", [1, 2, 3])
def test_no_more_states_are_kept_than_the_binomial_schedule_may(checkpoints):
    for count in range(2, 30):
        assert most_states(binomial(count, checkpoints)) <= checkpoints + 1  # and the one that is worked on


def most_states(items, held=0):
    """States kept at once, those of the items around included, by walking the backward pass."""
    worst = held
    blocks = [item for item in items if isinstance(item, Again)]
    for k in range(len(blocks), 0, -1):
        worst = max(worst, held + k)
        worst = max(worst, most_states(blocks[k - 1].items, held + k - 1))
    return worst


def test_named_schedules_do_what_they_say():
    assert keep_all(0, 3) == (Keep(0), Keep(1), Keep(2))
    assert evaluations(recompute_all(5)) == [0, 1, 2, 3, 4, 0, 1, 2, 3, 0, 1, 2, 0, 1, 0]
    assert len(evaluations(recompute_all(20))) == 20 * 21 // 2
    assert every(5, 2) == (Again((Keep(0), Keep(1))), Again((Keep(2), Keep(3))), Keep(4))
    assert len(evaluations(every(64, 8))) == 64 + 56  # the last block is not done again
    assert depth(recompute_all(6)) == 5
    assert fitting(64) == 9 and comb(12, 2) >= 64 > comb(11, 2)


def test_the_peak_of_equal_segments_counts_states():
    count = 16
    assert peak(keep_all(0, count), unit(count)) == count
    # three states of earlier blocks, four segments kept
    assert peak(every(count, 4), unit(count)) == 3 + 4
    # one state, and the one that is being made
    assert peak(recompute_all(count), unit(count)) == 2


def random_chain(rng, count):
    costs = []
    for _ in range(count):
        state, inside, temporary = (int(rng.integers(1, 6)) for _ in range(3))
        kept = state + inside
        way = Way(0, kept, kept, kept + temporary, 0.0)
        costs.append(Cost("", state, state, state + temporary, float(rng.integers(1, 9)), 20.0, (way,)))
    return costs


@cache
def all_schedules(first, stop):
    """Every schedule of the model: keep the first segment, or do some first part again."""
    if first == stop:
        return ((),)
    found = [(Keep(first), *rest) for rest in all_schedules(first + 1, stop)]
    for middle in range(first + 1, stop):
        found += [
            (Again(block), *rest) for block in all_schedules(first, middle) for rest in all_schedules(middle, stop)
        ]
    return tuple(found)


def bound(items, costs):
    """The programme's own figure: as `peak`, without the copy of a block's input after a segment that is kept."""
    held = highest = 0
    for item in items:
        if isinstance(item, Keep):
            highest = max(highest, held + costs[item.segment].ways[0].forward)
            held += costs[item.segment].ways[0].kept
        else:
            own = segments_of(item.items)
            for k in own:
                highest = max(highest, held + costs[k].forward + (costs[k - 1].state if k > own[0] else 0))
            held += costs[own[-1]].state
    for item in items[::-1]:
        if isinstance(item, Keep):
            held -= costs[item.segment].ways[0].kept
            highest = max(highest, held + costs[item.segment].ways[0].pull + costs[item.segment].cotangent)
        else:
            held -= costs[segments_of(item.items)[-1]].state
            highest = max(highest, held + bound(item.items, costs))
    return highest


@pytest.mark.parametrize("seed", range(6))
def test_the_optimum_is_that_of_brute_force(seed):
    costs = random_chain(np.random.default_rng(seed), 6)
    everything = [(bound(items, costs), extra(items, costs), items) for items in all_schedules(0, 6)]
    most = peak(keep_all(0, 6), costs)
    best = optimum(costs, most)
    tried = 0
    for allowed in range(1, most + 1):
        fits = [work for need, work, _ in everything if need <= allowed]
        found = best(allowed)
        if not fits:
            assert found is None
            continue
        assert found is not None
        assert extra(found, costs) == min(fits)
        assert bound(found, costs) <= allowed
        tried += 1
    assert tried > 5


def test_a_segment_may_have_several_ways_to_be_kept():
    ways = (Way(0, 100, 100, 100, 0.0), Way(4, 20, 20, 40, 1.0))
    costs = [Cost("", 1, 1, 1, 1.0, 3.0, ways), *unit(2)]
    best = optimum(costs, peak(keep_all(0, 3), costs))
    assert best(103) == (Keep(0), Keep(1), Keep(2))
    assert best(60)[0] == Keep(0, 4)


PROGRAM = """HloModule jit_f, is_scheduled=true

ENTRY %main (a: f32[4,8], w: f32[8,8], ct: f32[4,8]) -> (f32[4,8], f32[4,8]) {
  %a = f32[4,8]{1,0} parameter(0)
  %w = f32[8,8]{1,0} parameter(1)
  %ct = f32[4,8]{1,0} parameter(2)
  %dot = f32[4,8]{1,0} dot(%a, %w), metadata={op_name="x(y)"}
  %tanh = f32[4,8]{1,0} fusion(%dot), kind=kLoop, calls=%c
  %mask = pred[4,8]{1,0} fusion(%dot), kind=kLoop, calls=%d
  %out = f32[4,8]{1,0} add(%tanh, %a)
  %alias = f32[32]{0} bitcast(%tanh)
  %delta = f32[4,8]{1,0} fusion(%alias, %mask, %ct), kind=kLoop, calls=%e
  ROOT %result = (f32[4,8]{1,0}, f32[4,8]{1,0}) tuple(%out, %delta)
}
"""


def test_what_is_kept_is_read_from_the_compiled_program():
    kept = kept_by(PROGRAM, 2, 1)
    # tanh through its alias, and dot: the mask is made of it when the cotangent is there
    assert kept.inside == 2 * 4 * 8 * 4
    assert kept.made == (False,) and kept.given == (False, False)
