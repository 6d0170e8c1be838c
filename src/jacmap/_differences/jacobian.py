"""The Jacobian of a black box at a point, as an object with the face of `jacmap.Jacobian`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from .._arguments import checked_index
from .._errors import ArgumentError
from .._linear import QUESTIONS, Form, Inverse, Linear, LinearPlan, LocalInvertibility, Subject
from .._memory import parse_memory
from ..engine.graph import Pattern
from ..engine.graph.picture import braille, grid
from ..engine.graph.structure import Structure
from .answer import Answer
from .flat import Flat, name_of
from .options import Differences
from .plan import DifferencesPlan
from .transform import SHAPES, BlackBox

PRINTED = 8  # rows and columns of a matrix that is printed in numbers


class DifferencesJacobian:
    """J = ∂f/∂x of a black box at a point, m×n, measured when first asked for. `error` tells how good each entry is.

    Everything that `jacmap.Jacobian` answers, this does, in NumPy; a product costs no more than the matrix, for there
    is no pass that gives one. `at` another point shares a pattern that was probed.
    """

    def __init__(
        self,
        f: Callable[..., Any],
        args: tuple[Any, ...],
        argnums: int | Sequence[int] = 0,
        memory: str | float | None = None,
        options: Differences | None = None,
        patterns: dict[Any, csr_array | None] | None = None,
    ):
        self.f, self.args, self.argnums, self.memory, self.options = f, args, argnums, memory, options
        self.name = name_of(f)
        self._patterns: dict[Any, csr_array | None] = {} if patterns is None else patterns
        self._box = BlackBox(f, "dense", argnums, False, options, self._patterns)
        Flat(f, args, {}, self._box.argnums, False)  # what is wrong with the arguments is told at once

    # -- what it is ----------------------------------------------------------------------------------------
    @cached_property
    def _answer(self) -> Answer:
        return self._box.measured(self.args, {})

    @property
    def value(self) -> Any:
        """f(x)."""
        return self._answer.value

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n): the numbers of outputs and of differentiated inputs."""
        return self._answer.shape

    @property
    def pattern(self) -> Pattern:
        """Which entries were measured: given, probed, or all."""
        return self._answer.pattern

    @property
    def structure(self) -> Structure:
        """The name of the pattern."""
        return self._form.structure

    @property
    def rank_bound(self) -> int:
        """rank J is at most this; nothing is known of a black box but its shape."""
        return min(self.shape)

    @property
    def chain(self) -> tuple[DifferencesJacobian, ...]:
        """The factors of J: a black box cannot be cut, so J itself."""
        return (self,)

    @property
    def error(self) -> np.ndarray:
        """(m, n): the estimated absolute error of each entry; infinite where nothing is known."""
        return self._answer.error

    @property
    def calls(self) -> dict[str, int]:
        """How often f was called, by what for."""
        return self._answer.calls

    # -- answers -------------------------------------------------------------------------------------------
    def _ask(self, question: str) -> Any:
        return SHAPES[question](self._box, self._answer)

    def dense(self) -> np.ndarray:
        """J as an array (m, n)."""
        return self._answer.dense.astype(self._answer.layout.dtype)

    def sparse(self) -> csr_array:
        """J as a SciPy CSR array (m, n)."""
        return self._answer.csr

    def tree(self) -> Any:
        """J as a pytree of blocks ``out.shape + in.shape``, laid out as `jax.jacobian` does."""
        return self._ask("dense")

    def row(self, i: int) -> np.ndarray:
        """Row i, (n,): the gradient of output i (flattened)."""
        i = checked_index(i, self.shape[0], "i", "outputs")
        return self._answer.csr[[i], :].toarray()[0]

    def column(self, j: int) -> np.ndarray:
        """Column j, (m,): everything that input j (flattened) does; alone where J was not measured yet."""
        flat = Flat(self.f, self.args, {}, self._box.argnums, False)
        j = checked_index(j, flat.x.size, "j", "inputs")
        answer = self.__dict__.get("_answer") or self._box.measured(self.args, {}, columns=[j])
        return answer.csr[:, [j]].toarray()[:, 0]

    def entries(self, rows: Sequence[int], columns: Sequence[int]) -> np.ndarray:
        """The entries J[rows[k], columns[k]], (k,)."""
        if len(rows) != len(columns):
            raise ArgumentError(f"rows, columns: got {len(rows)} and {len(columns)} indices, expected as many of each")
        at = [checked_index(i, self.shape[0], "rows", "outputs") for i in rows]
        to = [checked_index(j, self.shape[1], "columns", "inputs") for j in columns]
        return self.dense()[at, to]

    def diagonal(self) -> np.ndarray:
        """The diagonal, (min(m, n),)."""
        return self._ask("diagonal")

    def trace(self) -> Any:
        """The sum of the diagonal."""
        return self._ask("trace")

    def slogdet(self) -> Any:
        """(sign, log|det J|) of a square J; ArgumentError when it is not square."""
        return self._ask("slogdet")

    def det(self) -> Any:
        """The determinant of a square J."""
        sign, log = self.slogdet()
        return sign * np.exp(log)

    def at(self, *args: Any) -> DifferencesJacobian:
        """The same function at another point."""
        return DifferencesJacobian(self.f, args, self.argnums, self.memory, self.options, self._patterns)

    # -- products ------------------------------------------------------------------------------------------
    def __matmul__(self, v: Any) -> np.ndarray:
        """J v (n,) → (m,), or J V (n, k) → (m, k)."""
        return self._answer.csr @ self._operand(v, self.shape[1], "v")

    @property
    def T(self) -> Transposed:
        """Jᵀ."""
        return Transposed(self)

    @staticmethod
    def _operand(v: Any, size: int, name: str) -> np.ndarray:
        try:
            found = np.asarray(v, complex if np.iscomplexobj(v) else float)
        except (TypeError, ValueError) as error:
            raise ArgumentError(f"{name}: got {type(v).__name__}, expected an array of shape ({size},)") from error
        if found.ndim not in (1, 2) or found.shape[0] != size:
            raise ArgumentError(f"{name}: got shape {found.shape}, expected ({size},) or ({size}, k)")
        return found

    # -- linear algebra ------------------------------------------------------------------------------------
    def solve(self, b: Any) -> np.ndarray:
        """x of J x = b for a square J: b (n,) → (n,), or (n, k) → (n, k); errors and warnings as `Jacobian.solve`."""
        return self._linear.solve(b)

    def lstsq(self, b: Any) -> np.ndarray:
        """x of least norm among those that minimise ‖J x − b‖; singular values below J's own error count as zero."""
        return self._linear.lstsq(b)

    def svd(self, k: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(U, s, Vh) with J = U diag(s) Vh, all or the k largest."""
        return self._linear.svd(k)

    def norm(self, ord: Any = 2) -> Any:
        """The norm of order 1, 2, inf, "fro" or "nuc"."""
        return self._linear.norm(ord)

    def rank(self) -> Any:
        """The number of singular values that stand out of J's own error."""
        return self._linear.rank()

    def cond(self) -> Any:
        """s_max / s_min; it says no more than that it is large where it exceeds the digits of J."""
        return self._linear.cond()

    def inverse(self) -> Inverse:
        """J⁻¹ as an operator (n, n), with factors made once."""
        self._linear.plan("solve")
        return Inverse(self._linear)

    def locally_invertible(self) -> LocalInvertibility:
        """Can f be undone near this point? True or false, with the evidence to print."""
        return self._linear.locally_invertible()

    @cached_property
    def _form(self) -> Form:
        return Form(self.pattern, min(self.shape))

    @cached_property
    def _linear(self) -> Linear:
        answer, form = self._answer, self._form
        return Linear(
            Subject(
                name=self.name,
                shape=self.shape,
                dtype=answer.layout.dtype,
                memory=parse_memory(self.memory),
                form=form,
                leaves=None,
                numbers=lambda: answer.dense if form.full else answer.values,
                push=lambda leaves, v: answer.csr @ np.asarray(v),
                pull=lambda leaves, u: answer.csr.T @ np.asarray(u),
                symbolic=lambda *arrays: False,
                entries=lambda: self.plan("dense").summary,
                arrays=np,
                accuracy=answer.accuracy,
            )
        )

    # -- plans ---------------------------------------------------------------------------------------------
    def plan(self, question: str = "dense") -> DifferencesPlan:
        """What it took to answer a question, and how good the answer is."""
        if question not in SHAPES:
            known = ", ".join(map(repr, (*SHAPES, *QUESTIONS)))
            raise ArgumentError(f"question: got {question!r}, expected one of {known}")
        return DifferencesPlan(
            question, self._answer, BlackBox(self.f, question, self.argnums, False, self.options, self._patterns).call
        )

    def explain(self, question: str = "dense", **options: Any) -> DifferencesPlan | LinearPlan:
        """The plan for a question, to print; also those of linear algebra: "solve", "svd" (with ``k=``), ..."""
        if question in QUESTIONS:
            return self._linear.plan(question, **options)
        if options:
            raise ArgumentError(f"{next(iter(options))}: got an option that {question!r} does not have; leave it out")
        return self.plan({"logdet": "slogdet", "det": "slogdet"}.get(question, question))

    def __repr__(self) -> str:
        m, n = self.shape
        return f"DifferencesJacobian({self.name}, {m}×{n}, {self.structure})"

    def __str__(self) -> str:
        m, n = self.shape
        lines = [f"J of {self.name}: {m}×{n}, {self.structure}, by differences"]
        if max(m, n) <= PRINTED:
            lines.append(grid(self.dense()))
        elif self.pattern.nnz < m * n:  # a picture of a full matrix shows nothing
            lines.append(braille(self.pattern.tocsr()))
        return "\n".join([*lines, f"dense: {self.plan().summary}, estimated error {self._answer.accuracy:.1e}"])


class Transposed:
    """Jᵀ as an operator."""

    def __init__(self, jacobian: DifferencesJacobian):
        self.T = jacobian

    @property
    def shape(self) -> tuple[int, int]:
        """(n, m)."""
        return self.T.shape[::-1]

    def __matmul__(self, u: Any) -> np.ndarray:
        """Jᵀ u (m,) → (n,), or Jᵀ U (m, k) → (n, k)."""
        jacobian = self.T
        return jacobian._answer.csr.T @ jacobian._operand(u, jacobian.shape[0], "u")
