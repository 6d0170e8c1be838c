"""What a matrix does to a small sphere: axes, stretch and rotation, shear, volume, and what it loses."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

# Entries that the basis of the null space may take: it has n rows.
LARGEST_BASIS = 4_000_000


@dataclass(frozen=True, eq=False)
class Sphere:
    """A unit sphere of inputs and its image under A (m×n), from the singular value decomposition A = U diag(s) Vᵀ.

    `singular_values` (r,), descending, `left` = U (m×r), `right` = V (n×r), r = min(m, n). `axes` = U diag(s): the half
    axes of the image, an ellipsoid. `rank`: singular values above eps·max(m, n)·s_max, NumPy's tolerance. `null_space`
    (n×(n − rank)): an orthonormal basis of the directions that A sends to zero; None where it would not fit.

    `rotation`, `stretch` (square A): the polar factors A = R S, R orthogonal (a reflection where det A < 0), S
    symmetric and positive semidefinite; where A is singular, R is one of many. (Higham, Functions of Matrices, 2008,
    chapter 8.)

    `shear` (n×n, where the columns are independent): the unit upper triangular factor of A = Q D U, with orthonormal
    columns Q and D > 0 diagonal, from the QR decomposition: U[i, j] says how far the image of input j leans towards
    that of input i, in units of what is new in the latter.

    `volume`: the factor by which volumes grow, the product of the singular values: |det A| for m = n; √det(AᵀA) for
    m > n, from n-dimensional volumes to those on an n-dimensional surface; √det(AAᵀ) for m < n, the coarea factor, by
    which the volume across the level sets grows. (Federer, Geometric Measure Theory, 1969, 3.2.1, 3.2.11, 3.2.22.)
    `log_volume` is its logarithm, which neither overflows nor underflows. `det` and `orientation` (1, -1, or 0 where
    the rank is not full) for a square A, else None. What was not computed is None or NaN.
    """

    singular_values: np.ndarray
    left: np.ndarray
    right: np.ndarray
    rank: int | None
    null_space: np.ndarray | None
    rotation: np.ndarray | None
    stretch: np.ndarray | None
    shear: np.ndarray | None
    volume: float
    log_volume: float
    det: float | None
    orientation: int | None

    @classmethod
    def partial(cls, left: np.ndarray, values: np.ndarray, right: np.ndarray) -> Sphere:
        """Some of the singular triples and nothing else: all that is known of a large matrix, or of none."""
        return cls(values, left, right, None, None, None, None, None, math.nan, math.nan, None, None)

    @property
    def axes(self) -> np.ndarray:
        """U diag(s), (m×r)."""
        return self.left * self.singular_values

    @property
    def condition(self) -> float:
        """Largest over smallest singular value; infinite where the smallest is zero, NaN where it is not known."""
        s = self.singular_values
        if not s.size or self.rank is None:
            return math.nan
        return float(s[0] / s[-1]) if s[-1] > 0 else math.inf


def sphere(matrix: np.ndarray, eps: float) -> Sphere:
    """The image of the unit sphere under a finite matrix (m, n), known to a relative precision of `eps`."""
    m, n = matrix.shape
    basis = n * max(n - m, 0) <= LARGEST_BASIS  # the part of V that a reduced decomposition leaves out
    u, s, vh = np.linalg.svd(matrix, full_matrices=basis and n > m)
    r = min(m, n)
    sign = np.where(np.take_along_axis(vh, np.abs(vh).argmax(1)[:, None], 1)[:, 0] < 0, -1.0, 1.0)  # for readers
    vh, u = vh * sign[:, None], u * sign[: u.shape[1]]
    rank = rank_of(s, matrix.shape, eps)
    left, right = u[:, :r], vh[:r].T
    square = m == n
    log_volume = float(np.log(s).sum()) if s.size and s[-1] > 0 else -math.inf
    with np.errstate(over="ignore", under="ignore"):
        det, volume = float(np.linalg.det(matrix)) if square else None, float(np.prod(s))
    return Sphere(
        singular_values=s,
        left=left,
        right=right,
        rank=rank,
        null_space=vh[rank:].T if basis else None,
        rotation=left @ right.T if square else None,
        stretch=(right * s) @ right.T if square else None,
        shear=_shear(matrix) if rank == n else None,
        volume=volume,
        log_volume=log_volume,
        det=det,
        orientation=(int(np.linalg.slogdet(matrix)[0]) if rank == n else 0) if square else None,
    )


def rank_of(singular_values: np.ndarray, shape: tuple[int, ...], eps: float) -> int:
    """How many singular values of an m×n matrix exceed eps·max(m, n)·s_max, as NumPy's matrix_rank counts them."""
    return int((singular_values > eps * max(shape) * singular_values.max(initial=0.0)).sum())


def _shear(matrix: np.ndarray) -> np.ndarray:
    """U of A = Q D U, for independent columns."""
    triangle = np.linalg.qr(matrix, mode="r")
    return triangle / np.diag(triangle)[:, None]
