"""`jm.memory_plan`: the segments measured, the schedules compared, one chosen that keeps to the budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ..._data_path import DataPath, data_path
from ..._dispatch import for_tensors_too
from ..._errors import ArgumentError
from ..._memory import parse_memory
from .apply import applied, temporary_bytes
from .costs import Cost, calibrated, costs_of
from .plan import DEEPEST, MemoryPlan, Schedule, size
from .schedules import (
    Items,
    binomial,
    depth,
    evaluations,
    every,
    extra,
    fitting,
    keep_all,
    optimum,
    peak,
    recompute_all,
)

TRIALS = 6  # schedules compiled in search of one that XLA, too, puts within the budget


@for_tensors_too()
def memory_plan(
    f: Callable[..., Any],
    *args: Any,
    budget: str | float | None = None,
    argnums: int | Sequence[int] = 0,
    work: str = "measured",
    compiled: str = "chosen",
    progress: bool = True,
) -> MemoryPlan:
    """How to take the gradient of a scalar loss f(parameters, data, ...) within a budget of bytes.

    f's graph is cut where the fewest bytes are alive; what each segment keeps for its VJP and what doing it again
    costs is read from XLA's compiled programs. Compared are: keep all, every √L-th state, recompute all, the binomial
    schedule (Griewank & Walther 2000), and the optimum for unequal segments by dynamic programming (Beaumont et al.
    2020). ``plan.apply()`` is f by the chosen schedule; its gradient within the budget by XLA's own figure
    (``compiled.memory_analysis().temp_size_in_bytes``: beside arguments and results).

    `budget`: "200MB", bytes, or a share of keep-all's peak between 0 and 1; without one, everything is kept.
    `work`: "measured" times the segments, "counted" takes XLA's count of operations and bytes, which is the same on
    every run. `compiled`: "chosen" compiles the gradients of keep-all and of the chosen schedule, "all" those of every
    row of the table. `progress`: a line on the terminal while it works.

    Raises `ArgumentError` where f is not scalar or has no array to differentiate, and for a budget that no schedule
    meets, with the smallest that one does. A `jax.checkpoint` inside f is taken out: the plan puts its own.
    """
    if not callable(f):
        raise ArgumentError(f"f: got {type(f).__name__}, expected a function of arrays that returns a scalar")
    for name, value, known in (("work", work, ("measured", "counted")), ("compiled", compiled, ("chosen", "all"))):
        if value not in known:
            raise ArgumentError(f"{name}: got {value!r}, expected one of {', '.join(map(repr, known))}")
    bound = parse_budget(budget)
    args = jax.tree_util.tree_map(lambda leaf: jnp.asarray(leaf) if hasattr(leaf, "dtype") else leaf, args)
    path = data_path(f, args, argnums)
    _check_scalar(f, path)
    name = getattr(f, "__name__", "f")
    bar = Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=Console(stderr=True),
        transient=True, disable=not (progress and Console(stderr=True).is_terminal),
    )  # fmt: skip
    with bar:
        task = bar.add_task("")
        tick = lambda what: bar.update(task, description=f"memory plan: {what}")  # noqa: E731
        costs = costs_of(path, args, work == "measured", tick)
        everything = keep_all(0, len(costs))
        tick("compiling keep all")
        measured = temporary_bytes(applied(path, everything, name), args, argnums)
        costs = calibrated(costs, peak(everything, costs), measured)
        search = _Search(path, costs, args, argnums, name, tick)
        full = Schedule("keep all", everything, peak(everything, costs), measured, 1.0, 0)
        allowed = None if bound is None else bound * measured if bound < 1 else bound
        chosen = full if allowed is None or measured <= allowed else search.within(allowed, measured)
        rows = search.table(allowed, compiled == "all")
    rows = [full, *rows, *([] if chosen is full else [chosen])]
    rows.sort(key=lambda row: -row.peak)
    return MemoryPlan(name, tuple(costs), tuple(rows), chosen, allowed, work == "measured", path)


def parse_budget(budget: str | float | None) -> float | None:
    """Bytes, a share below 1, or None. Raises ArgumentError for anything else."""
    try:
        return parse_memory(budget)
    except ArgumentError:
        raise ArgumentError(
            f'budget: got {budget!r}, expected a size such as "200MB", a number of bytes, or a share of the peak of '
            "keeping everything, between 0 and 1"
        ) from None


def _check_scalar(f: Callable[..., Any], path: DataPath) -> None:
    outputs = path.stretches[-1].made
    if len(outputs) != 1 or outputs[0].shape:
        got = ", ".join(str(out.shape) for out in outputs)
        raise ArgumentError(
            f"{getattr(f, '__name__', 'f')}: returned arrays of shape {got}, expected one scalar, a loss to "
            "differentiate"
        )


class _Search:
    """Schedules of one function: predicted, and compiled where it counts."""

    def __init__(
        self, path: DataPath, costs: list[Cost], args: tuple[Any, ...], argnums: int | Sequence[int], name: str,
        tick: Callable[[str], None],
    ):  # fmt: skip
        self.path, self.costs, self.args, self.argnums, self.name = path, costs, args, argnums, name
        self.tick = tick
        self.total = sum(cost.both for cost in costs) or 1.0
        self.full = peak(keep_all(0, len(costs)), costs)
        self.best = optimum(costs, self.full)

    def schedule(self, name: str, items: Items, compile_it: bool) -> Schedule:
        measured = None
        if compile_it and depth(items) <= DEEPEST:
            self.tick(f"compiling {name}")
            measured = temporary_bytes(applied(self.path, items, self.name), self.args, self.argnums)
        again = len(evaluations(items)) - len(self.costs)
        time = 1 + extra(items, self.costs) / self.total
        return Schedule(name, items, peak(items, self.costs), measured, time, again)

    def within(self, allowed: float, whole: int) -> Schedule:
        """The schedule of least extra work whose compiled gradient keeps to the budget.

        Where XLA needs more than predicted, the next try aims as much lower. `whole`: XLA's figure of keep-all.
        """
        aim, least = allowed, float(whole)
        for _ in range(TRIALS):
            items = self.best(aim)
            if items is None:
                break
            found = self.schedule("optimum for the budget", items, compile_it=True)
            if found.measured is None:
                break
            if found.measured <= allowed:
                return found
            least = min(least, found.measured)
            aim = min(aim, found.peak) * min(0.98, allowed / found.measured)
        smallest = self.schedule("optimum for the budget", self.smallest(), compile_it=True)
        if smallest.measured is not None and smallest.measured <= allowed:
            return smallest
        least = min(least, smallest.peak if smallest.measured is None else smallest.measured)
        raise ArgumentError(
            f"budget: got {size(allowed)}, but no schedule of {self.name} needs less than {size(least)} beside "
            f"arguments and gradients (keeping everything: {size(whole)}); give at least that, or make the batch "
            "smaller"
        )

    def smallest(self) -> Items:
        """The schedule of the fewest bytes that the optimum knows."""
        low, high = 0.0, float(self.full)
        for _ in range(12):
            middle = (low + high) / 2
            if self.best(middle) is None:
                low = middle
            else:
                high = middle
        items = self.best(high)
        return keep_all(0, len(self.costs)) if items is None else items

    def table(self, allowed: float | None, compile_all: bool) -> list[Schedule]:
        """The schedules to compare with."""
        count = len(self.costs)
        if count < 3:
            return []
        step = round(count**0.5)
        checkpoints = fitting(count)
        named = {
            f"every {step}th state": every(count, step),
            f"binomial, {checkpoints} states": binomial(count, checkpoints),
            "binomial, 3 states": binomial(count, 3),
            "recompute all": recompute_all(count),
        }
        half = self.best(self.full / 2)
        if half is not None and allowed is None:
            named["optimum at half"] = half
        named["optimum, least memory"] = self.smallest()
        return [self.schedule(name, items, compile_all) for name, items in named.items()]
