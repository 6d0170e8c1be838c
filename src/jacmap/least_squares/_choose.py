"""Which way to solve for the step: candidates by the structure of J, their estimated costs, the cheapest chosen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import reverse_cuthill_mckee

from .._errors import ArgumentError
from ._arrow import arrow, components
from ._normal import LARGEST, Normal, products
from ._problem import Problem
from ._schur import Schur
from ._ways import Banded, Cholesky, Dense, Products, Sparse, Way

# The form of J that a way takes; "matrix" (CSR) for the others.
FORM = {"dense": "array", "cholesky": "array", "products": "operator"}
# Seconds per multiplication, by the kind of loop that does them (2 cores; only their ratios matter), and the seconds
# that a way takes however small the matrix is.
BLAS, BATCHED, SCATTERED = 1e-10, 1e-9, 5e-9
LARGE = 300  # unknowns from which the speed of JᵀJ counts for more than the digits of a QR
# Estimated seconds of a QR that may still stand in for a Cholesky factor without digits: where J stays singular every
# step takes it, and several in search of λ; beyond, one damped step after another is sooner done.
RESCUE = 0.5
SAMPLE, FULL = 32, 0.9  # rows of JᵀJ looked at, and the share of entries from which it counts as full
MEMORY = 2e9  # bytes that the factors may take where no bound is given


@dataclass(frozen=True)
class Candidate:
    """A way with what it is about; `seconds` and `bytes` estimated per step; `make` builds it."""

    name: str
    what: str
    seconds: float
    bytes: float
    make: Callable[[], Way]


@dataclass(frozen=True)
class StepPlan:
    """How the steps are solved for: what was considered, what was chosen and why; to print.

    `name` is one of "dense", "cholesky", "banded", "block-diagonal", "schur", "sparse", "products".
    """

    name: str
    what: str
    why: str
    candidates: tuple[Candidate, ...]
    jacobian: str

    @property
    def form(self) -> str:
        return FORM.get(self.name, "matrix")

    def __str__(self) -> str:
        lines = [f"steps by {self.name}: {self.what}", f"  why: {self.why}", f"  J: {self.jacobian}"]
        lines += [
            f"  {c.name:<15} {c.seconds:9.1e} s  {c.bytes / 2**20:10.3g} MiB  {c.what}"
            for c in sorted(self.candidates, key=lambda c: c.seconds)
        ]
        return "\n".join(lines)


def choose(problem: Problem, memory: float | None, wanted: str | None) -> tuple[StepPlan, Way]:
    """The cheapest candidate that fits, or the one wanted by name. Raises ArgumentError for a name that is none."""
    bound = MEMORY if memory is None else memory
    found = {c.name: c for c in _candidates(problem, wanted, bound)}
    if wanted is not None:
        if wanted not in found:
            raise ArgumentError(f"linear_solver: got {wanted!r}, expected one of {', '.join(map(repr, found))} here")
        best, why = found[wanted], "asked for"
    else:
        fitting = [c for c in found.values() if c.bytes <= bound and c.name != "products"]
        best = min(fitting, key=lambda c: c.seconds) if fitting else found.get("products", found["dense"])
        why = "the cheapest estimated" if len(fitting) > 1 else "the only one that fits"
    plan = StepPlan(best.name, best.what, why, tuple(found.values()), str(problem))
    return plan, best.make()


def _candidates(problem: Problem, wanted: str | None, bound: float) -> list[Candidate]:
    m, n = problem.shape
    by_qr, qr_bytes = 3e-5 + BLAS * 4 * (m + n) * n**2, 24.0 * (m + n) * n
    found = [Candidate("dense", f"QR of {m}×{n}", by_qr, qr_bytes, Dense)]
    if n > LARGE or wanted == "cholesky":
        seconds, size = 3e-5 + BLAS * (m + n / 3) * n**2, 16.0 * n**2 + 8 * m * n
        # With fewer residuals than unknowns JᵀJ is singular for sure: QR would be taken at every step.
        rescue = m >= n and by_qr <= RESCUE and size + qr_bytes <= bound
        text = f"Cholesky of the dense JᵀJ, {n}×{n}" + ", or QR where its digits are used up" * rescue
        found.append(Candidate("cholesky", text, seconds, size + qr_bytes * rescue, lambda: Cholesky(rescue)))
    by_entries = wanted not in (None, *FORM)
    small = problem.small and not by_entries
    if problem.flat is None or (small and wanted is None):
        return found
    if not small and products(problem.pattern) <= LARGEST:
        if by_entries or n <= LARGE or not _nearly_full(problem.pattern):
            found += _on_normal(problem, wanted)
    multiplications = 4.0 * (m * n if small else problem.pattern.nnz) + 4 * (m + n)
    found.append(
        Candidate("products", "LSMR, a JVP and a VJP each", 1e-3 + 1e-7 * multiplications, 80.0 * (m + n), Products)
    )
    return found


def _nearly_full(pattern: csr_array) -> bool:
    """Is JᵀJ, by some of its rows? To plan with it by its entries takes longer than many steps with the full one."""
    some = np.random.default_rng(0).choice(pattern.shape[1], SAMPLE, replace=False)
    return (pattern[:, some].T @ pattern).nnz > FULL * SAMPLE * pattern.shape[1]


def _on_normal(problem: Problem, wanted: str | None) -> list[Candidate]:
    """The ways on JᵀJ, by its pattern."""
    normal = Normal(problem.pattern)
    n, form = normal.n, 2e-4 + SCATTERED * (products(problem.pattern) + 2 * normal.nnz)
    per_column = normal.nnz / n
    found = [
        # Without the factor's pattern at hand: three times the products of JᵀJ's columns with themselves.
        Candidate(
            "sparse", f"SuperLU of JᵀJ ({normal.nnz} entries)",
            form + 5e-4 + 3 * SCATTERED * n * per_column**2 + 2e-7 * n, 400.0 * normal.nnz, lambda: Sparse(normal),
        )
    ]  # fmt: skip

    # In no order is the band narrower than half of the longest row.
    least = int(np.diff(normal.indptr).max(initial=0)) // 2
    for reorder in (False, True) if wanted == "banded" or BATCHED * n * least**2 < found[0].seconds else ():
        matrix = normal.matrix(np.ones(normal.nnz)) if reorder else None
        order = reverse_cuthill_mckee(matrix, symmetric_mode=True) if reorder else np.arange(n)
        place = np.empty(n, np.int64)
        place[order] = np.arange(n)
        width = int(np.abs(place[normal.rows] - place[normal.indices]).max(initial=0))
        if width < n / 4:
            seconds = form + 1e-4 + BATCHED * n * (width + 1) ** 2 + 1e-7 * n
            how = "reordered" if reorder else "in place"
            text = f"Cholesky of JᵀJ, {width} diagonals above the main one, {how}"
            found.append(
                Candidate("banded", text, seconds, 16.0 * n * (width + 1), lambda order=order: Banded(normal, order))  # type: ignore[misc]
            )
            break

    labels = components(normal)
    if labels.max() > 0:
        found.append(_blocks("block-diagonal", normal, labels, form))
    labels = arrow(normal)
    if (labels >= 0).any() and 0 < (labels < 0).sum() <= min(n / 2, 6000):
        found.append(_blocks("schur", normal, labels, form))
    return found


def _blocks(name: str, normal: Normal, labels: np.ndarray, form: float) -> Candidate:
    sizes = np.bincount(labels[labels >= 0]).astype(float)
    border = int((labels < 0).sum())
    across = (labels[normal.rows] >= 0) & (labels[normal.indices] < 0)
    # Each row of a block holds its width in the border at most; the first row stands for all.
    width = np.bincount(labels[normal.rows[across]], minlength=len(sizes)) / sizes
    work = BATCHED * (sizes**3 / 3 + sizes**2 * width).sum() + SCATTERED * (width**2).sum() + BLAS * border**3 / 3
    blocks = f"{len(sizes)} blocks of {int(sizes.min())}" + (
        f" to {int(sizes.max())}" * bool(sizes.max() > sizes.min())
    )
    text = f"{blocks} eliminated, {border}×{border} left" if border else f"{blocks}, Cholesky each"
    size = 8.0 * ((sizes**2).sum() + 3 * (width**2).sum() + border**2)
    return Candidate(name, text, form + (3e-4 if border else 1e-4) + work, size, lambda: Schur(normal, labels))
