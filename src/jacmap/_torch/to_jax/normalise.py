"""Normalisation layers: the normalised values, then the statistics that PyTorch keeps for their backward."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax

from .row import Given, Row


def _standardised(x: Any, axes: tuple[int, ...], eps: float) -> tuple[Any, Any, Any]:
    """((x − mean) · rstd, mean, rstd), the axes kept."""
    mean = x.mean(axes, keepdims=True)
    centred = x - mean
    rstd = lax.rsqrt((centred**2).mean(axes, keepdims=True) + eps)
    return centred * rstd, mean, rstd


def _scaled(x: Any, weight: Any, bias: Any, shape: tuple[int, ...]) -> Any:
    x = x if weight is None else x * weight.reshape(shape)
    return x if bias is None else x + bias.reshape(shape)


def _layer_norm(p: Given) -> Any:
    x, shape = p.input, tuple(p.normalized_shape)
    found, mean, rstd = _standardised(x, tuple(range(x.ndim - len(shape), x.ndim)), p.eps)
    return _scaled(found, p.weight, p.bias, shape), mean, rstd


def _rms_norm(p: Given) -> Any:
    x, shape = p.input, tuple(p.normalized_shape)
    eps = jnp.finfo(x.dtype).eps if p.eps is None else p.eps
    axes = tuple(range(x.ndim - len(shape), x.ndim))
    rstd = lax.rsqrt((x**2).mean(axes, keepdims=True) + eps)
    return _scaled(x * rstd, p.weight, None, shape), rstd


def _group_norm(p: Given) -> Any:
    x = p.input
    grouped, mean, rstd = _standardised(x.reshape(p.N, p.group, -1), (2,), p.eps)
    shape = (p.C, *[1] * (x.ndim - 2))
    found = _scaled(grouped.reshape(x.shape), p.weight, p.bias, shape)
    return found, mean.reshape(p.N, p.group), rstd.reshape(p.N, p.group)


def _batch_norm(p: Given) -> Any:
    x = p.input
    shape = (x.shape[1], *[1] * (x.ndim - 2))
    if not p.training:
        found = (x - p.running_mean.reshape(shape)) * lax.rsqrt(p.running_var.reshape(shape) + p.eps)
        return _scaled(found, p.weight, p.bias, shape), jnp.zeros(0, x.dtype), jnp.zeros(0, x.dtype)
    found, mean, rstd = _standardised(x, (0, *range(2, x.ndim)), p.eps)
    return _scaled(found, p.weight, p.bias, shape), mean.reshape(-1), rstd.reshape(-1)


def _running_statistics(p: Given) -> Any:
    """What batch norm leaves in its buffers; by position (engine/backends/torch/functional.py)."""
    x, mean, var, momentum = (p[str(k)] for k in range(4))
    x = lax.stop_gradient(x)
    axes = (0, *range(2, x.ndim))
    return mean + momentum * (x.mean(axes) - mean), var + momentum * (x.var(axes, ddof=1) - var)


def _weight_norm(p: Given) -> Any:
    """(g · v / ‖v‖, ‖v‖), the norm over all axes but `dim`."""
    axes = tuple(a for a in range(p.v.ndim) if a != p.dim % p.v.ndim)
    size = jnp.sqrt((p.v**2).sum(axes, keepdims=True))
    return p.v * (p.g / size), size


TABLE: dict[str, Row] = {
    "native_layer_norm": _layer_norm,
    "_fused_rms_norm": _rms_norm,
    "native_group_norm": _group_norm,
    "native_batch_norm": _batch_norm,
    "running_statistics": _running_statistics,
    "_weight_norm_interface": _weight_norm,
}
