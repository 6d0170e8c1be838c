"""The table: ATen operation → the same operation in JAX. To add an operation, add a row to the file of its kind.

`tests/test_torch_to_jax.py` compares every row with the operation itself, in value and gradient. (torchax, the library
made for this, cannot be imported under PyTorch 2.13.)
"""

from __future__ import annotations

from ..._errors import TraceError
from ...engine.graph import Node
from . import backwards, contractions, elementwise, indexing, linalg, movement, normalise, reductions, windows
from .row import Row

TABLE: dict[str, Row] = {
    **elementwise.TABLE,
    **movement.TABLE,
    **indexing.TABLE,
    **reductions.TABLE,
    **contractions.TABLE,
    **windows.TABLE,
    **normalise.TABLE,
    **linalg.TABLE,
    **backwards.TABLE,
}


# What the recorder notes where no operation of f stands.
_REASONS = {
    "hidden derivative": "its derivative is made by an extension, a compiled graph, or an autograd.Function "
    "whose apply was stored before f was read"
}


def lookup(node: Node) -> Row:
    """The row of an operation; TraceError where there is none."""
    row = TABLE.get(node.op)
    if row is None:
        raise untranslated(node)
    return row


def untranslated(node: Node, why: object = "") -> TraceError:
    """The error for an operation, or a use of it, that has no translation."""
    why = why or _REASONS.get(node.op, "")
    where = f" at {node.place}" if str(node.place) else ""
    return TraceError(
        f"cannot translate {node.op!r}{where} to JAX, which studies compute in{f' ({why})' if why else ''}; write it "
        "with other operations, make it a torch.autograd.Function, or ask what needs no translation: jm.jacobian, "
        "jm.linearize, jm.slogdet"
    )
