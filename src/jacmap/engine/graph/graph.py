"""The framework-neutral graph of a function: values, and the operations between them.

A backend builds it (one node per operation, calls inlined, dead code and common subexpressions removed);
everything else only reads it. A node's *local patterns* say which output entries read which input entries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from .coupling import DEFAULT, Curvature
from .hints import NOTHING, Hints
from .pattern import Pattern

Local = Mapping[tuple[int, int], Pattern]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node comes from: the name scope and the user's source line, either may be empty."""

    scope: str = ""
    line: str = ""

    def __str__(self) -> str:
        return " · ".join(part for part in (self.scope, self.line) if part)


@dataclass(frozen=True, slots=True)
class Value:
    """One array in the graph.

    `varying`: its value depends on the differentiated inputs. `active`: a derivative flows through it, too
    (a comparison's result varies but is not active). `complex`: each entry holds two real numbers.
    """

    shape: tuple[int, ...]
    size: int
    varying: bool
    active: bool
    complex: bool = False


@dataclass(eq=False)
class Node:
    """One operation. `inputs` and `outputs` are indices into `Graph.values`.

    `affine`: its outputs are affine in its active inputs, with coefficients that do not vary with x.
    `forward`, `reverse`: which AD modes the operation supports. `work`: counted scalar operations of one
    evaluation. `pass_work`: what it adds to one tangent or cotangent pass, in units of one entry moved through
    memory. `payload`: the backend's own description, opaque here.
    """

    op: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    local_of: Callable[[], Local]
    place_of: Callable[[], Place]
    affine: bool = False
    forward: bool = True
    reverse: bool = True
    work: float = 0.0
    pass_work: float = 0.0
    payload: Any = None
    note: str = ""
    curvature_of: Callable[[], Curvature] = lambda: DEFAULT
    hints_of: Callable[[], Hints] = lambda: NOTHING

    @cached_property
    def hints(self) -> Hints:
        """What the operation tells beyond its local patterns."""
        return self.hints_of()

    @cached_property
    def local(self) -> Local:
        """(output position, input position) → local pattern, for the active inputs that are read."""
        return self.local_of()

    @cached_property
    def curvature(self) -> Curvature:
        """Which pairs of active input entries have a second derivative."""
        return self.curvature_of()

    @cached_property
    def place(self) -> Place:
        return self.place_of()


@dataclass(eq=False)
class Graph:
    """`inputs`: the differentiated values; `others`: arguments not differentiated; `constants`: known values."""

    values: list[Value]
    nodes: list[Node]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    others: tuple[int, ...] = ()
    constants: dict[int, Any] = field(default_factory=dict)

    @staticmethod
    def of_what_is_needed(
        values: list[Value],
        nodes: Sequence[Node],
        inputs: Sequence[int],
        outputs: Sequence[int],
        others: Sequence[int],
        constants: Mapping[int, Any],
    ) -> Graph:
        """The graph without the nodes and constants that no output needs."""
        needed = set(outputs)
        kept = []
        for node in reversed(nodes):
            if needed.intersection(node.outputs):
                kept.append(node)
                needed.update(node.inputs)
        used = {v: constant for v, constant in constants.items() if v in needed}
        return Graph(values, kept[::-1], tuple(inputs), tuple(outputs), tuple(others), used)

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n): the sizes of all outputs and of all differentiated inputs."""
        return sum(self.values[v].size for v in self.outputs), sum(self.values[v].size for v in self.inputs)

    @cached_property
    def active_nodes(self) -> list[Node]:
        """The nodes through which a derivative flows, in execution order."""
        return [
            node
            for node in self.nodes
            if any(self.values[v].active for v in node.inputs) and any(self.values[v].active for v in node.outputs)
        ]

    def is_cuttable(self, v: int) -> bool:
        """Can v stand in a cut? Between real inputs and outputs an entry of a complex value is two numbers, not one."""
        return not self.values[v].complex or all(self.values[w].complex for w in self.inputs)

    @cached_property
    def is_affine(self) -> bool:
        """Is J the same at every point?"""
        return all(node.affine for node in self.active_nodes)

    @property
    def forward(self) -> bool:
        return all(node.forward for node in self.active_nodes)

    @property
    def reverse(self) -> bool:
        return all(node.reverse for node in self.active_nodes)

    @cached_property
    def work(self) -> float:
        """Counted scalar operations of one evaluation of the function."""
        return sum(node.work for node in self.nodes)

    @cached_property
    def pass_work(self) -> float:
        """The cost of one tangent (or cotangent) pass, in entries moved through memory."""
        return sum(node.pass_work for node in self.active_nodes)

    def notes(self) -> list[str]:
        """What the analysis had to over-estimate, one line each, repeated ones counted."""
        counts: dict[str, int] = {}
        for node in self.active_nodes:
            if node.note:
                counts[node.note] = counts.get(node.note, 0) + 1
        return [text if n == 1 else f"{text} ({n} times)" for text, n in counts.items()]
