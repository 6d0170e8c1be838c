"""One Jacobian at one point, questioned by linear algebra: question → plan → the way it names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any

import jax.numpy as jnp
import numpy as np

from .._errors import ArgumentError
from . import condition, iterative, lstsq, norms, structural, svd, traced
from .matrix import Matrix
from .plan import LinearPlan, decide
from .report import LocalInvertibility
from .solve import Solver
from .subject import Subject
from .ways import WAYS

QUESTIONS = tuple(WAYS)
ORDERS = (1, 2, np.inf, "fro", "nuc")

# User's line → Jacobian's method → Linear's method: where a warning that is raised in the latter belongs.
_STACK = 3


class Linear:
    """The linear algebra of J at a point. Factors and numbers are kept; plans are shared by all points."""

    def __init__(self, subject: Subject):
        self.subject = subject
        self.form = subject.form
        self.name = subject.name

    # -- plans ---------------------------------------------------------------------------------------------
    def plan(self, question: str, symbolic: bool | None = None, **options: Any) -> LinearPlan:
        """How a question is answered; `options` are those of its method (k, ord)."""
        symbolic = self.subject.symbolic() if symbolic is None else symbolic
        for name in options.keys() - {"svd": {"k"}, "norm": {"ord"}}.get(question, set()):
            raise ArgumentError(f"{name}: got an option that {question!r} does not have; leave it out")
        if question == "solve":
            structural.refuse_rectangular(self.name, self.subject.shape, "solve")
        if question == "svd":
            options["k"] = self._count(options.get("k"))
        if question == "norm":
            options["ord"] = self._order(options.get("ord", 2))
        key = (question, symbolic, tuple(options.items()))
        if key not in self.form.plans:
            self.form.plans[key] = self._decide(question, symbolic, options)
        return self.form.plans[key]

    def _decide(self, question: str, symbolic: bool, options: dict[str, Any]) -> LinearPlan:
        notes = []
        if why := structural.deficiency(self.form):
            notes.append(f"singular at every point: {why}")
        if symbolic:
            notes.append("inside a transformation of JAX: nothing is raised for a J that turns out singular")
        plan = decide(
            question,
            ", ".join(f"{key}={value!r}" for key, value in options.items() if value is not None),
            self.subject.shape,
            str(self.form.structure),
            WAYS[question](self.form, symbolic, **options),
            self.subject.memory,
            notes=tuple(notes),
            advice="ask for a few singular values, as J.svd(k=5), or " if question in ("svd", "norm") else "",
        )
        matrix_free = any(word in plan.chosen for word in ("GMRES", "products", "columns at a time"))
        return plan if matrix_free else replace(plan, entries=self.subject.entries)

    # -- answers -------------------------------------------------------------------------------------------
    def solve(self, b: Any, transposed: bool = False) -> Any:
        """x of J x = b, or of Jᵀ x = b."""
        symbolic = self.subject.symbolic(b)
        plan = self.plan("solve", symbolic)
        right, single = self._right_side(b, symbolic)
        structural.refuse_singular(self.name, self.form)
        if plan.chosen == "matrix-free GMRES":
            if symbolic:
                x = iterative.solve_columns(self.subject, self.subject.leaves, right, transposed, throw=True)
            else:
                x = iterative.solve(self.subject, jnp.asarray(right), transposed, _STACK)
        elif symbolic:
            x = traced.SOLVERS[plan.chosen](self.form, self._data, right, transposed)
        else:
            x = self._solver.solve(right, transposed, _STACK)
        return self._out(x[:, 0] if single else x)

    def lstsq(self, b: Any) -> Any:
        """x of least norm among those that minimise ‖J x − b‖."""
        symbolic = self.subject.symbolic(b)
        plan = self.plan("lstsq", symbolic)
        right, single = self._right_side(b, symbolic)
        cutoff = self.subject.eps * max(self.subject.shape)
        if symbolic:
            x = traced.lstsq(self.form, self._data, right, cutoff)
            return self._out(x[:, 0] if single else x)
        ways: dict[str, Callable[[], lstsq.Found]] = {
            "SVD of the blocks": lambda: lstsq.of_blocks(self.matrix, right, cutoff),
            "dense SVD (LAPACK)": lambda: lstsq.of_dense(self.matrix, right, cutoff),
            "sparse factors": lambda: lstsq.of_sparse(self.matrix, right, lambda: self._solver, self.name),
            "LSMR on the sparse matrix": lambda: lstsq.by_lsmr(self.matrix.products, right, self.name),
            "LSMR on products": lambda: lstsq.by_lsmr(norms.products_of(self.subject), right, self.name),
        }
        x, seen = ways[plan.chosen]()
        condition.warn(self.name, seen, self.subject.eps, _STACK)
        return self._out(x[:, 0] if single else x)

    def svd(self, k: int | None = None) -> tuple[Any, Any, Any]:
        """(U, s, Vh): the k largest singular triples, or all min(m, n)."""
        symbolic = self.subject.symbolic()
        plan = self.plan("svd", symbolic, k=k)
        count = min(self.subject.shape) if k is None else int(k)
        ways: dict[str, Callable[[], Any]] = {
            "dense SVD in JAX": lambda: traced.svd(self.form, self._data, count),
            "SVD of the blocks": lambda: svd.of_blocks(self.matrix, count),
            "dense SVD (LAPACK)": lambda: svd.of_dense(self.matrix, count),
            "Lanczos on the sparse matrix": lambda: svd.of_sparse(self.matrix, count, self.name),
            "Lanczos on products": lambda: svd.of_products(norms.products_of(self.subject), count, self.name),
        }
        u, s, vh = ways[plan.chosen]()
        return self._out(u), self._out(s, real=True), self._out(vh)

    def norm(self, ord: Any = 2) -> Any:
        """A norm of J."""
        symbolic = self.subject.symbolic()
        plan = self.plan("norm", symbolic, ord=ord)
        if symbolic:
            return traced.norm(self.form, self._data, self._order(ord))
        return self._out(norms.norm(self.subject, plan, lambda: self.matrix, self._order(ord)), real=True)

    def rank(self) -> Any:
        """The numerical rank, with NumPy's tolerance."""
        symbolic = self.subject.symbolic()
        plan = self.plan("rank", symbolic)
        if symbolic:
            return traced.rank(self.form, self._data, self.subject.eps * max(self.subject.shape))
        return norms.rank(self.name, plan, self.matrix, self._route, self.subject.eps)

    def cond(self) -> Any:
        """s_max / s_min."""
        symbolic = self.subject.symbolic()
        plan = self.plan("cond", symbolic)
        if symbolic:
            found = traced.values(self.form, self._data)
            return found[0] / found[-1]
        extremes = norms.extremes(self.name, plan, self.matrix, self._route, self.subject.eps)
        return self._out(norms.ratio(*extremes), real=True)

    def locally_invertible(self) -> LocalInvertibility:
        """The evidence for or against a local inverse of f."""
        if self.subject.symbolic():
            raise ArgumentError(
                f"{self.name}: locally_invertible() needs a concrete point, got one traced by a transformation of JAX"
            )
        plan, eps = self.plan("cond", False), self.subject.eps
        largest, smallest = norms.extremes(self.name, plan, self.matrix, self._route, eps)
        rank = min(self.subject.shape)
        if not smallest > eps * max(self.subject.shape) * largest or norms.structurally_deficient(self.form):
            rank = norms.rank(self.name, self.plan("rank", False), self.matrix, self._route, eps)
        return LocalInvertibility(
            name=self.name,
            shape=self.subject.shape,
            rank=rank,
            structural_rank=self.form.structural_rank,
            smallest=smallest,
            largest=largest,
            cond=norms.ratio(largest, smallest),
            radius=np.inf if self.form.affine and rank == self.subject.shape[0] == self.subject.shape[1] else None,
            way=plan.chosen,
            why_not=structural.deficiency(self.form),
        )

    # -- numbers -------------------------------------------------------------------------------------------
    @cached_property
    def matrix(self) -> Matrix:
        """J's numbers on the host. ArgumentError where they are not finite."""
        data = np.asarray(self.subject.numbers())
        data = data if data.dtype.kind == "c" else data.astype(np.float64)
        finite = np.isfinite(data)
        if not finite.all():
            first = np.argwhere(~finite)[0]
            if not self.form.full:
                first = [self.form.rows[first[0]], self.form.columns[first[0]]]
            raise ArgumentError(
                f"{self.name}: the Jacobian is not finite at this point ({int((~finite).sum())} NaN or infinite, the "
                f"first at row {first[0]}, column {first[1]}); move the point to where f is differentiable"
            )
        return Matrix(self.form, data)

    @property
    def _data(self) -> Any:
        return self.subject.numbers().astype(self._working)

    @property
    def _working(self) -> Any:
        """J's dtype, or float32 for the half formats: LAPACK has no others."""
        return self.subject.dtype if np.dtype(self.subject.dtype).itemsize >= 4 else np.dtype(np.float32)

    @cached_property
    def _solver(self) -> Solver:
        return Solver(self.name, self.matrix, self._route, self.subject.eps)

    @property
    def _route(self) -> str:
        square = self.subject.shape[0] == self.subject.shape[1]
        return self.plan("solve", False).chosen if square else ""

    # -- arguments and answers -----------------------------------------------------------------------------
    def _right_side(self, b: Any, symbolic: bool) -> tuple[Any, bool]:
        """b as (m, k) in J's precision (double on the host), and was it a vector?"""
        m = self.subject.shape[0]
        try:
            b = self.subject.arrays.asarray(b)
        except (TypeError, ValueError) as error:
            raise ArgumentError(f"b: got {type(b).__name__}, expected an array of shape ({m},) or ({m}, k)") from error
        if b.ndim not in (1, 2) or b.shape[0] != m:
            raise ArgumentError(f"b: got shape {b.shape}, expected ({m},) or ({m}, k), one entry per output")
        complex_numbers = jnp.issubdtype(b.dtype, jnp.complexfloating)
        if complex_numbers and not jnp.issubdtype(self.subject.dtype, jnp.complexfloating):
            raise ArgumentError(
                "b: got complex numbers for a real Jacobian, expected real ones; solve for the parts one by one"
            )
        if not symbolic:
            b = np.asarray(b)
            b = b if complex_numbers else b.astype(np.float64)
            if not np.isfinite(b).all():
                raise ArgumentError(
                    f"b: got NaN or infinity, first at {tuple(np.argwhere(~np.isfinite(b))[0].tolist())}"
                )
        else:
            b = b.astype(self._working)
        return (b[:, None], True) if b.ndim == 1 else (b, False)

    def _out(self, answer: Any, real: bool = False) -> Any:
        dtype = np.dtype(self.subject.dtype)
        return self.subject.arrays.asarray(answer).astype(np.zeros(0, dtype).real.dtype if real else dtype)

    def _count(self, k: Any) -> int | None:
        least = min(self.subject.shape)
        if k is None:
            return None
        if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or not 1 <= k <= least:
            raise ArgumentError(
                f"k: got {k!r}, expected None for all or a count from 1 to {least}, the smaller side of J"
            )
        return int(k)

    @staticmethod
    def _order(ord: Any) -> Any:
        found = next((order for order in ORDERS if type(ord) is not bool and ord == order), None)
        if found is None:
            raise ArgumentError(f'ord: got {ord!r}, expected 1, 2, inf, "fro" or "nuc"')
        return found
