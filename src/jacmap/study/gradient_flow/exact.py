"""Spectra from the matrices themselves: each segment's Jacobian, and the products up to it and from it on."""

from __future__ import annotations

import numpy as np

from .figures import Figure, Spectrum, middle, root_mean_square


def of_values(
    singular: np.ndarray, columns: int, log_scale: np.ndarray, exact: bool, eps: float, rows: int
) -> Spectrum:
    """From singular values (E, r), descending, of matrices that were divided by exp(log_scale) (E,).

    Values up to eps·max(m, n)·σ_1 are rounding: there the smallest is at most that, and no volume is told.
    """
    scale = np.exp(np.clip(log_scale, -700, 700))
    tolerance = eps * max(rows, columns) * singular[:, 0]
    lost = singular[:, -1] <= tolerance
    with np.errstate(divide="ignore", invalid="ignore"):
        condition = np.where(lost, np.inf, singular[:, 0] / singular[:, -1])
        volume = np.log(np.where(singular <= tolerance[:, None], 0, singular)).sum(axis=1)
        volume = volume + singular.shape[1] * log_scale
    smallest = middle(np.where(lost, tolerance, singular[:, -1]) * scale, exact)
    if np.median(lost) > 0:
        smallest = Figure(smallest.value, smallest.error, "at most")
    finite = volume[np.isfinite(volume)]
    return Spectrum(
        gain=root_mean_square((singular**2).sum(axis=1) / columns * scale**2, exact),
        largest=middle(singular[:, 0] * scale, exact),
        smallest=smallest,
        median=middle(np.median(singular, axis=1) * scale, exact),
        condition=middle(condition, exact),
        log_volume=Figure(-np.inf) if finite.size < volume.size else _mean(volume, exact),
    )


def _mean(values: np.ndarray, exact: bool) -> Figure:
    value = float(values.mean())
    if exact:
        return Figure(value)
    error = float(values.std(ddof=1)) / values.size**0.5 if values.size > 1 else 0.0
    return Figure(value, error, "estimate")


def singular_values(matrices: np.ndarray) -> np.ndarray:
    """(E, r), descending."""
    return np.linalg.svd(matrices, compute_uv=False)


def of_matrices(matrices: list[np.ndarray], exact: bool, eps: float) -> list[Spectrum]:
    """Of each segment by itself."""
    nothing = np.zeros(len(matrices[0]))
    return [of_values(singular_values(J), J.shape[2], nothing, exact, eps, J.shape[1]) for J in matrices]


def of_products(matrices: list[np.ndarray], exact: bool, eps: float) -> list[Spectrum]:
    """Of J_k ⋯ J_1 for every k, each product divided by its own size, so that it neither under- nor overflows."""
    return _products(matrices, exact, eps)


def of_products_on(matrices: list[np.ndarray], exact: bool, eps: float) -> list[Spectrum]:
    """Of J_L ⋯ J_k for every k: the same for the transposes, from the last one back."""
    turned = [J.swapaxes(1, 2) for J in reversed(matrices)]
    return _products(turned, exact, eps, transposed=True)[::-1]


def _products(matrices: list[np.ndarray], exact: bool, eps: float, transposed: bool = False) -> list[Spectrum]:
    found, log = [], np.zeros(len(matrices[0]))
    product = None
    for J in matrices:
        product = J if product is None else J @ product
        size = np.sqrt((product**2).sum(axis=(1, 2)))
        safe = np.where(size > 0, size, 1)
        product, log = product / safe[:, None, None], log + np.log(safe)
        rows, columns = product.shape[1:]
        if transposed:
            rows, columns = columns, rows
        found.append(of_values(singular_values(product), columns, log, exact, eps, rows))
    return found
