"""Backward operations, which f runs where it differentiates inside itself: by JAX's own VJP of the forward rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from . import elementwise, reductions, windows
from .row import Given, Row

_FORWARD = {**elementwise.TABLE, **reductions.TABLE, **windows.TABLE}


def _backward(name: str, inputs: Sequence[str] = ("self",), cotangent: str = "grad_output") -> Row:
    """The gradients of a row's first output with respect to `inputs`, or to those that `output_mask` asks for."""

    def row(p: Given) -> Any:
        wanted = [x for x, asked in zip(inputs, p.get("output_mask") or [True] * len(inputs), strict=True) if asked]

        def forward(*values: Any) -> Any:
            given = Given(p | dict(zip(wanted, values, strict=True)))
            given.operation = p.operation
            out = _FORWARD[name](given)
            return out[0] if isinstance(out, tuple) else out

        return jax.vjp(forward, *(p[x] for x in wanted))[1](p[cotangent])

    return row


def _elu(p: Given) -> Any:
    """`self_or_result` is what went into the ELU, or what came out of it."""
    x, slope = p.self_or_result, p.input_scale
    below = x + p.alpha * p.scale if p.is_result else p.alpha * p.scale * jnp.exp(jnp.minimum(x, 0.0) * slope)
    return p.grad_output * jnp.where(x <= 0, slope * below, p.scale)


def _convolution(p: Given) -> Any:
    """The bias is told by its size alone."""
    given = Given(p | {"bias": jnp.zeros(p.bias_sizes, p.weight.dtype) if p.bias_sizes and p.output_mask[2] else None})
    given.operation = p.operation
    return _backward("convolution", ("input", "weight", "bias"))(given)


# Of others (silu, mish, ...) PyTorch writes the gradient with plain operations where it is differentiated again.
_ENTRYWISE = "gelu softplus hardtanh hardswish leaky_relu softshrink glu".split()
_LOSSES = "mse_loss smooth_l1_loss huber_loss binary_cross_entropy".split()

TABLE: dict[str, Row] = {
    **{f"{name}_backward": _backward(name) for name in (*_ENTRYWISE, *_LOSSES)},
    "hardshrink_backward": _backward("hardshrink", cotangent="grad_out"),
    "sigmoid_backward": lambda p: p.grad_output * p.output * (1 - p.output),
    "tanh_backward": lambda p: p.grad_output * (1 - p.output**2),
    "threshold_backward": lambda p: jnp.where(p.self > p.threshold, p.grad_output, 0.0),
    "log_sigmoid_backward": _backward("log_sigmoid_forward"),
    "elu_backward": _elu,
    "_softmax_backward_data": lambda p: (
        p.output * (p.grad_output - (p.grad_output * p.output).sum(p.dim, keepdims=True))
    ),
    "_log_softmax_backward_data": lambda p: p.grad_output - jnp.exp(p.output) * p.grad_output.sum(p.dim, keepdims=True),
    "nll_loss_backward": _backward("nll_loss_forward"),
    "convolution_backward": _convolution,
}
