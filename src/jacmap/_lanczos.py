"""The largest singular values of a linear map that is given by its products: Lanczos iterations, no matrix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import linalg
from scipy.sparse import linalg as sparse_linalg

from ._errors import ConvergenceError

Triples = tuple[np.ndarray, np.ndarray, np.ndarray]  # U (m, k), s (k,) descending, Vh (k, n)

Attempt = tuple[float, int, int]  # tolerance (relative, of the squares of the values), vectors kept, restarts

EXACT: tuple[Attempt, ...] = ((0.0, 20, 400), (0.0, 60, 100))
ROUGH: tuple[Attempt, ...] = ((1e-3, 20, 1000),)
# Steps after which the value of the largest one is taken as it is.
STEPS = 2000
# A singular value is a missed one where it exceeds the smallest one found by more than this share.
MISSED = 1e-9


class Products:
    """An m×n linear map given by its products: J v and Jᴴ u, of (n, k) and (m, k) arrays."""

    def __init__(self, shape: tuple[int, int], dtype: Any, forward: Callable[..., Any], adjoint: Callable[..., Any]):
        self.shape, self.dtype, self.forward, self.adjoint = shape, np.dtype(dtype), forward, adjoint

    def without(self, u: np.ndarray, s: np.ndarray, vh: np.ndarray) -> Products:
        """The map less the triples given."""
        return Products(
            self.shape,
            self.dtype,
            lambda v: self.forward(v) - u @ (s[:, None] * (vh @ v)),
            lambda w: self.adjoint(w) - vh.conj().T @ (s[:, None] * (u.conj().T @ w)),
        )

    def operator(self) -> Any:
        """As SciPy's LinearOperator."""
        m, n = self.shape
        return sparse_linalg.LinearOperator(
            (m, n),
            matvec=lambda v: self.forward(v.reshape(n, 1))[:, 0],
            rmatvec=lambda u: self.adjoint(u.reshape(m, 1))[:, 0],
            matmat=self.forward,
            rmatmat=self.adjoint,
            dtype=self.dtype,
        )


def largest(products: Products, k: int, name: str, attempts: tuple[Attempt, ...] = EXACT) -> Triples:
    """The k largest singular triples (ARPACK's implicitly restarted Lanczos iteration on JᴴJ or JJᴴ).

    `attempts` are made one after the other until one converges.

    A Lanczos iteration may see a multiple singular value once only. So what is left of J without the triples found is
    looked at, too, and whatever is larger there than the smallest one found is taken in. That iteration begins at
    another vector: the first one's part in the space of a multiple value is the vector that was found.
    """
    u, s, vh = _triples(products, k, attempts, name)
    for seed in range(1, k + 1 if k > 1 else 1):
        rest = products.without(u, s, vh)
        if not _is_larger(rest, s[-1], seed, name):
            break
        u1, s1, vh1 = _triples(rest, 1, attempts, name, seed)
        if s1[0] <= s[-1] * (1 + MISSED):
            break
        # Together, made orthogonal once more: the singular values of J between the two spaces.
        left, right = np.linalg.qr(np.hstack([u, u1]))[0], np.linalg.qr(np.hstack([vh.conj().T, vh1.conj().T]))[0]
        small = np.linalg.svd(left.conj().T @ products.forward(right))
        u, s, vh = left @ small[0][:, :k], small[1][:k], (small[2] @ right.conj().T)[:k]
    return u, s, vh


def _is_larger(rest: Products, bound: float, seed: int, name: str) -> bool:
    """Has `rest` a singular value above the bound?"""
    try:
        return bool(_triples(rest, 1, ROUGH, name, seed)[1][0] > bound * (1 + MISSED) + np.finfo(float).tiny)
    except sparse_linalg.ArpackError:  # nothing is left: the iteration has no vector to start from
        return False


def norm(products: Products, steps: int = STEPS) -> float:
    """The largest singular value, by the bidiagonalisation of Golub and Kahan (1965) without reorthogonalisation.

    A value alone needs neither restarts nor stored vectors. It is exact to rounding, and to about six digits where very
    many others lie close below it, as those of a long chain do: the steps are limited.
    """
    close = 0.1 * float(np.finfo(products.dtype).eps) ** 0.5
    v = np.random.default_rng(0).standard_normal((products.shape[1], 1)).astype(products.dtype)
    v /= np.linalg.norm(v)
    u, beta, squares, sides, value = np.zeros((products.shape[0], 1), products.dtype), 0.0, [], [], 0.0
    for step in range(1, steps + 1):
        u = products.forward(v) - beta * u
        alpha = float(np.linalg.norm(u))
        u = u / alpha if alpha else u
        squares.append(alpha**2 + beta**2)
        v = products.adjoint(u) - alpha * v
        beta = float(np.linalg.norm(v))
        v = v / beta if beta else v
        sides.append(alpha * beta)
        if step % 20 == 0 or not sides[-1] or step == steps:
            values, vectors = linalg.eigh_tridiagonal(
                squares, sides[:-1], select="i", select_range=(step - 1, step - 1)
            )
            value = float(values[0])
            # The error of a Ritz value is quadratic in its residual.
            residual = sides[-1] * abs(float(vectors[-1, 0]))
            if residual <= close * value:
                break
    return value**0.5


def _triples(products: Products, k: int, attempts: tuple[Attempt, ...], name: str, seed: int = 0) -> Triples:
    least = min(products.shape)
    start = np.random.default_rng(seed).standard_normal(least).astype(products.dtype)
    for tolerance, room, restarts in attempts:
        room = min(max(2 * k + 1, room), least)
        try:
            u, s, vh = sparse_linalg.svds(
                products.operator(), k=k, ncv=room, tol=tolerance**0.5, v0=start, maxiter=restarts
            )
        except sparse_linalg.ArpackNoConvergence:
            continue
        order = np.argsort(-s)
        return u[:, order], s[order], vh[order]
    raise ConvergenceError(
        f"{name}: the Lanczos iteration for {k} singular values did not converge: many lie close together; ask for "
        "more or fewer of them, or for all (k=None) where J fits in memory"
    )
