"""A plan: what was considered, what was chosen, and the callable that does it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ..graph import Graph
from ..graph.recognise import recognise
from ..graph.structure import Structure
from . import store
from .planner import Planned
from .recipe import Constant, Recipe


@dataclass(eq=False)
class Plan:
    """How a question will be answered for one signature. Printing it explains it; calling it runs it.

    `probed`: None until the plan has been compared with plain AD at concrete values, then the largest relative
    difference seen. `measured`: seconds per candidate name, with ``plan="measure"``. `told`: what a backend has to say
    of its run.
    """

    planned: Planned
    chosen: Recipe
    shape: tuple[int, int]
    graph: Graph
    run: Callable[..., Any] | None = None
    probed: float | None = None
    measured: dict[str, float] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Answer the question at other arguments of the same shapes."""
        assert self.run is not None
        return self.run(*args, **kwargs)

    @cached_property
    def structure(self) -> Structure:
        """The name of what was found: "banded (lower 1, upper 1)", ..."""
        return recognise(self.planned.pattern.tocsr())

    def save(self, path: str | Path) -> Path:
        """Write the pattern and the colouring to an `.npz` for `jacmap.load_plan`; atomic."""
        return store.save(path, self.graph, self.question, self.planned.pattern, self.chosen)

    @property
    def question(self) -> str:
        return str(self.planned.question)

    @property
    def passes(self) -> int:
        """AD passes per evaluation."""
        return 0 if isinstance(self.chosen, Constant) else self.chosen.forward + self.chosen.reverse

    @property
    def summary(self) -> str:
        """One line: "column colouring: 5 JVPs (instead of 20000 JVPs or 20000 VJPs)"."""
        m, n = self.shape
        if isinstance(self.chosen, Constant):
            kind = "affine" if self.planned.question.matrix == "Jacobian" else "quadratic"
            return f"constant: no pass at all, f is {kind}"
        plain = [recipe.passes for recipe in (Recipe(name="", forward=n), Recipe(name="", reverse=m))]
        instead = "" if self.chosen.passes in plain else f" (instead of {' or '.join(plain)})"
        return f"{self.chosen.name}: {self.chosen.passes}{instead}"

    def __str__(self) -> str:
        m, n = self.shape
        lines = [
            f"plan for {self.question!r} of a {m}×{n} {self.planned.question.matrix} ({self.structure})",
            f"  chosen: {self.summary}",
            "",
            *self._table(),
        ]
        for note in (*self.graph.notes(), *self.told):
            lines.append(f"  note: {note}")
        if self.probed is not None and math.isnan(self.probed):
            lines.append("  cannot be probed: no plain AD mode runs the whole function")
        elif self.probed is None:
            lines.append("  not probed yet: no concrete values have been seen")
        else:
            lines.append(f"  probed against plain AD: relative difference {self.probed:.1e}")
        return "\n".join(lines)

    def _verdict(self, recipe: Recipe) -> str:
        if self.measured:
            ours, theirs = self.measured.get(self.chosen.name), self.measured.get(recipe.name)
            return _ratio(theirs / ours) if ours and theirs else "not measured"
        return _ratio(recipe.cost / self.chosen.cost) if self.chosen.cost else ""

    def _table(self) -> list[str]:
        head = ("candidate", "passes", "cost", "memory", "verdict")
        rows = [head]
        for candidate in self.planned.candidates:
            chosen = candidate.name == self.chosen.name
            recipe = self.chosen if chosen else candidate
            if recipe.name in self.measured:
                price = f"{self.measured[recipe.name] * 1e3:.3g} ms"
            else:
                price = "0" if isinstance(recipe, Constant) else _short(recipe.cost)
            verdict = "chosen" if chosen else self._verdict(recipe)
            memory = _bytes(recipe.memory) + (f" ({recipe.chunk} seeds at a time)" if recipe.chunk else "")
            detail = f"; {recipe.note}" if recipe.note else ""
            rows.append((recipe.name, recipe.passes, price, memory, verdict + detail))
        rows += [(name, "", "", "", f"not possible: {reason}") for name, reason in self.planned.rejected]
        widths = [max(len(row[k]) for row in rows) for k in range(4)]
        return ["  " + "  ".join([*(row[k].ljust(widths[k]) for k in range(4)), row[4]]).rstrip() for row in rows]


def _ratio(value: float) -> str:
    if 0.995 <= value < 1.005:
        return "the same cost"
    return f"{value:.0f}× the chosen one" if value >= 100 else f"{value:.3g}× the chosen one"


def _short(value: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"


def _bytes(value: float) -> str:
    for size, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f} B"
