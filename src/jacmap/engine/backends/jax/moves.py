"""Movement of data, in NumPy: the same functions run on values (facts) and on row numbers (patterns).

Each entry of the table takes the call and its data operands, then its index operands, and returns the moved
array(s). Gather and scatter are given as row numbers, where -1 marks an entry that comes from nowhere (a gather
out of bounds that fills) or goes nowhere (a scatter out of bounds).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .call import Call

Move = Callable[..., Any]


def _slice(call: Call, x: np.ndarray) -> np.ndarray:
    p = call.params
    strides = p["strides"] or (1,) * x.ndim
    window = zip(p["start_indices"], p["limit_indices"], strides, strict=True)
    return x[tuple(slice(a, b, s) for a, b, s in window)]


def _broadcast_in_dim(call: Call, x: np.ndarray, *dynamic: np.ndarray) -> np.ndarray:
    p = call.params
    shape = [1] * len(call.out)
    for axis, extent in zip(p["broadcast_dimensions"], x.shape, strict=True):
        shape[axis] = extent
    return np.broadcast_to(x.reshape(shape), call.out)


def _tile(call: Call, x: np.ndarray) -> np.ndarray:
    # NumPy's tile fails where a repeat of zero times meets several axes.
    return np.tile(x, call.params["reps"]) if 0 not in call.out else np.zeros(call.out, x.dtype)


def _pad(call: Call, x: np.ndarray, fill: np.ndarray) -> np.ndarray:
    config = call.params["padding_config"]
    dilated = np.full(
        [max(0, n + max(0, n - 1) * i) for n, (_, _, i) in zip(x.shape, config, strict=True)], fill, x.dtype
    )
    dilated[tuple(slice(None, None, i + 1) for _, _, i in config)] = x
    grown = np.pad(dilated, [(max(lo, 0), max(hi, 0)) for lo, hi, _ in config], constant_values=fill)
    return grown[
        tuple(slice(max(-lo, 0), n - max(-hi, 0)) for n, (lo, hi, _) in zip(grown.shape, config, strict=True))
    ]


def _split(call: Call, x: np.ndarray) -> list[np.ndarray]:
    at = np.cumsum(call.params["sizes"])[:-1]
    return np.split(x, at, axis=call.params["axis"])


def _starts(operand: np.ndarray, sizes: tuple[int, ...], starts: tuple[np.ndarray, ...]) -> list[int]:
    limits = zip(starts, operand.shape, sizes, strict=True)
    return [int(np.clip(int(s), 0, n - k)) for s, n, k in limits]


def _reshape(call: Call, x: np.ndarray, *_: np.ndarray) -> np.ndarray:
    order = call.params["dimensions"]  # read in another order of axes first, as jnp's order="F" asks
    return (x if order is None else x.transpose(order)).reshape(call.out)


def _dynamic_slice(call: Call, x: np.ndarray, *starts: np.ndarray) -> np.ndarray:
    sizes = call.params["slice_sizes"]
    return x[tuple(slice(s, s + k) for s, k in zip(_starts(x, sizes, starts), sizes, strict=True))]


def _dynamic_update_slice(call: Call, x: np.ndarray, update: np.ndarray, *starts: np.ndarray) -> np.ndarray:
    out = np.array(x)
    at = _starts(x, update.shape, starts)
    out[tuple(slice(s, s + k) for s, k in zip(at, update.shape, strict=True))] = update
    return out


def _mode(call: Call) -> str:
    return str(call.params["mode"]).rsplit(".", 1)[-1].upper()


def gather_rows(call: Call, indices: np.ndarray) -> np.ndarray:
    """For each output entry the flat operand entry that it reads; -1 where it reads the fill value."""
    p = call.params
    numbers, shape = p["dimension_numbers"], call.inputs[0]
    at, inside = _windows(
        shape=shape,
        grid=call.out,
        window_axes=numbers.offset_dims,
        collapsed=(*numbers.collapsed_slice_dims, *numbers.operand_batching_dims),
        index_map=numbers.start_index_map,
        batching=tuple(zip(numbers.operand_batching_dims, numbers.start_indices_batching_dims, strict=True)),
        sizes=p["slice_sizes"],
        indices=indices,
        # An index promised to be inside is not checked by XLA, it is clipped.
        clip="FILL" not in _mode(call),
    )
    return np.where(inside, at, -1)


def scatter_rows(call: Call, indices: np.ndarray) -> np.ndarray:
    """For each entry of the updates the flat operand entry that it lands on; -1 where it is dropped."""
    p = call.params
    numbers, shape, updates = p["dimension_numbers"], call.inputs[0], call.inputs[2]
    collapsed = (*numbers.inserted_window_dims, *numbers.operand_batching_dims)
    sizes = [1] * len(shape)
    kept = [d for d in range(len(shape)) if d not in collapsed]
    for d, axis in zip(kept, numbers.update_window_dims, strict=True):
        sizes[d] = updates[axis]
    at, inside = _windows(
        shape=shape,
        grid=updates,
        window_axes=numbers.update_window_dims,
        collapsed=collapsed,
        index_map=numbers.scatter_dims_to_operand_dims,
        batching=tuple(
            zip(numbers.operand_batching_dims, numbers.scatter_indices_batching_dims, strict=True)
        ),
        sizes=tuple(sizes),
        indices=indices,
        clip="CLIP" in _mode(call),
    )
    return np.where(inside, at, -1)


def _windows(
    shape: tuple[int, ...],
    grid: tuple[int, ...],
    window_axes: tuple[int, ...],
    collapsed: tuple[int, ...],
    index_map: tuple[int, ...],
    batching: tuple[tuple[int, int], ...],
    sizes: tuple[int, ...],
    indices: np.ndarray,
    clip: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """(flat operand entry, is the whole window inside?) for each entry of `grid`: XLA's gather semantics."""
    batch_axes = [a for a in range(len(grid)) if a not in window_axes]
    coordinate = np.indices(grid, sparse=True)
    index_at = tuple(coordinate[a] for a in batch_axes)
    start: list[Any] = [0] * len(shape)
    for k, d in enumerate(index_map):
        start[d] = indices[(*index_at, k)].astype(np.int64)
    for operand_axis, index_axis in batching:
        start[operand_axis] = index_at[index_axis]
    inside = np.ones(grid, bool)
    for d in index_map:
        if clip:
            start[d] = np.clip(start[d], 0, shape[d] - sizes[d])
        else:
            inside &= (start[d] >= 0) & (start[d] <= shape[d] - sizes[d])
    kept = [d for d in range(len(shape)) if d not in collapsed]
    for d, axis in zip(kept, window_axes, strict=True):
        start[d] = start[d] + coordinate[axis]
    flat: Any = np.zeros(grid, np.int64)
    for d, extent in enumerate(shape):
        flat = flat * extent + start[d]
    return flat, inside


