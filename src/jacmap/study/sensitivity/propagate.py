"""Uncertainty through a function: the linear law J Σ Jᵀ, held against samples."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from ..._errors import ArgumentError
from .layout import Names, in_full
from .words import listed, number, percent, plain, table, wrapped

LARGEST = 2048  # outputs whose covariance matrix is formed
BATCH_ENTRIES = 2**20  # of inputs and outputs in one batch of samples
TOLERATED = 0.05  # share of a standard deviation by which the linear law may be off and still be called good
SHOWN = 8


@dataclass(frozen=True, eq=False)
class Propagation:
    """The covariance of f(x + δ) for a normal δ with covariance Σ, by the linear law and by sampling.

    `covariance`: J Σ Jᵀ, m×m (the law of propagation of uncertainty, JCGM 100:2008 (GUM), section 5; to first order).
    `sampled_covariance`: of f at `samples` draws; `standard_error`: the standard error of its entries, from the fourth
    moments; `sampled_mean`, `mean_error`: the mean of f and its standard error, (m,); `value`: f(x). The five are None
    without samples. `left_out`: samples at which f was not finite. `agrees`: no output's standard deviation differs
    by more than 5 % and by more than chance at `level`, jointly over the outputs (Bonferroni); None without samples.
    """

    value: np.ndarray
    covariance: np.ndarray
    sampled_covariance: np.ndarray | None
    standard_error: np.ndarray | None
    sampled_mean: np.ndarray | None
    mean_error: np.ndarray | None
    samples: int
    left_out: int
    level: float
    outputs: Names

    @property
    def standard_deviation(self) -> np.ndarray:
        """√diag(J Σ Jᵀ), (m,): in units of the outputs."""
        return np.sqrt(np.diag(self.covariance))

    @property
    def agrees(self) -> bool | None:
        """See above."""
        return None if self.sampled_covariance is None else not self._off().any()

    def _off(self) -> np.ndarray:
        """Outputs whose linear standard deviation is off by more than the tolerated share and more than chance."""
        sampled, error = self._variances()
        linear = np.diag(self.covariance)
        beyond = np.abs(sampled - linear) > self._bound() * error
        far = np.abs(np.sqrt(sampled) - np.sqrt(linear)) > TOLERATED * np.sqrt(sampled)
        return beyond & far & (np.abs(sampled - linear) > 1e-12 * np.maximum(sampled, linear))

    def _variances(self) -> tuple[np.ndarray, np.ndarray]:
        assert self.sampled_covariance is not None and self.standard_error is not None
        return np.diag(self.sampled_covariance), np.diag(self.standard_error)

    def _bound(self) -> float:
        """Standard errors that the largest of m differences stays within at `level`."""
        return float(stats.norm.ppf(1 - (1 - self.level) / (2 * len(self.value))))

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain lists and numbers."""
        return plain({
            "outputs": in_full(self.outputs), "value": self.value, "covariance": self.covariance,
            "standard_deviation": self.standard_deviation, "sampled_covariance": self.sampled_covariance,
            "standard_error": self.standard_error, "sampled_mean": self.sampled_mean, "mean_error": self.mean_error,
            "samples": self.samples, "left_out": self.left_out, "agrees": self.agrees, "verdict": self.verdict,
        })  # fmt: skip

    @property
    def verdict(self) -> str:
        """Can the linear law be used here? In words."""
        if self.sampled_covariance is None:
            return "Not checked by sampling: the linear law holds where f is straight over the uncertainty of x."
        off = np.flatnonzero(self._off())
        if not off.size:
            return (
                f"The linear law holds here: no standard deviation is off by more than chance and {percent(TOLERATED)}."
            )
        sampled = np.sqrt(self._variances()[0])
        worst = max(off, key=lambda i: abs(math.log(max(self.standard_deviation[i], 1e-300) / sampled[i])))
        share = self.standard_deviation[worst] / sampled[worst] - 1
        names = listed(self.outputs[int(i)] for i in off)
        return (
            f"The linear law does not hold here for {names}: it {'over' if share > 0 else 'under'}states the standard "
            f"deviation of {self.outputs[int(worst)]} by {percent(abs(share))}. f bends within the uncertainty of x; "
            "use the sampled figures."
        )

    def __str__(self) -> str:
        heads, rows = ["output", "value", "± linear"], []
        sampled = None if self.sampled_covariance is None else np.sqrt(self._variances()[0])
        if sampled is not None:
            heads += ["± sampled", "its error", "sampled mean", "its error"]
        for i in range(min(SHOWN, len(self.value))):
            row = [self.outputs[i], number(self.value[i]), number(self.standard_deviation[i])]
            if sampled is not None:
                assert self.sampled_mean is not None and self.mean_error is not None
                error = self._variances()[1][i] / (2 * sampled[i]) if sampled[i] else 0.0  # of a root: half, relative
                row += [number(sampled[i]), number(error), number(self.sampled_mean[i]), number(self.mean_error[i])]
            rows.append(row)
        by = f", checked by {self.samples} samples of f" if sampled is not None else ""
        lines = [f"What the uncertainty of x does to f(x), by J Σ Jᵀ{by}:", *table(heads, rows)]
        if len(self.value) > SHOWN:
            lines.append(f"  and {len(self.value) - SHOWN} outputs more")
        lines.append(wrapped(self.verdict))
        if self.left_out:
            lines.append(f"f was not finite at {self.left_out} of {self.samples + self.left_out} samples: left out.")
        return "\n".join(lines)


