"""`slogdet` and `value_and_slogdet` of functions of tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as tree

from .._determinant.plan import DeterminantPlan
from .._determinant.transforms import SlogDet
from .._errors import ArgumentError, StructureError
from ..engine.backends.torch import function as backend
from ..engine.graph import jacobian_pattern
from ..engine.plan.determine import plan_determinant
from ..engine.plan.question import Question
from .arguments import name_of
from .factors import Factors, Programs
from .transforms import Here, TorchTransform
from .truth import Truth

Tensor = torch.Tensor

# Up to this size the whole matrix is formed for the probe; of larger ones a few columns are compared.
SMALL = 512
COLUMNS = 4


class TorchDeterminant(TorchTransform):
    """sign and log|det J|, with f's value beside them when `with_value`."""

    def __init__(self, f: Callable[..., Any], argnums: int | Sequence[int] = 0, memory: str | float | None = None,
                 with_value: bool = False):  # fmt: skip
        super().__init__(f, Question("slogdet"), argnums, memory=memory)
        self.with_value = with_value

    def call(self, *args: Any, **kwargs: Any) -> Any:
        here = self.at(args, kwargs)
        again = here.entry.traced.reading.repeatable
        leaves, answer = determined(here, self.with_value) if again else self._dense(here)
        if not self.with_value:
            return answer
        out_tree = here.entry.traced.out_tree
        return leaves[0] if out_tree.is_leaf() else tree.tree_unflatten(leaves, out_tree), answer

    def determinant_plan(self, *args: Any) -> DeterminantPlan:
        """The plan at these arguments, probed."""
        plan: Any = self.plan(*args)
        return plan

    def _dense(self, here: Here) -> tuple[list[Tensor], SlogDet]:
        """The matrix by passes through the function itself, for a graph that cannot be run again."""
        size = here.entry.plan.shape[0]
        run = here.runner(here.differentiable)
        with here.entry.traced.reading.unwritten():
            found = torch.linalg.slogdet(run.pull(run.identity(size)))
            leaves = here.evaluated()[0]
        return leaves, SlogDet(found.sign, found.logabsdet)

    def _planned(self, traced: backend.Traced) -> Any:
        m, n = traced.graph.shape
        if m != n:
            raise ArgumentError(
                f"{name_of(self.f)}: has {m} outputs and {n} differentiated inputs, expected as many of each: only a "
                "square Jacobian has a determinant (J.svd() or J.norm() may be what you want)"
            )
        plan = DeterminantPlan(plan_determinant(traced.graph, reverse=True), traced.graph, run=self.call)
        if not traced.reading.repeatable:
            plan.instead = (
                f"the dense {m}×{n} matrix by {m} VJPs: f draws random numbers, or calls an autograd.Function on a "
                "Python function, so that its operations cannot be run one by one"
            )
        plan.check_memory(self.memory, traced.dtype.itemsize)
        return plan

    def ready(self, here: Here) -> None:
        """The probe: the whole matrix of plain AD where it is small, a few of its columns where it is not."""
        plan: Any = here.entry.plan
        if plan.instead:
            plan.probed = 0.0  # it is plain AD
            return
        with here.entry.traced.reading.unwritten():
            truth = Truth(here.call, here.entry.traced, here.moving, here.others, here.start)
            if truth.graph.shape[0] <= SMALL:
                plan.probed = _compared(truth, determined(here)[1])
            else:
                plan.probed = _sampled(truth)


def determined(here: Here, with_value: bool = False) -> tuple[list[Tensor], SlogDet]:
    """(f's output leaves if they are asked for, the answer) at a point."""
    entry = here.entry
    plan: Any = entry.plan
    graph = entry.traced.graph
    env = dict(graph.constants) | dict(zip(graph.others, here.others, strict=True))
    env |= zip(graph.inputs, here.moving, strict=True)
    like = torch.zeros((), dtype=entry.traced.dtype, device=here.moving[0].device)
    if entry.programs is None:
        entry.programs = Programs(plan.determinant, graph, with_value)
    run = Factors(entry.programs, env, entry.ways, here.differentiable)
    if plan.determinant.zero:
        return run.outputs() if with_value else [], SlogDet(like, torch.full_like(like, -torch.inf))
    answer = SlogDet(*run.result(like))
    return run.outputs() if with_value else [], answer


def _compared(truth: Truth, answer: SlogDet) -> float | None:
    """Against the LU factorisation of the matrix that plain AD gives."""
    true = truth.matrix().astype(float)
    if not np.isfinite(true).all():
        return None
    sign, log = np.linalg.slogdet(true)
    ours_sign, ours = float(answer.sign.detach()), float(answer.logabsdet.detach())
    if (ours_sign, ours) == (sign, log):
        return 0.0
    singular = np.linalg.svd(true, compute_uv=False)
    # Rounding moves a singular value by about eps·s_max; where the sum of the relative moves is not small, the
    # determinant is noise (or zero), and nothing can be told from it.
    loose = 100 * truth.eps * (1 + (singular.max(initial=0) / np.maximum(singular, 1e-300)).sum())
    if loose > 0.1:
        return 0.0
    if not np.isfinite(ours) or abs(ours - log) > loose * max(1.0, abs(log)) or ours_sign != sign:
        raise StructureError(
            f"the plan of the determinant gives sign {ours_sign:+.0f}, log|det| {ours:.10g} where plain AD gives "
            f"{sign:+.0f}, {log:.10g}. No result is returned. Please report this with the function; "
            "torch.linalg.slogdet(torch.func.jacrev(f)(x)) answers meanwhile"
        )
    return float(abs(ours - log) / max(1.0, abs(log)))


def _sampled(truth: Truth) -> float:
    """No entry of a few random columns of plain AD lies outside the pattern; the largest that does, relative."""
    n = truth.graph.shape[1]
    pattern = jacobian_pattern(truth.graph).T
    for j in np.random.default_rng(0).choice(n, COLUMNS, replace=False):
        column = truth.push(np.eye(1, n, int(j))[0]) if truth.forward else np.zeros(n)
        allowed = np.zeros(column.size, bool)
        allowed[pattern.take(np.array([j])).tocsr().indices] = True
        if (column[~allowed] != 0).any():
            raise StructureError(
                f"column {j} of plain AD has entries that the pattern lacks. No result is returned. Please report this "
                "with the function; torch.linalg.slogdet(torch.func.jacrev(f)(x)) answers meanwhile"
            )
    return 0.0

