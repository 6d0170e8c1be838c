"""Spectra from products alone: Golub and Kahan's bidiagonalisation of each segment, with matfree.

From a random direction v, s steps give a bidiagonal matrix B whose singular values θ (Ritz values) approach J's from
inside: the largest from below, the smallest from above. With the squares w of the first entries of B's right singular
vectors they are a quadrature, E Σ w g(θ²) ≈ tr g(JᵀJ)/n (Golub and Meurant 2010; Ubaru, Chen and Saad 2017), from which
the median and the volume come. The matrix is approached from its shorter side.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..._segments import Segment
from .figures import Figure, Spectrum, middle, root_mean_square
from .network import Network
from .sweep import Draw

STEPS = 16


def spectrum(network: Network, k: int, state: Any, draw: Draw, examples: np.ndarray, squares: np.ndarray) -> Spectrum:
    """Of segment k; `squares`: samples of ‖J v‖² (see `Sweep.gain`), the whole batch's."""
    m, n = network.chain[k].shape
    steps = min(STEPS, m, n)
    start = np.asarray(draw.unit(min(m, n)), np.float64)[examples]
    small, residual = (np.asarray(part, np.float64) for part in _bidiagonal(network, k, state, start, examples, steps))
    values, right, left = _svd(small)
    weights = right**2
    gain = root_mean_square(squares, exact=False)
    largest = middle(values[:, 0], exact=False, kind="estimate")
    # How far the largest Ritz value may still be: its residual in the last vector of the iteration.
    missing = float(np.median(residual * np.abs(left)))
    converged = steps == min(m, n)
    least = middle(values[:, -1], exact=False, kind="estimate" if converged else "at most")
    medians = np.array([_weighted_median(v, w) for v, w in zip(values, weights, strict=True)])
    with np.errstate(divide="ignore"):
        logs = min(m, n) * (weights * np.log(values)).sum(axis=1)
    ratio = middle(values[:, 0] / np.maximum(values[:, -1], np.finfo(float).tiny), exact=False)
    return Spectrum(
        gain=gain,
        largest=Figure(largest.value, float(np.hypot(largest.error, missing)), "estimate"),
        smallest=least,
        median=middle(medians, exact=False),
        condition=Figure(ratio.value, ratio.error, "estimate" if converged else "at least"),
        log_volume=_mean(logs),
    )


def _mean(logs: np.ndarray) -> Figure:
    if not np.isfinite(logs).all():
        return Figure(-np.inf, 0.0, "estimate")
    return Figure(float(logs.mean()), float(logs.std(ddof=1)) / logs.size**0.5 if logs.size > 1 else np.nan, "estimate")


def _svd(small: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(values (E, s), first entries of the right vectors (E, s), last entry of the first left vector (E,))."""
    u, values, vh = np.linalg.svd(small)
    return values, vh[:, :, 0], u[:, -1, 0]


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    """Half of the weight lies below; the distribution is read linearly between the middles of its steps."""
    order = np.argsort(values)
    values, weights = values[order], weights[order]
    below = np.cumsum(weights) - weights / 2
    return float(np.interp(0.5, below, values))


def _bidiagonal(network: Network, k: int, state: Any, start: np.ndarray, examples: np.ndarray, steps: int) -> Any:
    try:
        from matfree import decomp
    except ImportError as error:
        raise ImportError(
            "gradient_flow estimates the singular values of wide layers with matfree: pip install 'jacmap[linalg]', or "
            "pass method='exact'"
        ) from error
    bidiagonal = decomp.bidiag(steps)
    real = jnp.zeros(()).dtype  # matfree works in JAX's default precision

    def one(segment: Segment, along: Any, operands: Any, x: Any, v: Any) -> Any:
        m, n = segment.shape
        function = segment.on_vectors(along, operands)
        if n <= m:
            push = jax.linearize(function, x, has_aux=True)[1]
        else:
            y, pull, _ = jax.vjp(function, x, has_aux=True)
            push = lambda u: pull(u.astype(y.dtype))[0]  # noqa: E731
        found = bidiagonal(lambda w: push(w.astype(x.dtype)).astype(real), v)
        return found.J_small, jnp.linalg.norm(found.residual)

    program = network.program("bidiagonal", k, one, 2, steps)
    x, along = network.at(state, examples)
    return program(along, network.operands_at(k, examples), x, jnp.asarray(start, real))


def of_directions(log_squares: np.ndarray, log_top: np.ndarray, ratio: float = 1.0) -> Spectrum:
    """Of a product of segments, from orthonormal directions put through it: `Sweep.ahead`, or `behind`.

    The gain is Hutchinson's estimate, E‖P v‖² = ‖P‖_F²/n; of directions that were pulled back `ratio` = m/n turns
    ‖P‖_F²/m into it. The largest singular value on the block is a lower bound of the product's.
    """
    squares = np.exp(np.clip(log_squares, -1400, 1400)) * ratio
    tops = np.exp(np.clip(log_top, -700, 700))
    return Spectrum(gain=root_mean_square(squares.ravel(), exact=False), largest=middle(tops, False, "at least"))
