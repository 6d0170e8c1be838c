"""(JᵀJ)⁻¹ and the rank of J: by singular values where J is small, else selected entries from the factors of JᵀJ."""

from __future__ import annotations

import warnings
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from scipy.linalg import cho_factor, cho_solve, svd
from scipy.sparse import coo_array, csr_array, issparse

from .._errors import ArgumentError, IllConditionedWarning, SingularError
from ._schur import Schur
from ._selected import Cholesky
from ._ways import Way

SMALL = 1e7  # m·n² up to which a sparse J is made dense: its singular values tell the rank without squaring
CHUNK = 2**26  # bytes of rows of the inverse at once
FEW, MOST = 4, 5e8  # directions looked for at first, and bytes that those of a very singular J may take
EPS = float(np.finfo(float).eps)


class Inverse(Protocol):
    """(JᵀJ)⁻¹ over the free unknowns, zero for those held; `block` and `diagonal` raise SingularError."""

    @property
    def rank(self) -> int:
        """Of J over the free unknowns."""

    def block(self, chosen: np.ndarray) -> np.ndarray:
        """(k, k) of the unknowns chosen."""

    def diagonal(self, chosen: np.ndarray) -> np.ndarray:
        """(k,) of the unknowns chosen."""


def inverse(jacobian: Any, free: np.ndarray, make: Any) -> Inverse:
    """For J (m, n) and the mask of free unknowns; `make()` builds the way that steps were taken by."""
    if not issparse(jacobian) and not isinstance(jacobian, np.ndarray):
        raise ArgumentError("covariance: J was never formed (steps by products); use linear_solver='sparse'")
    m, n = jacobian.shape
    if issparse(jacobian) and m * n**2 > SMALL:
        return Factored(csr_array(jacobian), free, make())
    return BySingularValues(jacobian.toarray() if issparse(jacobian) else jacobian, free)


class BySingularValues:
    """Singular values of J over the free unknowns, its columns scaled to length one."""

    def __init__(self, jacobian: np.ndarray, free: np.ndarray):
        self.free = np.flatnonzero(free)
        self.size = jacobian.shape[1]
        part = jacobian[:, self.free]
        self.norms = np.linalg.norm(part, axis=0)
        self.norms[self.norms == 0] = 1
        self.values, self.right = svd(part / self.norms, full_matrices=False)[1:]
        self.rank = int((self.values > max(part.shape) * EPS * self.values.max(initial=0)).sum())

    @cached_property
    def _half(self) -> np.ndarray:
        """(n, r) whose product with its transpose is (JᵀJ)⁻¹."""
        if self.rank < len(self.free):
            full = len(self.right) == len(self.free)
            refuse(self.rank, self.free, self.right[-1] if full else np.zeros(len(self.free)))
        half = np.zeros((self.size, len(self.values)))
        half[self.free] = self.right.T / self.values / self.norms[:, None]
        return half

    def block(self, chosen: np.ndarray) -> np.ndarray:
        return self._half[chosen] @ self._half[chosen].T

    def diagonal(self, chosen: np.ndarray) -> np.ndarray:
        return (self._half[chosen] ** 2).sum(1)


