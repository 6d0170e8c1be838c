"""A number with how it was had, and the figures of one matrix or of a product of matrices."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np

Kind = Literal["exact", "estimate", "at least", "at most"]


@dataclass(frozen=True)
class Figure:
    """`value` ± `error` (one standard error; 0 where exact). `kind`: "at least" and "at most" are bounds."""

    value: float
    error: float = 0.0
    kind: Kind = "exact"

    def __str__(self) -> str:
        return {"exact": "", "estimate": "~", "at least": "≥", "at most": "≤"}[self.kind] + short(self.value)

    def __float__(self) -> float:
        return self.value

    def to_dict(self) -> dict[str, Any]:
        return {"value": plain(self.value), "error": plain(self.error), "kind": self.kind}


@dataclass(frozen=True)
class Spectrum:
    """Of a matrix J (m×n), the figures of its r = min(m, n) singular values; over a batch, of the examples.

    `largest`, `smallest`, `median` (of the singular values, then the median over the examples); `condition` = largest /
    smallest; `log_volume` = Σ log σ (the mean over the examples; −∞ where a direction is lost); `gain` = ‖J‖_F/√n, the
    root mean square stretch of a random direction (over the examples too). None where it was not estimated.
    """

    gain: Figure
    largest: Figure | None = None
    smallest: Figure | None = None
    median: Figure | None = None
    condition: Figure | None = None
    log_volume: Figure | None = None

    def to_dict(self) -> dict[str, Any]:
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: None if figure is None else figure.to_dict() for name, figure in found.items()}


def short(number: float, digits: int = 3) -> str:
    """1.23, 0.0012, 4.5e-16, ∞."""
    if math.isnan(number):
        return "–"
    if math.isinf(number):
        return "∞" if number > 0 else "-∞"
    text = f"{number:.{digits}g}"
    mantissa, _, exponent = text.partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else text


def plain(number: float) -> float | None:
    """For JSON, which has neither infinity nor NaN."""
    return float(number) if math.isfinite(number) else None


def middle(values: np.ndarray, exact: bool, kind: Kind = "estimate") -> Figure:
    """The median over the examples; its standard error where these are a part of the batch, or estimates."""
    values = np.asarray(values, np.float64)
    if exact:
        return Figure(float(np.median(values)))
    spread = float(np.std(values, ddof=1)) if values.size > 1 and np.isfinite(values).all() else 0.0
    return Figure(float(np.median(values)), 1.2533 * spread / math.sqrt(values.size), kind)


def root_mean_square(squares: np.ndarray, exact: bool) -> Figure:
    """√mean of samples of a square, with the standard error of the root."""
    mean = float(np.mean(squares))
    root = math.sqrt(mean)
    if exact or not root:
        return Figure(root, 0.0, "exact" if exact else "estimate")
    spread = float(np.std(squares, ddof=1)) if squares.size > 1 else mean
    return Figure(root, spread / math.sqrt(squares.size) / (2 * root), "estimate")
