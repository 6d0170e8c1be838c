"""The numbers of one forward and one reverse sweep, step by step, compiled as one function."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..._operations import Operations
from .steps import Step

# It runs once: LLVM's optimisations would take longer than they save.
_ONCE = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


@dataclass(frozen=True, eq=False)
class Numbers:
    """By number of value: `values`, `tangents` (along the direction; none where f has no forward mode), `cotangents`
    (∂L/∂value; missing where none).

    By (step, position): `handed` back to the value read there, and its local Jacobian, (outputs, inputs), where it is
    small enough.
    """

    values: dict[int, np.ndarray]
    tangents: dict[int, np.ndarray]
    cotangents: dict[int, np.ndarray]
    handed: dict[tuple[int, int], np.ndarray]
    jacobians: dict[tuple[int, int], np.ndarray]


def sweep(found: Operations, steps: Sequence[Step], direction: Sequence[Any], largest: int) -> Numbers:
    """One of each; local Jacobians of at most `largest` entries."""

    def run(leaves: Any, others: Any, along: Any) -> Any:
        values = found.values(leaves, others)
        tangents = _forward(found, steps, values, along) if found.forward else {}
        return values, tangents, *_backward(found, steps, values, largest)

    made = jax.jit(run, compiler_options=_ONCE)(found.leaves, found.other_leaves, list(direction))
    return Numbers(*({key: np.asarray(array) for key, array in part.items()} for part in made))


def moving(found: Operations, step: Step) -> list[int]:
    """The positions through which a derivative passes."""
    live = any(found.active[v] for v in step.makes)
    return [k for k, v in enumerate(step.reads) if live and found.active[v]]


def _of(found: Operations, step: Step, values: dict[int, Any], positions: Sequence[int]) -> tuple[Any, list[Any]]:
    """(the step as a function of what moves, its point); it returns the outputs that carry a derivative."""

    def function(*moved: Any) -> list[Any]:
        given = dict(zip(positions, moved, strict=True))
        outputs = step(*(given.get(k, values[v]) for k, v in enumerate(step.reads)))
        return [out for v, out in zip(step.makes, outputs, strict=True) if found.active[v]]

    return function, [values[step.reads[k]] for k in positions]


def _forward(found: Operations, steps: Sequence[Step], values: dict[int, Any], along: Sequence[Any]) -> dict[int, Any]:
    tangents = dict(zip(found.inputs, along, strict=True))
    for step in steps:
        positions = moving(found, step)
        if positions:
            function, point = _of(found, step, values, positions)
            out = jax.jvp(function, point, [tangents[step.reads[k]] for k in positions])[1]
            tangents |= dict(zip((v for v in step.makes if found.active[v]), out, strict=True))
    return tangents


def _backward(found: Operations, steps: Sequence[Step], values: dict[int, Any], largest: int) -> tuple[Any, Any, Any]:
    (last,) = found.outputs
    cotangents: dict[int, Any] = {last: jnp.ones_like(values[last])}
    handed, jacobians = {}, {}
    for number, step in reversed(list(enumerate(steps))):
        positions = moving(found, step)
        made = [v for v in step.makes if found.active[v]]
        if not positions:
            continue
        function, point = _of(found, step, values, positions)
        pull = jax.vjp(function, *point)[1]
        rows = sum(math.prod(found.shapes[v]) for v in made)
        for k, matrix in zip(positions, _matrices(pull, made, values, point, rows, largest), strict=True):
            if matrix is not None:
                jacobians[number, k] = matrix
        if not any(v in cotangents for v in made):
            continue  # nothing comes back: a value that f does not use, or uses behind a stop_gradient
        for v in made:
            cotangents.setdefault(v, jnp.zeros_like(values[v]))
        for k, back in zip(positions, pull([cotangents[v] for v in made]), strict=True):
            handed[number, k] = back
            v = step.reads[k]
            cotangents[v] = cotangents[v] + back if v in cotangents else back
    return cotangents, handed, jacobians


def _matrices(
    pull: Any, made: Sequence[int], values: dict[int, Any], point: Sequence[Any], rows: int, largest: int
) -> list[Any]:
    """The local Jacobian for each value that moves, None where it is too large."""
    if rows * max(x.size for x in point) > largest:
        return [None] * len(point)
    seeds, start = [], 0
    eye = jnp.eye(rows)
    for v in made:
        y = values[v]
        seeds.append(eye[:, start : start + y.size].reshape(rows, *y.shape).astype(y.dtype))
        start += y.size
    return [block.reshape(rows, -1) for block in jax.vmap(pull)(seeds)]
