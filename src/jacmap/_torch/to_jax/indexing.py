"""Picking entries by index, and putting them."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from .row import Given, Row


def _at(p: Given) -> tuple[Any, ...]:
    """The indices as NumPy has them. A mask must be known to be one; the recorder lets no other pass."""
    return tuple(slice(None) if i is None else i for i in p.indices)


def _is_mask(index: Any) -> bool:
    return index is not None and index.dtype == bool


def _index_put(p: Given) -> Any:
    masks = [i for i in p.indices if _is_mask(i)]
    if masks and not all(isinstance(i, np.ndarray) for i in masks):  # one number where the mask says: a where
        mask = masks[0].reshape(masks[0].shape + (1,) * (p.self.ndim - masks[0].ndim))
        value = jnp.reshape(p["values"], ())
        return jnp.where(mask, p.self + value if p.accumulate else value, p.self)
    place = p.self.at[_at(p)]
    return place.add(p["values"]) if p.accumulate else place.set(p["values"])


def _along(p: Given) -> tuple[Any, ...]:
    """The places that `index` names along `dim`, as one index array per axis."""
    if p.index.ndim == 0:
        return ()
    places = list(jnp.meshgrid(*(np.arange(n) for n in p.index.shape), indexing="ij", sparse=True))
    places[p.dim] = p.index
    return tuple(places)


def _source(p: Given) -> Any:
    """As much of the source as the index is large."""
    src: Any = p.get("src", p.get("value"))
    return src[tuple(slice(0, n) for n in p.index.shape)] if np.ndim(src) else src


def _scatter(p: Given) -> Any:
    place, source = p.self.at[_along(p)], _source(p)
    if p.get("reduce") is None:
        return place.set(source)
    return place.multiply(source) if p.reduce == "multiply" else place.add(source)


def _scatter_reduce(p: Given) -> Any:
    at, source, whole = _along(p), _source(p), p.self
    if p.reduce == "prod":
        raise NotImplementedError("reduce='prod' has no gradient in JAX")
    if not p.include_self:
        neutral = {"sum": 0.0, "mean": 0.0, "amax": -jnp.inf, "amin": jnp.inf}[p.reduce]
        whole = whole.at[at].set(neutral)
    if p.reduce == "mean":
        count = (jnp.ones_like if p.include_self else jnp.zeros_like)(lax.stop_gradient(p.self))
        count = jnp.maximum(count.at[at].add(1.0), 1.0)
        return whole.at[at].add(source) / count
    method = {"sum": "add", "amax": "max", "amin": "min"}[p.reduce]
    return getattr(whole.at[at], method)(source)


def _gather(p: Given) -> Any:
    return p.self[_along(p)] if p.self.ndim else jnp.broadcast_to(p.self, p.index.shape)


def _dim(p: Given, values: Any) -> Any:
    at: list[Any] = [slice(None)] * p.self.ndim
    at[p.dim] = p.index.reshape(-1)
    return p.self.at[tuple(at)], values


def _index_add(p: Given) -> Any:
    place, source = _dim(p, p.source)
    return place.add(source if p.alpha == 1 else p.alpha * source)


def _index_copy(p: Given) -> Any:
    place, source = _dim(p, p.source)
    return place.set(source)


def _index_fill(p: Given) -> Any:
    place, value = _dim(p, p.value)
    return place.set(value)


def _embedding(p: Given) -> Any:
    found = p.weight[p.indices]
    if p.padding_idx < 0:
        return found
    return jnp.where((p.indices == p.padding_idx)[..., None], lax.stop_gradient(found), found)


def _embedding_backward(p: Given) -> Any:
    """The rows of the gradient, summed where the indices say."""
    grad = (
        jnp.where((p.indices == p.padding_idx)[..., None], 0.0, p.grad_output) if p.padding_idx >= 0 else p.grad_output
    )
    if p.scale_grad_by_freq:
        count = jnp.zeros(p.num_weights).at[p.indices].add(1.0)
        grad = grad / count[p.indices][..., None]
    return jnp.zeros((p.num_weights, grad.shape[-1]), grad.dtype).at[p.indices].add(grad)


def _place_among(sorted_numbers: Any, numbers: Any, right: bool) -> Any:
    """How many of the sorted numbers lie before each: counted, so that batches are nothing special."""
    before = jnp.less_equal if right else jnp.less
    numbers = jnp.asarray(numbers)
    if sorted_numbers.ndim == 1:
        return before(sorted_numbers, numbers[..., None]).sum(-1)
    return before(sorted_numbers[..., None, :], numbers[..., None]).sum(-1)


def _searchsorted(p: Given) -> Any:
    if p.get("sorter") is not None:
        raise NotImplementedError("sorter")
    return lax.stop_gradient(_place_among(p.sorted_sequence, p.self, p.right or p.side == "right"))


TABLE: dict[str, Row] = {
    **{name: lambda p: p.self[_at(p)] for name in ("index", "_unsafe_index")},
    **{name: _index_put for name in ("index_put", "_unsafe_index_put")},
    "index_select": lambda p: jnp.take(p.self, p.index, axis=p.dim) if p.self.ndim else p.self,
    "gather": _gather,
    "take": lambda p: jnp.ravel(p.self)[p.index],
    "embedding": _embedding,
    "embedding_dense_backward": _embedding_backward,
    "masked_select": lambda p: jnp.broadcast_to(p.self, np.broadcast_shapes(p.self.shape, p.mask.shape))[
        np.broadcast_to(p.mask, np.broadcast_shapes(p.self.shape, p.mask.shape))
    ],
    "index_add": _index_add,
    "index_copy": _index_copy,
    "index_fill": _index_fill,
    "scatter": _scatter,
    "scatter_add": lambda p: p.self.at[_along(p)].add(_source(p)),
    "scatter_reduce": _scatter_reduce,
    "searchsorted": _searchsorted,
    "bucketize": lambda p: _place_among(p.boundaries, p.self, p.right),
}
