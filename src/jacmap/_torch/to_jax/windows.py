"""What slides over axes: convolutions, pooling, interpolation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import torch
from jax import lax
from torch.utils._python_dispatch import _disable_current_modes

from ...engine.backends.torch.call import Ref, replaced, tensors_in
from .row import Given, Row


def _every(value: Sequence[int], count: int) -> list[int]:
    return list(value) * count if len(value) == 1 else list(value)


def _convolution(p: Given) -> Any:
    """A transposed convolution is one over the input spread apart, with the kernel turned round."""
    x, w = p.input, p.weight
    space = w.ndim - 2
    batched = x if x.ndim == w.ndim else x[None]
    stride, padding, dilation = (_every(p[name], space) for name in ("stride", "padding", "dilation"))
    spread = None
    if p.transposed:
        groups, extra = p.groups, _every(p.output_padding, space)
        inner, outer = w.shape[0] // groups, w.shape[1]
        w = jnp.flip(w, tuple(range(2, w.ndim))).reshape(groups, inner, outer, *w.shape[2:])
        w = jnp.swapaxes(w, 1, 2).reshape(groups * outer, inner, *w.shape[3:])
        reach = [d * (n - 1) for d, n in zip(dilation, w.shape[2:], strict=True)]
        pads = [(r - a, r - a + e) for r, a, e in zip(reach, padding, extra, strict=True)]
        spread, stride = stride, [1] * space
    else:
        pads = [(a, a) for a in padding]
    out = lax.conv_general_dilated(
        batched, w, stride, pads, lhs_dilation=spread, rhs_dilation=dilation, feature_group_count=p.groups
    )
    if p.bias is not None:
        out = out + p.bias.reshape(-1, *[1] * space)
    return out if x.ndim == w.ndim else out[0]


def _on(p: Given, given: torch.Tensor) -> list[np.ndarray]:
    """The operation itself on another input, while JAX traces."""
    operation = p.operation
    fill = lambda tree: replaced(tree, Ref, lambda ref: given)  # noqa: E731
    with _disable_current_modes(), torch._C._DisableFuncTorch(), torch.no_grad():
        return [
            t.numpy() for t in tensors_in(operation.function(*fill(operation.args), **fill(dict(operation.kwargs))))
        ]


def _slid(x: Any, start: Any, combine: Any, p: Given, like: Sequence[int]) -> Any:
    """Each window of x combined; `like`: the shape of the result."""
    lead = len(like) - (3 if "3d" in p.operation.name else 1 if "1d" in p.operation.name else 2)
    space = len(like) - lead
    window = _every(p.kernel_size, space)
    stride = _every(p.stride, space) if p.stride else window
    padding = _every(p.padding, space)
    # Rounding the extent up reaches beyond the input on the right, rounding it down leaves some of it out.
    beyond = [
        (m - 1) * s + k - n - a
        for a, m, s, k, n in zip(padding, like[lead:], stride, window, p.self.shape[lead:], strict=True)
    ]
    x = x[(..., *(slice(n + min(b, 0)) for n, b in zip(p.self.shape[lead:], beyond, strict=True)))]
    pads = [(0, 0)] * lead + [(a, max(b, 0)) for a, b in zip(padding, beyond, strict=True)]
    first = np.asarray(start, x.dtype)  # a number that JAX can see: by it a sum or a maximum is told from other folds
    return lax.reduce_window(x, first, combine, [1] * lead + window, [1] * lead + stride, pads)


def _average(p: Given) -> Any:
    """Sums over windows, each by the divisor that PyTorch takes there (its options all show in a mean of ones)."""
    means = _on(p, torch.ones(p.self.shape, dtype=torch.float64))[0]
    counts = _slid(jnp.ones(p.self.shape, p.self.dtype), 0, lax.add, p, means.shape)
    return _slid(p.self, 0, lax.add, p, means.shape) * (means.astype(p.self.dtype) / jnp.maximum(counts, 1))


def _taps(p: Given, result: Sequence[int]) -> np.ndarray:
    """(places of the result, taps): which entry of the input, over its sliding axes, each window holds; −1: none."""
    lead = len(result) - (3 if "3d" in p.operation.name else 2)
    extents, outs, space = p.self.shape[lead:], result[lead:], len(result) - lead
    along = []
    for k, (n, m) in enumerate(zip(extents, outs, strict=True)):
        place = np.arange(m)[:, None]
        if "adaptive" in p.operation.name:
            first, last = place * n // m, -(-(place + 1) * n // m)
            at = first + np.arange(int((last - first).max()))
            along.append(np.where(at < last, at, -1))
        else:
            window = _every(p.kernel_size, space)[k]
            stride = _every(p.stride, space)[k] if p.stride else window
            at = place * stride - _every(p.padding, space)[k] + np.arange(window) * _every(p.dilation, space)[k]
            along.append(np.where((at >= 0) & (at < n), at, -1))
    whole = np.zeros((1, 1), np.int64)
    for n, at in zip(extents, along, strict=True):
        inside = (whole[:, None, :, None] >= 0) & (at[None, :, None, :] >= 0)
        row = np.where(inside, whole[:, None, :, None] * n + at[None, :, None, :], -1)
        whole = row.reshape(len(whole) * len(at), -1)
    return whole


def _largest(p: Given) -> Any:
    """(values, indices): the gradient goes to the first of the largest."""
    values = _on(p, torch.zeros(p.self.shape, dtype=torch.float64))[0]
    space = 3 if "3d" in p.operation.name else 2
    lead = p.self.shape[: p.self.ndim - space]
    taps = _taps(p, values.shape)
    flat = p.self.reshape(*lead, -1)
    held = jnp.where(taps >= 0, lax.stop_gradient(flat)[..., np.maximum(taps, 0)], -jnp.inf)
    index = jnp.take_along_axis(jnp.broadcast_to(taps, held.shape), held.argmax(-1)[..., None], -1)[..., 0]
    standard = "adaptive" not in p.operation.name and set(p.dilation) == {1}
    if standard:
        found = _slid(p.self, -jnp.inf, lax.max, p, values.shape)
    else:
        found = jnp.take_along_axis(flat, index, -1).reshape(values.shape)
    return found, index.reshape(values.shape)


def _by_axis(p: Given) -> Any:
    """A linear operation that treats each axis by itself: the matrix of each, found on unit vectors."""
    x = p.self
    lead = x.ndim - (3 if "3d" in p.operation.name else 1 if "1d" in p.operation.name else 2)
    for axis in range(lead, x.ndim):
        n = p.self.shape[axis]
        units = torch.eye(n, dtype=torch.float64).reshape([n, *[1] * (lead - 1), *[n if a == axis else 1 for a in
                                                                                  range(lead, x.ndim)]])  # fmt: skip
        shape = [n, *[1] * (lead - 1), *p.self.shape[lead:]]
        made = _on(p, units.expand(shape).contiguous())[0]
        # Constant along the other axes, whose weights sum to one: any place there will do.
        at = tuple(slice(None) if a in (0, axis) else 0 for a in range(x.ndim))
        x = _applied(made[at].T, x, axis)
    return x


def _applied(matrix: np.ndarray, x: Any, axis: int) -> Any:
    """The matrix (m, n) along one axis; a selection of entries where it is one."""
    chosen = matrix.argmax(1)
    if np.array_equal(matrix, np.eye(matrix.shape[1])[chosen]):
        return jnp.take(x, chosen, axis=axis)
    return jnp.moveaxis(jnp.tensordot(matrix.astype(x.dtype), x, (1, axis)), 0, axis)


def _grid_sampler(p: Given) -> Any:
    """Bilinear (0) or nearest (1) samples at places in [−1, 1], beyond the edge zero (0) or the edge's number (1)."""
    if p.interpolation_mode not in (0, 1) or p.padding_mode not in (0, 1):
        raise NotImplementedError("bicubic interpolation, reflection")
    extents = p.input.shape[2:]
    places = []
    for k, n in enumerate(extents):
        at = p.grid[..., len(extents) - 1 - k]  # x, the last axis of the image, comes first
        at = (at + 1) / 2 * (n - 1) if p.align_corners else ((at + 1) * n - 1) / 2
        places.append(jnp.where(at < 0, 0.0, jnp.where(at > n - 1, n - 1.0, at)) if p.padding_mode else at)
    corners: list[tuple[list[Any], Any]] = [([], 1.0)]
    for at in places:
        if p.interpolation_mode == 1:
            corners = [([*index, jnp.round(at)], weight) for index, weight in corners]
            continue
        low = lax.stop_gradient(jnp.floor(at))
        corners = [
            ([*index, low + step], weight * (at - low if step else low + 1 - at))
            for index, weight in corners
            for step in (0, 1)
        ]
    total: Any = 0.0
    batch = jnp.arange(p.input.shape[0]).reshape(-1, *[1] * len(extents))
    channels_last = jnp.moveaxis(p.input, 1, -1)
    for index, weight in corners:
        inside = math.prod([(i >= 0) & (i <= n - 1) for i, n in zip(index, extents, strict=True)])
        at = tuple(jnp.clip(i, 0, n - 1).astype(int) for i, n in zip(index, extents, strict=True))
        total = total + jnp.where(inside, weight, 0.0)[..., None] * channels_last[(batch, *at)]
    return jnp.moveaxis(total, -1, 1)


_UPSAMPLE = """
upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d _upsample_nearest_exact2d
_upsample_nearest_exact3d upsample_linear1d upsample_bilinear2d upsample_trilinear3d upsample_bicubic2d
_upsample_bilinear2d_aa _upsample_bicubic2d_aa
""".split()

TABLE: dict[str, Row] = {
    "convolution": _convolution,
    **{name: _average for name in "avg_pool1d avg_pool2d avg_pool3d".split()},
    **{
        name: _largest
        for name in """
        max_pool2d_with_indices max_pool3d_with_indices adaptive_max_pool2d adaptive_max_pool3d
        """.split()
    },
    **{name: _by_axis for name in ("_adaptive_avg_pool2d", "_adaptive_avg_pool3d", *_UPSAMPLE)},
    **{name: _grid_sampler for name in ("grid_sampler_2d", "grid_sampler_3d")},
}
