"""The section on backpropagation: for a function with one output, small enough to be followed number by number."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from ..study import Backprop, backprop
from .numbers import number
from .parts import Code, Part, Section, Table, Words
from .subject import Subject

MOST_STEPS = 60
MOST_NUMBERS = 2_000


def section(subject: Subject) -> Section | None:
    """Left out where J has more than one row, and where the function is too large to be followed."""
    J = subject.J
    if J.shape[0] != 1 or J.shape[1] > MOST_NUMBERS or _unfit(J.value):
        return None

    def scalar(*args: Any) -> Any:
        (leaf,) = jax.tree.leaves(J.f(*args))
        return leaf.reshape(())

    scalar.__name__ = J.name
    scalar.__wrapped__ = J.f  # type: ignore[attr-defined]  # the names of its arguments are f's
    found = backprop(scalar, *J.args, argnums=J.argnums)
    sizes = sum(made.value.size for step in found.steps for made in step.makes)
    return of(found) if len(found.steps) <= MOST_STEPS and sizes <= MOST_NUMBERS else None


def _unfit(value: Any) -> bool:
    leaves = jax.tree.leaves(value)
    return len(leaves) != 1 or not np.issubdtype(np.asarray(leaves[0]).dtype, np.floating) or not np.isfinite(leaves[0])


def of(found: Backprop) -> Section:
    """A section from what `jm.backprop` found."""
    steps = [
        (f"{step.number}. {step.name} = {step.formula}", *map(_told, (made.value, made.tangent, made.cotangent)))
        for step in found.steps
        for made in step.makes[:1]
    ]
    counts = found.multiplications
    costs = [
        ("one sweep", str(counts["one JVP"]), str(counts["one VJP"])),
        ("the gradient", str(counts["gradient by forward mode"]), str(counts["gradient by reverse mode"])),
    ]
    told = found.to_dict()["words"]
    parts: list[Part] = [
        Table("Each step: its value, how it moves along the direction (JVP), and ∂L/∂value (VJP)",
              ("", "value", "JVP", "∂L/∂value"), steps),
        Table("Multiplications with local Jacobians", ("", "forward mode", "reverse mode"), costs),
        Words(told),
        Code("Every value, local Jacobian and cotangent", str(found)),
    ]  # fmt: skip
    return Section("backprop", "Backpropagation, number by number", parts)


def _told(array: np.ndarray | None) -> str:
    if array is None:
        return "–"
    if array.size == 1:
        return number(array.item())
    if array.size <= 4 and array.ndim == 1:
        return ", ".join(number(entry) for entry in array)
    return f"{'×'.join(map(str, array.shape))}, norm {number(float(np.linalg.norm(array.astype(float))))}"
