"""Indexing with indices that may or may not be known when the graph is read.

Indices that are not known may pick any coordinate of the axes that they index; along the others entry reads entry.
Which those are is found by running the operation on labels that are the same along the indexed axes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from ....graph import Pattern, dependence
from ...rule import Rule, every_pair
from ..call import Call, Ref
from .elementwise import entrywise_of
from .movement import free, moved

aten = torch.ops.aten
Local = dict[tuple[int, int], Pattern]


@dataclass(frozen=True)
class _Indexing:
    """`read(data, call, index)`: what the indices pick from `data`; `axes`: the axes that they index."""

    read: Callable[[Tensor, Call, Callable[[Ref], Tensor]], Tensor]
    axes: Callable[[Call, int], list[int]]


def _advanced(data: Tensor, call: Call, index: Callable[[Ref], Tensor]) -> Tensor:
    return aten.index(data, [index(i) if isinstance(i, Ref) else None for i in call.params["indices"]])


def _advanced_axes(call: Call, rank: int) -> list[int]:
    axes, axis = [], 0
    for ref in call.params["indices"]:
        # A mask indexes as many axes as it has.
        width = len(call.inputs[ref.index]) if isinstance(ref, Ref) and _is_mask(call, ref) else 1
        axes += list(range(axis, axis + width)) if isinstance(ref, Ref) else []
        axis += width
    return axes


def _is_mask(call: Call, ref: Ref) -> bool:
    return call.dtypes[ref.index] in (torch.bool, torch.uint8)


def _unknown_mask(call: Call) -> bool:
    return any(_is_mask(call, ref) and call.known(ref.index) is None for ref in _index_refs(call))


def _one_axis(call: Call, rank: int) -> list[int]:
    return [call.params["dim"] % rank] if rank else []


_ADVANCED = _Indexing(_advanced, _advanced_axes)
_SELECT = _Indexing(
    lambda data, call, index: data.index_select(call.params["dim"], index(call.params["index"])), _one_axis
)
_GATHER = _Indexing(lambda data, call, index: data.gather(call.params["dim"], index(call.params["index"])), _one_axis)
_TAKE = _Indexing(
    lambda data, call, index: data.take(index(call.params["index"])), lambda call, rank: list(range(rank))
)
_EMBED = _Indexing(lambda data, call, index: data[index(call.params["indices"])], lambda call, rank: [0])


def _index_refs(call: Call) -> list[Ref]:
    value = call.params.get("indices", call.params.get("index"))
    return [ref for ref in (value if isinstance(value, (list, tuple)) else [value]) if isinstance(ref, Ref)]


def _picked(call: Call, indexing: _Indexing, shape: tuple[int, ...]) -> tuple[Tensor, np.ndarray | None]:
    """(labels picked, labels of the data): row numbers where the indices are known, else labels of what agrees."""
    known = {ref.index: call.known(ref.index) for ref in _index_refs(call)}
    numbers = torch.arange(dependence.size_of(shape)).reshape(shape)
    if all(value is not None for value in known.values()):
        return indexing.read(numbers, call, lambda ref: known[ref.index].cpu()), None  # type: ignore[union-attr]
    indexed = indexing.axes(call, len(shape))
    kept = [a for a in range(len(shape)) if a not in indexed]
    labels = dependence.group_numbers(shape, kept)
    zeros = {ref.index: torch.zeros(call.inputs[ref.index], dtype=torch.int64) for ref in _index_refs(call)}
    data = torch.from_numpy(np.array(labels)).reshape(shape)
    return indexing.read(data, call, lambda ref: zeros[ref.index]), labels


def _gathers(indexing: _Indexing, name: str = "self") -> Callable[[Call], Local]:
    def local(call: Call) -> Local:
        i = call.at(name)
        if i is None or not call.active[i]:
            return {}
        shape = call.inputs[i]
        if _unknown_mask(call):
            return every_pair(call)
        rows, labels = _quietly(lambda: _picked(call, indexing, shape))
        if labels is None:
            return {(0, i): dependence.gather(rows.numpy(), dependence.size_of(shape))}
        groups = int(labels.max(initial=-1)) + 1
        return {(0, i): Pattern.grouped(rows.numpy(), labels, groups)}

    return local


def _scatters(indexing: _Indexing, source: str, adds: Callable[[Call], bool]) -> Callable[[Call], Local]:
    """The updates land on the entries that the indices pick; where they replace, what was there is dropped."""

    def local(call: Call) -> Local:
        me, you = call.at("self"), call.at(source)
        assert me is not None
        shape, size = call.inputs[me], dependence.size_of(call.inputs[me])
        if _unknown_mask(call):  # one number where the mask says: a where
            fits = you is None or dependence.size_of(call.inputs[you]) == 1
            spread_over = [i for i in (me, you) if i is not None and call.active[i]]
            return entrywise_of(call, spread_over) if fits else every_pair(call)
        landed, labels = _quietly(lambda: _picked(call, indexing, shape))
        rows = landed.numpy().ravel()
        found: Local = {}
        if call.active[me]:
            kept = np.arange(size)
            if labels is None and not adds(call):
                kept[rows] = -1
            found[0, me] = dependence.gather(kept, size)
        if you is not None and call.active[you]:
            updates = _updates(call, source, call.inputs[you], tuple(landed.shape))
            if labels is None:
                spread = dependence.gather(rows, size).T
            else:
                spread = Pattern.grouped(labels, rows, int(labels.max(initial=-1)) + 1)
            found[0, you] = spread @ dependence.gather(updates, dependence.size_of(call.inputs[you]))
        return found

    return local


def _updates(call: Call, source: str, shape: tuple[int, ...], landed: tuple[int, ...]) -> np.ndarray:
    """For each place landed on the row number of the update."""
    numbers = dependence.row_numbers(shape)
    if source == "src":  # scatter: as much of the source as the index is large
        return numbers[tuple(slice(0, n) for n in landed)]
    return np.broadcast_to(numbers, landed)


def _quietly(function: Callable[[], tuple[Tensor, np.ndarray | None]]) -> tuple[Tensor, np.ndarray | None]:
    with _disable_current_modes(), torch._C._DisableFuncTorch(), torch.no_grad():
        return function()


def _reduces(call: Call) -> bool:
    return call.params.get("reduce") is not None


def _accumulates(call: Call) -> bool:
    return bool(call.params.get("accumulate"))


def _index_fixed(call: Call) -> bool:
    return not any(call.varying[ref.index] for ref in _index_refs(call))


def _replaces_at_fixed(call: Call) -> bool:
    return _index_fixed(call) and not _reduces(call)


def _embedding_backward(call: Call) -> Local:
    """The gradient of an embedding: rows summed where the indices say."""
    index = call.at("indices")
    known = None if index is None else call.known(index)
    if known is None:
        kept = [len(call.inputs[0]) - 1]
        return {(0, 0): dependence.by_axes(call.out, [1], call.inputs[0], kept)}
    rows = torch.arange(dependence.size_of(call.out)).reshape(call.out)[known.cpu()]
    return {(0, 0): dependence.gather(rows.numpy(), dependence.size_of(call.out)).T}


def _masked_select(call: Call) -> Local:
    return moved(call, [0])


RULES: dict[str, Rule] = {
    "index": Rule("gather", _gathers(_ADVANCED), affine=_index_fixed, work=free),
    "_unsafe_index": Rule("gather", _gathers(_ADVANCED), affine=_index_fixed, work=free),
    "index_select": Rule("gather", _gathers(_SELECT), affine=_index_fixed, work=free),
    "gather": Rule("gather", _gathers(_GATHER), affine=_index_fixed, work=free),
    "take": Rule("gather", _gathers(_TAKE), affine=_index_fixed, work=free),
    "embedding": Rule("gather", _gathers(_EMBED, "weight"), affine=_index_fixed, work=free),
    "masked_select": Rule("gather", _masked_select, affine=lambda call: True, work=free),
    "index_put": Rule("scatter", _scatters(_ADVANCED, "values", _accumulates), affine=_index_fixed),
    "_unsafe_index_put": Rule("scatter", _scatters(_ADVANCED, "values", _accumulates), affine=_index_fixed),
    "index_add": Rule("scatter", _scatters(_SELECT, "source", lambda call: True), affine=_index_fixed),
    "index_copy": Rule("scatter", _scatters(_SELECT, "source", lambda call: False), affine=_index_fixed),
    "index_fill": Rule("scatter", _scatters(_SELECT, "value", lambda call: False), affine=_index_fixed),
    "scatter": Rule("scatter", _scatters(_GATHER, "src", _reduces), affine=_replaces_at_fixed),
    "scatter_add": Rule("scatter", _scatters(_GATHER, "src", lambda call: True), affine=_index_fixed),
    "scatter_reduce": Rule("scatter", _scatters(_GATHER, "src", lambda call: True), exact=False),
    "embedding_dense_backward": Rule("scatter", _embedding_backward, affine=_index_fixed),
}
