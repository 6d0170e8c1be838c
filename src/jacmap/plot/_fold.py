"""Where the determinant of a map of the plane changes sign: folds, found to rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
from contourpy import contour_generator

from ._sample import PlaneMap

HALVINGS = 50


def folds(plane: PlaneMap, points: np.ndarray, det: np.ndarray) -> list[np.ndarray]:
    """The curves, (k, 2) each in the input plane, along which det J crosses 0 on the lattice `points`.

    A vertex of a contour on a lattice lies on an edge between two of its points of opposite sign; each is moved to the
    sign change itself by bisection along its edge. Where |det J| grows without bound towards it instead (a pole), there
    is no fold, and the curve is broken.
    """
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
