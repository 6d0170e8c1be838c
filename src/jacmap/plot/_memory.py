"""Memory schedules: peak memory against time."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes

from ._axes import axes, titled
from ._colours import GREY


def memory(plan: Any, ax: Axes | None = None) -> Axes:
    """The schedules of a `jm.memory_plan`: predicted peak (bytes, of keep-all's) against time, relative to keep-all.

    A ring is XLA's own figure for the compiled gradient, where there is one; the chosen schedule is filled.
    """
    ax = axes(ax)
    full = max(plan.keep_all.peak, 1)
    for schedule in plan.schedules:
        chosen = schedule is plan.chosen
        x = 100 * schedule.peak / full
        ax.plot([x], [schedule.time], "o", color="C0" if chosen else GREY, markersize=9 if chosen else 6)
        if schedule.measured is not None:
            ring = 100 * schedule.measured / full
            ax.plot([ring], [schedule.time], "o", color="C1", markersize=12, fillstyle="none")
        ax.annotate(schedule.name, (x, schedule.time), (5, 6), textcoords="offset points", fontsize=8)
    if plan.budget is not None:
        ax.axvline(100 * plan.budget / full, color="C3", linestyle="--", linewidth=1, label="budget")
        ax.legend(loc="upper right", fontsize=8, frameon=False)
    times = [schedule.time for schedule in plan.schedules]
    if max(times) > 4:
        ax.set_yscale("log")
    ax.set_xlim(0, 130)
    ax.set_xlabel("peak memory, % of keeping everything (ring: by XLA)")
    ax.set_ylabel("time, over that of keeping everything")
    titled(ax, f"Memory schedules of {plan.name}", f"{plan.chosen.name} is chosen")
    return ax