def select(call: Call, which: np.ndarray, *cases: np.ndarray) -> np.ndarray:
    """`select_n`: entry by entry the case that `which` names (a scalar one names for all)."""
    which = np.broadcast_to(which, call.out).astype(np.int64)
    return (
        np.choose(which, cases)
        if len(cases) <= 32
        else np.take_along_axis(np.stack(cases), which[None], 0)[0]
    )


# name → (how many data operands come first: None means all, the function on them).
MOVES: dict[str, tuple[int | None, Move]] = {
    "reshape": (1, _reshape),
    "squeeze": (1, lambda call, x: x.reshape(call.out)),
    "transpose": (1, lambda call, x: x.transpose(call.params["permutation"])),
    "rev": (1, lambda call, x: np.flip(x, call.params["dimensions"])),
    "slice": (1, _slice),
    "broadcast_in_dim": (1, _broadcast_in_dim),
    "concatenate": (None, lambda call, *xs: np.concatenate(xs, axis=call.params["dimension"])),
    "stack": (None, lambda call, *xs: np.stack(xs, axis=call.params["axis"])),
    "unstack": (1, lambda call, x: list(np.moveaxis(x, call.params["axis"], 0))),
    "tile": (1, _tile),
    "pad": (2, _pad),
    "split": (1, _split),
    "dynamic_slice": (1, _dynamic_slice),
    "dynamic_update_slice": (2, _dynamic_update_slice),
    "gather": (1, lambda call, x, indices: gather_rows(call, indices)),
}


def operands(name: str, count: int) -> tuple[list[int], list[int]]:
    """(positions of the data operands, positions of the index operands) among `count` inputs."""
    data = MOVES[name][0]
    split = count if data is None else data
    return list(range(split)), list(range(split, count))
