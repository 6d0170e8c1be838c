"""The Jacobian of a function of tensors at a point, lazy; nothing is computed before it is asked for."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils import _pytree as tree

from .._arguments import checked_index, positions
from .._determinant.plan import DeterminantPlan
from .._determinant.transforms import SlogDet
from .._errors import ArgumentError, NotFiniteWarning, SingularError
from .._questions import as_question
from ..engine.backends.torch import function as backend
from ..engine.backends.torch.run import Runner
from ..engine.graph import Pattern
from ..engine.graph.cuts import boundaries, name_of, rank_bound, useful_chain
from ..engine.graph.picture import braille, grid
from ..engine.graph.recognise import recognise
from ..engine.graph.structure import Structure
from ..engine.plan.plan import Plan
from ..engine.plan.question import Question
from . import arguments
from .determinant import TorchDeterminant
from .transforms import Here, TorchTransform
from .truth import to_numpy

Tensor = torch.Tensor


class SVD(NamedTuple):
    """J = U diag(S) Vh."""

    U: Tensor
    S: Tensor
    Vh: Tensor


class TorchJacobian:
    """J = ∂f/∂x at a point: m×n, all outputs (flattened) × all differentiated inputs.

    The twin of `jacmap.Jacobian` for functions of PyTorch tensors; answers are tensors on the input's device. They can
    be differentiated where the point, another argument or a parameter requires grad.
    """

    def __init__(
        self,
        f: Callable[..., Any],
        args: tuple[Any, ...],
        argnums: int | Sequence[int] = 0,
        memory: str | float | None = None,
        name: str = "",
        transforms: dict[Question, TorchTransform] | None = None,
    ):
        self.f, self.args, self.argnums, self.memory = f, args, argnums, memory
        self.name = name or arguments.name_of(f)
        self._positions = positions(argnums)[0]
        arguments.check_inputs(args, self._positions)
        self._transforms = {} if transforms is None else transforms
        self._warn_of_point()

    # -- what it is ----------------------------------------------------------------------------------------
    @cached_property
    def value(self) -> Any:
        """f(x)."""
        return self.f(*self.args)

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n): the numbers of outputs and of differentiated inputs."""
        return self._traced.graph.shape

    @property
    def pattern(self) -> Pattern:
        """Which entries can be nonzero, at any point; may over-estimate, never misses one."""
        return self._here.entry.plan.planned.pattern

    @cached_property
    def structure(self) -> Structure:
        """The name of the pattern: "diagonal", "block-diagonal: 64 blocks of 10×784", ..."""
        return recognise(self.pattern.tocsr())

    @cached_property
    def rank_bound(self) -> int:
        """rank J is at most this: the width of the narrowest cut of f's graph."""
        return rank_bound(self._traced.graph)

    @cached_property
    def chain(self) -> tuple[TorchJacobian, ...]:
        """J's factors along the cuts of f, first applied first: J = chain[-1] ⋯ chain[1] chain[0]."""
        graph, parts = self._traced.graph, self._runner.parts
        cuts = useful_chain(graph, boundaries(graph))
        links = []
        for before, after in zip(cuts, cuts[1:], strict=False):
            function, point = parts.segment(before, after)
            links.append(TorchJacobian(function, (point.detach(),), name=name_of(graph, before, after)))
        return tuple(links)

    # -- products ------------------------------------------------------------------------------------------
    def __matmul__(self, v: Any) -> Tensor:
        """J v (n,) → (m,), or J V (n, k) → (m, k): one JVP per column."""
        v = self._operand(v, self.shape[1], "v")
        pushed = self._runner.push(v if v.ndim == 2 else v[:, None])
        return pushed if v.ndim == 2 else pushed[:, 0]

    @property
    def T(self) -> TorchTransposed:
        """Jᵀ: ``J.T @ u`` is one VJP."""
        return TorchTransposed(self)

    def _pull(self, u: Any) -> Tensor:
        u = self._operand(u, self.shape[0], "u")
        pulled = self._runner.pull((u if u.ndim == 2 else u[:, None]).T).T
        return pulled if u.ndim == 2 else pulled[:, 0]

    def _operand(self, v: Any, size: int, name: str) -> Tensor:
        try:
            v = torch.as_tensor(v).to(self._runner.x.device)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ArgumentError(f"{name}: got {type(v).__name__}, expected a tensor of shape ({size},)") from error
        if v.is_complex():
            raise ArgumentError(f"{name}: got complex numbers, expected real ones; use the parts one by one")
        if v.ndim not in (1, 2) or v.shape[0] != size:
            raise ArgumentError(f"{name}: got shape {tuple(v.shape)}, expected ({size},) or ({size}, k)")
        return v.to(self._traced.dtype)

    # -- answers -------------------------------------------------------------------------------------------
    def dense(self) -> Tensor:
        """J as a tensor (m, n)."""
        here = self._at(Question("dense"))
        return self._checked(here.numbers(), "J")

    def sparse(self) -> Tensor:
        """J as a coalesced sparse COO tensor (m, n)."""
        return self._checked(self._ask(Question("sparse")), "J")

    def tree(self) -> Any:
        """J as a pytree of blocks ``out.shape + in.shape``, laid out as `torch.func.jacrev` does."""
        return self._ask(Question("dense"))

    def row(self, i: int) -> Tensor:
        """Row i, (n,): the gradient of output i (flattened)."""
        m = self.shape[0]
        return self._checked(self.T @ self._unit(m, checked_index(i, m, "i", "outputs")), f"row {i}")

    def column(self, j: int) -> Tensor:
        """Column j, (m,): everything that input j (flattened) does."""
        n = self.shape[1]
        return self._checked(self @ self._unit(n, checked_index(j, n, "j", "inputs")), f"column {j}")

    def _unit(self, size: int, k: int) -> Tensor:
        unit = torch.zeros(size, dtype=self._traced.dtype, device=self._runner.x.device)
        unit[k] = 1
        return unit

    def entries(self, rows: Sequence[int], columns: Sequence[int]) -> Tensor:
        """The entries J[rows[k], columns[k]], (k,), with the fewest passes that show them."""
        if len(rows) != len(columns):
            raise ArgumentError(f"rows, columns: got {len(rows)} and {len(columns)} indices, expected as many of each")
        m, n = self.shape
        at = [(checked_index(i, m, "rows", "outputs"), checked_index(j, n, "columns", "inputs"))
              for i, j in zip(rows, columns, strict=True)]  # fmt: skip
        here = self._at(Question("entries", tuple(i for i, _ in at), tuple(j for _, j in at)))
        read, numbers = here.entry.entries, here.numbers()
        where = {(int(i), int(j)): k for k, (i, j) in enumerate(zip(read.rows, read.cols, strict=True))}
        padded = torch.cat([numbers, numbers.new_zeros(1)])  # entries outside the pattern are zero
        return padded[torch.tensor([where.get(pair, -1) for pair in at], device=numbers.device)]

    def diagonal(self) -> Tensor:
        """The entries J[k, k], (min(m, n),)."""
        return self._checked(self._ask(Question("diagonal")), "the diagonal")

    def trace(self) -> Tensor:
        """The sum of the diagonal: the divergence of the vector field f."""
        return self._checked(self._ask(Question("trace")), "the trace")

    def slogdet(self) -> SlogDet:
        """(sign, log|det J|) of a square J, from the chain of its square cuts; ArgumentError when it is not square."""
        return self._determinant.call(*self.args)

    def det(self) -> Tensor:
        """The determinant of a square J: the factor by which f stretches volumes, negative where it turns them over."""
        sign, log = self._determinant.call(*self.args)
        return sign * torch.exp(log)

    # -- linear algebra: of the dense matrix, by torch.linalg, so that it can be differentiated --------------------
    def solve(self, b: Any) -> Tensor:
        """x with J x = b: b (n,) or (n, k). SingularError where J cannot be inverted."""
        m, n = self.shape
        if m != n:
            raise ArgumentError(
                f"{self.name}: has {m} outputs and {n} differentiated inputs, expected as many of each: only a square "
                "system has one solution (J.lstsq(b) may be what you want)"
            )
        b = self._operand(b, self.shape[0], "b")
        found, info = torch.linalg.solve_ex(self.dense(), b)
        if bool(info):
            raise SingularError(f"{self.name}: J is singular at this point; use J.lstsq(b) for a least-squares answer")
        return found

    def lstsq(self, b: Any) -> Tensor:
        """x of least norm among those that minimise ‖J x − b‖: b (m,) or (m, k); any shape and rank."""
        return torch.linalg.pinv(self.dense()) @ self._operand(b, self.shape[0], "b")

    def svd(self, k: int | None = None) -> SVD:
        """(U, S, Vh) with J = U diag(S) Vh; S descends; the k largest, or all min(m, n)."""
        most = min(self.shape)
        if k is not None and (not isinstance(k, int) or not 1 <= k <= most):
            raise ArgumentError(f"k: got {k!r}, expected an integer from 1 to {most}, or None for all")
        u, s, vh = torch.linalg.svd(self.dense(), full_matrices=False)
        return SVD(u[:, :k], s[:k], vh[:k])

    def norm(self, ord: Any = 2) -> Tensor:
        """The norm of order 1, 2, inf, "fro" or "nuc", as `torch.linalg.matrix_norm` defines them."""
        if ord == "fro":
            return self._ask(Question("sparse")).values().norm()
        if ord not in (1, 2, np.inf, "nuc"):
            raise ArgumentError(f'ord: got {ord!r}, expected 1, 2, inf, "fro" or "nuc"')
        return torch.linalg.matrix_norm(self.dense(), ord)

    def rank(self) -> Tensor:
        """The number of singular values above eps·max(m, n)·s_max."""
        return torch.linalg.matrix_rank(self.dense())

    def cond(self) -> Tensor:
        """s_max / s_min; infinite where J is singular."""
        s = torch.linalg.svdvals(self.dense())
        return s[0] / s[-1]

    # -- plans ---------------------------------------------------------------------------------------------
    def at(self, *args: Any) -> TorchJacobian:
        """The Jacobian at another point of the same shapes, by the same plans."""
        return TorchJacobian(self.f, args, self.argnums, self.memory, self.name, self._transforms)

    def plan(self, question: str = "dense") -> Plan:
        """The plan for a question at this point."""
        return self._at(as_question(question)).entry.plan

    def explain(self, question: str = "dense") -> Plan | DeterminantPlan:
        """The plan for a question, to print: what was considered, what was chosen and why; also of "slogdet"."""
        if question in ("slogdet", "logdet", "det"):
            return self._determinant.determinant_plan(*self.args)
        return self.plan(question)

    # -- inside --------------------------------------------------------------------------------------------
    def _transform(self, question: Question) -> TorchTransform:
        if question not in self._transforms:
            self._transforms[question] = TorchTransform(self.f, question, self.argnums, memory=self.memory)
        return self._transforms[question]

    @property
    def _determinant(self) -> TorchDeterminant:
        question = Question("slogdet")
        if question not in self._transforms:
            self._transforms[question] = TorchDeterminant(self.f, self.argnums, self.memory)
        found = self._transforms[question]
        assert isinstance(found, TorchDeterminant)
        return found

    def _at(self, question: Question) -> Here:
        return self._transform(question).at(self.args, {})

    def _ask(self, question: Question) -> Any:
        return self._transform(question).call(*self.args)

    @cached_property
    def _here(self) -> Here:
        return self._at(Question("dense"))

    @property
    def _traced(self) -> backend.Traced:
        return self._here.entry.traced

    @property
    def _runner(self) -> Runner:
        return self._here.runner(self._here.differentiable)

    def _warn_of_point(self) -> None:
        for k in self._positions:
            for path, leaf in tree.tree_leaves_with_path(self.args[k]):
                if not bool(torch.isfinite(leaf.detach()).all()):
                    at = tuple(int(i) for i in torch.nonzero(~torch.isfinite(leaf.detach()))[0])
                    warnings.warn(
                        f"argument {k}{tree.keystr(path)}: got {float(leaf.detach()[at])} at index {at}, expected "
                        "finite numbers; the Jacobian there may be meaningless",
                        NotFiniteWarning,
                        stacklevel=4,
                    )

    @staticmethod
    def _checked(answer: Tensor, what: str) -> Tensor:
        data = answer.detach()
        data = data._values() if data.is_sparse else data
        finite = torch.isfinite(data)
        if not bool(finite.all()):
            first = torch.nonzero(~finite)[0]
            where = answer.detach()._indices()[:, int(first[0])] if answer.is_sparse else first
            warnings.warn(
                f"{what} is not finite: {int((~finite).sum())} NaN or infinite, the first at {tuple(where.tolist())}",
                NotFiniteWarning,
                stacklevel=3,
            )
        return answer

    def __repr__(self) -> str:
        m, n = self.shape
        return f"TorchJacobian({self.name}, {m}×{n}, {self.structure})"

    def __str__(self) -> str:
        m, n = self.shape
        lines = [f"J of {self.name}: {m}×{n}, {self.structure}"]
        if max(m, n) <= 8:
            lines.append(grid(to_numpy(self.dense())))
        elif self.pattern.nnz < m * n:  # a picture of a full matrix shows nothing
            lines.append(braille(self.pattern.tocsr()))
        return "\n".join([*lines, f"dense: {self._here.entry.plan.summary}"])


class TorchTransposed:
    """Jᵀ as an operator."""

    def __init__(self, jacobian: TorchJacobian):
        self.T = jacobian

    @property
    def shape(self) -> tuple[int, int]:
        """(n, m)."""
        return self.T.shape[::-1]

    def __matmul__(self, u: Any) -> Tensor:
        """Jᵀ u (m,) → (n,), or Jᵀ U (m, k) → (n, k): one VJP per column."""
        return self.T._pull(u)
