"""`hessian`: the Jacobian of the gradient, with the pattern and the colourings that only a Hessian has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

from scipy.sparse import csr_array

from .._entry import Entry
from .._errors import ArgumentError
from .._transforms import PlannedFunction, Transform
from ..engine.backends.jax import function as backend
from ..engine.graph import Pattern
from ..engine.plan.hessian import make_hessian_plan, tightest_pattern
from ..engine.plan.planner import Limits, Planned
from ..engine.plan.question import Question
from .gradient import gradient, scalar


class HessianTransform(Transform):
    """A question about the Hessian of f: the same question about the Jacobian of its gradient, planned with more.

    What `jacmap.jacobian(jax.grad(f))` does not know: the couplings of f's own graph thin the pattern, and the matrix
    is symmetric, so that one of two equal entries is enough.
    """

    def __init__(
        self, f: Callable[..., Any], question: Question, argnums: int | Sequence[int], has_aux: bool, **options: Any
    ):
        super().__init__(gradient(f, argnums, has_aux), question, argnums, has_aux, **options)
        self.value = scalar(f, has_aux)
        self.subject = f
        self.same_for = lambda g: HessianTransform(g, question, argnums, has_aux, **options)

    def _planned(self, sig: backend.Signature, traced: backend.Traced, limits: Limits) -> Planned:
        value = self._trace(backend.on_leaves(self.value, sig, self.has_aux), sig)
        found = tightest_pattern(value.graph, traced.graph)
        return make_hessian_plan(traced.graph, found, self.question, limits, traced.constant, traced.reverse)

    def _settle(self, entry: Entry, call: backend.Call) -> None:
        """A constant Hessian is known in numbers: what is zero leaves its pattern."""
        super()._settle(entry, call)
        planned = entry.plan.planned
        if entry.constant is None or not self.question.needs_all:
            return
        nonzero = entry.constant != 0
        if self.question.kind == "sparse":
            assert planned.wanted is not None
            wanted = csr_array((nonzero, planned.wanted.indices, planned.wanted.indptr), shape=planned.wanted.shape)
            wanted = wanted.copy()
            wanted.eliminate_zeros()
            entry.constant = entry.constant[nonzero]
        else:
            wanted = csr_array(nonzero)
        entry.plan.planned = replace(planned, pattern=Pattern.from_csr(wanted), wanted=wanted, reads={})


def hessian(
    f: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    form: Literal["dense", "sparse"] = "dense",
    *,
    has_aux: bool = False,
    memory: str | float | None = None,
    plan: Literal["model", "measure", "plain"] = "model",
) -> PlannedFunction:
    """A function that computes the Hessian of a scalar f, n×n, the cheapest exact way.

    With ``form="dense"`` a drop-in for `jax.hessian`: a pytree of blocks of shape ``input.shape + other_input.shape``
    laid out as there. With ``form="sparse"`` one `BCOO` matrix (n, n) over all differentiated inputs, flattened in
    pytree order; its pattern is the same at every point. Works under `jit`, `vmap` and `grad` (third derivatives),
    keeps dtypes; f is read once per shape, and `.plan(*args)` explains what was chosen.

    A pair of inputs has an entry only where f's own operations couple the two; a quadratic f has a constant Hessian,
    which costs no pass. Products with the Hessian are shared by a star or an acyclic colouring (Coleman, Moré 1984;
    Gebremedhin et al. 2007) where these need fewer than a colouring of the columns.

    A function of PyTorch tensors is answered in PyTorch, and losses may be built on the answer; what PyTorch cannot
    differentiate twice is translated to JAX, and that answer is detached.

    `memory` and `plan` are as for `jacmap.jacobian`. Raises `ArgumentError` where f does not return one real number,
    and what `jacmap.jacobian` raises.
    """
    if form not in ("dense", "sparse"):
        raise ArgumentError(f'form: got {form!r}, expected "dense" or "sparse"')
    if not callable(f):
        raise ArgumentError(f"f: got {type(f).__name__}, expected a function that returns one real number")
    if plan not in ("model", "measure", "plain"):
        raise ArgumentError(f'plan: got {plan!r}, expected "model", "measure" or "plain"')
    return HessianTransform(f, Question(form, matrix="Hessian"), argnums, has_aux, memory=memory, plan=plan).function()
