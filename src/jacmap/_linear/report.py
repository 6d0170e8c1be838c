"""The inverse function theorem, applied: can f be undone near a point, and how is that known?"""

from __future__ import annotations

from dataclasses import dataclass

from ..engine.graph import Graph

# Operations with a body of their own, or with a derivative that need not be that of their values.
_CLOSED = ("scan", "while", "cond", "custom_")


def is_affine(graph: Graph) -> bool:
    """Is f itself affine, not only its derivative constant?

    So no value that varies with x may be left out of the derivative (stop-gradient, rounding, comparisons).
    """
    values = graph.values
    return all(
        node.affine
        and not node.op.startswith(_CLOSED)
        and all(values[v].active for v in (*node.inputs, *node.outputs) if values[v].varying)
        for node in graph.nodes
        if any(values[v].varying for v in (*node.inputs, *node.outputs))
    )


@dataclass(frozen=True)
class LocalInvertibility:
    """What is known of f near a point; true where f has a smooth inverse there, as far as rounding lets it be seen.

    `str()` tells it in words.

    `rank` is the numerical rank of J, `structural_rank` the largest any matrix of its pattern can have (None: not
    computed). `smallest` and `largest` are singular values, `cond` their ratio. `radius` is that of a ball around the
    point on which f is one-to-one, where one is known for certain (infinite for an affine f), else None: it would take
    a bound on how fast J changes.
    """

    name: str
    shape: tuple[int, int]
    rank: int
    structural_rank: int | None
    smallest: float
    largest: float
    cond: float
    radius: float | None
    way: str
    why_not: str = ""

    def __bool__(self) -> bool:
        return self.invertible

    @property
    def square(self) -> bool:
        """Has f as many outputs as inputs?"""
        return self.shape[0] == self.shape[1]

    @property
    def invertible(self) -> bool:
        """Is J square and of full rank?"""
        return self.square and self.rank == self.shape[0]

    def __str__(self) -> str:
        m, n = self.shape
        full = min(m, n)
        head = f"{self.name} {'is locally invertible' if self.invertible else 'has no smooth local inverse'} here"
        lines = [f"{head}: J is {m}×{n} and {self._verdict(full)}"]
        structural = "" if self.structural_rank is None else f", structural rank {self.structural_rank}"
        lines.append(f"  rank {self.rank} of {full}{structural}")
        ends = f"{self.smallest:.3g} to {self.largest:.3g}, ratio {self.cond:.3g}"
        lines.append(f"  singular values from {ends} ({self.way})")
        if self.invertible:
            lines.append(f"  {self._radius()}")
        return "\n".join(lines)

    def _verdict(self, full: int) -> str:
        m, n = self.shape
        if self.why_not:
            return self.why_not
        if self.rank < full:
            return f"it loses {full - self.rank} direction{'s' if full - self.rank > 1 else ''}"
        if m > n:
            return "of full column rank: f is one-to-one near the point, but reaches only part of its outputs' space"
        if m < n:
            return "of full row rank: f reaches every nearby value, from many points"
        return "invertible (inverse function theorem)"

    def _radius(self) -> str:
        if self.radius is not None:
            return "f is affine: it is one-to-one everywhere"
        return "how far that reaches is not known: it depends on how fast J changes"
