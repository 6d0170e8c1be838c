"""How long small compiled functions take: in a row, and alone after a pause."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax

# Seconds of calls between two looks at the clock: the first calls after a pause wait for threads to wake.
LASTING = 2e-3
# Rounds, of which slow functions get fewer: none begins after this many seconds, but for the first few.
ROUNDS, FEWEST, ENOUGH = 15, 3, 1.0
# Calls after a pause, and its length: long enough for the threads of compiled code to fall asleep.
WAKINGS, PAUSE = 41, 2e-4


def times(runs: Sequence[Callable[..., Any]], values: Any) -> list[float]:
    """Seconds per call of each, taken in turns: the quickest round, for a busy machine delays them unequally."""
    batch = []
    for run in runs:
        jax.block_until_ready(run(*values))
        count, start = 0, time.perf_counter()
        while not count or time.perf_counter() - start < LASTING:
            jax.block_until_ready(run(*values))
            count += 1
        batch.append(count)
    rounds: list[list[float]] = [[] for _ in runs]
    begin = time.perf_counter()
    for k in range(ROUNDS):
        if k >= FEWEST and time.perf_counter() - begin > ENOUGH:
            break
        for run, count, mine in zip(runs, batch, rounds, strict=True):
            start = time.perf_counter()
            for _ in range(count):
                jax.block_until_ready(run(*values))
            mine.append((time.perf_counter() - start) / count)
    return [min(mine) for mine in rounds]


def times_after_pauses(runs: Sequence[Callable[..., Any]], values: Any) -> list[float]:
    """Median seconds of a call that comes alone: what wakes other threads is then several times as slow.

    Calls in a row hide that as long as the threads stay awake, which is as the machine pleases.
    """
    found: list[list[float]] = [[] for _ in runs]
    for _ in range(WAKINGS):
        for run, mine in zip(runs, found, strict=True):
            time.sleep(PAUSE)
            start = time.perf_counter()
            jax.block_until_ready(run(*values))
            mine.append(time.perf_counter() - start)
    return [statistics.median(mine) for mine in found]
