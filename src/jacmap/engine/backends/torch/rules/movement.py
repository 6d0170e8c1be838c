"""Movement of data: run the operation on row numbers and read off the map."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils._python_dispatch import _disable_current_modes

from ....graph import Pattern, dependence
from ...rule import Rule, always, every_pair, reverse_only
from ..call import Call, Ref

Local = dict[tuple[int, int], Pattern]


def moved(call: Call, data: list[int] | None = None) -> Local:
    """Local patterns of a movement; the inputs that are no `data` (None: all are) must be known."""
    data = list(range(len(call.inputs))) if data is None else data
    values: dict[int, torch.Tensor] = {}
    first: dict[int, int] = {}
    count = 1  # row numbers begin with 1: 0 is what an operation fills in
    for i, shape in enumerate(call.inputs):
        size = dependence.size_of(shape)
        if i in data:
            # In float64, which every operation takes; exact far beyond any size.
            values[i] = torch.arange(count, count + size, dtype=torch.float64).reshape(shape)
            first[i] = count
            count += size
        else:
            known = call.known(i)
            assert known is not None
            values[i] = known
    fill = {"value": 0} if "value" in call.params and not isinstance(call.params["value"], Ref) else {}
    local = {}
    for k, rows in enumerate(call.run(values, **fill)):
        for i in data:
            if call.active[i]:
                size = dependence.size_of(call.inputs[i])
                mine = rows.ravel().astype(np.int64) - first[i]
                if mine.size and (mine.min() < 0 or mine.max() >= size):
                    mine = np.where((mine >= 0) & (mine < size), mine, -1)
                local[k, i] = dependence.gather(mine, size)
    return local


def _read(call: Call) -> Local:
    rows = call.operation.args[1].numpy()
    return {(0, 0): dependence.gather(rows, dependence.size_of(call.inputs[0]))} if call.active[0] else {}


def _write(call: Call) -> Local:
    """`whole` keeps what is not written; a write that AD does not see keeps the derivative of all of it."""
    rows = call.operation.args[2].numpy()
    size, values = (dependence.size_of(shape) for shape in call.inputs)
    old = np.arange(size) if call.name == "unseen write" else np.where(rows < size, rows, -1)
    local = {}
    if call.active[0]:
        local[0, 0] = dependence.gather(old, size)
    if call.active[1]:
        local[0, 1] = dependence.gather(np.where(rows >= size, rows - size, -1), values)
    return local


def _unfold_backward(call: Call) -> Local:
    """Each entry is the sum of its copies in the windows."""
    shape, p = tuple(call.params["input_sizes"]), call.params
    with _disable_current_modes(), torch._C._DisableFuncTorch():
        rows = torch.arange(dependence.size_of(shape)).reshape(shape).unfold(p["dim"], p["size"], p["step"])
    return {(0, 0): dependence.gather(rows.numpy(), dependence.size_of(shape)).T}


def _col2im(call: Call) -> Local:
    """Each entry of the image is the sum of its copies in the columns."""
    p, out = call.params, call.out
    rows = torch.arange(dependence.size_of(out), dtype=torch.float64).reshape(out) + 1
    with _disable_current_modes(), torch._C._DisableFuncTorch():
        columns = torch.nn.functional.unfold(rows, p["kernel_size"], p["dilation"], p["padding"], p["stride"])
    source = columns.numpy().astype(np.int64).ravel() - 1
    return {(0, 0): dependence.gather(source, dependence.size_of(out)).T}


def _packed(call: Call) -> Local:
    """Steps of sequences laid one after another; the lengths say which."""
    if call.known(1) is None:
        return every_pair(call)
    return {(0, 0): found} if (found := moved(call, [0]).get((0, 0))) is not None else {}


def free(call: Call) -> float:
    # Moving an entry costs about a tenth of computing one; never nothing, or chains of moves look free.
    return 0.1 * sum(dependence.size_of(shape) for shape in call.outputs)


_PLAIN = """
view _unsafe_view _reshape_alias permute t transpose expand squeeze unsqueeze select slice diagonal unfold unbind
split split_with_sizes unsafe_split unsafe_split_with_sizes cat stack roll flip rot90 repeat tril triu diag_embed
constant_pad_nd reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d replication_pad3d
pixel_shuffle pixel_unshuffle channel_shuffle im2col block_diag slice_scatter select_scatter diagonal_scatter
slice_backward select_backward diagonal_backward
""".split()

RULES: dict[str, Rule] = {
    **{name: Rule("gather", moved, affine=always, work=free) for name in _PLAIN},
    "col2im": Rule("reduction", _col2im, affine=always),
    "_pack_padded_sequence": Rule("gather", _packed, affine=always, work=free, modes=reverse_only),
    "read": Rule("gather", _read, affine=always, work=free),
    "write": Rule("scatter", _write, affine=always, work=free),
    "unseen write": Rule("scatter", _write, affine=lambda call: False, work=free),
    "unfold_backward": Rule("reduction", _unfold_backward, affine=always),
}