def propagate(
    f: Callable[[Any], Any], point: np.ndarray, value: np.ndarray, matrix: np.ndarray, outputs: Names,
    covariance: Any, samples: int, seed: int, level: float,
) -> Propagation:  # fmt: skip
    """`f`: of flat vectors. Raises `ArgumentError` for a Σ that is no covariance of so many inputs."""
    m, n = matrix.shape
    if m > LARGEST:
        raise ArgumentError(f"f: its {m} outputs have a {m}×{m} covariance; choose at most {LARGEST} of them")
    if isinstance(samples, bool) or not isinstance(samples, (int, np.integer)) or samples < 0 or samples == 1:
        raise ArgumentError(f"samples: got {samples!r}, expected 0 (no check) or at least 2")
    if not 0 < level < 1:
        raise ArgumentError(f"level: got {level!r}, expected a probability such as 0.95")
    root, sigma = _root(covariance, n)
    linear = matrix * sigma @ matrix.T if sigma.ndim == 1 else matrix @ sigma @ matrix.T
    if not samples:
        return Propagation(value, linear, None, None, None, None, 0, 0, level, outputs)
    drawn = _sampled(f, point, root, samples, seed, m)
    good = drawn[np.isfinite(drawn).all(axis=1)]
    if len(good) < 2:
        raise ArgumentError(f"covariance: f is finite at {len(good)} of {samples} samples, expected at least 2")
    mean = good.mean(axis=0)
    centred = good - mean
    sampled = centred.T @ centred / (len(good) - 1)
    fourth = (centred**2).T @ centred**2 / len(good)
    error = np.sqrt(np.maximum(fourth - sampled**2, 0) / len(good))
    mean_error = np.sqrt(np.diag(sampled) / len(good))
    left_out = samples - len(good)
    return Propagation(value, linear, sampled, error, mean, mean_error, len(good), left_out, level, outputs)


def _root(covariance: Any, n: int) -> tuple[np.ndarray, np.ndarray]:
    """(R with R Rᵀ = Σ, Σ): both as matrices, or as the vectors of their diagonals."""
    try:
        sigma = np.asarray(covariance, np.float64)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"covariance: got {type(covariance).__name__}, expected real numbers") from error
    if sigma.shape not in ((), (n,), (n, n)):
        raise ArgumentError(
            f"covariance: got shape {sigma.shape}, expected ({n}, {n}), ({n},) variances, or one variance for all"
        )
    if not np.isfinite(sigma).all():
        raise ArgumentError("covariance: got NaN or infinity, expected finite numbers")
    if sigma.ndim < 2:
        if (sigma < 0).any():
            raise ArgumentError("covariance: got a negative variance, expected variances, 0 or more")
        variances = np.broadcast_to(sigma, (n,))
        return np.sqrt(variances), variances
    size = np.abs(sigma).max(initial=0)
    if np.abs(sigma - sigma.T).max() > 1e-8 * size:
        raise ArgumentError("covariance: got a matrix that is not symmetric; a covariance is")
    eigenvalues, vectors = np.linalg.eigh((sigma + sigma.T) / 2)
    if eigenvalues[0] < -1e-8 * size:
        raise ArgumentError(
            f"covariance: got a matrix with eigenvalue {eigenvalues[0]:.3g}, but a covariance has none below 0"
        )
    return vectors * np.sqrt(np.maximum(eigenvalues, 0)), sigma


def _sampled(
    f: Callable[[Any], Any], point: np.ndarray, root: np.ndarray, samples: int, seed: int, m: int
) -> np.ndarray:
    """f at normal draws around the point, (samples, m), in batches of one compiled shape."""
    n = len(point)
    generator = np.random.default_rng(seed)
    size = max(1, min(samples, BATCH_ENTRIES // (n + m)))
    run = jax.jit(jax.vmap(f))
    found = []
    for start in range(0, samples, size):
        normal = generator.standard_normal((size, n))
        moved = point + (normal * root if root.ndim == 1 else normal @ root.T)
        found.append(np.asarray(run(jnp.asarray(moved)), np.float64)[: samples - start])
    return np.concatenate(found)
