"""The answer: a value with its error, and how it was had."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .words import measured

SHOWN = 4  # entries of an array that are printed


@dataclass(frozen=True, repr=False)
class Integral:
    """An integral over a region.

    `value` and `error` have the shape of f's value (with log=True they are log ∫ and the error of that). `error` is the
    rule's own estimate of its error where `standard_error` is None, else half of the 95 % confidence interval from
    independent repetitions. `converged`: did the error reach the tolerance asked for; True where none was asked for
    and the error estimate can be believed. `effective_size` and `pareto_k` describe the weights of importance sampling:
    the number of equal weights as good as these, and the shape of their largest ones' tail, which has no variance
    beyond 1/2 (Vehtari et al., JMLR 25 (2024)). `region` says what is known of the map.
    """

    value: Any
    error: Any
    converged: bool
    method: str
    evaluations: int
    region: str
    how: str
    notes: tuple[str, ...] = ()
    standard_error: Any = None
    effective_size: float | None = None
    pareto_k: float | None = None
    log: bool = False

    def __str__(self) -> str:
        values, errors = np.ravel(self.value), np.ravel(self.error)
        name = "log ∫" if self.log else "∫"
        kind = "estimated error" if self.standard_error is None else "95 % interval"
        figures = [measured(float(v), float(e)) for v, e in zip(values[:SHOWN], errors[:SHOWN], strict=True)]
        more = f", … ({len(values)} entries)" if len(values) > SHOWN else ""
        lines = [f"{name} = {', '.join(figures)}{more}  ({kind})"]
        if not self.converged:
            lines.append("  NOT CONVERGED: see the notes")
        lines += [f"  how     {self.how}, {self.evaluations:,} evaluations", f"  region  {self.region}"]
        if self.effective_size is not None:
            lines.append(f"  weights effective sample size {self.effective_size:.0f}, Pareto k {self.pareto_k:.2f}")
        return "\n".join([*lines, *(f"  note    {note}" for note in self.notes)])

    __repr__ = __str__


@dataclass(frozen=True)
class Outcome:
    """What a method found, still flat and without the shift of logarithms."""

    value: np.ndarray
    error: np.ndarray
    converged: bool
    how: str
    notes: tuple[str, ...] = ()
    standard_error: np.ndarray | None = None
    effective_size: float | None = None
    pareto_k: float | None = None
    log_value: float | None = None  # where it was computed in logarithms throughout
