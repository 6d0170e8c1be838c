"""The robust losses of `scipy.optimize.least_squares`, and how they reweight residuals and Jacobian."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

SHARE = 0.3  # of the curvature of reweighted least squares: 1 converges slowly, 0 stops short among many outliers

# z = (r / f_scale)² -> (ρ, ρ', ρ''), as SciPy documents them (all are z to first order at 0).
Loss = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]


def _linear(z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return z, np.ones_like(z), np.zeros_like(z)


def _huber(z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    inside = z <= 1
    root = np.sqrt(np.where(inside, 1.0, z))
    return np.where(inside, z, 2 * root - 1), 1 / root, np.where(inside, 0.0, -0.5 / root**3)


def _soft_l1(z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    t = 1 + z
    return 2 * (np.sqrt(t) - 1), t**-0.5, -0.5 * t**-1.5


def _cauchy(z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    t = 1 + z
    return np.log1p(z), 1 / t, -1 / t**2


def _arctan(z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    t = 1 + z**2
    return np.arctan(z), 1 / t, -2 * z / t**2


LOSSES: dict[str, Loss] = {
    "linear": _linear,
    "huber": _huber,
    "soft_l1": _soft_l1,
    "cauchy": _cauchy,
    "arctan": _arctan,
}


def cost(loss: str, scale: float, r: np.ndarray) -> float:
    """½ C² Σ ρ((r/C)²); infinite where r is not finite, so that no step goes there."""
    if not np.isfinite(r).all():
        return np.inf
    with np.errstate(over="ignore"):
        found = (
            0.5 * float(r @ r) if loss == "linear" else 0.5 * scale**2 * float(LOSSES[loss]((r / scale) ** 2)[0].sum())
        )
    return found if np.isfinite(found) else np.inf


def weights(loss: str, scale: float, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(w, s): rows of J times w and residuals s·r make JᵀJ and Jᵀr the robust cost's Gauss-Newton matrix and gradient.

    Triggs et al., "Bundle adjustment: a modern synthesis" (2000), section 4.3. Far out, where ρ bends down, their
    curvature is zero or negative: it is kept at a share of ρ', the curvature of reweighted least squares (Holland and
    Welsch 1977), with which the step of an outlier is no longer than the model holds.
    """
    if loss == "linear":
        return np.ones_like(r), np.ones_like(r)
    z = (r / scale) ** 2
    _, first, second = LOSSES[loss](z)
    w = np.sqrt(np.maximum(first + 2 * second * z, SHARE * first))
    return w, first / w
