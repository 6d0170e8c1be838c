"""The norm of a convolution as the linear map it is on images of a given size, not of its reshaped kernel."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax

from .. import _lanczos
from .._errors import ArgumentError
from .norm import Norm

DENSE = 200  # up to this many entries on the shorter side the matrix is formed
METHODS = ("exact", "fft")
PADDINGS = ("SAME", "VALID", "CIRCULAR")

Padding = str | Sequence[tuple[int, int]]


def conv_norm(
    kernel: Any,
    shape: Sequence[int],
    *,
    strides: int | Sequence[int] = 1,
    padding: Padding = "SAME",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    method: str = "exact",
) -> Norm:
    """‖C‖₂ of the convolution C with this kernel on images of this size.

    `kernel` (channels out, channels in / groups, *window), as PyTorch and `lax.conv` lay it out. `shape`: the size
    of the image, one number per side of the window. `padding`: "SAME", "VALID", pairs of zeros (before, after) per
    side, or "CIRCULAR" (SAME, around the torus). In double precision whatever the kernel's dtype.

    `method="exact"`: the largest singular value of the true map, by Lanczos iterations on its products. "fft": the
    largest singular value over the frequencies of a torus (Sedghi, Gupta, Long, ICLR 2019): exact for "CIRCULAR" with
    strides of 1. For zero padding the torus is made larger by the window, less one, of which the true map is then a
    part: so the value is an upper bound, labelled so, and cheap. Raises ArgumentError.
    """
    conv = _Conv.checked(kernel, shape, strides, padding, dilation, groups)
    if method not in METHODS:
        raise ArgumentError(f"method: got {method!r}, expected one of {', '.join(METHODS)}")
    if method == "exact":
        value = conv.largest()
        return Norm(value, value, True)
    value = conv.over_frequencies()
    is_exact = conv.circular and set(conv.strides) == {1}
    return Norm(value, value if is_exact else 0.0, is_exact)


def convolution(
    kernel: tuple[int, ...], shape: Sequence[int], strides: int | Sequence[int], padding: Padding,
    dilation: int | Sequence[int], groups: int,
) -> tuple[Callable[[Any, Any], Any], tuple[int, ...]]:  # fmt: skip
    """(kernel, image) ↦ the convolution, for kernels of one shape, and the shape of the image (channels in, *size)."""
    conv = _Conv.checked(np.zeros(kernel), shape, strides, padding, dilation, groups)
    return lambda values, image: conv(image, values), (kernel[1] * groups, *conv.size)


class _Conv:
    """A convolution on images of one size: its products, its frequencies."""

    def __init__(
        self, kernel: np.ndarray, size: tuple[int, ...], strides: tuple[int, ...], pads: tuple[tuple[int, int], ...],
        circular: bool, dilation: tuple[int, ...], groups: int,
    ):  # fmt: skip
        self.kernel, self.size, self.strides, self.pads = kernel, size, strides, pads
        self.circular, self.dilation, self.groups = circular, dilation, groups

    @staticmethod
    def checked(kernel: Any, shape: Sequence[int], strides: Any, padding: Padding, dilation: Any, groups: int) -> _Conv:
        kernel = np.asarray(kernel, float)
        sides = kernel.ndim - 2
        if sides < 1 or not kernel.size:
            raise ArgumentError(
                f"kernel: got shape {kernel.shape}, expected (channels out, channels in / groups, *window)"
            )
        size = _per_side("shape", shape, sides)
        steps, spread = _per_side("strides", strides, sides), _per_side("dilation", dilation, sides)
        if isinstance(groups, bool) or groups < 1 or kernel.shape[0] % groups:
            raise ArgumentError(f"groups: got {groups!r}, expected a divisor of the {kernel.shape[0]} channels out")
        window = [(k - 1) * d + 1 for k, d in zip(kernel.shape[2:], spread, strict=True)]
        circular = padding == "CIRCULAR"
        if isinstance(padding, str):
            if padding not in PADDINGS:
                raise ArgumentError(f"padding: got {padding!r}, expected one of {', '.join(PADDINGS)}, or pairs")
            named = "SAME" if circular else padding
            pads = tuple(lax.padtype_to_pads(size, window, steps, named))
        else:
            pads = tuple((int(a), int(b)) for a, b in padding)
            if len(pads) != sides:
                raise ArgumentError(f"padding: got {len(pads)} pairs, expected {sides}, one per side")
        if circular and any(n < w for n, w in zip(size, window, strict=True)):
            raise ArgumentError(f"shape: got {size}, expected a torus at least as large as the window {window}")
        if any(n + a + b < w for n, (a, b), w in zip(size, pads, window, strict=True)):
            raise ArgumentError(f"shape: got {size}, expected an image at least as large as the window {window}")
        return _Conv(kernel, size, steps, pads, circular, spread, int(groups))

    def __call__(self, image: Any, kernel: Any = None) -> Any:
        """(channels in, *size) → (channels out, *size out), with its own kernel or another of the same shape."""
        kernel = jax.numpy.asarray(self.kernel) if kernel is None else kernel
        if self.circular:
            image = jax.numpy.pad(image, ((0, 0), *self.pads), mode="wrap")
        pads = [(0, 0)] * len(self.size) if self.circular else self.pads
        return lax.conv_general_dilated(
            image[None], kernel, self.strides, pads, rhs_dilation=self.dilation,
            feature_group_count=self.groups, precision=lax.Precision.HIGHEST,
        )[0]  # fmt: skip

    def largest(self) -> float:
        """The largest singular value; the groups share no channel, so that each is a map of its own."""
        return max(part._largest_of_group() for part in self.parts())

    def parts(self) -> list[_Conv]:
        return [
            _Conv(kernel, self.size, self.strides, self.pads, self.circular, self.dilation, 1)
            for kernel in np.split(self.kernel, self.groups)
        ]

    def _largest_of_group(self) -> float:
        with jax.enable_x64(True):
            start = jax.ShapeDtypeStruct((self.kernel.shape[1], *self.size), float)
            n, out = math.prod(start.shape), jax.eval_shape(self, start)
            m = math.prod(out.shape)
            transposed = jax.linear_transpose(self, start)
            push = _blocks(lambda v: self(v.reshape(start.shape)).ravel())
            pull = _blocks(lambda u: transposed(u.reshape(out.shape))[0].ravel())
            if min(m, n) <= DENSE:
                matrix = push(np.eye(n)) if n <= m else pull(np.eye(m))
                return float(np.linalg.norm(matrix, 2))
            return float(_lanczos.largest(_lanczos.Products((m, n), float, push, pull), 1, "conv_norm")[1][0])

    def over_frequencies(self) -> float:
        """max over frequencies ω of ‖K̂(ω)‖₂, on the image's torus or on one larger by the window."""
        window = [(k - 1) * d for k, d in zip(self.kernel.shape[2:], self.dilation, strict=True)]
        torus = self.size if self.circular else tuple(n + a + b for n, (a, b) in zip(self.size, self.pads, strict=True))
        spread = np.zeros((*self.kernel.shape[:2], *torus))
        places = tuple(slice(0, w + 1, d) for w, d in zip(window, self.dilation, strict=True))
        spread[:, :, *places] = self.kernel
        axes = tuple(range(2, spread.ndim))
        found = 0.0
        for part in np.split(spread, self.groups):
            at = np.moveaxis(np.fft.rfftn(part, axes=axes), (0, 1), (-2, -1))
            found = max(found, float(np.linalg.svd(at, compute_uv=False).max()))
        return found


def _blocks(product: Callable[[Any], Any]) -> Callable[[np.ndarray], np.ndarray]:
    """A compiled product with each column of a block."""
    block = jax.jit(jax.vmap(product, in_axes=1, out_axes=1))
    return lambda v: np.asarray(block(v))


def _per_side(name: str, value: Any, sides: int) -> tuple[int, ...]:
    values = tuple(int(v) for v in np.atleast_1d(value))
    values = values * sides if len(values) == 1 and name != "shape" else values
    if len(values) != sides or min(values) < 1:
        raise ArgumentError(f"{name}: got {value!r}, expected {sides} positive whole numbers, one per side")
    return values
