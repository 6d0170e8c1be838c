"""J = U diag(s) Vh on the host, in NumPy's conventions: of independent blocks, by LAPACK, or by Lanczos."""

from __future__ import annotations

import numpy as np

from .._lanczos import Products, Triples, largest
from .form import Group
from .matrix import Matrix


def of_dense(matrix: Matrix, k: int) -> Triples:
    """LAPACK's divide and conquer, cut to the k largest."""
    u, s, vh = np.linalg.svd(matrix.dense, full_matrices=False)
    return u[:, :k], s[:k], vh[:k]


def of_blocks(matrix: Matrix, k: int) -> Triples:
    """The singular triples of the blocks, the k largest together.

    Where the blocks have fewer than k in all, the rest is zero, with vectors that complete the two bases.
    """
    m, n = matrix.shape
    found = [(group, *_decomposed(matrix.blocks(group))) for group in matrix.form.groups]
    values = np.concatenate([np.zeros(0), *(s.ravel() for _, _, s, _ in found)])
    order = np.argsort(-values, kind="stable")[:k]
    place = np.full(values.size, -1)
    place[order] = np.arange(order.size)
    u, vh = np.zeros((m, k), matrix.data.dtype), np.zeros((k, n), matrix.data.dtype)
    start = 0
    for group, left, s, right in found:
        at = place[start : start + s.size].reshape(s.shape)
        block, which = np.nonzero(at >= 0)
        u[group.rows[block], at[block, which][:, None]] = left[block, :, which]
        vh[at[block, which][:, None], group.columns[block]] = right[block, which]
        start += s.size
    missing = k - order.size
    if missing:
        spare_left, spare_right = _spare(matrix, missing, 0), _spare(matrix, missing, 1)
        u[:, order.size :], vh[order.size :] = spare_left.T, spare_right.conj()
    return u, np.concatenate([values[order], np.zeros(missing)]), vh


def _decomposed(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if blocks.shape[1:] == (1, 1):
        sizes = np.abs(blocks)
        phase = np.divide(blocks, sizes, out=np.ones_like(blocks), where=sizes > 0)
        return phase, sizes[:, 0], np.ones_like(blocks)
    return np.linalg.svd(blocks, full_matrices=False)


def _spare(matrix: Matrix, count: int, side: int) -> np.ndarray:
    """`count` orthonormal vectors, as rows, that J (side 1) or Jᴴ (side 0) sends to zero by its blocks' shapes."""
    size = matrix.shape[side]
    used = np.zeros(size, bool)
    found: list[np.ndarray] = []
    for group in matrix.form.groups:
        lines = group.rows if side == 0 else group.columns
        used[lines] = True
        found += _spare_of(matrix, group, lines, count - len(found), side)
    for line in np.flatnonzero(~used)[: count - len(found)]:
        found.append(np.eye(1, size, line)[0])
    return np.array(found, matrix.data.dtype)


def _spare_of(matrix: Matrix, group: Group, lines: np.ndarray, count: int, side: int) -> list[np.ndarray]:
    _, p, q = group.shape
    each = p - q if side == 0 else q - p
    if each <= 0 or count <= 0:
        return []
    blocks = matrix.blocks(group)[: -(-count // each)]
    u, _, vh = np.linalg.svd(blocks, full_matrices=True)
    inside = u[:, :, q:].swapaxes(1, 2) if side == 0 else vh[:, p:].conj()
    found: list[np.ndarray] = []
    for at, vectors in zip(lines, inside, strict=False):
        for vector in vectors[: count - len(found)]:
            whole = np.zeros(matrix.shape[side], matrix.data.dtype)
            whole[at] = vector
            found.append(whole)
    return found


def of_sparse(matrix: Matrix, k: int, name: str) -> Triples:
    """Lanczos on the sparse matrix."""
    return _or_zero(matrix.products, matrix.largest > 0, k, name)


def of_products(products: Products, k: int, name: str) -> Triples:
    """Lanczos on J v and Jᴴ u."""
    return _or_zero(products, _is_nonzero(products), k, name)


def _is_nonzero(products: Products) -> bool:
    """Does J do anything to a random vector?"""
    probe = np.random.default_rng(1).standard_normal((products.shape[1], 1)).astype(products.dtype)
    return bool(np.abs(products.forward(probe)).max() > 0)


def _or_zero(products: Products, nonzero: bool, k: int, name: str) -> Triples:
    m, n = products.shape
    if not nonzero:  # a Lanczos iteration has nothing to start from
        return np.eye(m, k, dtype=products.dtype), np.zeros(k), np.eye(k, n, dtype=products.dtype)
    return largest(products, k, name)


def values(matrix: Matrix, route: str) -> np.ndarray:
    """All singular values, descending, zeros of empty rows or columns included."""
    if route != "SVD of the blocks":
        return np.linalg.svd(matrix.dense, compute_uv=False)
    found = [_values(matrix.blocks(group)).ravel() for group in matrix.form.groups]
    inside = np.concatenate([np.zeros(0), *found])
    return np.concatenate([np.sort(inside)[::-1], np.zeros(min(matrix.shape) - inside.size)])


def _values(blocks: np.ndarray) -> np.ndarray:
    return np.abs(blocks) if blocks.shape[1:] == (1, 1) else np.linalg.svd(blocks, compute_uv=False)
