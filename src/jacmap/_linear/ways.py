"""The tables of ways: for every question of linear algebra, what can answer it, at what cost, and where it cannot.

Work is counted in operations on single entries, about a nanosecond each. A dense LU does about twenty of those in the
same time, a dense SVD or LAPACK batched over small blocks about five, and starting on a block costs as much as five
hundred. What starting costs altogether keeps small matrices with the way that their structure names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .form import Form
from .plan import Candidate

DENSE = 1 / 20
BATCHED = 1 / 5
BLOCK = 500.0
START, SPARSE_START, ITERATION_START = 2e4, 6e4, 3e5
# Sparse factors: bytes and work by the number of entries, as for a grid in two dimensions.
FILL = 30.0
ELIMINATION = 4.0
# Products that a Lanczos iteration takes for the first few singular values.
PRODUCTS = 500.0
UNKNOWN = np.inf

Ways = Iterator[Candidate]


def solve(form: Form, traced: bool) -> Ways:
    """J x = b for a square J."""
    n, size = form.shape[0], form.itemsize
    yield Candidate("division by the diagonal", 2.0 * n, size * n, why_not=_unless(form.diagonal, "J is not diagonal"))
    yield Candidate(
        "triangular substitution",
        n * n * DENSE + n if traced or _filled(form) else 8.0 * form.nnz,
        size * (n * n if traced or _filled(form) else 2 * form.nnz),
        note=f"{form.triangle}{_permuted(form)}",
        why_not=_unless(form.triangle and not form.diagonal, "J is not a triangle"),
    )
    yield from _band(form, traced)
    yield Candidate(
        "LU of the blocks",
        sum(g.shape[0] * (BLOCK + g.shape[1] ** 3 * BATCHED) for g in form.groups),
        2 * size * form.block_area,
        note=_blocks(form),
        why_not=_unless(_count(form) > 1, "J is one block") or _unless(_square(form), "a block is not square"),
    )
    if traced:
        yield Candidate(
            "sparse LU on the host",
            _elimination(form) + ITERATION_START,
            FILL * size * form.nnz,
            note="called back from compiled code",
            why_not=_sparse(form),
        )
    else:
        yield Candidate("sparse LU", _elimination(form), FILL * size * form.nnz, why_not=_sparse(form))
    yield Candidate("dense LU", START + n**3 * DENSE, 2.0 * size * n * n)
    yield Candidate(
        "matrix-free GMRES", UNKNOWN, 60.0 * size * n, "one JVP per iteration (lineax)", why_not=_mode(form, "forward")
    )


def _band(form: Form, traced: bool) -> Ways:
    n = form.shape[0]
    lower, upper = form.band[:2]
    if traced:
        yield Candidate(
            "tridiagonal LU",
            20.0 * n,
            4.0 * form.itemsize * n,
            why_not=_unless(lower <= 1 and upper <= 1 and n > 2, "J is not tridiagonal"),
        )
        return
    named = form.structure.kind in ("banded", "diagonals")
    yield Candidate(
        "banded LU",
        START * (not named) + n * (10.0 + 2 * (lower + 1) * (lower + upper + 1) * BATCHED),
        form.itemsize * n * (2.0 * lower + upper + 1),
        note=f"lower {lower}, upper {upper}{_permuted(form) if form.band_permuted else ''}",
        why_not=_unless(2 * (lower + upper) < n and not form.full, "J has no narrow band"),
    )


def lstsq(form: Form, traced: bool) -> Ways:
    """min ‖J x − b‖, of least norm."""
    m, n = form.shape
    if traced:
        yield _dense_svd(form, "pseudo-inverse in JAX", 30.0)
        return
    yield _block_svd(form, 20.0)
    yield _dense_svd(form, "dense SVD (LAPACK)", 20.0)
    yield Candidate(
        "sparse factors",
        ITERATION_START + 10 * _elimination(form) * _gram_growth(form) ** 1.5,
        FILL * form.itemsize * form.nnz * _gram_growth(form),
        note=("of J" if m == n else "of JᵀJ" if m > n else "of JJᵀ") + "; LSMR where the rank may be deficient",
        why_not=_sparse(form) or _unless(_gram_growth(form) < 100, "JᵀJ would be nearly full"),
    )
    work = 20.0 * min(m, n) * (4.0 * form.nnz + 10.0 * (m + n))
    yield Candidate(
        "LSMR on the sparse matrix", ITERATION_START + work, 20.0 * form.itemsize * form.nnz, why_not=_sparse(form)
    )
    yield Candidate(
        "LSMR on products",
        UNKNOWN,
        20.0 * form.itemsize * (m + n),
        note="one JVP and one VJP per iteration",
        why_not=_mode(form, "forward") or _mode(form, "reverse"),
    )


def svd(form: Form, traced: bool, k: int | None, vectors: bool = True) -> Ways:
    """Singular values, with their vectors or without: all, or the k largest."""
    m, n = form.shape
    least = min(m, n)
    wanted = least if k is None else k
    answer = 2.0 * form.itemsize * (m + n) * wanted * vectors
    price = 20.0 if vectors else 4.0
    if traced:
        yield _dense_svd(form, "dense SVD in JAX", price)
        return
    yield _block_svd(form, price, answer)
    yield _dense_svd(form, "dense SVD (LAPACK)", price)
    few = _unless(k is not None and 4 * k < least and least > 20, "too many singular values are wanted")
    products = PRODUCTS * (1 + wanted / 5)
    yield Candidate(
        "Lanczos on the sparse matrix",
        ITERATION_START + products * (4.0 * form.nnz + 40.0 * (m + n)),
        20.0 * form.itemsize * form.nnz + answer,
        note=f"the {wanted} largest, no dense matrix",
        why_not=few or _sparse(form),
    )
    yield Candidate(
        "Lanczos on products",
        UNKNOWN,
        30.0 * form.itemsize * (m + n) + answer,
        note=f"the {wanted} largest, one JVP and one VJP per step",
        why_not=few or _mode(form, "forward") or _mode(form, "reverse"),
    )


def norm(form: Form, traced: bool, ord: Any) -> Ways:
    """A norm of J."""
    if ord == 2:
        yield from svd(form, traced, 1, vectors=False)
    elif ord == "nuc":
        yield from svd(form, traced, None, vectors=False)
    else:
        yield Candidate("sums over the entries", 2.0 * form.nnz, 2.0 * form.itemsize * form.nnz)
        chunked = _unless(not traced, "inside a transformation")
        yield Candidate("sums over a few columns at a time", UNKNOWN, 0.0, why_not=chunked or _mode(form, "forward"))


def small(form: Form, traced: bool) -> Ways:
    """The smallest singular values, for rank and condition."""
    if traced:
        yield _dense_svd(form, "dense SVD in JAX", 4.0)
        return
    yield _block_svd(form, 4.0)
    yield _dense_svd(form, "dense SVD (LAPACK)", 4.0)
    yield Candidate(
        "Lanczos on J and its inverse",
        PRODUCTS * (4.0 * form.nnz + 40.0 * sum(form.shape)) + 10 * _elimination(form) * _gram_growth(form),
        FILL * form.itemsize * form.nnz * _gram_growth(form),
        note="products with the inverse by sparse factors; converged, not exact",
        why_not=_sparse(form)
        or _unless(min(form.shape) > 20, "J is small")
        or _unless(_gram_growth(form) < 100, "JᵀJ would be nearly full"),
    )


WAYS: dict[str, Callable[..., Ways]] = {
    "solve": solve,
    "lstsq": lstsq,
    "svd": svd,
    "norm": norm,
    "rank": small,
    "cond": small,
}


# --- rows that several questions share ------------------------------------------------------------------------


def _block_svd(form: Form, price: float, answer: float = 0.0) -> Candidate:
    m, n = form.shape
    work = sum(g.shape[0] * (BLOCK + price * _cubes(*g.shape[1:]) * BATCHED) for g in form.groups)
    diagonal = "the entries, one to a row and column" if _ones(form) else _blocks(form)
    return Candidate(
        "SVD of the blocks",
        5.0 * form.nnz if _ones(form) else work,
        4 * form.itemsize * form.block_area + answer,
        note=diagonal,
        why_not=_unless(not form.full, "J is one block") or _unless(2 * form.block_area <= m * n, "J is one block"),
    )


def _dense_svd(form: Form, name: str, price: float) -> Candidate:
    m, n = form.shape
    return Candidate(name, START + price * _cubes(m, n) * BATCHED, 4.0 * form.itemsize * m * n)


def _cubes(m: int, n: int) -> float:
    return float(m) * n * min(m, n)


def _elimination(form: Form) -> float:
    return SPARSE_START + ELIMINATION * float(form.nnz) ** 1.5


def _gram_growth(form: Form) -> float:
    """How many times the entries of J its normal equations have at most: Σ (entries of a row)² for JᵀJ."""
    if form.full or not form.nnz:
        return 1.0
    m, n = form.shape
    lines = np.diff(form.csr.indptr) if m >= n else np.bincount(form.columns)
    return float((lines.astype(float) ** 2).sum() / form.nnz)


def _filled(form: Form) -> bool:
    return form.nnz > 0.1 * form.shape[0] * form.shape[1]


def _ones(form: Form) -> bool:
    return bool(form.groups) and all(group.shape[1:] == (1, 1) for group in form.groups)


def _count(form: Form) -> int:
    return sum(group.shape[0] for group in form.groups)


def _square(form: Form) -> bool:
    return all(group.shape[1] == group.shape[2] for group in form.groups)


def _blocks(form: Form) -> str:
    sizes = [group.shape[1:] for group in form.groups]
    if not sizes:
        return ""
    p, q = (max(size[k] for size in sizes) for k in (0, 1))
    return f"{_count(form)} of {'' if len(sizes) == 1 else 'up to '}{p}×{q}"


def _permuted(form: Form) -> str:
    return " after permutation" if form.structure.permuted else ""


def _sparse(form: Form) -> str:
    return "every entry may be nonzero" if form.full else ""


def _mode(form: Form, mode: str) -> str:
    possible = form.forward if mode == "forward" else form.reverse
    return "" if possible else f"f has no products in {mode} mode"


def _unless(condition: Any, reason: str) -> str:
    return "" if condition else reason
