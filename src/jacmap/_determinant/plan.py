"""The plan of a determinant, to print and to call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .._errors import ArgumentError
from ..engine.graph import Graph
from ..engine.plan.determinant import Determinant, Moved, Repeated, Step

_MOST_LINES = 24


@dataclass(eq=False)
class DeterminantPlan:
    """How log|det J| will be found for one signature. Printing it explains it; calling it runs it.

    `probed`: None until compared with plain AD at concrete values, then the largest relative difference seen.
    """

    determinant: Determinant
    graph: Graph
    run: Callable[..., Any] | None = None
    probed: float | None = None
    measured: dict[str, float] = field(default_factory=dict)
    instead: str = ""  # what is done instead of the chain's factors, and why

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Answer at other arguments of the same shapes."""
        assert self.run is not None
        return self.run(*args, **kwargs)

    question = "slogdet"

    @property
    def shape(self) -> tuple[int, int]:
        return self.graph.shape

    @property
    def passes(self) -> int:
        """The most passes that one factor needs."""
        return self.determinant.most_per_factor

    @property
    def summary(self) -> str:
        """One line: "8 factors, at most 1 tangent each; largest block 1×1"."""
        plan = self.determinant
        if self.instead:
            return self.instead
        if plan.zero:
            return f"zero at every point: {plan.zero}"
        count = len(plan.steps)
        largest = f"{plan.largest_block}×{plan.largest_block}"
        passes = f"{self.passes} pass{'es' if self.passes != 1 else ''}"
        return f"{count} factor{'s' if count != 1 else ''}, at most {passes} for one; largest block {largest}"

    def check_memory(self, memory: float | None, itemsize: int) -> None:
        """Refuse a dense block that does not fit."""
        size = self.determinant.largest_block
        if memory is not None and size**2 * itemsize > memory:
            raise ArgumentError(
                f"memory: got {memory:.0f} bytes, but a factor of the determinant has a dense block of {size}×{size} "
                f"({size**2 * itemsize} bytes) that must be factorised; give more memory, or ask for an estimate "
                "from products alone (jm.slogdet(f, estimate=True))"
            )

    def __str__(self) -> str:
        m, n = self.shape
        lines = [f"plan for 'slogdet' of a {m}×{n} Jacobian", f"  chosen: {self.summary}"]
        if not (self.determinant.zero or self.instead):
            lines += ["", *_table(self.determinant.steps, "  ")]
        lines += [f"  note: {note}" for note in self.graph.notes()]
        if self.probed is None:
            lines.append("  not probed yet: no concrete values have been seen")
        else:
            lines.append(f"  probed against plain AD: relative difference {self.probed:.1e}")
        return "\n".join(lines)


def _table(steps: tuple[Step, ...], indent: str) -> list[str]:
    """One line per run of like factors; permutations of entries are only counted."""
    lines: list[str] = []
    moved = sum(isinstance(step, Moved) for step in steps)
    rows: list[tuple[str, int]] = []
    for step in steps:
        if isinstance(step, Moved):
            continue
        text = _line(step)
        if rows and rows[-1][0] == text:
            rows[-1] = (text, rows[-1][1] + 1)
        else:
            rows.append((text, 1))
    for text, count in rows[:_MOST_LINES]:
        lines += [indent + line for line in (f"{count} × " if count > 1 else "").__add__(text).splitlines()]
    if len(rows) > _MOST_LINES:
        lines.append(f"{indent}… and {sum(count for _, count in rows[_MOST_LINES:])} more factors")
    if moved:
        lines.append(f"{indent}{moved} × permutation of entries: no pass, the sign is known")
    return lines


def _line(step: Step) -> str:
    nodes = step.factor.graph.nodes
    where = str(max(nodes, key=lambda node: node.work).place) if nodes else ""
    passes = []
    if isinstance(step, Repeated):
        inner = _table(step.body.steps, "    ")
        return "\n".join([f"size {step.factor.size}: {step.kind}, each  {where}".rstrip(), *inner])
    if step.forward:
        passes.append(f"{step.forward} tangent{'s' if step.forward != 1 else ''}")
    if step.reverse:
        passes.append(f"{step.reverse} cotangent{'s' if step.reverse != 1 else ''}")
    kind = getattr(step, "kind", "")
    same = ", the same at every x" if step.constant else ""
    return f"size {step.factor.size}: {kind}{same}, {' + '.join(passes) or 'no pass'}  {where}".rstrip()
