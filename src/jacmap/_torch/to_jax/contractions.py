"""Matrix products of all kinds, and distances between rows."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from .reductions import norm
from .row import Given, Row


def _added(p: Given, product: Any) -> Any:
    """beta · self + alpha · product; a beta of 0 leaves `self` out, NaN or not."""
    product = product if p.alpha == 1 else p.alpha * product
    if p.beta == 0:
        return product
    return (p.self if p.beta == 1 else p.beta * p.self) + product


def _trilinear(p: Given) -> Any:
    """Σ i1 · i2 · i3 over the axes `sumdim`, after new axes where the arguments `expand` say."""
    operands = [
        jnp.expand_dims(x, tuple(axes)) for x, axes in ((p.i1, p.expand1), (p.i2, p.expand2), (p.i3, p.expand3))
    ]
    return (operands[0] * operands[1] * operands[2]).sum(tuple(p.sumdim))


def _distances(x: Any, y: Any, order: float) -> Any:
    return norm(x[..., :, None, :] - y[..., None, :, :], order, -1, False)


TABLE: dict[str, Row] = {
    "mm": lambda p: p.self @ p.mat2,
    "bmm": lambda p: p.self @ p.mat2,
    "mv": lambda p: p.self @ p.vec,
    "dot": lambda p: jnp.dot(p.self, p.tensor),
    "vdot": lambda p: jnp.vdot(p.self, p.other),
    "addmm": lambda p: _added(p, p.mat1 @ p.mat2),
    "_sparse_addmm": lambda p: _added(p, p.mat1 @ p.mat2),
    "baddbmm": lambda p: _added(p, p.batch1 @ p.batch2),
    "addbmm": lambda p: _added(p, (p.batch1 @ p.batch2).sum(0)),
    "addmv": lambda p: _added(p, p.mat @ p.vec),
    "addr": lambda p: _added(p, jnp.outer(p.vec1, p.vec2)),
    "_trilinear": _trilinear,
    "_cdist_forward": lambda p: _distances(p.x1, p.x2, float(p.p)),
    "_euclidean_dist": lambda p: _distances(p.x1, p.x2, 2.0),
    "linalg_cross": lambda p: jnp.cross(p.self, p.other, axis=p.dim),
}
