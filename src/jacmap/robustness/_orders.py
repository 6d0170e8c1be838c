"""‖M‖_{p→q} = max ‖Mx‖_q over ‖x‖_p ≤ 1: of one matrix, and of all matrices between two.

Exact ones, after Tropp, *Topics in sparse approximation* (2004), section 4.3: p = 1 (the longest column), q = ∞ (the
longest row, in the dual norm), 2→2. ∞→1, ∞→2 and 2→1 are NP-hard (Steinberg 2005; Rohn 2000): exact by all signs of a
short side, else between a power method (Boyd, Linear Algebra Appl. 9, 1974) from below and a bound from above.
"""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._function import dual, steepest

Array = jax.Array
SIGNS = 12  # a side up to this long is settled by its 2^(side−1) vectors of signs
STARTS, STEPS = 8, 30
SQUARINGS = 14
COLLATZ_STEPS, COLLATZ_FLOOR = 20, 1e-3


def is_exact(shape: tuple[int, int], p: Any, q: Any) -> bool:
    """Can the norm of a matrix of this shape be had exactly?"""
    return p == 1 or q == np.inf or p == q == 2 or _signed(shape, p, q)[1] <= SIGNS


def matrix_norm(M: Array, p: Any, q: Any) -> tuple[Array, Array]:
    """(upper, lower) of ‖M‖_{p→q}, M (m, n); equal where `is_exact`."""
    if p == 1:
        return (value := jnp.max(norm_of_vector(M.T, q), initial=0.0)), value
    if q == np.inf:
        return (value := jnp.max(norm_of_vector(M, dual(p)), initial=0.0)), value
    if p == q == 2:
        return (value := jnp.linalg.norm(M, 2)), value
    m, n = M.shape
    transposed, side = _signed((m, n), p, q)
    A = M.T if transposed else M  # now ∞→q, with q = 1 or 2
    q = 1 if (p, q) == (np.inf, 1) else 2
    if side <= SIGNS:
        signs = jnp.asarray([(1, *rest) for rest in itertools.product((1, -1), repeat=side - 1)], M.dtype)
        return (value := jnp.max(norm_of_vector(signs @ A.T, q))), value
    spectral = jnp.linalg.norm(A, 2) * np.sqrt(A.shape[1])
    upper = jnp.minimum(norm_of_vector(jnp.sum(jnp.abs(A), axis=1), q),
                        spectral * (np.sqrt(A.shape[0]) if q == 1 else 1))  # fmt: skip
    return upper, _power(A, q)


def interval_norm(lo: Array, hi: Array, p: Any, q: Any) -> Array:
    """An upper bound of ‖M‖_{p→q} over all M with lo ≤ M ≤ hi entry by entry.

    For p = 1, q = ∞ it is attained by |M| = max(|lo|, |hi|) up to signs, so it is the exact maximum. For 2→2 the
    smaller of ‖mid‖₂ + ‖rad‖₂ and ‖|M|‖₂. Widened by (m+n)·eps, so that it remains a bound in floating point.
    """
    A = jnp.maximum(jnp.abs(lo), jnp.abs(hi))
    m, n = A.shape
    finite = jnp.all(jnp.isfinite(A))
    safe = jnp.where(jnp.isfinite(A), A, 0)
    if p == 1:
        value = jnp.max(norm_of_vector(safe.T, q), initial=0.0)
    elif q == np.inf:
        value = jnp.max(norm_of_vector(safe, dual(p)), initial=0.0)
    else:
        mid, rad = (jnp.where(jnp.isfinite(part), part, 0) for part in ((lo + hi) / 2, (hi - lo) / 2))
        value = jnp.minimum(_by_squaring(mid) + _of_nonnegative(rad), _of_nonnegative(safe))
        if (p, q) != (2, 2):
            transposed, _ = _signed((m, n), p, q)
            rows = jnp.sum(safe, axis=0 if transposed else 1)
            wide = np.sqrt((m if transposed else n) * (m if (p, q) == (np.inf, 1) else 1))
            value = jnp.minimum(norm_of_vector(rows, 1 if (p, q) == (np.inf, 1) else 2), value * wide)
    widened = value * (1 + 8 * (m + n) * jnp.finfo(A.dtype).eps)
    return jnp.where(finite, widened, jnp.inf)


def _by_squaring(M: Array) -> Array:
    """An upper bound of ‖M‖₂, without an SVD: ‖Gᵏ‖_F^(1/2k) of G = MMᵀ, k = 2^SQUARINGS (Delattre et al. 2023)."""
    G = M @ M.T if M.shape[0] <= M.shape[1] else M.T @ M
    logarithm = jnp.zeros((), M.dtype)
    for k in range(SQUARINGS + 1):
        size = jnp.sqrt(jnp.sum(G * G))
        logarithm = logarithm + jnp.log(jnp.where(size > 0, size, 1)) / 2 ** (k + 1)
        G = G / jnp.where(size > 0, size, 1)
        G = G @ G
    return jnp.where(jnp.any(M != 0), jnp.exp(logarithm), 0)


def _of_nonnegative(R: Array) -> Array:
    """An upper bound of ‖R‖₂ for R ≥ 0, close after a few steps: RᵀR v ≤ λ v for a v > 0 gives ‖R‖₂² ≤ λ (Collatz)."""

    def step(v: Array, _: None) -> tuple[Array, Array]:
        moved = R.T @ (R @ v)
        most = jnp.max(moved, initial=0.0)
        return moved / jnp.where(most > 0, most, 1) + COLLATZ_FLOOR, jnp.max(moved / v, initial=0.0)

    _, bounds = jax.lax.scan(step, jnp.ones(R.shape[1], R.dtype), None, length=COLLATZ_STEPS)
    return jnp.sqrt(jnp.min(bounds))


def norm_of_vector(v: Array, p: Any) -> Array:
    """‖v‖_p of (..., n), with zero for its gradient at zero."""
    if p == 2:
        squares = jnp.sum(v * v, axis=-1)
        return jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)
    return jnp.sum(jnp.abs(v), axis=-1) if p == 1 else jnp.max(jnp.abs(v), axis=-1, initial=0.0)


def _signed(shape: tuple[int, int], p: Any, q: Any) -> tuple[bool, int]:
    """(transpose?, length of the vector of signs) that makes ∞→1, ∞→2 or 2→1 a maximum over signs."""
    m, n = shape
    if (p, q) == (2, 1):  # ‖M‖_{2→1} = ‖Mᵀ‖_{∞→2}
        return True, m
    if (p, q) == (np.inf, 1):
        return m < n, min(m, n)
    return False, n


def _power(A: Array, q: int) -> Array:
    """A lower bound of ‖A‖_{∞→q}: s ← sign(Aᵀ v), v the dual vector of A s, from several starts; never falls."""
    starts = jax.random.rademacher(jax.random.key(0), (STARTS, A.shape[1]), A.dtype)

    def step(s: Array, _: None) -> tuple[Array, None]:
        v = steepest(s @ A.T, np.inf if q == 1 else 2)
        moved = jnp.sign(v @ A)
        return jnp.where(moved == 0, s, moved), None

    last, _ = jax.lax.scan(step, starts, None, length=STEPS)
    return jnp.max(norm_of_vector(last @ A.T, q))