class Factored:
    """From factors of JᵀJ, the columns of J scaled to length one: Schur complement or SuperLU, as the steps were."""

    def __init__(self, jacobian: csr_array, free: np.ndarray, way: Way):
        self.way, self.free = way, free
        squares = np.bincount(jacobian.indices, weights=jacobian.data**2, minlength=len(free))
        self.scale = np.where(free, 1 / np.sqrt(np.where(squares > 0, squares, 1)), 0)
        data = jacobian.data * self.scale[jacobian.indices]
        self.J = csr_array((data, jacobian.indices, jacobian.indptr), shape=jacobian.shape)
        normal = way.normal  # type: ignore[attr-defined]
        self.H = normal.numbers(data)
        self.H[normal.diagonal] += ~free
        rows = np.bincount(normal.rows, weights=np.abs(self.H), minlength=len(free))
        self.largest = float(np.sqrt(rows.max()))  # at least J's largest singular value
        self.floor = max(jacobian.shape) * EPS * self.largest

    def _factor(self, shift: float) -> Schurs | Cholesky:
        """Of JᵀJ + shift; LinAlgError where it is not positive definite."""
        normal, data = self.way.normal, self.H.copy()  # type: ignore[attr-defined]
        data[normal.diagonal] += shift
        return Schurs(self.way, data) if isinstance(self.way, Schur) else Cholesky(normal.matrix(data))

    @cached_property
    def _exact(self) -> Schurs | Cholesky | None:
        try:
            return self._factor(0.0)
        except np.linalg.LinAlgError:
            return None

    @cached_property
    def _smallest(self) -> tuple[np.ndarray, np.ndarray]:
        """(values (k,), directions (n, k)): the smallest singular values of J, ascending, the last above the floor.

        By inverse iteration on random directions, with a shift where JᵀJ has no factors; ‖J v‖ itself is measured, so
        that the squared condition number does not blur it. Each value is an upper estimate.
        """
        n, count = len(self.free), int(self.free.sum())
        factors = self._exact or self._factor(4 * n * EPS * self.largest**2)
        k = min(FEW, count)
        while True:
            if k > FEW and 8.0 * n * k > MOST:
                raise ArgumentError(f"rank: J lacks more than {k // 4} of {count} ranks, too many to be counted")
            found = np.random.default_rng(0).standard_normal((n, k)) * self.free[:, None]
            for _ in range(4):
                found = np.linalg.qr(factors.solve(found) * self.free[:, None])[0]
            values, turn = svd(self.J @ found, full_matrices=False)[1:]
            if values[0] > self.floor or k == count:
                return values[::-1], found @ turn[::-1].T
            k = min(4 * k, count)

    @property
    def rank(self) -> int:
        """Singular values above the floor of `numpy.linalg.matrix_rank`."""
        return int(self.free.sum()) - int((self._smallest[0] <= self.floor).sum())

    @cached_property
    def _trusted(self) -> Schurs | Cholesky:
        """The factors, once J is known to have full rank and they to hold half of the digits (else a warning)."""
        values, directions = self._smallest
        where = np.flatnonzero(self.free)
        if values[0] <= self.floor:
            refuse(self.rank, where, np.linalg.norm(directions[where][:, values <= self.floor], axis=1))
        condition = self.largest / float(values[0])
        if self._exact is None or condition**2 * EPS > 0.1:
            names = _named(where, directions[where, 0])
            raise SingularError(
                f"covariance: J's condition number is about {condition:.1e}, too large for the factors of JᵀJ, which "
                f"square it; unknowns {names} take part; fix one or add data"
            )
        if condition**2 * EPS > np.sqrt(EPS):
            warnings.warn(
                f"covariance: J's condition number is about {condition:.1e}; by the factors of JᵀJ, which square it, "
                f"about {max(-np.log10(condition**2 * EPS), 0):.0f} digits hold",
                IllConditionedWarning, stacklevel=5,
            )  # fmt: skip
        return self._exact

    def block(self, chosen: np.ndarray) -> np.ndarray:
        scale = self.scale[chosen]
        return scale[:, None] * self._trusted.block(chosen) * scale

    def diagonal(self, chosen: np.ndarray) -> np.ndarray:
        if len(chosen) * 8 * len(self.free) > CHUNK:
            return (self.scale**2 * self._trusted.diagonal())[chosen]
        return np.diag(self.block(chosen)).copy()


class Schurs:
    """H⁻¹ = T S⁻¹ Tᵀ + V⁻¹: S the Schur complement of the border, V the eliminated blocks, T = [−V⁻¹ W; 1]."""

    def __init__(self, way: Schur, data: np.ndarray):
        n, size = way.normal.n, len(way.kept)
        H = way.normal.matrix(data)
        padded = np.append(data, 0.0)
        inverses = []
        for batch in way.batches:
            np.linalg.cholesky(padded[batch.inner])  # says whether the blocks are positive definite
            found, side = np.linalg.inv(padded[batch.inner]), batch.members.shape[1]
            row, column = np.repeat(batch.members, side, axis=1), np.tile(batch.members, side)
            inverses.append((found.ravel(), row.ravel(), column.ravel()))
        values, rows, columns = (np.concatenate(part) for part in zip(*inverses, strict=True))
        self.V = csr_array(coo_array((values, (rows, columns)), shape=(n, n)))
        border = csr_array((np.ones(size), (way.kept, np.arange(size))), shape=(n, size))
        self.T = csr_array(border - self.V @ (H @ border))
        self.S = None
        if size:
            self.S = cho_factor((border.T @ (H @ self.T)).toarray(), lower=True, overwrite_a=True)

    def solve(self, b: np.ndarray) -> np.ndarray:
        found = self.V @ b
        return found if self.S is None else found + self.T @ cho_solve(self.S, self.T.T @ b)

    def block(self, chosen: np.ndarray) -> np.ndarray:
        found = self.V[chosen][:, chosen].toarray()
        if self.S is None:
            return found
        T = self.T[chosen]
        return found + T @ cho_solve(self.S, T.T.toarray())

    def diagonal(self) -> np.ndarray:
        found = self.V.diagonal()
        if self.S is None:
            return found
        middle = cho_solve(self.S, np.eye(self.T.shape[1]))
        step = max(1, CHUNK // (8 * self.T.shape[1]))
        for k in range(0, len(found), step):
            part = self.T[k : k + step]
            found[k : k + step] += np.asarray(part.multiply(part @ middle).sum(axis=1)).ravel()
        return found


def refuse(rank: int, free: np.ndarray, weight: np.ndarray) -> None:
    """SingularError that names the unknowns that weigh most in the directions that J does not see."""
    raise SingularError(
        f"covariance: J has rank {rank} for {len(free)} unknowns, so x is not determined by the data; "
        f"unknowns {_named(free, weight)} take part; fix one or add data"
    )


def _named(free: np.ndarray, weight: np.ndarray) -> str:
    return ", ".join(map(str, free[np.argsort(-np.abs(weight))[:3]]))
