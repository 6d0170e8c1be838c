"""Where the determinant of a map of the plane changes sign: folds, found to rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
from contourpy import contour_generator
from scipy.ndimage import uniform_filter

from ._sample import PlaneMap

TINY = float(np.finfo(float).tiny)
HALVINGS = 50
ROUNDING = 8.0  # in units of eps times the products that a determinant is the difference of


def folds(plane: PlaneMap, points: np.ndarray, J: np.ndarray) -> list[np.ndarray]:
    """The curves, (k, 2) each in the input plane, along which det J crosses 0 on the lattice `points`.

    `J` (up, across, 2, 2) is the Jacobian there; determinants that are rounding count as 0, and 0 as what surrounds it.
    A vertex of a contour on a lattice lies on an edge between two of its points of opposite sign; each is moved to the
    sign change itself by bisection along its edge. Where |det J| grows without bound towards it instead (a pole), there
    is no fold, and the curve is broken.
    """
    det = _certain(J, plane.eps)
    across, up = points[0, :, 0], points[:, 0, 1]
    rows, columns = np.indices(det.shape)
    curves: Any = contour_generator(columns, rows, np.ma.masked_invalid(det)).lines(0.0)
    if not curves:
        return []
    at = np.concatenate(curves)  # (column, row), one of which is whole
    ends = [whole.astype(int) for whole in (np.floor(at + 1e-9), np.ceil(at - 1e-9))]
    low, high = (np.stack([across[end[:, 0]], up[end[:, 1]]], axis=1) for end in ends)
    before, after = (det[end[:, 1], end[:, 0]] for end in ends)
    crossing = _bisect(plane, low, high, before)
    size = np.abs(determinants(plane.jacobians(crossing)[1]))
    pole = ~(size <= 10 * np.maximum(np.abs(before), np.abs(after)))
    crossing[pole] = np.nan
    return np.split(crossing, np.cumsum([len(curve) for curve in curves])[:-1])


def _certain(J: np.ndarray, eps: float) -> np.ndarray:
    with np.errstate(all="ignore"):
        det = determinants(J)
        noise = ROUNDING * eps * (np.abs(J[..., 0, 0] * J[..., 1, 1]) + np.abs(J[..., 0, 1] * J[..., 1, 0]))
        around = uniform_filter(np.nan_to_num(np.sign(np.where(np.abs(det) <= noise, 0.0, det))), 3, mode="nearest")
    return np.where(np.abs(det) <= noise, np.where(around < 0, -TINY, TINY), det)


def _bisect(plane: PlaneMap, low: np.ndarray, high: np.ndarray, before: np.ndarray) -> np.ndarray:
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        same = np.sign(determinants(plane.jacobians(middle)[1])) == np.sign(before)
        low, high = np.where(same[:, None], middle, low), np.where(same[:, None], high, middle)
    return (low + high) / 2


def determinants(jacobians: np.ndarray) -> np.ndarray:
    """det J of (..., 2, 2), without the warnings of LAPACK for NaN."""
    with np.errstate(all="ignore"):
        return jacobians[..., 0, 0] * jacobians[..., 1, 1] - jacobians[..., 0, 1] * jacobians[..., 1, 0]
