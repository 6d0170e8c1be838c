"""Reductions, and what couples the entries of an axis."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import logsumexp

from .row import Given, Row, jax_dtype


def axes_of(p: Given) -> tuple[int, ...] | None:
    """The axes that `dim` names; None, all of them, where it names none."""
    dim = p.get("dim")
    if dim is None or dim == []:
        return None
    return (dim,) if isinstance(dim, int) else tuple(dim)


def _over(function: Callable[..., Any], p: Given) -> Any:
    x = p.self if p.get("dtype") is None else p.self.astype(jax_dtype(p.dtype))
    axes = axes_of(p) if x.ndim else None
    return function(x, axis=axes, keepdims=bool(p.get("keepdim")))


def _reduced(function: Callable[..., Any]) -> Row:
    return lambda p: _over(function, p)


def picked(x: Any, index: Any, axis: int) -> Any:
    """The entries that an index along one axis names; with the gradient of these alone, ties or not."""
    return jnp.take_along_axis(x, index, axis)


def _at_index(find: Callable[[Any, int], Any], p: Given) -> Any:
    """(values, indices) along `dim`: `find` gives the index of the one entry, the axis kept."""
    if not p.self.ndim:
        return p.self, jnp.zeros((), int)
    dim = p.get("dim", -1) % p.self.ndim
    index = find(lax.stop_gradient(p.self), dim)
    found = picked(p.self, index, dim)
    return (found, index) if p.get("keepdim") else (jnp.squeeze(found, dim), jnp.squeeze(index, dim))


def _extreme(function: Callable[..., Any], find: Callable[..., Any]) -> Row:
    def row(p: Given) -> Any:
        if p.get("dim") is None:
            return function(p.self)  # ties share the gradient, in both libraries
        return _at_index(lambda x, dim: find(x, axis=dim, keepdims=True), p)

    return row


def _ranked(rank: Callable[[Given, int], int]) -> Row:
    """The entry of a certain rank among the sorted ones; without `dim` of all."""

    def row(p: Given) -> Any:
        if "dim" not in p:
            flat = jnp.ravel(p.self)
            return flat[jnp.argsort(lax.stop_gradient(flat))[rank(p, flat.size)]]

        def find(x: Any, dim: int) -> Any:
            return lax.slice_in_dim(jnp.argsort(x, dim), k := rank(p, x.shape[dim]), k + 1, axis=dim)

        return _at_index(find, p)

    return row


def _mode(p: Given) -> Any:
    """The most frequent entry, of several the smallest; its last place."""

    def find(x: Any, dim: int) -> Any:
        x = jnp.moveaxis(x, dim, -1)
        same = x[..., :, None] == x[..., None, :]
        count = same.sum(-1)
        most = jnp.where(count == count.max(-1, keepdims=True), x, jnp.inf).min(-1, keepdims=True)
        last = x.shape[-1] - 1 - jnp.argmax((x == most)[..., ::-1], -1, keepdims=True)
        return jnp.moveaxis(last, -1, dim)

    return _at_index(find, p)


def _variance(p: Given) -> Any:
    given = p.get("correction", p.get("unbiased"))
    return _over(lambda x, **where: jnp.var(x, ddof=1 if given is None else given, **where), p)


def _deviation(p: Given) -> Any:
    variance = _variance(p)
    flat = variance == 0
    return jnp.where(flat, 0.0, jnp.sqrt(jnp.where(flat, 1.0, variance)))


def norm(x: Any, order: float, axes: Any, keep: bool) -> Any:
    """The p-norm; its gradient at 0 is 0, as PyTorch has it."""
    size = jnp.abs(x)
    if order == math.inf:
        return size.max(axis=axes, keepdims=keep)
    if order == -math.inf:
        return size.min(axis=axes, keepdims=keep)
    if order == 0:
        return (lax.stop_gradient(x) != 0).sum(axis=axes, keepdims=keep).astype(size.dtype)
    if order == 1:
        return size.sum(axis=axes, keepdims=keep)
    whole = int(order) if float(order).is_integer() else order
    power = size**2 if order == 2 else jnp.where(size == 0, 0.0, jnp.where(size == 0, 1.0, size) ** whole)
    total = power.sum(axis=axes, keepdims=keep)
    root = jnp.sqrt if order == 2 else lambda t: t ** (1 / order)
    return jnp.where(total == 0, 0.0, root(jnp.where(total == 0, 1.0, total)))


def _norm(p: Given) -> Any:
    order = p.get("ord", p.get("p"))
    x = p.self if p.get("dtype") is None else p.self.astype(jax_dtype(p.dtype))
    return norm(x, 2.0 if order is None else float(order), axes_of(p), bool(p.get("keepdim")))


def _running_extreme(better: Callable[[Any, Any], Any]) -> Row:
    """(values, indices) of the best so far along `dim`; of equals the later one."""

    def row(p: Given) -> Any:
        x = lax.stop_gradient(p.self)
        place = jnp.broadcast_to(jnp.arange(x.shape[p.dim]).reshape([-1 if a == p.dim % x.ndim else 1
                                                                     for a in range(x.ndim)]), x.shape)  # fmt: skip

        def combine(a: Any, b: Any) -> Any:
            take = better(b[0], a[0])
            return jnp.where(take, b[0], a[0]), jnp.where(take, b[1], a[1])

        index = lax.associative_scan(combine, (x, place), axis=p.dim % x.ndim)[1]
        return picked(p.self, index, p.dim), index

    return row


def _cumulative_product(p: Given) -> Any:
    return jnp.cumprod(p.self, p.dim) if p.self.ndim else p.self


def _sort(p: Given) -> Any:
    if not p.self.ndim:
        return p.self, jnp.zeros((), int)
    index = jnp.argsort(lax.stop_gradient(p.self), p.dim, stable=True, descending=bool(p.descending))
    return picked(p.self, index, p.dim), index


def _topk(p: Given) -> Any:
    index = jnp.argsort(lax.stop_gradient(p.self), p.dim, stable=True, descending=bool(p.largest))
    index = lax.slice_in_dim(index, 0, p.k, axis=p.dim)
    return picked(p.self, index, p.dim), index


def _renorm(p: Given) -> Any:
    """Slices along `dim` whose norm is above the bound are scaled down to it."""
    axes = tuple(a for a in range(p.self.ndim) if a != p.dim % p.self.ndim)
    size = norm(p.self, float(p.p), axes, True)
    return jnp.where(size > p.maxnorm, p.self * (p.maxnorm / (size + 1e-7)), p.self)


def _softmax(p: Given) -> Any:
    return jax.nn.softmax(p.self, p.dim) if p.self.ndim else jnp.ones_like(p.self)


def _safe_softmax(p: Given) -> Any:
    """A row of −∞ alone gives zeros."""
    masked = (p.self == -jnp.inf).all(p.dim, keepdims=True)
    return jnp.where(masked, 0.0, jax.nn.softmax(jnp.where(masked, 0.0, p.self), p.dim))


def _arg(find: Callable[..., Any]) -> Row:
    return lambda p: find(lax.stop_gradient(p.self), axis=p.dim, keepdims=p.keepdim)


def _nll(p: Given) -> Any:
    """Minus the log-probability of the target class, class on axis 1 (0 of a single one), and the total weight."""
    axis = 0 if p.self.ndim == 1 else 1
    known = p.target != p.ignore_index
    target = jnp.where(known, p.target, 0)
    chosen = -jnp.squeeze(picked(p.self, jnp.expand_dims(target, axis), axis), axis)
    weight = (jnp.ones(p.self.shape[axis], p.self.dtype) if p.weight is None else p.weight)[target] * known
    total = weight.sum()
    losses = chosen * weight
    return (losses, losses.sum() / total, losses.sum())[p.reduction], total


def _histc(p: Given) -> Any:
    x = lax.stop_gradient(p.self)
    low, high = (x.min(), x.max()) if p.min == p.max == 0 else (p.min, p.max)
    return jnp.histogram(x, p.bins, (low, high))[0]


TABLE: dict[str, Row] = {
    **{name: _reduced(getattr(jnp, name)) for name in "sum mean prod nansum amax amin all any".split()},
    "max": _extreme(jnp.max, jnp.argmax),
    "min": _extreme(jnp.min, jnp.argmin),
    "aminmax": lambda p: (_over(jnp.min, p), _over(jnp.max, p)),
    "median": _ranked(lambda p, n: (n - 1) // 2),
    "nanmedian": _ranked(lambda p, n: (n - 1) // 2),
    "kthvalue": _ranked(lambda p, n: p.k - 1),
    "mode": _mode,
    "var": _variance,
    "std": _deviation,
    "var_mean": lambda p: (_variance(p), _over(jnp.mean, p)),
    "std_mean": lambda p: (_deviation(p), _over(jnp.mean, p)),
    "logsumexp": _reduced(logsumexp),
    "norm": _norm,
    "linalg_vector_norm": _norm,
    "dist": lambda p: norm(p.self - p.other, float(p.p), None, False),
    "trace": lambda p: jnp.trace(p.self),
    "cumsum": lambda p: jnp.cumsum(p.self, p.dim) if p.self.ndim else p.self,
    "cumprod": _cumulative_product,
    "cummax": _running_extreme(jnp.greater_equal),
    "cummin": _running_extreme(jnp.less_equal),
    "logcumsumexp": lambda p: lax.cumlogsumexp(p.self, p.dim % p.self.ndim),
    "sort": _sort,
    "topk": _topk,
    "argmax": _arg(jnp.argmax),
    "argmin": _arg(jnp.argmin),
    "count_nonzero": lambda p: jnp.count_nonzero(p.self, axis=axes_of(p)),
    "histc": _histc,
    "renorm": _renorm,
    "_softmax": _softmax,
    "_safe_softmax": _safe_softmax,
    "_log_softmax": lambda p: jax.nn.log_softmax(p.self, p.dim),
    **{name: _nll for name in ("nll_loss_forward", "nll_loss2d_forward")},
}
