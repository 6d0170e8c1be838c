"""Interleaved timing: every contestant is timed in every round, so that a busy machine slows all of them alike."""

from __future__ import annotations

import gc
import os
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import NamedTemporaryFile
from time import perf_counter
from typing import Any

import jax


def medians(
    contestants: Mapping[str, Callable[[], Any]],
    rounds: int,
    sample: float = 0.0,
    tick: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Median seconds per call of each contestant, after one call that is not counted.

    Each round times a batch of calls of every contestant, each call waited for. A batch lasts about `sample` seconds
    (0: one call). The order turns from round to round: nobody always comes after the same neighbour.
    """
    batch = {}
    for name, run in contestants.items():
        jax.block_until_ready(run())
        batch[name] = max(1, round(sample / seconds(run, 3))) if sample else 1
    names = list(contestants)
    times: dict[str, list[float]] = {name: [] for name in names}
    gc.collect()
    collecting = gc.isenabled()
    gc.disable()
    try:
        for k in range(rounds):
            for name in names[k % len(names) :] + names[: k % len(names)]:
                times[name].append(seconds(contestants[name], batch[name]))
            tick()
    finally:
        if collecting:
            gc.enable()
    return {name: statistics.median(found) for name, found in times.items()}


def seconds(run: Callable[[], Any], calls: int) -> float:
    """Seconds per call of a batch of calls, each waited for."""
    wait = jax.block_until_ready
    start = perf_counter()
    for _ in range(calls):
        wait(run())
    return (perf_counter() - start) / calls


def write(path: Path, text: str) -> None:
    """The whole file or none of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile("w", dir=path.parent, suffix=".part", delete=False, encoding="utf-8") as part:
        part.write(text)
    os.replace(part.name, path)
