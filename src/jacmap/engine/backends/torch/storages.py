"""Which value of the graph a tensor holds: views and in-place writes, told by storages.

A tensor object is no stable name (autograd makes new ones for the same view), its storage and its geometry are.
A storage has, at any moment, a *whole* value, and the values of the views read since the last write. A view that
was not read since is gathered from the whole; a write through any view scatters into the whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...._errors import TraceError

Geometry = tuple[Any, ...]


def geometry_of(tensor: Tensor) -> Geometry:
    return (
        tensor.dtype,
        tuple(tensor.shape),
        tensor.stride(),
        tensor.storage_offset(),
        tensor.is_conj(),
        tensor.is_neg(),
    )


def positions(geometry: Geometry) -> np.ndarray:
    """Each entry's place in the storage, counted in entries, in the tensor's shape."""
    _, shape, strides, offset, *_ = geometry
    place: np.ndarray = np.full((1,) * len(shape), offset, np.int64)
    for axis, (extent, stride) in enumerate(zip(shape, strides, strict=True)):
        along = np.arange(extent, dtype=np.int64) * stride
        place = place + along.reshape([-1 if k == axis else 1 for k in range(len(shape))])
    return np.broadcast_to(place, shape)


@dataclass(eq=False)
class Storage:
    """`whole` is a value of this geometry; None while nothing but whole views of an outside tensor was read."""

    keep: Any  # alive as long as the trace, so that its address is not given to another
    whole: int | None = None
    geometry: Geometry | None = None
    views: dict[Geometry, int] = field(default_factory=dict)
    held: list[int] = field(default_factory=list)  # values whose known entries lie in this memory
    generic: bool = False  # a parameter: its zeros never count

    def rows(self, geometry: Geometry) -> np.ndarray:
        """For each entry of a view the row number in the whole; raises where the two do not match."""
        assert self.geometry is not None
        if geometry[0] != self.geometry[0] or True in (*geometry[4:], *self.geometry[4:]):
            raise TraceError(
                "cannot read a view with another dtype, or a conjugate view, of memory that was written in place; "
                "write out of place, or use .clone() before the view"
            )
        mine, whole = positions(geometry), positions(self.geometry)
        row = np.full(max(int(whole.max(initial=-1)), int(mine.max(initial=-1))) + 1, -1, np.int64)
        row[whole.ravel()] = np.arange(whole.size)
        found = row[mine]
        if found.size and found.min() < 0:
            raise TraceError("cannot read memory beyond the tensor that was written into it (set_, resize_)")
        return found


class Storages:
    """`outside(tensor)`: the value of a tensor that no operation made. `gather`, `scatter`: record such a node."""

    def __init__(
        self,
        outside: Callable[[Tensor], int],
        gather: Callable[[int, np.ndarray], int],
        scatter: Callable[[int, int, np.ndarray, bool], int],
    ) -> None:
        self.outside, self.gather, self.scatter = outside, gather, scatter
        self.by_address: dict[int, Storage] = {}
        self.by_object: dict[int, tuple[Tensor, int]] = {}  # sparse tensors have no single storage

    def find(self, tensor: Tensor) -> Storage | None:
        return self.by_address.get(tensor.untyped_storage()._cdata)

    def knows(self, tensor: Tensor) -> bool:
        return id(tensor) in self.by_object if tensor.layout != torch.strided else self.find(tensor) is not None

    def give(self, tensor: Tensor, value: int) -> None:
        """A tensor with memory of its own was made."""
        if tensor.layout != torch.strided:
            self.by_object[id(tensor)] = (tensor, value)
            return
        storage, geometry = tensor.untyped_storage(), geometry_of(tensor)
        self.by_address[storage._cdata] = Storage(storage, value, geometry, {geometry: value})

    def view(self, tensor: Tensor, value: int) -> None:
        """A tensor is a view, with this value, of memory that is known."""
        storage = self.find(tensor)
        assert storage is not None
        storage.views.setdefault(geometry_of(tensor), value)

    def reopen(self, tensor: Tensor, value: int) -> None:
        """The same numbers, with a derivative that was not seen before."""
        if tensor.layout != torch.strided:
            self.by_object[id(tensor)] = (tensor, value)
            return
        storage, geometry = self.find(tensor), geometry_of(tensor)
        assert storage is not None
        storage.views[geometry] = value
        if storage.geometry == geometry:
            storage.whole = value

    def has(self, tensor: Tensor) -> bool:
        """Is the value of just this tensor known, without a gather?"""
        if tensor.layout != torch.strided:
            return id(tensor) in self.by_object
        storage = self.find(tensor)
        return storage is not None and geometry_of(tensor) in storage.views

    def read(self, tensor: Tensor) -> int:
        if tensor.layout != torch.strided:
            if id(tensor) not in self.by_object:
                self.by_object[id(tensor)] = (tensor, self.outside(tensor))
            return self.by_object[id(tensor)][1]
        storage, geometry = self.find(tensor), geometry_of(tensor)
        if storage is None:
            storage = Storage(tensor.untyped_storage())
            self.by_address[storage.keep._cdata] = storage
        if geometry not in storage.views:
            if storage.whole is None:
                storage.views[geometry] = self.outside(tensor)
            else:
                storage.views[geometry] = self.gather(storage.whole, storage.rows(geometry))
        return storage.views[geometry]

    def write(self, tensor: Tensor, value: int, derivative: bool) -> None:
        """The tensor's memory now holds `value`; without `derivative` AD does not see it."""
        storage, geometry = self.find(tensor), geometry_of(tensor)
        assert storage is not None
        if storage.whole is None:
            raise AssertionError("an outside tensor is opened before it is written")
        rows = storage.rows(geometry)
        covers = rows.size == positions(storage.geometry or geometry).size
        if covers and derivative:
            storage.whole, storage.geometry = value, geometry
            storage.views = {geometry: value}
        else:
            storage.whole = self.scatter(storage.whole, value, rows, derivative)
            storage.views = {storage.geometry or geometry: storage.whole}

    def open(self, tensor: Tensor) -> None:
        """Make the memory of an outside tensor one whole value, before it is written."""
        self.read(tensor)
        storage = self.find(tensor)
        assert storage is not None
        if storage.whole is None:
            flat = tensor.detach().as_strided((storage.keep.nbytes() // tensor.element_size(),), (1,), 0)
            flat.requires_grad_(tensor.requires_grad)
            storage.whole, storage.geometry = self.outside(flat), geometry_of(flat)
