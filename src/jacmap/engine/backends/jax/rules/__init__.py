"""The table: JAX primitive → rule. To add an operation, add a row to the file of its kind.

`tests/test_rules.py` finds every row by itself and checks it numerically; it asks for an example of each.
"""

from __future__ import annotations

from ...rule import Rule
from . import branches, custom, elementwise, indexing, linalg, linear, loops, movement, reductions, solves, sparse
from .fallback import OPAQUE, UNKNOWN

RULES: dict[str, Rule] = {
    **elementwise.RULES,
    **movement.RULES,
    **indexing.RULES,
    **reductions.RULES,
    **linear.RULES,
    **linalg.RULES,
    **custom.RULES,
    **branches.RULES,
    **loops.RULES,
    **solves.RULES,
    **sparse.RULES,
}


def lookup(name: str) -> Rule:
    """The rule of a primitive; the sound full one, with a note for `explain`, when there is none."""
    return RULES.get(name) or OPAQUE.get(name, UNKNOWN)
