"""Which inputs move which outputs over a data set: the figures, their intervals and the ranking."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from .layout import Layout, Names, in_full, position
from .pictures import plots
from .ranking import Ranking
from .words import listed, number, percent, plain, table, wrapped

SHOWN = 10  # inputs in a printed table
SPOKEN = 3  # outputs that get a table
LEGEND = (
    "mean |∂|: how far one unit of the input moves the output, on average; mean ∂²: the same squared (DGSM), with its "
    "confidence interval; importance: spread of the input × root of mean ∂², in units of the output; place: the places "
    "that it takes in the resamples."
)
ALWAYS, MOSTLY = 0.9999, 0.5  # |mean J| / mean |J| from which on a direction is called so


@dataclass(frozen=True, eq=False)
class Intervals:
    """Confidence intervals of `mean_absolute`, `mean_square` and `sobol_bound`, each (m, n, 2): lower and upper end."""

    absolute: np.ndarray
    square: np.ndarray
    sobol: np.ndarray | None


@dataclass(frozen=True, eq=False)
class DataSensitivity:
    """Means of a Jacobian over the rows of a data set. Made by `sensitivity`.

    `count`: rows that count; `left_out`: rows at which f or J is not finite. All m×n, outputs × inputs:

    - `mean`: of J, with signs; `mean_absolute`: of |J|, units of the output per unit of the input;
    - `mean_square`: of J²: ν, the derivative-based global sensitivity measure of Sobol & Kucherenko 2009 ("Derivative
      based global sensitivity measures and their link with global sensitivity indices", eq. 3);
    - `intervals`: confidence intervals at `level` (Hall's for skewed data; a bootstrap of the logarithm for the bound);
    - `importance`: spread_j √ν_ij, in units of the output: how far the variation of an input moves the output;
    - `sobol_bound`: C_j ν_ij / Var(y_i), at least the total Sobol index of independent inputs with the distribution
      said, by Poincaré's inequality: C = (b − a)²/π² (uniform on [a, b]), σ² (normal) (Lamboni et al. 2013,
      "Derivative-based global sensitivity measures: general links with Sobol' indices and numerical tests", theorem 3.1
      and table 1). None where no distribution was said.

    `ranking`: per output; `overall`: over all outputs, by the root of the sum of their squared importances, each in
    standard deviations of the output. `value_mean`, `value_variance`: of f over the rows, (m,). `spread`: (n,).
    `unused`: inputs that f does not read at all, by its graph. `remarks`: what a reader must know first.
    """

    name: str
    count: int
    left_out: tuple[int, ...]
    level: float
    mean: np.ndarray
    mean_absolute: np.ndarray
    mean_square: np.ndarray
    intervals: Intervals
    spread: np.ndarray
    importance: np.ndarray
    distribution: str | None
    sobol_bound: np.ndarray | None
    value_mean: np.ndarray
    value_variance: np.ndarray
    ranking: Ranking
    overall: Ranking
    unused: tuple[int, ...]
    remarks: tuple[str, ...]
    inputs: Names
    outputs: Names
    layout: Layout = field(repr=False)

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n)."""
        m, n = self.mean.shape
        return m, n

    @property
    def names(self) -> tuple[list[str], list[str]]:
        """(names of the outputs, names of the inputs)."""
        return in_full(self.outputs), in_full(self.inputs)

    @property
    def stability(self) -> np.ndarray | None:
        """`ranking.stability`, (m, n−1): the share of resamples in which each input stays above the next."""
        return self.ranking.stability

    @cached_property
    def direction(self) -> np.ndarray:
        """mean J / mean |J|, m×n: 1 where more of the input always raises the output, −1 lowers it; 0 where J is 0."""
        size = np.where(self.mean_absolute > 0, self.mean_absolute, 1.0)
        return self.mean / size

    def map(self, output: int | str, absolute: bool = False) -> Any:
        """Mean sensitivities of one output (number or name), laid out as a row of the data: signed, or of |J|."""
        row = position(self.outputs, output, "output")
        return self.layout.restore((self.mean_absolute if absolute else self.mean)[row])

    def table(self, output: int | str = 0, k: int = SHOWN) -> str:
        """The k most important inputs of one output."""
        i = position(self.outputs, output, "output")
        heads = ["input", "direction", "mean |∂|", "mean ∂²", f"{percent(self.level)} interval", "importance"]
        heads += ["S_tot at most"] if self.sobol_bound is not None else []
        heads += ["place"]
        rows = []
        for j in self.ranking.order[i][:k]:
            low, high = self.intervals.square[i, j]
            row = [self.inputs[int(j)], self._direction(i, int(j)), number(self.mean_absolute[i, j])]
            row += [number(self.mean_square[i, j]), f"{low:.3g} to {high:.3g}", number(self.importance[i, j])]
            row += [f"{self.sobol_bound[i, j]:.3g}"] if self.sobol_bound is not None else []
            rows.append([*row, self._place(i, int(j))])
        return "\n".join(table(heads, rows, left=2))

    def _direction(self, i: int, j: int) -> str:
        share = self.direction[i, j]
        if not self.mean_absolute[i, j]:
            return "none"
        way = "up" if share > 0 else "down"
        size = abs(share)
        return f"always {way}" if size > ALWAYS else f"mostly {way}" if size > MOSTLY else "both ways"

    def _place(self, i: int, j: int) -> str:
        if self.ranking.interval is None:
            return str(self.ranking.rank[i, j])
        low, high = self.ranking.interval[i, j]
        return str(low) if low == high else f"{low}-{high}"

    def plot(self, output: int | str = 0, ax: Any = None) -> Any:
        """One output: a signed picture of the mean J of an image, bars of mean |J| with their intervals else."""
        i = position(self.outputs, output, "output")
        if len(self.layout.shape) in (2, 3):
            return plots().sensitivity_map(self.map(i), ax=ax)
        top = self.ranking.order[i][:20]
        names = [self.inputs[int(j)] for j in top]
        return plots().bars(self.mean_absolute[i, top], names, intervals=self.intervals.absolute[i, top], ax=ax)

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain lists and numbers; None for what is not finite or not known."""
        found: dict[str, Any] = plain({
            "name": self.name, "shape": list(self.shape), "count": self.count, "left_out": list(self.left_out),
            "level": self.level, "outputs": self.names[0], "inputs": self.names[1], "mean": self.mean,
            "mean_absolute": self.mean_absolute, "mean_square": self.mean_square,
            "interval_absolute": self.intervals.absolute, "interval_square": self.intervals.square,
            "spread": self.spread, "importance": self.importance, "distribution": self.distribution,
            "sobol_bound": self.sobol_bound, "interval_sobol": self.intervals.sobol,
            "value_mean": self.value_mean, "value_variance": self.value_variance,
            "ranking": self.ranking.to_dict(), "overall": self.overall.to_dict(),
            "unused": list(self.unused), "remarks": list(self.remarks),
        })  # fmt: skip
        return found

    def __str__(self) -> str:
        m, n = self.shape
        rows = f"{self.count} row{'s' * (self.count != 1)}"
        lines = [f"Sensitivity of {self.name} over {rows}: {m} output{'s' * (m != 1)}, {n} input{'s' * (n != 1)}"]
        if m > 1:
            names = listed(self.overall.names()[:SHOWN], SHOWN)
            lines.append(wrapped(f"Inputs by importance for all outputs together: {names}."))
        for i in range(min(m, SPOKEN)):
            lines += [wrapped(self._sentence(i)), self.table(i)]
        if m > SPOKEN:
            lines.append(f"The other {m - SPOKEN} outputs: .table(output)")
        lines.append(wrapped(LEGEND))
        return "\n".join([*lines, *map(wrapped, self.remarks)])

    def _sentence(self, i: int) -> str:
        if not self.importance[i].any():
            return f"{self.outputs[i]}: no input moves it at any row."
        j = int(self.ranking.order[i][0])
        said = f"{self.outputs[i]} is moved most by {self.inputs[j]}"
        if self.ranking.first is not None:
            said += f" (first in {percent(self.ranking.first[i, j])} of {self.ranking.resamples} resamples of the rows)"
        return said + ":"
