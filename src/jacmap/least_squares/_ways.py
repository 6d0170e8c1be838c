"""The ways to take a damped Gauss-Newton step: minimise ‖J p + r‖² + Σ d p² over the free unknowns.

Each way is loaded with the numbers of J once and asked for steps with several dampings d. An unknown that is not free
has step 0. A way returns None where the damped matrix cannot be factored: the driver then damps more.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve, solveh_banded
from scipy.linalg.lapack import dgeqrf, dormqr, dtrtrs
from scipy.sparse import csc_array
from scipy.sparse.linalg import LinearOperator, lsmr, splu

from ._normal import Normal
from ._strategies import TINY

DIGITS = 1e-12  # the share of its diagonal that a pivot of JᵀJ keeps when four digits may be left: a sign, no bound


class Way(Protocol):
    """What the driver needs. `least`: the damping, relative to the squares of J's columns, that it needs to work.

    `repeats`: are steps with other dampings cheap beside J?
    """

    least: float
    repeats: bool

    def load(self, jacobian: Any) -> None:
        """Take the numbers of J: an array, a CSR matrix or a `LinearOperator`."""

    def step(self, r: np.ndarray, damping: np.ndarray, free: np.ndarray) -> np.ndarray | None:
        """p (n,) for residuals r (m,), damping d (n,) and the mask of free unknowns (n,)."""


class Dense:
    """QR of J once, then of [R; √d] for each damping: the condition number is not squared.

    LAPACK by name: NumPy's functions around it take ten times as long for a few unknowns, and form Q for many rows.
    """

    least, repeats = 1e-30, True

    def load(self, jacobian: np.ndarray) -> None:
        self.J = jacobian
        self.tall = jacobian.shape[0] > 2 * jacobian.shape[1]
        self.turned: tuple[np.ndarray, np.ndarray] | None = None
        if self.tall:
            self.QR, self.tau = dgeqrf(jacobian)[:2]
            self.R = np.triu(self.QR[: jacobian.shape[1]])

    def _rotated(self, r: np.ndarray) -> np.ndarray:
        """Qᵀ r (n,), once for each r."""
        if self.turned is None or self.turned[0] is not r:
            whole = dormqr("L", "T", self.QR, self.tau, r[:, None], lwork=len(r))[0]
            self.turned = r, whole[: len(self.R), 0]
        return self.turned[1]

    def step(self, r: np.ndarray, damping: np.ndarray, free: np.ndarray) -> np.ndarray | None:
        """QR with a triangular solve; singular values where R is singular."""
        top, right = (self.R, self._rotated(r)) if self.tall else (self.J, r)
        every = bool(free.all())
        top, damp = (top, damping) if every else (top[:, free], damping[free])
        height, k = top.shape
        stacked = np.zeros((height + k, k + 1), order="F")
        stacked[:height, :k], stacked[:height, k] = top, -right
        stacked[range(height, height + k), range(k)] = np.sqrt(damp)
        found = dgeqrf(stacked, overwrite_a=1)[0]
        part, singular = dtrtrs(found[:k, :k], found[:k, k])
        if singular:
            part = np.linalg.lstsq(np.triu(found[:k, :k]), found[:k, k])[0]
        if every:
            return np.asarray(part)
        p = np.zeros(len(free))
        p[free] = part
        return p


class Cholesky:
    """Of the dense JᵀJ: several times as fast as QR for many unknowns, at half of the digits.

    With `rescue` QR gives the step where those digits are used up: directions that the data hardly hold would not move.
    """

    def __init__(self, rescue: bool):
        self.qr = Dense() if rescue else None
        # Nearly no damping must be asked for to move those: a trust region does where there is room, and costs a few
        # factors for each J. (Of condition 10¹⁰: 6 evaluations; with Nielsen's damping more than 300.)
        self.least, self.repeats = (Dense.least, True) if rescue else (TINY, False)

    def load(self, jacobian: np.ndarray) -> None:
        self.J, self.H = jacobian, jacobian.T @ jacobian
        self.qr_loaded = False

    def step(self, r: np.ndarray, damping: np.ndarray, free: np.ndarray) -> np.ndarray | None:
        p = self._by_cholesky(r, damping, free)
        if p is not None or self.qr is None:
            return p
        if not self.qr_loaded:
            self.qr.load(self.J)
            self.qr_loaded = True
        return self.qr.step(r, damping, free)

    def _by_cholesky(self, r: np.ndarray, damping: np.ndarray, free: np.ndarray) -> np.ndarray | None:
        """None where JᵀJ cannot be factored or, if QR can stand in, where too few of its digits are left."""
        H = self.H.copy() if free.all() else self.H[np.ix_(free, free)]
        p, diagonal = np.zeros(len(free)), np.diag_indices_from(H)
        H[diagonal] += damping[free]
        before = H[diagonal]
        try:
            factor = cho_factor(H.T, overwrite_a=True, check_finite=False)  # H.T lies as LAPACK wants it: no copy
        except LinAlgError:
            return None
        if self.qr is not None and (factor[0][diagonal] ** 2 < DIGITS * before).any():
            return None
        p[free] = cho_solve(factor, -(self.J.T @ r)[free])
        return p if np.isfinite(p).all() else None


class _OnNormal:
    """What the ways on JᵀJ share: its numbers, with the lines of fixed unknowns replaced by those of the identity."""

    least, repeats = TINY, False

    def __init__(self, normal: Normal):
        self.normal = normal

    def load(self, jacobian: Any) -> None:
        self.J = jacobian
        self.H = self.normal.numbers(jacobian.data)

    def step(self, r: np.ndarray, damping: np.ndarray, free: np.ndarray) -> np.ndarray | None:
        normal, data = self.normal, self.H.copy()
        gradient = self.J.T @ r
        if not free.all():
            data[~(free[normal.rows] & free[normal.indices])] = 0
            gradient = np.where(free, gradient, 0)
        data[normal.diagonal] += np.where(free, damping, 1)
        try:
            p = self._solve(data, -gradient)
        except (LinAlgError, RuntimeError):  # not positive definite, singular
            return None
        return p if np.isfinite(p).all() else None

    def _solve(self, data: np.ndarray, b: np.ndarray) -> np.ndarray:
        raise NotImplementedError


class Banded(_OnNormal):
    """Banded Cholesky of JᵀJ in the order given."""

    def __init__(self, normal: Normal, order: np.ndarray):
        super().__init__(normal)
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        row, column = place[normal.rows], place[normal.indices]
        self.order, self.upper = order, row <= column
        self.width = int((column - row).max(initial=0))
        self.at = (self.width + row - column)[self.upper], column[self.upper]

    def _solve(self, data: np.ndarray, b: np.ndarray) -> np.ndarray:
        band = np.zeros((self.width + 1, self.normal.n))
        band[self.at] = data[self.upper]
        p = np.empty(len(b))
        p[self.order] = solveh_banded(band, b[self.order], overwrite_ab=True, check_finite=False)
        return p


class Sparse(_OnNormal):
    """SuperLU of JᵀJ, symmetric mode, minimum degree order of the symmetric pattern."""

    def _solve(self, data: np.ndarray, b: np.ndarray) -> np.ndarray:
        matrix = csc_array(self.normal.matrix(data))  # a copy in order: SuperLU would sort in place
        options = {"SymmetricMode": True}
        return splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options).solve(b)


class Products:
    """LSMR on [J; √d] with products by J and Jᵀ, scaled by the damping: no matrix is formed."""

    least, repeats = TINY, False

    def __init__(self, tolerance: float = 1e-10, most: int = 500):
        self.tolerance, self.most = tolerance, most

    def load(self, jacobian: Any) -> None:
        self.J = jacobian

    def step(self, r: np.ndarray, damping: np.ndarray, free: np.ndarray) -> np.ndarray | None:
        m, n = self.J.shape
        scale = np.where(free, 1 / np.sqrt(np.maximum(damping, np.finfo(float).tiny)), 0)
        largest = scale.max(initial=0)
        if not largest:
            return np.zeros(n)
        column = scale / largest  # the damping's shape is the scaling of the unknowns

        def push(v: np.ndarray) -> np.ndarray:
            return self.J @ (column * v.ravel())

        def pull(u: np.ndarray) -> np.ndarray:
            return column * (self.J.T @ u.ravel())

        scaled = LinearOperator((m, n), matvec=push, rmatvec=pull, dtype=float)
        found = lsmr(scaled, -r, damp=1 / largest, atol=self.tolerance, btol=self.tolerance, maxiter=self.most)[0]
        return column * found if np.isfinite(found).all() else None
