"""The public transforms: one short front door per question, all on the same `Transform`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import jax

from ._determinant.transforms import Determinant
from ._differences import BlackBox, Differences, DifferencesPlan
from ._dispatch import Routed, before
from ._errors import ArgumentError
from ._transforms import PlannedFunction, Transform
from .engine.plan.plan import Plan
from .engine.plan.question import KINDS, Question


def jacobian(
    f: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    form: Literal["dense", "sparse"] = "dense",
    *,
    has_aux: bool = False,
    holomorphic: bool = False,
    memory: str | float | None = None,
    plan: Literal["model", "measure", "plain"] = "model",
    differences: Differences | None = None,
) -> PlannedFunction:
    """A function that computes f's Jacobian, outputs × inputs, the cheapest exact way.

    A drop-in for `jax.jacobian`, `jax.jacfwd` and `jax.jacrev`: with ``form="dense"`` the result is laid out as
    theirs, blocks of shape ``out.shape + in.shape`` in a pytree. With ``form="sparse"`` it is one `BCOO` matrix of
    shape (m, n), all outputs (flattened, in pytree order) × all differentiated inputs. Works under `jit`, `vmap`
    and `grad`; f is read once per shape, and `.plan(*args)` explains what was chosen.

    `memory` bounds the passes held at once ("2GB"). ``plan="measure"`` times the best few candidates on the first
    call; ``plan="plain"`` uses no structure at all. A function of NumPy arrays that JAX cannot read is a black box: its
    Jacobian is found by differences, in NumPy; `differences` forces that way and sets its options. Raises
    `ArgumentError`, `TraceError`, `ModeError`, and `StructureError` when the probe against plain AD fails.
    """
    if form not in ("dense", "sparse"):
        raise ArgumentError(f'form: got {form!r}, expected "dense" or "sparse"')
    transform = _transform(f, Question(form), argnums, has_aux, holomorphic, memory, plan)
    if differences is not None:
        return BlackBox(f, form, argnums, has_aux, differences).function()
    return transform.function()


def diagonal(
    f: Callable[..., Any], argnums: int | Sequence[int] = 0, *, memory: str | float | None = None
) -> PlannedFunction:
    """A function that computes the diagonal of f's Jacobian: shape (min(m, n),), entry k is ∂f_k/∂x_k (flattened)."""
    return _transform(f, Question("diagonal"), argnums, False, False, memory, "model").function()


def trace(
    f: Callable[..., Any], argnums: int | Sequence[int] = 0, *, memory: str | float | None = None
) -> PlannedFunction:
    """A function that computes the trace of f's Jacobian: the divergence of the vector field f."""
    return _transform(f, Question("trace"), argnums, False, False, memory, "model").function()


def _transform(
    f: Callable[..., Any], question: Question, argnums: int | Sequence[int], has_aux: bool, holomorphic: bool,
    memory: str | float | None, plan: str,
) -> Transform:  # fmt: skip
    if not callable(f):
        raise ArgumentError(f"f: got {type(f).__name__}, expected a function of arrays")
    if plan not in ("model", "measure", "plain"):
        raise ArgumentError(f'plan: got {plan!r}, expected "model", "measure" or "plain"')
    return Transform(f, question, argnums, has_aux, holomorphic, memory, plan)


def plan(
    f: Callable[..., Any],
    *args: Any,
    question: str | Question = "dense",
    argnums: int | Sequence[int] = 0,
    memory: str | float | None = None,
    measure: bool = False,
    differences: Differences | None = None,
    **kwargs: Any,
) -> Plan | DifferencesPlan:
    """How a question about f's Jacobian would be answered at `args`; the plan is callable: ``plan(*args)``.

    `question` is one of "dense", "sparse", "diagonal", "trace", "slogdet". The plan of a black box tells what was done:
    how many calls of f it took and how good the answer is; `differences` as in `jacobian`.
    """
    if differences is not None:
        asked_for = question if question == "slogdet" else str(as_question(str(question)))
        return BlackBox(f, str(asked_for), argnums, False, differences).plan(*args, **kwargs)
    if question == "slogdet":
        return Routed(Determinant(f, argnums, memory)).plan(*args, **kwargs)
    asked = question if isinstance(question, Question) else as_question(question)
    mode = "measure" if measure else "model"
    return Routed(_transform(f, asked, argnums, False, False, memory, mode)).plan(*args, **kwargs)


def load_plan(
    path: str | Path,
    f: Callable[..., Any],
    *args: Any,
    question: str = "sparse",
    argnums: int | Sequence[int] = 0,
    **kwargs: Any,
) -> Plan:
    """The plan saved by ``plan.save(path)`` for this function and question, without colouring again.

    The function is read anew and compared with the file, and the plan is probed at `args` like any other. Raises
    `PlanFileError` when the file is damaged or belongs to another function, shape or question.
    """
    return Transform(f, as_question(question), argnums, stored=path).plan(*args, **kwargs)


def as_question(name: str, also: Sequence[str] = ()) -> Question:
    """The question of that name; an error that lists the known ones, and `also` what the caller itself answers."""
    if name not in KINDS[:4]:
        known = (*KINDS[:4], "slogdet", *also)
        raise ArgumentError(f"question: got {name!r}, expected one of {', '.join(map(repr, known))}")
    return Question(name)


def jvp(f: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """(f(x), J v): one forward pass; as `jax.jvp`, and as `torch.func.jvp` for tensors."""
    if (face := before((primals, tangents))) is not None:
        return face.module.jvp(f, tuple(primals), tuple(tangents))
    return jax.jvp(f, tuple(primals), tuple(tangents))


def vjp(f: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """(f(x), function u ↦ uᵀ J): one reverse pass; as `jax.vjp`, and as `torch.func.vjp` for tensors."""
    if (face := before(primals)) is not None:
        return face.module.vjp(f, *primals)
    return jax.vjp(f, *primals)
