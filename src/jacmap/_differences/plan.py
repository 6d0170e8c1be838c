"""How a question about a black box was answered, to print."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..engine.graph.recognise import recognise
from ..engine.graph.structure import Structure
from .answer import Answer


@dataclass(frozen=True, eq=False)
class DifferencesPlan:
    """What was done for a question about a black box, how many calls it took and how good the answer is.

    Calling it answers the question at other arguments.
    """

    question: str
    answer: Answer
    run: Callable[..., Any]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Answer the question at other arguments of the same shapes."""
        return self.run(*args, **kwargs)

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n)."""
        return self.answer.shape

    @cached_property
    def structure(self) -> Structure:
        """The name of the pattern."""
        return recognise(self.answer.pattern.tocsr())

    @property
    def calls(self) -> dict[str, int]:
        """Calls of f by what they were for."""
        return self.answer.calls

    @property
    def summary(self) -> str:
        """One line: "complex step, 3 colours: 6 calls of f (instead of 4000)"."""
        answer, n = self.answer, self.shape[1]
        spent = answer.calls.get("differences", 0)
        colours = f", {answer.groups} colours" if answer.groups < n else ""
        instead = f" (instead of {round(spent * n / answer.groups)})" if 0 < answer.groups < n else ""
        return f"{answer.method}{colours}: {spent} call{'s' * (spent != 1)} of f{instead}"

    def __str__(self) -> str:
        m, n = self.shape
        answer = self.answer
        patterns = {
            "given": "given by the user",
            "probed": "probed by moving inputs, not proven",
            "dense": "none: every entry is measured",
        }
        phases = ", ".join(f"{name} {calls}" for name, calls in answer.calls.items() if calls)
        lines = [
            f"plan for {self.question!r} of a {m}×{n} Jacobian ({self.structure}): approximate, f is a black box",
            f"  chosen: {self.summary}",
            f"  pattern: {patterns[answer.found]}",
            f"  calls of f: {answer.total} ({phases})",
            f"  estimated error: {self._quality()}",
        ]
        if answer.checked is not None:
            lines.append(f"  checked along a random direction: relative difference {answer.checked:.1e}")
        if answer.why_not:
            lines.append(f"  no complex step: {answer.why_not}")
        return "\n".join([*lines, *(f"  note: {note}" for note in answer.notes)])

    def _quality(self) -> str:
        worst = self.answer.worst()
        if worst is None:
            return "none seen"
        output, entry = worst
        return f"at most {self.answer.accuracy:.1e} of the largest entry of its row ({output} by {entry})"
