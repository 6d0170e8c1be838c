"""From the sums of one pass to the figures, their intervals and what must be said about them."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

from ..._errors import ArgumentError
from .data import Columns
from .intervals import of_mean
from .layout import Names
from .ranking import FEWEST, Ranking, rank
from .stream import Study, Sums
from .summary import DataSensitivity, Intervals
from .words import listed

ENOUGH = 20  # rows from which on the intervals cover what they say, as measured on Ishigami's function
CLOSE = 0.9  # |correlation| of two inputs that is told in any case


def summarise(
    study: Study, sums: Sums, columns: Columns, inputs: Names, outputs: Names, spread: Any,
    distribution: str | None, constants: np.ndarray | None, level: float, asked: int,
) -> DataSensitivity:  # fmt: skip
    """Raises `ArgumentError` where no row has a finite derivative."""
    if not sums.square.count:
        raise ArgumentError(f"{study.name}: neither value nor derivative is finite at any of {sums.seen} rows")
    rows = study.rows
    spreads = columns.deviation if spread is None else rows.layout.spread(spread)
    spreads = np.ones_like(spreads) if np.isnan(spreads).any() else spreads  # one row has no spread
    mean_square, variance = sums.square.mean, sums.value.variance
    importance = spreads * np.sqrt(mean_square)
    # A spread that comes from the rows is as uncertain as they are: it is resampled with them.
    resampled_spreads = sums.resamples.deviation if spread is None else spreads
    resampled = np.sqrt(sums.resamples.mean_square) * resampled_spreads[..., None, :]
    bound = None if constants is None else constants * mean_square / _divisor(variance)
    ranking = rank(importance, resampled, level, inputs, outputs)
    unused = study.unread()
    told = (
        *_of_inputs(sums, columns, inputs, spreads, unused, study.name),
        *_of_rows(sums, study, outputs, asked),
        *_of_bound(study, columns, inputs, distribution),
    )
    return DataSensitivity(
        name=study.name,
        count=sums.square.count,
        left_out=tuple(sums.left_out),
        level=level,
        mean=sums.signed / sums.square.count,
        mean_absolute=sums.absolute.mean,
        mean_square=mean_square,
        intervals=Intervals(
            absolute=np.maximum(of_mean(sums.absolute, level), 0),
            square=np.maximum(of_mean(sums.square, level), 0),
            sobol=None if constants is None or bound is None else _of_ratio(sums, constants, bound, level),
        ),
        spread=spreads,
        importance=importance,
        distribution=distribution,
        sobol_bound=bound,
        value_mean=sums.value.mean,
        value_variance=variance,
        ranking=ranking,
        overall=_overall(importance, resampled, variance, ranking),
        unused=unused,
        remarks=told,
        inputs=inputs,
        outputs=outputs,
        layout=rows.layout,
    )


def _divisor(variance: np.ndarray) -> np.ndarray:
    """The outputs' variances as a column; NaN where an output does not vary."""
    return np.where(variance > 0, variance, np.nan)[..., None]


def _of_ratio(sums: Sums, constants: np.ndarray, bound: np.ndarray, level: float) -> np.ndarray:
    """An interval of C ν / Var(y), (m, n, 2): on the logarithm, whose standard error the resamples give; NaN where few.

    Where a resample has ν = 0 there is no logarithm: the middle `level` of the resamples (percentile bootstrap).
    """
    resamples = sums.resamples
    if resamples.count < FEWEST:
        return np.full((*bound.shape, 2), np.nan)
    ratios = constants * resamples.mean_square / _divisor(resamples.variance)
    tail = (1 - level) / 2
    middle = np.moveaxis(np.quantile(ratios, [tail, 1 - tail], axis=0), 0, -1)
    positive = (ratios > 0).all(axis=0)
    error = np.log(np.where(positive, ratios, 1.0)).std(axis=0, ddof=1)
    factor = np.exp(stats.t.ppf(1 - tail, max(sums.square.count - 1, 1)) * error)
    return np.where(positive[..., None], np.stack([bound / factor, bound * factor], axis=-1), middle)


def _overall(importance: np.ndarray, resampled: np.ndarray, variance: np.ndarray, ranking: Ranking) -> Ranking:
    """One ranking for all outputs, each measured in its own standard deviations (in its own units for one row)."""
    deviation = np.sqrt(variance)[:, None]
    scale = np.where(deviation > 0, deviation, 1.0 if np.isnan(deviation).any() else np.inf)
    together = np.sqrt(((importance / scale) ** 2).sum(axis=0, keepdims=True))
    drawn = np.sqrt(((resampled / scale) ** 2).sum(axis=1, keepdims=True))
    return rank(together, drawn, ranking.level, ranking.inputs, ("all outputs",))


def _of_inputs(
    sums: Sums, columns: Columns, inputs: Names, spreads: np.ndarray, unused: tuple[int, ...], name: str
) -> list[str]:
    said = []
    if unused:
        said.append(f"Never read by {name} (exactly zero everywhere): {_listed(inputs, unused)}.")
    still = np.setdiff1d(np.flatnonzero(~sums.square.mean.any(axis=0)), unused)
    if still.size:
        said.append(f"Read, but without effect at any row: {_listed(inputs, still)}.")
    if columns.constant.any() and sums.seen > 1:
        kind = "so importance 0" if not spreads[columns.constant].any() else "whatever spread was given"
        said.append(f"Constant in the data, {kind}: {_listed(inputs, np.flatnonzero(columns.constant))}.")
    return said


def _of_rows(sums: Sums, study: Study, outputs: Names, asked: int) -> list[str]:
    said = []
    if sums.seen == 1:
        said.append("One row: no spread (importance is per unit), no intervals, no stability. It is a point.")
    elif sums.square.count < ENOUGH:
        said.append(f"Fewer than {ENOUGH} rows: the intervals hold the true value less often than they say.")
    if sums.left_out:
        where = listed(map(str, sums.left_out))
        said.append(
            f"Not finite at {len(sums.left_out)} of {sums.seen} rows (row {where}): left out, the means are those of "
            "the other rows."
        )
    if study.resamples < asked and sums.seen > 1:
        kept = study.resamples if study.resamples >= FEWEST else "no"
        said.append(f"The memory holds {kept} of the {asked} resamples asked for; pass memory= for more.")
    flat = np.flatnonzero(sums.value.variance == 0)
    if flat.size and sums.seen > 1:
        said.append(f"The same at every row: {_listed(outputs, flat)}.")
    return said


def _of_bound(study: Study, columns: Columns, inputs: Names, distribution: str | None) -> list[str]:
    said = []
    if distribution is not None:
        said.append(
            "S_tot: total Sobol index, the share of the output's variance that the input takes part in; at most so "
            f"large for independent {distribution} inputs (Poincaré inequality). A bound above 1 says nothing."
        )
    found = columns.correlated(study.rows)
    if found is not None and (distribution is not None or found[0] > CLOSE):
        size, i, j = found
        alone = "in these data they hardly move alone, as a derivative has it"
        what = "the bound does not hold" if distribution is not None else alone
        said.append(f"Inputs are correlated ({inputs[i]} and {inputs[j]}: {size:.2f}): {what}.")
    return said


def _listed(names: Names, which: Any) -> str:
    return listed(names[int(j)] for j in which)
