"""What was found in a flow, to print."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Finding:
    """One mistake. `kind` names it in a word or two; `text` says what was seen and what to do; `about` which function.

    Kinds about log_det: "shape", "batch", "not finite", "zero", "sign", "direction", "wrong point", "factor",
    "no logarithm", "constant", "layer", "entries", "gradient", "other". About the inverse: "shape", "permutation",
    "shift", "scale", "linear", "entries", "not one-to-one", "not finite", "other". About f: "singular", "fold",
    "not finite", "batch".
    """

    about: str
    kind: str
    text: str


@dataclass(frozen=True, eq=False)
class FlowCheck:
    """What `check_flow` found; true where nothing. `str()` tells it.

    `claimed` and `true` (points,): log_det as given (None where it cannot be compared by points), and log|det J|.
    `round_trip`: the largest |inverse(f(x)) − x|, None without an inverse. `points`: how many were looked at.
    """

    findings: tuple[Finding, ...]
    claimed: np.ndarray | None
    true: np.ndarray
    round_trip: float | None
    points: int

    def __bool__(self) -> bool:
        return not self.findings

    def __str__(self) -> str:
        if self:
            lines = [f"no mistake found at {self.points} points"]
        else:
            count = len(self.findings)
            lines = [f"{count} mistake{'s' * (count != 1)} found at {self.points} points"]
        lines += [f"  {found.about}: {found.kind}: {found.text}" for found in self.findings]
        if self.claimed is not None:
            apart = float(np.max(np.abs(self.claimed - self.true), initial=0.0))
            lines.append(f"  log_det: largest difference from log|det J| {apart:.1e}")
        if self.round_trip is not None:
            lines.append(f"  inverse: largest |inverse(f(x)) - x| {self.round_trip:.1e}")
        return "\n".join(lines)
