"""What slides over axes: convolutions, pooling, interpolation, sampling on a grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.sparse import csr_array

from ....graph import Pattern, dependence
from ...rule import Rule, always, first_alone, one_varying, reverse_only
from ..call import Call

Local = dict[tuple[int, int], Pattern]
Shape = tuple[int, ...]


# -- convolution -----------------------------------------------------------------------------------------------------


def _convolution(call: Call) -> Local:
    """Windows over space, groups over channels; kernel taps known to be zero are left out.

    A transposed convolution is the transpose of the one that maps its output to its input.
    """
    p, (shape, kernel) = call.params, call.inputs[:2]
    swapped = bool(p["transposed"])
    image, result = (call.out, shape) if swapped else (shape, call.out)
    local: Local = {}
    if call.active[0]:
        found = _with_respect_to_image(call, image, kernel, result)
        local[0, 0] = found.T if swapped else found
    if call.active[1]:
        local[0, 1] = _with_respect_to_kernel(call, image, kernel, result)
    bias = call.at("bias")
    if bias is not None and call.active[bias]:
        local[0, bias] = dependence.by_axes(call.out, [1], call.inputs[bias], [0])
    return local


def _every(value: Sequence[int], count: int) -> list[int]:
    return list(value) * count if len(value) == 1 else list(value)


def _taps(call: Call, image: Shape, kernel: Shape, result: Shape) -> list[list[csr_array]]:
    """For each spatial axis one relation (result × image) per tap of the kernel."""
    space = len(kernel) - 2
    stride, padding, dilation = (_every(call.params[n], space) for n in ("stride", "padding", "dilation"))
    return [
        [
            dependence.sliding(result[2 + k], image[2 + k], 1, stride[k], padding[k] - t * dilation[k])
            for t in range(kernel[2 + k])
        ]
        for k in range(space)
    ]


def _with_respect_to_image(call: Call, image: Shape, kernel: Shape, result: Shape) -> Pattern:
    taps = _taps(call, image, kernel, result)
    groups, nonzero = call.params["groups"], call.nonzero(1)
    everywhere: list[tuple[tuple[int, ...] | None, np.ndarray | None]] = [(None, None)]
    used = everywhere
    if nonzero is not None:
        # One term per tap position that is not all zero, with its own channel relation.
        weights = np.moveaxis(nonzero, (0, 1), (-2, -1))
        some = [tuple(at) for at in np.argwhere(weights.any(axis=(-1, -2))).tolist()]
        if len(some) * dependence.size_of(result) * kernel[1] <= dependence.LARGEST_LOCAL:
            used = [(at, weights[at]) for at in some]
    total = Pattern.empty((dependence.size_of(result), dependence.size_of(image)))
    for at, mask in used:
        cores = {}
        for k, steps in enumerate(taps):
            union = csr_array(steps[0].shape, dtype=bool)
            for step in steps if at is None else [steps[at[k]]]:
                union = union + step
            cores[2 + k] = csr_array(union, dtype=bool)
        if groups > 1 or mask is not None:  # else the channels couple fully, and grouping says it for free
            cores[1] = _channels(result[1], image[1], groups, mask)
        total = total | dependence.windows(result, image, cores, [(0, 0)])
    return total


def _channels(outs: int, ins: int, groups: int, mask: np.ndarray | None) -> csr_array:
    if mask is None:
        mask = np.ones((outs, ins // groups), bool)
    rows, cols = np.nonzero(mask)
    group = rows // (outs // groups)
    return csr_array((np.ones(rows.size, bool), (rows, cols + group * (ins // groups))), shape=(outs, ins))


def _with_respect_to_kernel(call: Call, image: Shape, kernel: Shape, result: Shape) -> Pattern:
    """An output channel reads the kernels that lead to it, those taps that lie inside the image."""
    swapped, groups = bool(call.params["transposed"]), call.params["groups"]
    cores: dict[int, csr_array] = {}
    for k, steps in enumerate(_taps(call, image, kernel, result)):
        if swapped:
            used = np.stack([np.bincount(s.indices, minlength=s.shape[1]) > 0 for s in steps], axis=1)
        else:
            used = np.stack([np.diff(step.indptr) > 0 for step in steps], axis=1)
        cores[2 + k] = csr_array(used)
    if not swapped:
        return dependence.windows(call.out, kernel, cores, [(1, 0)])
    if groups == 1:
        return dependence.windows(call.out, kernel, cores, [(1, 1)])
    # Kernel (in, out/groups, …): output channel g·(out/groups) + c reads kernel [group g, c].
    outs, ins, per = call.out[1], kernel[0], kernel[1]
    channel = np.arange(outs)
    reads = (np.arange(ins)[None, :, None] // (ins // groups) == channel[:, None, None] // per) & (
        np.arange(per) == channel[:, None, None] % per
    )
    folded = (ins * per, *kernel[2:])
    moved = {1: csr_array(reads.reshape(outs, ins * per))} | cores
    return dependence.windows(call.out, folded, moved, [], {axis: axis - 1 for axis in moved})


def _convolution_work(call: Call) -> float:
    kernel = call.inputs[1]
    per = dependence.size_of(kernel) / kernel[0]
    return 2.0 * per * dependence.size_of(call.inputs[0] if call.params["transposed"] else call.out)


# -- pooling ---------------------------------------------------------------------------------------------------------


def _pool(call: Call) -> Local:
    shape = call.inputs[0]
    window = call.params["kernel_size"]
    space = len(shape) - len(_leading(call))
    window = _every(window, space)
    stride = _every(call.params["stride"], space) if call.params["stride"] else window
    padding, dilation = _every(call.params["padding"], space), _every(call.params.get("dilation") or [1], space)
    first = len(shape) - space
    cores = {
        first + k: dependence.sliding(
            call.out[first + k], shape[first + k], window[k], stride[k], padding[k], 1, dilation[k]
        )
        for k in range(space)
    }
    return _spread(call, dependence.windows(call.out, shape, cores, [(a, a) for a in range(first)]))


def _leading(call: Call) -> Shape:
    """The extents before the axes that the window slides over: (N, C) or (C,)."""
    space = 3 if "3d" in call.name else 1 if "1d" in call.name else 2
    return call.inputs[0][: len(call.inputs[0]) - space]


def _spread(call: Call, found: Pattern) -> Local:
    return {(k, 0): found for k, out in enumerate(call.outputs) if dependence.size_of(out) == found.shape[0]}


def _adaptive_pool(call: Call) -> Local:
    """Window i goes from ⌊i·n/m⌋ to ⌈(i+1)·n/m⌉."""
    shape, first = call.inputs[0], len(_leading(call))
    cores = {}
    for axis in range(first, len(shape)):
        n, m = shape[axis], call.out[axis]
        i, j = np.arange(m)[:, None], np.arange(n)
        cores[axis] = csr_array((j >= i * n // m) & (j < -(-(i + 1) * n // m)))
    return _spread(call, dependence.windows(call.out, shape, cores, [(a, a) for a in range(first)]))


def _within_channel(call: Call) -> Local:
    lead = range(len(_leading(call)))
    return _spread(call, dependence.by_axes(call.out, lead, call.inputs[0], lead))


def _pool_work(call: Call) -> float:
    return float(dependence.size_of(call.inputs[0]) + dependence.size_of(call.out))


# -- interpolation ---------------------------------------------------------------------------------------------------


def _upsample(call: Call) -> Local:
    """Each axis by itself: run on the unit vectors of one axis, constant along the others."""
    shape = call.inputs[0]
    cores = {}
    for axis in range(2, len(shape)):
        n, m = shape[axis], call.out[axis]
        if n * dependence.size_of(shape[2:]) > dependence.LARGEST_LOCAL:
            cores[axis] = csr_array(np.ones((m, n), bool))
            continue
        extents = [n if a == axis else 1 for a in range(2, len(shape))]
        units = torch.eye(n, dtype=torch.float64).reshape([n, 1, *extents])
        result = call.run({0: units.expand(n, 1, *shape[2:]).contiguous()})[0]
        others = tuple(a for a in range(1, len(shape)) if a != axis)
        cores[axis] = csr_array(np.abs(result).max(axis=others).T > 1e-14)
    return {(0, 0): dependence.windows(call.out, shape, cores, [(0, 0), (1, 1)])}


def _grid_sampler(call: Call) -> Local:
    """input (N, C, …), grid (N, …, d): where the grid looks is decided by its values."""
    image, grid = call.inputs
    local: Local = {}
    if call.active[0]:
        local[0, 0] = dependence.by_axes(call.out, [0, 1], image, [0, 1])
    if call.active[1]:
        space = range(1, len(grid) - 1)
        local[0, 1] = dependence.by_axes(call.out, [0, *(a + 1 for a in space)], grid, [0, *space])
    return local


_UPSAMPLE = """
upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d _upsample_nearest_exact2d
_upsample_nearest_exact3d upsample_linear1d upsample_bilinear2d upsample_trilinear3d upsample_bicubic2d
_upsample_bilinear2d_aa _upsample_bicubic2d_aa
""".split()
_ADAPTIVE = "_adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_max_pool2d adaptive_max_pool3d".split()
_AVERAGE = "avg_pool2d avg_pool3d".split()
_LARGEST = "max_pool2d_with_indices max_pool3d_with_indices".split()

RULES: dict[str, Rule] = {
    "convolution": Rule("windowed contraction", _convolution, affine=one_varying, work=_convolution_work),
    **{name: Rule("window", _pool, affine=always, work=_pool_work) for name in _AVERAGE},
    **{name: Rule("window", _pool, work=_pool_work) for name in _LARGEST},
    **{
        name: Rule("window", _adaptive_pool, affine=lambda call: "avg" in call.name, work=_pool_work)
        for name in _ADAPTIVE
    },
    "fractional_max_pool2d": Rule("window", _within_channel, exact=False),
    **{name: Rule("window", _upsample, affine=always, work=_pool_work) for name in _UPSAMPLE},
    **{
        name: Rule("window", _grid_sampler, affine=first_alone, work=_pool_work, exact=False, modes=reverse_only)
        for name in ("grid_sampler_2d", "grid_sampler_3d")
    },
}
