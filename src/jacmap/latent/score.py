"""Is this the score of these samples? Identities of Fisher and Stein, each with the statistic's own error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import norm

from .._errors import ArgumentError
from .._questions import jacobian

Array = jax.Array

# Pairs of samples in the kernel's matrix: beyond, a part of the samples does.
MOST_KERNEL = 1000
DRAWS = 4000
# Chance that one of an identity's entries is told although all hold; and of the bootstrap.
LEVEL, ALPHA = 1e-3, 1e-3


@dataclass(frozen=True, eq=False)
class ScoreCheck:
    """`ok`, `findings`: what does not hold, in words.

    `mean` (n,): of the score, 0 by Stein; `moment` (n, n): of s xᵀ + I, 0 by Stein; `information` (n, n):
    E[s sᵀ] + E[∇s], 0 by Fisher's identity; each in standard errors. `asymmetry`: of ∇s, relative; 0 for a gradient.
    `discrepancy`: the kernel Stein discrepancy (squared), `p_value`: its chance under the identity.
    """

    ok: bool
    findings: tuple[str, ...]
    mean: np.ndarray
    moment: np.ndarray
    information: np.ndarray
    asymmetry: float
    discrepancy: float
    p_value: float

    def __str__(self) -> str:
        return "the score fits the samples" if self.ok else "; ".join(self.findings)


def check_score(score: Callable[[Any], Any], samples: Any, *, seed: int = 0) -> ScoreCheck:
    """Hold a score ∇ log p, a function of one point (n,), against `samples` (count, n) of p.

    For the true score E[s] = 0, E[s xᵀ] = −I and their sum E[s·x] = −n (Stein's identity with constants and x),
    E[s sᵀ] = −E[∇s] (Fisher's information, twice), ∇s is symmetric, and the kernel Stein discrepancy with an inverse
    multiquadric kernel vanishes (Liu, Lee, Jordan 2016, arXiv:1602.03253; Gorham, Mackey 2017), tested by a bootstrap.
    Statistics that would be chance once in a thousand times (by the normal law, for all entries together) and p-values
    below 0.001 are findings. Raises `ArgumentError` for samples that are not (count ≥ 20, n).
    """
    x = jnp.asarray(samples)
    if x.ndim != 2 or x.shape[0] < 20 or not jnp.issubdtype(x.dtype, jnp.floating):
        raise ArgumentError(f"samples: got {x.dtype}{list(x.shape)}, expected at least 20 points of floats, (count, n)")
    n = x.shape[1]
    told = jax.eval_shape(score, jax.ShapeDtypeStruct((n,), x.dtype))
    if getattr(told, "shape", None) != (n,):
        raise ArgumentError(f"score: returned {told}, expected one array of {n} numbers, the gradient of log p")
    s = jax.jit(jax.vmap(score))(x)
    slopes = jax.jit(jax.vmap(jacobian(score)))(x)
    mean = _errors(s)
    centred = x - jnp.mean(x, axis=0)  # the identity holds with any constant taken off, and varies least with this one
    moment = _errors(s[:, :, None] * centred[:, None, :] + jnp.eye(n, dtype=x.dtype))
    total = _errors(jnp.sum(s * centred, axis=-1, keepdims=True) + n)
    information = _errors(s[:, :, None] * s[:, None, :] + slopes)
    skew = jnp.sqrt(jnp.sum((slopes - slopes.mT) ** 2) / jnp.maximum(jnp.sum((slopes + slopes.mT) ** 2), 1e-300))
    discrepancy, p_value = _kernel_discrepancy(x[:MOST_KERNEL], s[:MOST_KERNEL], seed)
    findings = [
        f"{what}: off by {np.abs(statistic).max():.1f} standard errors"
        for what, statistic in (
            ("the score's mean is not 0 (Stein)", mean),
            ("E[s xᵀ] is not −I (Stein)", moment),
            ("E[s·x] is not −n (Stein)", total),  # a scale that is off shows in the sum before it does in an entry
            ("E[s sᵀ] is not −E[∇s] (Fisher)", information),
        )
        if np.abs(statistic).max() > norm.isf(LEVEL / (2 * statistic.size))
    ]
    if float(skew) > 1e-3:
        findings.append(f"∇s is not symmetric (asymmetry {float(skew):.2g}): no function has this gradient")
    if p_value < ALPHA:
        findings.append(f"the kernel Stein discrepancy is {discrepancy:.3g}, p = {p_value:.3g}")
    if not bool(jnp.all(jnp.isfinite(s))):
        findings.insert(0, "the score is not finite at some samples")
    return ScoreCheck(not findings, tuple(findings), mean, moment, information, float(skew), discrepancy, p_value)


def _errors(samples: Array) -> np.ndarray:
    """The mean along the first axis in units of its standard error; 0 where nothing varies and the mean is 0."""
    mean, spread = jnp.mean(samples, axis=0), jnp.std(samples, axis=0, ddof=1) / jnp.sqrt(samples.shape[0])
    size = jnp.max(jnp.abs(samples), axis=0)
    rounding = 100 * jnp.finfo(samples.dtype).eps * jnp.maximum(size, 1)
    return np.asarray(jnp.where(jnp.abs(mean) <= rounding, 0.0, mean / jnp.maximum(spread, rounding)))


def _kernel_discrepancy(x: Array, s: Array, seed: int) -> tuple[float, float]:
    """The U-statistic of the Stein kernel of k(x, y) = (1 + |x − y|²/h)^(−1/2), and its bootstrap p-value."""
    n, count = x.shape[1], x.shape[0]
    difference = x[:, None] - x[None]
    squared = jnp.sum(difference**2, axis=-1)
    h = jnp.maximum(jnp.median(squared), jnp.finfo(x.dtype).tiny)
    base = 1 + squared / h
    # With k = b^(−1/2), b = 1 + |d|²/h, d = x − y:  ∇ₓk = −d b^(−3/2)/h = −∇ᵧk,
    # tr ∇ₓ∇ᵧk = n b^(−3/2)/h − 3 |d|² b^(−5/2)/h².
    slope = base**-1.5 / h
    kernel = (s @ s.T) * base**-0.5
    kernel += slope * (jnp.einsum("ik,ijk->ij", s, difference) - jnp.einsum("jk,ijk->ij", s, difference))
    kernel += n * slope - 3 * squared * base**-2.5 / h**2
    kernel = kernel * (1 - jnp.eye(count, dtype=x.dtype))
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), DRAWS)
    weights = jnp.asarray(drawn / count - 1 / count, x.dtype)
    draws = jnp.sum((weights @ kernel) * weights, axis=1)
    found = jnp.sum(kernel) / (count * (count - 1))
    return float(found), float((1 + jnp.sum(draws >= found)) / (DRAWS + 1))
