"""How a determinant is found, as data: one step per factor of the chain of square cuts."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.sparse import csr_array

from ..graph.factors import Factor
from ..graph.hints import Loop
from .blocks import Blocks
from .colouring import Colouring
from .demand import Thinning


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """How one factor's determinant is found. `constant`: the factor is the same at every x."""

    factor: Factor
    constant: bool = False
    note: str = ""

    @property
    def forward(self) -> int:
        return 0

    @property
    def reverse(self) -> int:
        return 0

    def blocks_by_size(self) -> dict[int, int]:
        return {}


@dataclass(frozen=True, kw_only=True, eq=False)
class Moved(Step):
    """A permutation of entries: log|det| = 0 and a sign known beforehand (one per step inside a loop)."""

    signs: tuple[int, ...]

    @property
    def kind(self) -> str:
        return "permutation"


@dataclass(frozen=True, kw_only=True, eq=False)
class Entrywise(Step):
    """The diagonal blocks' entries by a coloured pass. `times`: how often each block stands for others equal to it."""

    blocks: Blocks
    colouring: Colouring
    thinning: Thinning
    pattern: csr_array  # of what is wanted
    times: np.ndarray
    reason: str = ""

    @property
    def forward(self) -> int:
        return self.colouring.forward

    @property
    def reverse(self) -> int:
        return self.colouring.reverse

    def blocks_by_size(self) -> dict[int, int]:
        return self.blocks.by_size()

    @property
    def kind(self) -> str:
        return _kind(self.blocks, self.factor.size, self.reason)


@dataclass(frozen=True, eq=False)
class Equal:
    """Blocks of one size, one for all that are equal.

    `at`, (count, size, size): where the entries stand in the operand, −1 for a zero. `times`: how often each block is
    there.
    """

    at: np.ndarray
    times: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Stored(Step):
    """One operation whose local pattern's entries another operand holds: the blocks are read there, without a pass.

    `operand`: that value, in the whole graph; the entries are `scale` times its own.
    """

    blocks: Blocks
    operand: int
    scale: float
    groups: tuple[Equal, ...]
    reason: str = ""

    def blocks_by_size(self) -> dict[int, int]:
        return self.blocks.by_size()

    @property
    def kind(self) -> str:
        return f"{_kind(self.blocks, self.factor.size, self.reason)}, read from an operand"


def _kind(blocks: Blocks, size: int, reason: str) -> str:
    sizes = blocks.by_size()
    if set(sizes) == {1}:
        return "triangular" if reason else "diagonal"
    if max(sizes) == size:
        return "dense"
    return f"block triangular: {', '.join(f'{count} of {size}×{size}' for size, count in sizes.items())}"


@dataclass(frozen=True, kw_only=True, eq=False)
class LowRank(Step):
    """J = D + U V through the value `narrow` of width r: det J = det D · det(I + V D⁻¹ U) (the determinant lemma).

    `inner`: D's diagonal, with the edges out of `narrow` dropped. Where all of D is known to be 1 (`unit`) no pass
    reads it; else its r smallest entries are bordered instead of divided by: more than r zeros in D make J singular.
    """

    narrow: int  # a value of factor.graph
    width: int
    inner: Entrywise
    unit: bool
    pulled: bool

    @property
    def forward(self) -> int:
        diagonal = 0 if self.unit else self.inner.forward
        return diagonal + self.width + (0 if self.pulled else self.factor.size)

    @property
    def reverse(self) -> int:
        return self.width if self.pulled else 0

    @property
    def kind(self) -> str:
        return f"diagonal plus rank {self.width}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Repeated(Step):
    """A loop whose carry is the cut: the body's own chain, summed inside the loop."""

    loop: Loop
    body: Determinant
    sign: int  # of the order of the carried values, once per loop

    @property
    def forward(self) -> int:
        return self.loop.length * self.body.forward

    @property
    def reverse(self) -> int:
        return self.loop.length * self.body.reverse

    @property
    def kind(self) -> str:
        return f"loop of {self.loop.length} steps"


@dataclass(frozen=True, eq=False)
class Determinant:
    """`steps` in order; `zero` says why the determinant vanishes at every point, empty if it need not."""

    steps: tuple[Step, ...]
    sign: int
    zero: str = ""
    owner: dict[int, int] = field(default_factory=dict)  # node position → step

    @property
    def forward(self) -> int:
        return sum(step.forward for step in self.steps)

    @property
    def reverse(self) -> int:
        return sum(step.reverse for step in self.steps)

    @property
    def most_per_factor(self) -> int:
        """The most passes that one factor of the chain needs, bodies of loops included."""
        counts = [s.body.most_per_factor if isinstance(s, Repeated) else s.forward + s.reverse for s in self.steps]
        return max(counts, default=0)

    @property
    def largest_block(self) -> int:
        """The size of the largest block to be factorised."""
        sizes = [1]
        for step in self.steps:
            if isinstance(step, Repeated):
                sizes.append(step.body.largest_block)
            elif isinstance(step, LowRank):
                sizes.append(step.width if step.unit else 2 * step.width)
            else:
                sizes += step.blocks_by_size()
        return max(sizes)
