"""What `jm.backprop` found: values, steps, and what each step hands back; printed in words and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._operations import Operations

if TYPE_CHECKING:
    from .workbook import Workbook


@dataclass(frozen=True, eq=False)
class Value:
    """A value on the way. `tangent`: how it moves along the direction; `cotangent`: ∂L/∂value, shaped as the value.

    Both are None where no derivative passes (a comparison, data). `readers`: (number of a step that reads it, what that
    step hands back); where there are several they add up to `cotangent`.
    """

    name: str
    value: np.ndarray
    tangent: np.ndarray | None
    cotangent: np.ndarray | None
    readers: tuple[tuple[int, np.ndarray], ...]


@dataclass(frozen=True, eq=False)
class Read:
    """One value that a step reads, as far as derivatives go.

    `jacobian`: the local Jacobian, `shape` (m, n) outputs × inputs, None where it is large; `kind`: what it is like;
    `handed`: jacobianᵀ times what came back to the step, shaped as the value read; None where nothing came back.
    `multiplications`: of one product with it, JVP or VJP: one for each entry that can differ from zero, none for
    operations whose entries are 0, 1 or −1.
    """

    name: str
    kind: str
    shape: tuple[int, int]
    jacobian: np.ndarray | None
    handed: np.ndarray | None
    multiplications: int


@dataclass(frozen=True, eq=False)
class StepDone:
    """One step. `formula`: "tanh(v1)"; `line`, `text`: where it stands in the user's code, and what stands there."""

    number: int
    makes: tuple[Value, ...]
    formula: str
    operation: str
    scope: str
    line: str
    text: str
    reads: tuple[Read, ...]

    @property
    def name(self) -> str:
        return ", ".join(value.name for value in self.makes)

    @property
    def forward(self) -> int:
        """Multiplications of one JVP."""
        return sum(read.multiplications for read in self.reads)

    @property
    def reverse(self) -> int:
        """Multiplications of one VJP: nothing where nothing comes back."""
        return sum(read.multiplications for read in self.reads if read.handed is not None)


@dataclass(frozen=True, eq=False)
class Backprop:
    """Backpropagation through L at a point, step by step. Made by `backprop`; `print` tells it.

    `value` = L; `inputs`: the differentiated arrays, each with its gradient as `cotangent`; `others`: the other
    arguments; `constants`: arrays that the function holds; `gradient`: as `jax.grad` lays it out, which the sum of
    steps equals up to `difference` (relative to the largest entry). `directional`: the derivative of L along the
    direction, which is what one forward sweep finds; None where an operation has no forward mode. `operations`: the
    operations of L as they were read; `names`, `everything`: number of a value there → its name here, its numbers.
    """

    name: str
    value: float
    inputs: tuple[Value, ...]
    others: tuple[Value, ...]
    constants: tuple[Value, ...]
    steps: tuple[StepDone, ...]
    gradient: Any
    difference: float
    directional: float | None
    operations: Operations
    names: Mapping[int, str]
    everything: Mapping[int, np.ndarray]

    @property
    def size(self) -> int:
        """n: the number of input entries, and of derivatives."""
        return sum(value.value.size for value in self.inputs)

    @cached_property
    def multiplications(self) -> dict[str, int]:
        """Scalar multiplications with local Jacobians: of one JVP, one VJP, and of the gradient by either mode."""
        forward = sum(step.forward for step in self.steps)
        reverse = sum(step.reverse for step in self.steps)
        return {
            "one JVP": forward,
            "one VJP": reverse,
            "gradient by forward mode": self.size * forward,
            "gradient by reverse mode": reverse,
        }

    def __str__(self) -> str:
        from .words import lines

        return "\n".join(lines(self))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and words; arrays of more than 10,000 entries are left out (None)."""
        from .words import plain

        return plain(self)

    def section(self) -> Any:
        """The same as a section of a report (extra ``report``)."""
        import jacmap

        report: Any = jacmap.report
        return report.backprop_section(self)

    def save(self, path: str | Path) -> Workbook:
        """Write a workbook (.xlsx) whose cells are formulas: change an input or a weight and every number follows.

        Returns what was written: its cells by name, and the operations that stand there as plain numbers because they
        have no formula. Needs the extra ``jacmap[xlsx]``. Raises ArgumentError for a name that does not end in .xlsx, a
        place that cannot be written to, or a network of more cells than a reader can use.
        """
        from .workbook import save

        return save(self, path)
