"""`slogdet` and `value_and_slogdet` of functions of tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils import _pytree as tree

from .._determinant.plan import DeterminantPlan
from .._determinant.transforms import SlogDet
from .._errors import ArgumentError
from ..engine.backends.torch import function as backend
from ..engine.plan.determine import plan_determinant
from ..engine.plan.question import Question
from .arguments import name_of
from .determinant_probe import SMALL, compared, sampled
from .factors import Factors
from .stages import Programs
from .transforms import Here, TorchTransform
from .truth import Truth

Tensor = torch.Tensor


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
                plan.probed = compared(truth, determined(here)[1])
            else:
                plan.probed = sampled(truth, plan.determinant)


def determined(here: Here, with_value: bool = False) -> tuple[list[Tensor], SlogDet]:
    """(f's output leaves if they are asked for, the answer) at a point."""
    entry = here.entry
    plan: Any = entry.plan
    graph = entry.traced.graph
    env = dict(graph.constants) | dict(zip(graph.others, here.others, strict=True))
    env |= zip(graph.inputs, here.moving, strict=True)
    like = torch.zeros((), dtype=entry.traced.dtype, device=here.moving[0].device)
    if with_value not in entry.programs:
        entry.programs[with_value] = Programs(plan.determinant, graph, with_value)
    run = Factors(entry.programs[with_value], env, entry.ways, here.differentiable)
    if plan.determinant.zero:
        return run.outputs() if with_value else [], SlogDet(like, torch.full_like(like, -torch.inf))
    answer = SlogDet(*run.result(like))
    return run.outputs() if with_value else [], answer
