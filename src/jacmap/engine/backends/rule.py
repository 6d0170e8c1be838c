"""What a rule is: a row of a backend's table, from an operation to how its outputs depend on its inputs.

A rule asks a *call*, one operation at one call site. Each backend has its own `Call`; what is needed here they share:
shapes (`inputs`, `outputs`, `out`), `active[i]` (a derivative reaches input i), `varying[i]` (its value depends on x).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..graph import Pattern, dependence

Local = Mapping[tuple[int, int], Pattern]

# What one counted operation costs in a batch of passes, relative to an entry moved through memory: contractions run
# at the speed of matrix products; the derivative of an expensive function is one multiplication.
PASS_WEIGHT = {"contraction": 0.1, "windowed contraction": 0.2, "elementwise": 0.1, "block full": 0.3}


@dataclass(frozen=True, slots=True)
class Rule:
    """A row of the table: how an operation's outputs depend on its inputs.

    `kind` names the dependence kind for people; `local` gives the local patterns; `affine` tells whether this call
    is affine in its active inputs; `exact` whether the pattern is exact (else it over-estimates); `work` counts
    scalar operations (None: one per output entry); `modes` tells whether forward and reverse mode are supported.
    """

    kind: str
    local: Callable[[Any], Local]
    affine: Callable[[Any], bool] = lambda call: False
    exact: bool = True
    modes: Callable[[Any], tuple[bool, bool]] = lambda call: (True, True)
    work: Callable[[Any], float] | None = None
    note: str = ""


def always(call: Any) -> bool:
    return True


def one_varying(call: Any) -> bool:
    """Affine when a single operand varies: products, contractions."""
    return sum(call.varying) == 1


def first_alone(call: Any) -> bool:
    """Affine when nothing but the first operand varies: division, indexing, selecting by it."""
    return not any(call.varying[1:])


def rest_vary(call: Any) -> bool:
    """Affine when the first operand (a predicate) does not vary."""
    return not call.varying[0]


def neither_mode(call: Any) -> tuple[bool, bool]:
    """The framework has no derivative of the operation and raises."""
    return False, False


def reverse_only(call: Any) -> tuple[bool, bool]:
    """The framework has no forward-mode derivative of the operation."""
    return False, True


def nothing(call: Any) -> dict[tuple[int, int], Pattern]:
    """No derivative passes."""
    return {}


def every_pair(call: Any) -> dict[tuple[int, int], Pattern]:
    """Full dependence of each output on each active input."""
    return {
        (k, i): dependence.full(out, inp)
        for k, out in enumerate(call.outputs)
        for i, inp in enumerate(call.inputs)
        if call.active[i]
    }


def entrywise(call: Any) -> dict[tuple[int, int], Pattern]:
    """Entry i of the output reads entry i of each active input, after broadcasting."""
    return {(0, i): dependence.elementwise(call.out, shape) for i, shape in enumerate(call.inputs) if call.active[i]}
