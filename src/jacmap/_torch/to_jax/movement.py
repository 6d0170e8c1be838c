"""Movement of data. What JAX has no word for is run on row numbers and gathered by them."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import torch
from jax import lax
from jax.scipy.linalg import block_diag
from torch.utils._python_dispatch import _disable_current_modes

from ...engine.backends.torch.call import Ref, replaced, tensors_in
from .row import Given, Row, jax_dtype


def on_numbers(p: Given, *named: str) -> list[np.ndarray]:
    """The operation, run on row numbers, of the arguments `named` one after the other, from 1 on; 0 is filled in."""
    count, numbered = 1, {}
    for name in named:
        shape = np.shape(p[name])
        size = int(np.prod(shape, dtype=int))
        numbered[name] = torch.arange(count, count + size, dtype=torch.float64).reshape(shape)
        count += size
    refs = {value.index: numbered[name] for name, value in p.operation.params.items() if name in numbered}
    fill = lambda tree: replaced(tree, Ref, lambda ref: refs[ref.index])  # noqa: E731
    operation = p.operation
    with _disable_current_modes(), torch._C._DisableFuncTorch(), torch.no_grad():
        out = operation.function(*fill(operation.args), **fill(dict(operation.kwargs)))
        return [t.numpy().astype(np.int64) for t in tensors_in(out)]


def _gathered(*named: str) -> Row:
    def row(p: Given) -> Any:
        flat = [jnp.ravel(p[name]) for name in named]
        data = jnp.concatenate(flat) if len(flat) > 1 else flat[0]
        found = []
        for rows in on_numbers(p, *named):
            moved = data[np.maximum(rows - 1, 0)]
            found.append(moved if rows.min(initial=1) > 0 else jnp.where(rows > 0, moved, jnp.zeros((), data.dtype)))
        return found

    return row


def _expand(p: Given) -> Any:
    missing = len(p.size) - p.self.ndim
    shape = [p.self.shape[k - missing] if n == -1 else n for k, n in enumerate(p.size)]
    return jnp.broadcast_to(p.self, shape)


def _squeeze(p: Given) -> Any:
    dims = p.get("dim")
    if dims is None:
        return jnp.squeeze(p.self)
    dims = [dims] if isinstance(dims, int) else dims
    return jnp.squeeze(p.self, tuple(d for d in dims if p.self.ndim and p.self.shape[d] == 1))


def _transpose(p: Given) -> Any:
    return jnp.swapaxes(p.self, p.dim0, p.dim1) if p.self.ndim else p.self


def _slice(p: Given) -> Any:
    at: list[Any] = [slice(None)] * p.self.ndim
    at[p.dim] = slice(p.start, p.end, p.step)
    return p.self[tuple(at)]


def _parts(x: Any, sizes: list[int], dim: int) -> list[Any]:
    ends = np.cumsum(sizes)
    return [lax.slice_in_dim(x, int(end - size), int(end), axis=dim) for end, size in zip(ends, sizes, strict=True)]


def _split(p: Given) -> Any:
    extent, step = p.self.shape[p.dim], p.split_size
    return _parts(p.self, [min(step, extent - k) for k in range(0, extent, step)], p.dim)


def _roll(p: Given) -> Any:
    return jnp.roll(p.self, tuple(p.shifts), tuple(p.dims)) if p.dims else jnp.roll(p.self, p.shifts[0])


def _cat(p: Given) -> Any:
    # An empty tensor of one axis fits to anything, by old habit.
    whole = [x for x in p.tensors if np.shape(x) != (0,)] or p.tensors
    return jnp.concatenate(whole, axis=p.dim)


def _pad(p: Given) -> Any:
    pairs = [(int(low), int(high), 0) for low, high in zip(p.pad[::2], p.pad[1::2], strict=True)]
    config = [(0, 0, 0)] * (p.self.ndim - len(pairs)) + pairs[::-1]
    return lax.pad(p.self, jnp.asarray(p.value, p.self.dtype), config)


def _packed(p: Given) -> Any:
    """Step by step the sequences that are that long, and how many those are."""
    lengths = np.asarray(p.lengths)
    steps = jnp.swapaxes(p.input, 0, 1) if p.batch_first else p.input
    sizes = [int((lengths > k).sum()) for k in range(int(lengths.max()))]
    return jnp.concatenate([steps[k, :size] for k, size in enumerate(sizes)]), np.array(sizes)


def _windows_added(p: Given) -> Any:
    """col2im: each place is the sum of its copies in the columns, which im2col would make of row numbers."""
    height, width = p.output_size
    count = p.self.shape[-2] // int(np.prod(p.kernel_size))
    numbers = torch.arange(1.0, count * height * width + 1, dtype=torch.float64).reshape(1, count, height, width)
    windows = torch.nn.functional.unfold(numbers, p.kernel_size, p.dilation, p.padding, p.stride)
    rows = windows[0].numpy().astype(np.int64)  # 0: the padding, which is dropped
    batch = p.self.reshape(-1, *p.self.shape[-2:])
    total = jnp.zeros((len(batch), count * height * width + 1), p.self.dtype).at[:, rows].add(batch)
    return total[:, 1:].reshape(*p.self.shape[:-2], count, height, width)


def _unfold_backward(p: Given) -> Any:
    """Each entry is the sum of its copies in the windows."""
    shape = tuple(p.input_sizes)
    rows = torch.arange(int(np.prod(shape))).reshape(shape).unfold(p.dim, p.size, p.step).numpy()
    return jnp.zeros(int(np.prod(shape)), p.grad_in.dtype).at[rows].add(p.grad_in).reshape(shape)


# -- what the recorder writes for views and in-place code (engine/backends/torch/functional.py), by position ----------


def _copy(p: Given) -> Any:
    return jnp.broadcast_to(p["0"].astype(jax_dtype(p["2"])), p["1"])


def _read(p: Given) -> Any:
    return jnp.ravel(p["0"])[p["1"]]


def _write(p: Given) -> Any:
    whole, values, rows = p["0"], p["1"], p["2"]
    both = jnp.concatenate([jnp.ravel(whole), jnp.ravel(values).astype(whole.dtype)])
    return both[np.asarray(rows).ravel()].reshape(whole.shape)


def _unseen_write(p: Given) -> Any:
    """AD does not see the write: the derivative of what was there stays."""
    whole, after = p["0"], _write(p)
    written = (np.asarray(p["2"]) >= whole.size).reshape(whole.shape)
    return jnp.where(written, lax.stop_gradient(after) + (whole - lax.stop_gradient(whole)), after)


def _sample(p: Given) -> Any:
    """As it was drawn when f was read."""
    frozen: Any = p.operation.function
    return frozen.drawn


TABLE: dict[str, Row] = {
    **{name: lambda p: jnp.reshape(p.self, p.size) for name in "view _unsafe_view _reshape_alias".split()},
    "permute": lambda p: jnp.transpose(p.self, p.dims),
    "t": lambda p: jnp.transpose(p.self),
    "transpose": _transpose,
    "expand": _expand,
    "squeeze": _squeeze,
    "unsqueeze": lambda p: jnp.expand_dims(p.self, p.dim),
    "select": lambda p: lax.index_in_dim(p.self, p.index, p.dim, keepdims=False),
    "slice": _slice,
    "unbind": lambda p: [lax.index_in_dim(p.self, k, p.dim, keepdims=False) for k in range(p.self.shape[p.dim])],
    **{name: _split for name in ("split", "unsafe_split")},
    **{
        name: lambda p: _parts(p.self, p.split_sizes, p.dim) for name in ("split_with_sizes", "unsafe_split_with_sizes")
    },
    "cat": _cat,
    "stack": lambda p: jnp.stack(p.tensors, p.dim),
    "roll": _roll,
    "flip": lambda p: jnp.flip(p.self, tuple(p.dims)),
    "rot90": lambda p: jnp.rot90(p.self, p.k, tuple(p.dims)),
    "repeat": lambda p: jnp.tile(p.self, p.repeats),
    "tril": lambda p: jnp.tril(p.self, p.diagonal),
    "triu": lambda p: jnp.triu(p.self, p.diagonal),
    "diagonal": lambda p: jnp.diagonal(p.self, p.offset, p.dim1, p.dim2),
    "constant_pad_nd": _pad,
    "block_diag": lambda p: block_diag(*p.tensors),
    "_pack_padded_sequence": _packed,
    "col2im": _windows_added,
    **{
        name: _gathered("self")
        for name in """
        unfold diag_embed reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d
        replication_pad3d pixel_shuffle pixel_unshuffle channel_shuffle im2col
        """.split()
    },
    **{name: _gathered("self", "src") for name in ("slice_scatter", "select_scatter", "diagonal_scatter")},
    **{name: _gathered("grad_output") for name in ("slice_backward", "select_backward", "diagonal_backward")},
    "unfold_backward": _unfold_backward,
    "copy": _copy,
    "read": _read,
    "write": _write,
    "unseen write": _unseen_write,
    "detach": lambda p: lax.stop_gradient(next(iter(p.values()))),
    "sample": _sample,
}
