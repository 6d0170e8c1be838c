"""What all benchmarks share: rows with their floors, the table, the JSON file, the command line."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from _timing import write
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

HERE = Path(__file__).parent
MISSING = 1e300  # a figure that could not be had; JSON has no infinity

console = Console()
Tick = Callable[[str], None]


@dataclass(frozen=True)
class Row:
    """`floor`: what the figure must reach, or must not exceed where `at_most`; None: told, not asked for."""

    case: str
    figure: float
    unit: str
    floor: float | None = None
    at_most: bool = False

    @property
    def holds(self) -> bool | None:
        if self.floor is None:
            return None
        return bool(self.figure <= self.floor if self.at_most else self.figure >= self.floor)

    def record(self) -> dict[str, Any]:
        fields = asdict(self)
        del fields["at_most"]
        return {**fields, "figure": float(self.figure), "holds": self.holds}


Case = Callable[[bool, Tick], Iterator[Row]]


def main(area: str, title: str, cases: Mapping[str, Case], quick: str) -> int:
    """Measure the chosen cases, print the table, write out/AREA.json (AREA-part.json for a part of it)."""
    parser = argparse.ArgumentParser(description=f"Measure {title}; write benchmarks/out/{area}.json.")
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--only", action="append", choices=cases, help="this case only (may be given several times)")
    options = parser.parse_args()
    chosen = options.only or list(cases)
    whole, part = HERE / "out" / f"{area}.json", HERE / "out" / f"{area}-part.json"
    out = part if options.quick or options.only else whole
    rows: list[Row] = []
    start = perf_counter()
    columns = (SpinnerColumn(), TextColumn("{task.completed}/{task.total}"), BarColumn(20), TimeElapsedColumn(),
               TextColumn("{task.description}"))  # fmt: skip
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=len(chosen))
        try:
            for name in chosen:
                for row in cases[name](options.quick, lambda what: progress.update(task, description=what)):
                    rows.append(row)
                progress.advance(task)
        except KeyboardInterrupt:
            out = part
        except Exception:
            _write(part, rows)  # what was measured until then is kept, as a part
            raise
    _write(out, rows)
    console.print(table(f"jacmap: {title}, measured", rows))
    busy, cores = os.getloadavg()[0], os.cpu_count() or 1
    if busy > cores + 0.5:
        console.print(f"load average {busy:.1f} on {cores} cores: another program disturbed the short timings")
    missed = sum(row.holds is False for row in rows)
    seconds = perf_counter() - start
    verdict = f"{missed or 'no'} floor{'s' * (missed != 1)} missed"
    console.print(f"{verdict}; {seconds:.0f} s; wrote {out.relative_to(HERE.parent)}")
    return 0


def _write(out: Path, rows: list[Row]) -> None:
    write(out, json.dumps([row.record() for row in rows], indent=1, ensure_ascii=False) + "\n")


def table(title: str, rows: list[Row]) -> Table:
    shown = Table(box=box.SIMPLE_HEAD, title=title)
    for head in ("case", "figure", "unit", "floor", "holds"):
        shown.add_column(head, justify="right" if head in ("figure", "floor") else "left", overflow="fold")
    for row in rows:
        bound = "" if row.floor is None else f"{'≤' if row.at_most else '≥'} {row.floor:g}"
        verdict = {None: "", True: "[green]yes[/]", False: "[red]no[/]"}[row.holds]
        shown.add_row(row.case.replace("[", "\\["), f"{row.figure:.4g}", row.unit, bound, verdict)
    return shown


def named(names: list[str]) -> str:
    """The names in brackets, eight at most; nothing for none."""
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return f" ({shown})" if names else ""
