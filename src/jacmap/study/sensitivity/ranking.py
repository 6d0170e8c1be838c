"""The order of the inputs by what they do, and how firm that order is: a bootstrap over the rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from .layout import Names
from .words import number, percent, plain, table

FEWEST = 20  # resamples below which nothing is said about stability


class Resamples:
    """Sums over bootstrap resamples of a stream of N rows: each draws N rows with replacement (Efron 1979).

    A resample's share in the next rows is drawn as the stream goes, binomial for the number and multinomial within
    them, which is the same distribution as drawing all at once.
    """

    def __init__(self, count: int, shape: tuple[int, int], rows: int, seed: int):
        self.count = count if rows > 1 else 0
        self.generator = np.random.default_rng(seed)
        self.rows_left = rows
        self.left = np.full(self.count, rows)
        self.total = np.zeros(self.count)
        self.square = np.zeros((self.count, *shape))
        self.value, self.point = Spread(self.count, shape[0]), Spread(self.count, shape[1])

    def weights(self, rows: int) -> np.ndarray:
        """How often each resample takes each of the next rows, (resamples, rows)."""
        here = self.generator.binomial(self.left, min(1.0, rows / self.rows_left))
        self.left = self.left - here
        self.rows_left -= rows
        return self.generator.multinomial(here, np.full(rows, 1 / rows)).astype(np.float64)

    def add(self, weights: np.ndarray, square: np.ndarray, values: np.ndarray, points: np.ndarray) -> None:
        """Take in J² (rows, m, n), f (rows, m) and x (rows, n)."""
        if not self.count or not len(values):
            return
        self.total += weights.sum(axis=1)
        self.square += np.tensordot(weights, square, axes=1)
        self.value.add(weights, values)
        self.point.add(weights, points)

    @property
    def mean_square(self) -> np.ndarray:
        """The mean of J² in each resample, (resamples, m, n)."""
        return self.square / np.maximum(self.total, 1)[:, None, None]

    @property
    def variance(self) -> np.ndarray:
        """The variance of f in each resample, (resamples, m)."""
        return self.value.variance(self.total)

    @property
    def deviation(self) -> np.ndarray:
        """The standard deviation of x in each resample, (resamples, n)."""
        return np.sqrt(self.point.variance(self.total))


class Spread:
    """Weighted sums of values and of their squares, for the variance in each resample."""

    def __init__(self, count: int, size: int):
        self.first, self.second = np.zeros((2, count, size))
        self.shift: np.ndarray | None = None  # near the mean, so that little cancels

    def add(self, weights: np.ndarray, values: np.ndarray) -> None:
        """`values`: (rows, size)."""
        if self.shift is None:
            self.shift = values.mean(axis=0)
        self.first += weights @ (values - self.shift)
        self.second += weights @ (values - self.shift) ** 2

    def variance(self, total: np.ndarray) -> np.ndarray:
        """The unbiased variance, (resamples, size), for so many draws each."""
        draws = np.maximum(total, 1)[:, None]
        biased = self.second / draws - (self.first / draws) ** 2
        return np.maximum(biased, 0) * draws / np.maximum(draws - 1, 1)


@dataclass(frozen=True, eq=False)
class Ranking:
    """The inputs by importance, for each of the `outputs` named, (p,).

    `importance`: (p, n), see `DataSensitivity`; `order`: (p, n), the inputs from the most important on; `rank`: (p, n),
    the place of each input, from 1; equal importances share a place. From `resamples` bootstrap resamples of the rows,
    None where there are too few: `interval`: (p, n, 2), the places that an input takes in the middle `level` of them;
    `stability`: (p, n−1), the share of them in which the k-th input stays at or above the one that follows it;
    `first`: (p, n), the share in which an input takes the first place.
    """

    importance: np.ndarray
    order: np.ndarray
    rank: np.ndarray
    interval: np.ndarray | None
    stability: np.ndarray | None
    first: np.ndarray | None
    resamples: int
    level: float
    inputs: Names
    outputs: Names

    def names(self, output: int = 0) -> list[str]:
        """The inputs' names in order."""
        return [self.inputs[int(j)] for j in self.order[output]]

    def table(self, output: int = 0, k: int = 10) -> str:
        """The k most important inputs of one output, with how firm their places are."""
        heads, rows = ["place", "input", "importance"], []
        if self.interval is not None:
            heads += ["places in resamples", "stays above the next"]
        for place, j in enumerate(self.order[output][:k]):
            row = [str(self.rank[output, j]), self.inputs[int(j)], number(self.importance[output, j])]
            if self.interval is not None and self.stability is not None:
                low, high = self.interval[output, j]
                row.append(f"{low}" if low == high else f"{low} to {high}")
                last = place + 1 == self.order.shape[1]
                row.append("" if last else percent(self.stability[output, place]))
            rows.append(row)
        return "\n".join(table(heads, rows, left=2))

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain lists and numbers."""
        found: dict[str, Any] = plain({
            "importance": self.importance, "order": self.order, "rank": self.rank, "interval": self.interval,
            "stability": self.stability, "first": self.first, "resamples": self.resamples,
        })  # fmt: skip
        return found


def rank(importance: np.ndarray, resampled: np.ndarray, level: float, inputs: Names, outputs: Names) -> Ranking:
    """`importance`: (p, n); `resampled`: the same in each resample, (resamples, p, n)."""
    order = np.argsort(-importance, axis=1, kind="stable")
    places = _places(importance)
    count = len(resampled)
    if count < FEWEST:
        return Ranking(importance, order, places, None, None, None, count, level, inputs, outputs)
    drawn = _places(resampled)
    tail = (1 - level) / 2
    interval = np.quantile(drawn, [tail, 1 - tail], axis=0, method="inverted_cdf").astype(int)
    sorted_too = np.take_along_axis(resampled, order[None], axis=2)
    stays = (sorted_too[:, :, :-1] >= sorted_too[:, :, 1:]).mean(axis=0)
    first = (drawn == 1).mean(axis=0)
    return Ranking(importance, order, places, np.moveaxis(interval, 0, -1), stays, first, count, level, inputs, outputs)


def _places(importance: np.ndarray) -> np.ndarray:
    return stats.rankdata(-importance, method="min", axis=-1).astype(int)
