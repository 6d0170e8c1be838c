"""The table: ATen operation → what is known of it beyond its pattern. An operation without a row gives no hints."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from ....graph.hints import NOTHING, Entries, Hints
from ..call import Call
from . import movement
from .contractions import PRODUCTS


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


def _product(call: Call) -> Hints:
    """Every entry of a matrix product's local pattern is one entry of the other operand, times `alpha`."""
    product = PRODUCTS[call.name]
    terms, out = product.letters.split("->")
    sides = dict(zip((product.left, product.right), terms.split(","), strict=True))
    places = {name: call.at(name) for name in sides}
    scale = call.params[product.factor] if product.factor else 1
    real = all(i is not None and call.dtypes[i].is_floating_point for i in places.values())
    if not real or not isinstance(scale, (int, float)) or call.operation.dtype is not None:
        return NOTHING
    found = {}
    for me, you in ((product.left, product.right), (product.right, product.left)):
        i, j = places[me], places[you]
        assert i is not None and j is not None
        if call.sparse(j) is not None:
            continue  # to read single entries of it, it would have to be made dense
        strides = dict(zip(sides[you], _strides(call.inputs[j]), strict=True))
        # Axes that both operands have are placed by my entry, the other's own by the entry of the result.
        mine = [strides.get(a, 0) for a in sides[me]]
        yours = [0 if a in sides[me] else strides.get(a, 0) for a in out]
        found[i] = Entries(j, _numbered(call.out, yours), _numbered(call.inputs[i], mine), float(scale))
    return Hints(entries=found)


def _strides(shape: Sequence[int]) -> list[int]:
    return [math.prod(shape[a + 1 :]) for a in range(len(shape))]


def _numbered(shape: Sequence[int], strides: Sequence[int]) -> np.ndarray:
    """For each entry of an array of that shape, row by row, the sum of its coordinates times the strides."""
    total = np.zeros((), np.int64)
    for extent, stride in zip(shape, strides, strict=True):
        total = total[..., None] + np.arange(extent) * stride
    return total.ravel()


_SUMS_COPIES = "unfold_backward"

TABLE: dict[str, Callable[[Call], Hints]] = {
    **{name: _moves for name in movement.RULES if name not in ("unseen write", _SUMS_COPIES)},
    **{name: _moves for name in ("clone", "_to_copy", "copy")},
    **{name: _indexed for name in ("index", "index_select", "gather")},
    "index_put": _put,
    "add": _sum,
    "sub": _sum,
    **dict.fromkeys(PRODUCTS, _product),
}
