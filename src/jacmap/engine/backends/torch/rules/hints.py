"""The table: ATen operation → what is known of it beyond its pattern. An operation without a row gives no hints."""

from __future__ import annotations

from collections.abc import Callable

from ....graph.hints import NOTHING, Hints
from ..call import Call
from . import movement


def hints(call: Call) -> Hints:
    """What the operation at this call site tells."""
    return TABLE[call.name](call) if call.name in TABLE else NOTHING


def _moves(call: Call) -> Hints:
    """Data that is only moved: each entry of the pattern is 1, what is filled in has none."""
    return Hints(unit=range(len(call.inputs)))


def _indexed(call: Call) -> Hints:
    """The same by indices; were they not known, an entry of the pattern might be 0."""
    return Hints(unit=(0,)) if all(call.known(i) is not None for i in range(1, len(call.inputs))) else NOTHING


def _put(call: Call) -> Hints:
    """What is written at known places, and what stays."""
    last = len(call.inputs) - 1
    known = all(call.known(i) is not None for i in range(1, last))
    return Hints(unit=(0, last)) if known and not call.params["accumulate"] else NOTHING


def _sum(call: Call) -> Hints:
    second = call.at("other")
    unscaled = call.params.get("alpha", 1) == 1
    return Hints(unit=(0, second)) if second is not None and unscaled and call.name == "add" else Hints(unit=(0,))


_SUMS_COPIES = "unfold_backward"

TABLE: dict[str, Callable[[Call], Hints]] = {
    **{name: _moves for name in movement.RULES if name not in ("unseen write", _SUMS_COPIES)},
    **{name: _moves for name in ("clone", "_to_copy", "alias", "copy")},
    **{name: _indexed for name in ("index", "index_select", "gather")},
    "index_put": _put,
    "add": _sum,
    "sub": _sum,
}
