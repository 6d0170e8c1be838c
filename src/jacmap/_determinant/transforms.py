"""`slogdet` and `value_and_slogdet`: the machinery of the other transforms with another plan and another run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp

from .._arguments import translated
from .._entry import Entry
from .._errors import ArgumentError
from .._transforms import PlannedFunction, Transform
from ..engine.backends.jax import function as backend
from ..engine.backends.jax.run import evaluate
from ..engine.plan.determine import plan_determinant
from ..engine.plan.plan import Plan
from ..engine.plan.question import Question
from .estimate import estimated
from .plan import DeterminantPlan
from .probe import probe_determinant
from .run import run


class SlogDet(NamedTuple):
    """sign: −1, 0 or 1; logabsdet: the natural logarithm of |det J|, −inf where the determinant is zero."""

    sign: Any
    logabsdet: Any


class Determinant(Transform):
    """sign and log|det J|, with f's value beside them when `with_value`."""

    def __init__(self, f: Callable[..., Any], argnums: int | Sequence[int] = 0, memory: str | float | None = None,
                 with_value: bool = False):  # fmt: skip
        super().__init__(f, Question("slogdet"), argnums, memory=memory)
        self.with_value = with_value

    def _make(self, sig: backend.Signature, call: backend.Call, traced: backend.Traced) -> Entry:
        m, n = traced.graph.shape
        if m != n:
            raise ArgumentError(
                f"{getattr(self.f, '__name__', 'f')}: has {m} outputs and {n} differentiated inputs, expected as many "
                "of each: only a square Jacobian has a determinant (J.svd() or J.norm() may be what you want)"
            )
        plan = DeterminantPlan(plan_determinant(traced.graph), traced.graph, run=self.call)
        plan.check_memory(self.memory, max(a.dtype.itemsize for a in traced.inputs))
        return Entry(traced, cast(Plan, plan))

    def _run(self, sig: backend.Signature, moving: list[Any], others: list[Any], mapped: bool = False) -> Any:
        call = backend.on_leaves(self.f, sig, False)
        entry, traced = self._entry(sig, call)
        with translated(self.f):
            leaves, answer = self.evaluate(entry, traced, moving, others)
        if not self.with_value:
            return answer
        return jax.tree_util.tree_unflatten(traced.out_tree, leaves), answer

    def determinant_plan(self, *args: Any) -> DeterminantPlan:
        """The plan at these arguments, probed where they are concrete."""
        return cast(DeterminantPlan, self.plan(*args))

    def evaluate(self, entry: Entry, traced: backend.Traced, moving: Any, others: Any) -> tuple[list[Any], SlogDet]:
        """(f's output leaves, the answer) at the given leaves."""
        plan = cast(DeterminantPlan, entry.plan)
        graph = traced.graph
        env = dict(graph.constants) | dict(zip(graph.others, others, strict=True))
        env |= {v: jnp.asarray(leaf) for v, leaf in zip(graph.inputs, moving, strict=True)}
        dtype = jnp.result_type(*(a.dtype for a in (*traced.inputs, *traced.outputs)))
        if plan.determinant.zero:
            leaves = _values(graph, env) if self.with_value else []
            return leaves, SlogDet(jnp.zeros((), dtype), jnp.full((), -jnp.inf, dtype))
        values, sign, log = run(plan.determinant, graph, env, dtype, graph.outputs)
        return values, SlogDet(sign, log)

    def _compared(
        self, entry: Entry, sig: backend.Signature, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any
    ) -> float | None:
        plan = cast(DeterminantPlan, entry.plan)
        leaves = jax.tree_util.tree_leaves((args, kwargs))
        call = backend.on_leaves(self.f, sig, self.has_aux)
        moving, others = [leaves[p] for p in sig.moving], [leaves[p] for p in sig.others]
        if out is None:
            _, out = jax.jit(lambda m, o: self.evaluate(entry, entry.traced, m, o))(moving, others)
        elif self.with_value:
            out = out[1]
        return probe_determinant(plan.determinant, entry.traced, call, moving, others, out)


def _values(graph: Any, env: dict[int, Any]) -> list[Any]:
    """The values of the graph's outputs."""
    values = evaluate(graph.nodes, env)
    return [values[v] for v in graph.outputs]


def slogdet(
    f: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    *,
    memory: str | float | None = None,
    estimate: bool = False,
) -> PlannedFunction:
    """A function that computes (sign, log|det J|) of f's square Jacobian, from f alone.

    f is read once per shape: the chain of square cuts makes det J a product of factors, in each of which only the
    diagonal blocks of the block triangular form are evaluated; coupling and autoregressive flows need one tangent per
    factor. Works under `jit`, `vmap` and `grad`; the gradient with respect to other arguments of f (parameters) is
    `jax.grad` of the result. ``.plan(*args)`` explains. Raises `ArgumentError` where J is not square, or where a dense
    block of it does not fit in `memory`.

    ``estimate=True`` gives instead a stochastic `Estimate` of log|det J| with its error bar, from products alone: for
    functions with one large dense factor. It has no plan, and its sign is NaN. Needs the extra ``jacmap[linalg]``.
    """
    if estimate:
        if not callable(f):
            raise ArgumentError(f"f: got {type(f).__name__}, expected a function of arrays")
        return cast(PlannedFunction, estimated(f, argnums))
    return _transform(f, argnums, memory, False)


def value_and_slogdet(
    f: Callable[..., Any], argnums: int | Sequence[int] = 0, *, memory: str | float | None = None
) -> PlannedFunction:
    """A function that computes (f(x), (sign, log|det J|)) and evaluates f once for both."""
    return _transform(f, argnums, memory, True)


def _transform(
    f: Callable[..., Any], argnums: int | Sequence[int], memory: str | float | None, with_value: bool
) -> PlannedFunction:
    if not callable(f):
        raise ArgumentError(f"f: got {type(f).__name__}, expected a function of arrays")
    return Determinant(f, argnums, memory, with_value).function()
