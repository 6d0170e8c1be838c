"""Progress of long work, on stderr: begun only when it is seen to be long, gone without a trace afterwards."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

PATIENCE = 2.0  # seconds before anything is shown


class Tracker:
    """What is done so far; `shown` decides whether anybody sees it."""

    def __init__(self, wanted: bool | None):
        self.wanted = wanted
        self.patience = 0.0 if wanted else PATIENCE
        self.silent = wanted is False or (wanted is None and not sys.stderr.isatty())
        self.started = time.perf_counter()
        self.phase, self.done, self.total = "", 0, 0
        self._bar: Progress | None = None

    def begin(self, phase: str, total: int = 0, done: int = 0) -> None:
        """A new phase of `total` steps (0: not known), so many of them done."""
        self.phase, self.done, self.total = phase, done, total

    def advance(self) -> None:
        """One step of the phase is done."""
        self.done += 1

    def calls(self, count: int) -> None:
        """So many calls of f in all."""
        self.show(f"{self.phase}: {count} calls")

    def show(self, text: str) -> None:
        """What is done, with these words, where it is time to show anything."""
        if self.silent or time.perf_counter() - self.started < self.patience:
            return
        if self._bar is None:
            columns = (TextColumn("{task.description}"), BarColumn(20), TimeElapsedColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=Console(stderr=True, force_terminal=self.wanted), transient=True)
            self._bar.start()
            self._bar.add_task("")
        self._bar.update(self._bar.task_ids[0], description=text, completed=self.done, total=self.total or None)

    def stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()


@contextmanager
def tracking(wanted: bool | None) -> Iterator[Tracker]:
    """A tracker whose display ends with the block, however it ends."""
    tracker = Tracker(wanted)
    try:
        yield tracker
    finally:
        tracker.stop()
