"""The progress bar of a training run, on stderr, gone when it is over."""

from __future__ import annotations

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class Bar:
    """Shown where `wanted`, or by default where stderr is a terminal."""

    def __init__(self, wanted: bool | None, total: int) -> None:
        self._bar: Progress | None = None
        if wanted or (wanted is None and sys.stderr.isatty()):
            columns = (BarColumn(20), TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
            self._bar = Progress(*columns, console=Console(stderr=True, force_terminal=wanted), transient=True)
            self._bar.add_task("", total=total)

    def at(self, done: int, said: str) -> None:
        """So many steps are done."""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done, description=said)

    def advance(self) -> None:
        """One step more."""
        if self._bar is not None:
            self._bar.advance(self._bar.task_ids[0])

    def __enter__(self) -> Bar:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()
