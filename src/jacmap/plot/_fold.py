"""Where the determinant of a map of the plane changes sign: folds, found to rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
from contourpy import contour_generator
from scipy.ndimage import uniform_filter

from ._sample import PlaneMap

HALVINGS = 50
EVEN = 1e-9  # a mean of signs below which neither prevails
ROUNDING = 8.0  # in units of eps times the products that a determinant is the difference of


def folds(plane: PlaneMap, points: np.ndarray, J: np.ndarray) -> list[np.ndarray]:
    """The curves, (k, 2) each in the input plane, along which det J changes sign on the lattice `points`.

    `J` (up, across, 2, 2) is the Jacobian there. A contour of the sign crosses edges between neighbours of opposite
    sign; each crossing is found by bisection along its edge. Where |det J| grows without bound towards it (a pole),
    there is no fold, and the curve is broken there by NaN.
    """
    det, sign = determinants(J), _signs(J, plane.eps)
    across, up = points[0, :, 0], points[:, 0, 1]
    rows, columns = np.indices(det.shape)
    curves: Any = contour_generator(columns, rows, np.ma.masked_invalid(sign)).lines(0.0)
    if not curves:
        return []
    at = np.concatenate(curves)  # (column, row): one of them is whole, the other halfway between two
    first, second = np.floor(at).astype(int), np.ceil(at).astype(int)
    low, high = (np.stack([across[end[:, 0]], up[end[:, 1]]], axis=1) for end in (first, second))
    crossing = _bisect(plane, low, high, sign[first[:, 1], first[:, 0]])
    size = np.abs(determinants(plane.jacobians(crossing)[1]))
    ends = np.minimum(*(np.abs(det[end[:, 1], end[:, 0]]) for end in (first, second)))
    usual = np.median(np.abs(det[np.isfinite(det)]))
    crossing[~np.isfinite(size) | ((size > 10 * ends) & (size > 1000 * usual))] = np.nan
    return np.split(crossing, np.cumsum([len(curve) for curve in curves])[:-1])


def _signs(J: np.ndarray, eps: float) -> np.ndarray:
    """±1 of det J, NaN where it is not finite. One that is 0 up to rounding has the sign that prevails around it."""
    with np.errstate(all="ignore"):
        det = determinants(J)
        noise = ROUNDING * eps * (np.abs(J[..., 0, 0] * J[..., 1, 1]) + np.abs(J[..., 0, 1] * J[..., 1, 0]))
        certain = np.where(np.abs(det) <= noise, 0.0, np.sign(det))
    around = np.where(uniform_filter(np.nan_to_num(certain), 3, mode="nearest") < -EVEN, -1.0, 1.0)
    return np.where(np.isfinite(det), np.where(certain == 0, around, certain), np.nan)


def _bisect(plane: PlaneMap, low: np.ndarray, high: np.ndarray, before: np.ndarray) -> np.ndarray:
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        same = np.sign(determinants(plane.jacobians(middle)[1])) == before
        low, high = np.where(same[:, None], middle, low), np.where(same[:, None], high, middle)
    return (low + high) / 2


def determinants(jacobians: np.ndarray) -> np.ndarray:
    """det J of (..., 2, 2), without the warnings of LAPACK for NaN."""
    with np.errstate(all="ignore"):
        return jacobians[..., 0, 0] * jacobians[..., 1, 1] - jacobians[..., 0, 1] * jacobians[..., 1, 0]
