"""Means over a stream of batches, and confidence intervals that stand skewness."""

from __future__ import annotations

import numpy as np
from scipy import stats


class Moments:
    """Count, mean and central moments of arrays that arrive in batches; nothing of the batches is kept.

    Pébay 2008, "Formulas for robust, one-pass parallel computation of covariances and arbitrary-order statistical
    moments" (SAND2008-6212), equations 2.1 and 2.3, for a batch joined to what came before.
    """

    def __init__(self, shape: tuple[int, ...]):
        self.count = 0
        self.mean, self.second, self.third = np.zeros(shape), np.zeros(shape), np.zeros(shape)

    def add(self, values: np.ndarray) -> None:
        """Take in a batch, (rows, *shape)."""
        old, new = self.count, len(values)
        if not new:
            return
        count = old + new
        mean = values.mean(axis=0)
        centred = values - mean
        second = np.einsum("r...,r...->...", centred, centred)
        third = np.einsum("r...,r...,r...->...", centred, centred, centred)
        step = mean - self.mean
        self.third += (
            third
            + step**3 * (old * new * (old - new) / count**2)
            + 3 * step * (old * second - new * self.second) / count
        )
        self.second += second + step**2 * (old * new / count)
        self.mean += step * (new / count)
        self.count = count

    @property
    def variance(self) -> np.ndarray:
        """The unbiased variance; NaN for fewer than two."""
        return self.second / (self.count - 1) if self.count > 1 else np.full_like(self.second, np.nan)

    @property
    def skewness(self) -> np.ndarray:
        """√N Σ(x − x̄)³ / (Σ(x − x̄)²)^{3/2}; 0 where nothing varies."""
        spread = np.where(self.second > 0, self.second, 1.0) ** 1.5
        return np.sqrt(self.count) * self.third / spread


def of_mean(moments: Moments, level: float) -> np.ndarray:
    """A confidence interval of the mean at `level`, (*shape, 2); NaN for fewer than two values.

    Squared derivatives are skewed: of Ishigami's function the plain t interval of 20 rows covers 82 % where it says
    95 %. The t statistic is therefore freed of its skewness first: with γ the sample skewness and c = γ/(3√N),
    g(t) = t + c t² + c² t³/3 + c/2 is normal to the order 1/N (Hall 1992, "On the removal of skewness by
    transformation", J. R. Statist. Soc. B 54, 221-228; the quantile of Student's t instead of the normal one is ours).
    """
    if moments.count < 2:
        return np.full((*moments.mean.shape, 2), np.nan)
    quantile = stats.t.ppf((1 + level) / 2, moments.count - 1)
    error = np.sqrt(moments.variance / moments.count)
    c = moments.skewness / (3 * np.sqrt(moments.count))
    ends = [moments.mean - error * _undone(t, c) for t in (quantile, -quantile)]
    return np.stack(ends, axis=-1)


def _undone(t: float, c: np.ndarray) -> np.ndarray:
    """The inverse of g: (∛(1 + 3c(t − c/2)) − 1)/c, which is t for c = 0."""
    small = np.abs(c) < 1e-5  # below, the difference of the roots is rounding; the series is exact to c²
    apart = np.where(small, 1.0, c)
    return np.where(small, t - c / 2 - c * t**2, (np.cbrt(1 + 3 * apart * (t - apart / 2)) - 1) / apart)
