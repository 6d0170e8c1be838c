"""`jm.backprop`: reads the function, runs the two sweeps, checks them, and gathers what they found."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from ..._arguments import check_inputs, positions
from ..._dispatch import for_tensors_too
from ..._errors import ArgumentError, StructureError
from ..._operations import Operations, operations
from .result import Backprop, Read, StepDone, Value
from .steps import Step, formula, kind, literal, steps_of
from .sweep import Numbers, moving, sweep

LARGEST_LOCAL = 4096  # entries of a local Jacobian that is worked out
ROUNDINGS = 1e5  # of eps, relative to the largest entry: a difference from jax.grad that is nothing else


@for_tensors_too()
def backprop(
    f: Callable[..., Any],
    *args: Any,
    loss: Callable[[Any], Any] | None = None,
    argnums: int | Sequence[int] = 0,
    direction: Any = None,
) -> Backprop:
    """Backpropagation through f at `args`, laid open: every value, local Jacobian and cotangent, step by step.

    The function differentiated is L = f(*args), a scalar, or L = loss(f(*args)). `argnums`: with respect to which
    arguments, as in `jax.grad`; for a network f(params, x) the default shows where each parameter's gradient arises.
    `direction`: a pytree like the differentiated argument (a tuple of them where `argnums` is a tuple), along which the
    forward sweep runs; without it the first input entry moves alone. ``print(result)`` tells it in numbers where arrays
    are small, else in shapes and norms; ``result.save("net.xlsx")`` writes a workbook of live formulas.

    Steps are the operations of f as the engine reads them (calls inlined, common subexpressions shared), moves of
    numbers (reshape, broadcast, transpose) folded into what reads them. The gradient is checked against `jax.grad`;
    a difference raises `StructureError`. Raises `ArgumentError` where L is not one real number, `ModeError` where it
    has no reverse mode; else as `linearize`. Reverse accumulation: Griewank and Walther, Evaluating
    Derivatives (2008), section 3.2.
    """
    if loss is not None and not callable(loss):
        raise ArgumentError(f"loss: got {type(loss).__name__}, expected a function of f's value, such as jnp.sum")
    if not callable(f):
        raise ArgumentError(f"f: got {type(f).__name__}, expected a function of arrays")
    if not args:
        raise ArgumentError("backprop: got no point, expected the arguments of f after f itself")
    check_inputs(args, positions(argnums)[0], holomorphic=False)
    total = f if loss is None else _composed(f, loss)
    _scalar(f, total, args, loss)
    found = operations(total, *args, argnums=argnums)
    steps = steps_of(found)
    found.jacobian._need("reverse", found.reverse)
    if not steps:
        raise ArgumentError(f"{found.jacobian.name}: does not depend on its arguments: there is nothing to go back to")
    numbers = sweep(found, steps, _direction(found, direction, argnums), LARGEST_LOCAL)
    gradient = jax.grad(total, argnums=argnums)(*args)
    difference = _check(found, numbers, gradient)
    return _gathered(found, steps, numbers, gradient, difference)


def _composed(f: Callable[..., Any], loss: Callable[[Any], Any]) -> Callable[..., Any]:
    def total(*args: Any) -> Any:
        return loss(f(*args))

    total.__name__ = getattr(f, "__name__", "f")
    total.__wrapped__ = f  # type: ignore[attr-defined]  # the names of its arguments are f's
    return total


def _scalar(f: Callable[..., Any], total: Callable[..., Any], args: tuple[Any, ...], loss: Any) -> None:
    name = getattr(f, "__name__", "f")
    out = jax.eval_shape(total, *args)
    leaves = jax.tree_util.tree_leaves(out)
    if len(leaves) == 1 and leaves[0].shape == () and jax.numpy.issubdtype(leaves[0].dtype, jax.numpy.floating):
        return
    shapes = ", ".join(f"{leaf.dtype}{list(leaf.shape)}" for leaf in leaves) or "nothing"
    what, fix = (name, "pass loss=, a function of it such as jnp.sum") if loss is None else ("loss", "return a scalar")
    raise ArgumentError(f"{what}: returned {shapes}, expected one real number to go back from; {fix}")


def _direction(found: Operations, direction: Any, argnums: int | Sequence[int]) -> list[Any]:
    leaves = found.leaves
    if direction is None:
        along = [np.zeros(leaf.shape, leaf.dtype) for leaf in leaves]
        first = next(a for a in along if a.size)
        first.flat[0] = 1
        return list(along)
    chosen, many = positions(argnums)
    trees = tuple(direction) if many and isinstance(direction, (tuple, list)) else (direction,)
    given = [leaf for tree in trees for leaf in jax.tree_util.tree_leaves(tree)]
    if [np.shape(d) for d in given] != [leaf.shape for leaf in leaves]:
        raise ArgumentError(
            f"direction: got shapes {[np.shape(d) for d in given]}, expected {[leaf.shape for leaf in leaves]}, "
            "one array for each that is differentiated"
        )
    return [jax.numpy.asarray(d, leaf.dtype) for d, leaf in zip(given, leaves, strict=True)]


def _check(found: Operations, numbers: Numbers, gradient: Any) -> float:
    """The largest difference from jax.grad, relative to its largest entry; an error where it is no rounding."""
    theirs = jax.tree_util.tree_leaves(gradient)
    scale = max((float(np.abs(g).max(initial=0.0)) for g in map(np.asarray, theirs)), default=0.0)
    worst = 0.0
    for v, own in zip(found.inputs, theirs, strict=True):
        own = np.asarray(own)
        ours = numbers.cotangents.get(v, np.zeros_like(own))
        same = (ours == own) | (np.isnan(ours) & np.isnan(own))
        with np.errstate(invalid="ignore", divide="ignore"):
            off = np.abs(ours.astype(float) - own.astype(float)) / (scale or 1.0)
        off = np.where(same, 0.0, np.where(np.isnan(off), np.inf, off))
        worst = max(worst, float(off.max(initial=0.0)))
        if off.size and off.max() > ROUNDINGS * float(jax.numpy.finfo(own.dtype).eps):
            at = np.unravel_index(int(off.argmax()), off.shape)
            raise StructureError(
                f"{found.names[v]}{list(map(int, at))}: the steps give ∂L/∂ = {ours[at]:.6g}, jax.grad {own[at]:.6g}; "
                "please report the function"
            )
    return worst


def _gathered(found: Operations, steps: list[Step], numbers: Numbers, gradient: Any, difference: float) -> Backprop:
    names = _names(found, steps)
    values = {v: _value(v, names, found, steps, numbers) for v in names}

    def name(v: int) -> str:
        return names.get(v) or literal(numbers.values[v]) or f"constant {_shape(numbers.values[v].shape)}"

    done = []
    for number, step in enumerate(steps):
        live = moving(found, step)
        rows = sum(math.prod(found.shapes[v]) for v in step.makes if found.active[v])
        reads = tuple(
            Read(
                name=name(step.reads[k]),
                kind=kind(step, k),
                shape=(rows, math.prod(found.shapes[step.reads[k]])),
                jacobian=numbers.jacobians.get((number, k)),
                handed=numbers.handed.get((number, k)),
                multiplications=step.multiplications(k),
            )
            for k in live
        )
        operation = step.operation
        done.append(
            StepDone(
                number=number + 1,
                makes=tuple(values[v] for v in step.makes),
                formula=formula(step, name),
                operation=operation.name,
                scope=operation.scope,
                line=operation.line,
                text=operation.text,
                reads=reads,
            )
        )
    return Backprop(
        name=found.jacobian.name,
        value=float(numbers.values[found.outputs[0]]),
        inputs=tuple(values[v] for v in found.inputs),
        others=tuple(values[v] for v in found.others),
        constants=tuple(values[v] for v in found.held),
        steps=tuple(done),
        gradient=gradient,
        difference=difference,
        directional=float(numbers.tangents[found.outputs[0]]) if found.forward else None,
        operations=found,
        names=names,
        everything=numbers.values,
    )


def _names(found: Operations, steps: list[Step]) -> dict[int, str]:
    """Arguments by their own name; what steps make as v1, v2, ...; arrays that f closes over as c1, c2, ..."""
    names = dict(found.names)
    made = [v for step in steps for v in step.makes]
    names |= {v: f"v{k + 1}" for k, v in enumerate(made)}
    return names | {v: f"c{k + 1}" for k, v in enumerate(found.held)}


def _value(v: int, names: dict[int, str], found: Operations, steps: list[Step], numbers: Numbers) -> Value:
    readers = tuple(
        (number + 1, back)
        for number, step in enumerate(steps)
        for k, w in enumerate(step.reads)
        if w == v and (back := numbers.handed.get((number, k))) is not None
    )
    value = numbers.values[v]
    kept = found.active[v]
    cotangent = numbers.cotangents.get(v, np.zeros(value.shape, value.dtype)) if kept else None
    return Value(names[v], value, numbers.tangents.get(v) if kept else None, cotangent, readers)


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "scalar"
