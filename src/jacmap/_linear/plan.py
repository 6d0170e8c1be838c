"""How a question of linear algebra is answered: what was considered, what was chosen, and why not the others."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from .._errors import ArgumentError

# What matrices and factors may take when no `memory=` was given.
DEFAULT_MEMORY = 2.0**31


@dataclass(frozen=True)
class Candidate:
    """One way to answer.

    `work` counts operations on entries, those of dense kernels (about twenty times as fast) accordingly less; infinite
    where it cannot be known beforehand. `memory`: bytes of matrices and factors. `why_not`: empty where it is possible.
    """

    name: str
    work: float = 0.0
    memory: float = 0.0
    note: str = ""
    why_not: str = ""


@dataclass(frozen=True, eq=False)
class LinearPlan:
    """How a question will be answered. Printing it explains it.

    `options` are those of the question ("k=5"). `candidates` are the possible ways, the chosen one first; `rejected`
    the others. `entries()` says how J's entries are computed.
    """

    question: str
    options: str
    shape: tuple[int, int]
    structure: str
    candidates: tuple[Candidate, ...]
    rejected: tuple[Candidate, ...]
    entries: Callable[[], str] = str
    notes: tuple[str, ...] = field(default=())

    @property
    def chosen(self) -> str:
        """The name of what will be done."""
        return self.candidates[0].name

    @property
    def names(self) -> tuple[str, ...]:
        """The possible ways, best first."""
        return tuple(candidate.name for candidate in self.candidates)

    @property
    def summary(self) -> str:
        """One line: "banded LU: lower 1, upper 1"."""
        best = self.candidates[0]
        return f"{best.name}: {best.note}" if best.note else best.name

    def __str__(self) -> str:
        m, n = self.shape
        options = f", {self.options}," if self.options else ""
        title = f"plan for {self.question!r}{options} of a {m}×{n} Jacobian ({self.structure})"
        lines = [title, f"  chosen: {self.summary}", "", *self._table()]
        if entries := self.entries():
            lines.append(f"  entries of J: {entries}")
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines)

    def _table(self) -> list[str]:
        rows = [("candidate", "work", "memory", "verdict")]
        for candidate in self.candidates:
            verdict = "chosen" if candidate is self.candidates[0] else self._ratio(candidate)
            work = "unknown" if math.isinf(candidate.work) else _short(candidate.work)
            rows.append((candidate.name, work, size_of(candidate.memory), verdict))
        rows += [(candidate.name, "", "", f"not possible: {candidate.why_not}") for candidate in self.rejected]
        widths = [max(len(row[k]) for row in rows) for k in range(3)]
        return ["  " + "  ".join([*(row[k].ljust(widths[k]) for k in range(3)), row[3]]).rstrip() for row in rows]

    def _ratio(self, candidate: Candidate) -> str:
        best = self.candidates[0].work
        if math.isinf(candidate.work) or not best:
            return "possible"
        ratio = candidate.work / best
        return f"{ratio:.0f}× the chosen one" if ratio >= 100 else f"{ratio:.3g}× the chosen one"


def decide(
    question: str,
    options: str,
    shape: tuple[int, int],
    structure: str,
    considered: Iterable[Candidate],
    limit: float | None,
    notes: tuple[str, ...] = (),
    advice: str = "",
) -> LinearPlan:
    """The plan that takes the least work within the memory; ArgumentError where nothing is possible."""
    bound = DEFAULT_MEMORY if limit is None else limit
    possible: list[Candidate] = []
    rejected: list[Candidate] = []
    for candidate in considered:
        if not candidate.why_not and candidate.memory > bound:
            why = f"needs {size_of(candidate.memory)}, above the bound of {size_of(bound)}"
            candidate = Candidate(candidate.name, why_not=why)
        (rejected if candidate.why_not else possible).append(candidate)
    if not possible:
        reasons = "; ".join(f"{candidate.name}: {candidate.why_not}" for candidate in rejected)
        raise ArgumentError(
            f"{question} of a {shape[0]}×{shape[1]} Jacobian is not possible here ({reasons}); {advice}give "
            'linearize(..., memory="16GB") the memory you have'
        )
    possible.sort(key=lambda candidate: candidate.work)
    return LinearPlan(question, options, shape, structure, tuple(possible), tuple(rejected), notes=notes)


def size_of(value: float) -> str:
    """Bytes in words."""
    for size, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f} B"


def _short(value: float) -> str:
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"
