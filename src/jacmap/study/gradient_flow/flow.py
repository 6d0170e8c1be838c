"""What `jm.gradient_flow` returns: one row per segment, the diagnosis, the table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .figures import Figure, Spectrum, plain
from .lens import Lens
from .plan import FlowPlan


@dataclass(frozen=True)
class Row:
    """One segment of the chain: J_k is m×n, its outputs × its inputs.

    `own`: the figures of J_k. `so_far`: of J_k ⋯ J_1, from the input up to here. `onward`: of J_L ⋯ J_k, from here to
    the output. `kept`: ‖J_k‖_F/√min(m, n), the gain per direction that can survive at all; 1 is neutral for values and
    gradients alike. `dead`: the share of outputs that nothing moves at any example (zero rows), `unread` the share of
    inputs that move nothing (zero columns). `saturated`: the share of (unit, example) pairs of tanh, sigmoid or erf on
    their flat part; None where there is none. `gradient`: the root mean square, over the batch, of the length of the
    loss gradient with respect to the segment's output; `log_gradient` its logarithm, which cannot underflow; None
    without a loss. `alike`: the mean cosine between the values of different examples, before the segment.
    """

    number: int
    name: str
    place: str
    shape: tuple[int, int]
    own: Spectrum
    so_far: Spectrum
    onward: Spectrum
    kept: float
    dead: float
    unread: float
    saturated: float | None
    gradient: float | None
    log_gradient: float | None
    alike: float

    def to_dict(self) -> dict[str, Any]:
        figures = {name: getattr(self, name).to_dict() for name in ("own", "so_far", "onward")}
        numbers = {
            name: None if (value := getattr(self, name)) is None else plain(value)
            for name in ("kept", "dead", "unread", "saturated", "gradient", "log_gradient", "alike")
        }
        return {
            "number": self.number, "name": self.name, "place": self.place, "shape": list(self.shape),
            **figures, **numbers,
        }  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """A suggestion, and what it changed when it was tried on the function itself.

    `label`: "measured" (the changed function was run) or "not tried". `before`, `after`: of `quantity`.
    """

    what: str
    label: str
    quantity: str = ""
    before: float | None = None
    after: float | None = None

    def __str__(self) -> str:
        from .words import of_trial

        return of_trial(self)

    def to_dict(self) -> dict[str, Any]:
        ends = {name: None if (v := getattr(self, name)) is None else plain(v) for name in ("before", "after")}
        return {"what": self.what, "label": self.label, "quantity": self.quantity, **ends}


@dataclass(frozen=True)
class Finding:
    """Something wrong: `kind` ("vanishing", "exploding", "weak", "strong", "dead", "saturated"), the numbers of the
    segments it is about (from 1), the cause in words, and what was tried."""

    kind: str
    segments: tuple[int, ...]
    words: str
    trials: tuple[Trial, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        trials = [trial.to_dict() for trial in self.trials]
        return {"kind": self.kind, "segments": list(self.segments), "words": self.words, "trials": trials}


@dataclass(frozen=True)
class Diagnosis:
    """`findings`: what is wrong, none of a healthy network. `remarks`: what is worth knowing and no fault."""

    findings: tuple[Finding, ...]
    remarks: tuple[str, ...]

    @property
    def healthy(self) -> bool:
        return not self.findings

    def __str__(self) -> str:
        from .words import of_diagnosis

        return "\n".join(of_diagnosis(self))

    def to_dict(self) -> dict[str, Any]:
        found = [finding.to_dict() for finding in self.findings]
        return {"healthy": self.healthy, "findings": found, "remarks": list(self.remarks)}


@dataclass(frozen=True, eq=False)
class GradientFlow:
    """How changes travel forward, and gradients back, through the chain of f. Made by `gradient_flow`; print it.

    `rows`: one per segment, first applied first. `diagnosis`: in words. `plan`: what was computed, how.
    `input_gradient`: the root mean square length of the loss gradient at the input; None without a loss.
    """

    name: str
    examples: int
    rows: tuple[Row, ...]
    diagnosis: Diagnosis
    plan: FlowPlan
    input_gradient: float | None
    _again: Callable[..., GradientFlow] = field(repr=False)
    _lens: Callable[[int], Lens] = field(repr=False)

    def at(self, *args: Any) -> GradientFlow:
        """The same study at another point or batch of the same shapes."""
        return self._again(*args)

    def lens(self, segment: int) -> Lens:
        """The mean Jacobian from the values after `segment` (0: the input) to the output, over positions and examples.

        Both must be one array, (positions, width) or (width,); see `Lens`. Raises `ArgumentError` where they are not.
        """
        return self._lens(segment)

    @property
    def total(self) -> Spectrum:
        """Of the whole Jacobian, from the input to the output."""
        return self.rows[-1].so_far

    def column(self, name: str, spectrum: str = "own") -> np.ndarray:
        """(L,): one number of every row, `name` a field of `Row` or of its `own`, `so_far` or `onward` spectrum."""
        holders = [row if hasattr(row, name) else getattr(row, spectrum) for row in self.rows]
        values = [getattr(holder, name) for holder in holders]
        return np.array([np.nan if v is None else float(v.value if isinstance(v, Figure) else v) for v in values])

    def __str__(self) -> str:
        from .words import of_flow

        return "\n".join(of_flow(self))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and words."""
        return {
            "name": self.name,
            "examples": self.examples,
            "plan": self.plan.to_dict(),
            "input_gradient": None if self.input_gradient is None else plain(self.input_gradient),
            "rows": [row.to_dict() for row in self.rows],
            "diagnosis": self.diagnosis.to_dict(),
        }

    def plot(self, ax: Any = None) -> Any:
        """Gains and gradient lengths along the chain (extra ``plot``)."""
        import jacmap

        plot: Any = jacmap.plot
        return plot.gradient_flow(self, ax=ax)
