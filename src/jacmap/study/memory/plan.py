"""The plan of a function's memory: its segments, the schedules compared, the one chosen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..._data_path import DataPath
from ..._errors import ArgumentError
from ..sensitivity.pictures import plots
from .apply import applied
from .costs import Cost
from .schedules import Again, Items, Keep, depth

SHOWN = 8  # segments in the printed form
DEEPEST = 100  # levels of blocks in blocks that Python's stack can trace


@dataclass(frozen=True)
class Schedule:
    """One way to spend memory and time on a gradient.

    `peak`: predicted bytes beside arguments and results; `measured`: XLA's own figure for the compiled gradient, None
    where it was not compiled. `time`: of the gradient over that of keep-all (1.0), from the measured work of the
    segments. `again`: evaluations of segments beyond one each.
    """

    name: str
    items: Items
    peak: int
    measured: int | None
    time: float
    again: int

    @property
    def blocks(self) -> int:
        """Recomputed blocks, those inside others included."""
        return _blocks(self.items)

    def describe(self) -> str:
        """What is kept and what is done again, in brackets: ``[0-7] [8-15] 16-20``; in Python terms a nested list."""
        return _text(self.items)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers."""
        return {
            "name": self.name, "peak": self.peak, "measured": self.measured, "time": self.time,
            "again": self.again, "blocks": self.blocks, "schedule": self.describe(),
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class MemoryPlan:
    """What `jm.memory_plan` found; `str()` tells it. ``apply()`` gives the function with the chosen schedule.

    `segments`: one `Cost` each. `schedules`: from most to least memory by the prediction. `chosen`: one of them.
    `budget`: bytes, None without. `clock`: is the work seconds (else counted operations)?
    """

    name: str
    segments: tuple[Cost, ...]
    schedules: tuple[Schedule, ...]
    chosen: Schedule
    budget: float | None
    clock: bool
    path: DataPath

    @property
    def keep_all(self) -> Schedule:
        """The schedule that does nothing again."""
        return self["keep all"]

    def __getitem__(self, name: str) -> Schedule:
        found = [schedule for schedule in self.schedules if schedule.name == name]
        if not found:
            known = ", ".join(repr(schedule.name) for schedule in self.schedules)
            raise ArgumentError(f"schedule: got {name!r}, expected one of {known}")
        return found[0]

    def apply(self, schedule: str | None = None) -> Callable[..., Any]:
        """f with recomputation placed by the chosen schedule, or by one of the table by name.

        It computes what f does, and its gradient is f's up to rounding (XLA may fuse other operations together). It
        works under `jit` and `grad` for arguments of the plan's shapes; others raise `ArgumentError`. On the CPU blocks
        are guarded against XLA's merging in a way that has no forward mode; see docs/memory.md.
        """
        which = self.chosen if schedule is None else self[schedule]
        if depth(which.items) > DEEPEST:
            raise ArgumentError(
                f"schedule: {which.name!r} nests {depth(which.items)} blocks, expected at most {DEEPEST}; choose "
                "another"
            )
        return applied(self.path, which.items, self.name)

    def plot(self, ax: Any = None) -> Any:
        """Peak memory against time, one point per schedule."""
        return plots().memory(self, ax=ax)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, JSON-able."""
        return {
            "name": self.name,
            "unit of work": "seconds" if self.clock else "operations",
            "budget": self.budget,
            "segments": [
                {"name": c.name, "state": c.state, "kept": c.kept, "work": c.work, "work with VJP": c.both}
                for c in self.segments
            ],
            "schedules": [schedule.to_dict() for schedule in self.schedules],
            "chosen": self.chosen.name,
        }

    def __str__(self) -> str:
        count = len(self.segments)
        kept = sum(cost.kept for cost in self.segments)
        lines = [
            f"Memory of the gradient of {self.name}: {count} segment{'s' * (count != 1)}, which keep {size(kept)}",
            "in all for the backward pass, beside arguments and gradients.",
            "",
            *_segments(self.segments),
            "",
            *self._table(),
            "",
            *self._verdict(),
        ]
        return "\n".join(lines)

    def _table(self) -> list[str]:
        heads = ["schedule", "peak", "of keep-all", "by XLA", "time", "done again"]
        full = max(self.keep_all.peak, 1)
        rows = []
        for s in self.schedules:
            mark = "→ " if s is self.chosen else "  "
            compiled = "" if s.measured is None else size(s.measured)
            rows.append([mark + s.name, size(s.peak), f"{s.peak / full:.0%}", compiled, f"{s.time:.2f}×", f"{s.again}"])
        return columns(heads, rows)

    def _verdict(self) -> list[str]:
        chosen = self.chosen
        bound = "No budget was given" if self.budget is None else f"Budget {size(self.budget)}"
        lines = [f"{bound}: {chosen.name} is chosen."]
        if chosen.blocks:
            text = chosen.describe()
            lines.append("Segments in brackets are done again in the backward pass:")
            lines.append(f"  {text if len(text) <= 96 else text[:92] + ' ...'}")
        lines.append("Peak: bytes alive at most, predicted from the segments; by XLA: of the compiled gradient.")
        source = "measured" if self.clock else "counted by XLA"
        lines.append(f"Time: over that of keeping everything, from each segment's own work ({source}).")
        return lines


def _segments(costs: tuple[Cost, ...]) -> list[str]:
    """A table of the segments, equal neighbours in one row."""
    total = sum(cost.both for cost in costs) or 1.0
    rows = []
    first = 0
    for k in range(1, len(costs) + 1):
        if k < len(costs) and costs[k] is costs[first]:
            continue
        cost, times = costs[first], k - first
        which = f"{first}" if times == 1 else f"{first}-{k - 1}"
        share = f"{times * cost.both / total:.0%}"
        rows.append([which, cost.name[:44], size(cost.kept), size(cost.state), share])
        first = k
    more = [f"... and {len(rows) - SHOWN} more rows"] if len(rows) > SHOWN else []
    return [*columns(["segment", "what", "keeps each", "hands on", "share of work"], rows[:SHOWN], left=2), *more]


def columns(heads: list[str], rows: list[list[str]], left: int = 1) -> list[str]:
    """Text columns, the first `left` to the left."""
    widths = [max(len(row[k]) for row in [heads, *rows]) for k in range(len(heads))]
    return [
        "  ".join(
            cell.ljust(width) if k < left else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [heads, *rows]
    ]


def size(amount: float) -> str:
    """Bytes in decimal units: 33.6 MB."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if amount >= scale:
            return f"{amount / scale:.3g} {unit}"
    return f"{amount:.0f} B"


def _blocks(items: Items) -> int:
    return sum(1 + _blocks(item.items) for item in items if isinstance(item, Again))


def _text(items: Items) -> str:
    parts: list[str] = []
    run: list[int] = []

    def close() -> None:
        if run:
            parts.append(f"{run[0]}" if len(run) == 1 else f"{run[0]}-{run[-1]}")
            run.clear()

    for item in items:
        if isinstance(item, Keep) and not item.chunk:
            run.append(item.segment)
            continue
        close()
        if isinstance(item, Keep):
            steps = f"every {item.chunk} steps" if item.chunk > 1 else "step by step"
            parts.append(f"{item.segment} ({steps})")
        else:
            parts.append(f"[{_text(item.items)}]")
    close()
    return " ".join(parts)
