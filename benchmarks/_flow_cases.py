"""The flows of examples/ with their log-determinants written by hand, as one writes them: what ours is compared with.

Each `..._with_logdet` returns ``(y, log|det J|)`` at ``(x, params)``. `cases()` pairs every flow with its own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

import flows as plain  # noqa: E402
import image_flows  # noqa: E402

WithLogdet = Callable[[Any, Any], tuple[Any, Any]]


@dataclass(frozen=True)
class Case:
    """`flow(x, params) -> y` and `by_hand(x, params) -> (y, log|det J|)` on points of a shape.

    `triangular`: with entries in some order every factor is triangular, so one tangent each is enough.
    """

    name: str
    flow: Callable[[Any, Any], Any]
    params: Any
    by_hand: WithLogdet
    shape: tuple[int, ...]
    triangular: bool = True

    def points(self, count: int) -> jax.Array:
        return jnp.asarray(np.random.default_rng(7).standard_normal((count, *self.shape)))


# -- coupling --------------------------------------------------------------------------------------------------


def real_nvp_with_logdet(n: int) -> WithLogdet:
    half = n // 2

    def flow(x, params):
        total = 0.0
        for k, net in enumerate(params):
            kept, moved = (x[:half], x[half:]) if k % 2 == 0 else (x[half:], x[:half])
            log_scale, shift = jnp.split(plain.mlp(net, kept), 2)
            log_scale = jnp.tanh(log_scale)
            moved = moved * jnp.exp(log_scale) + shift
            total += jnp.sum(log_scale)
            x = jnp.concatenate([kept, moved] if k % 2 == 0 else [moved, kept])
        return x, total

    return flow


def masked_real_nvp_with_logdet(n: int) -> WithLogdet:
    def flow(x, params):
        total = 0.0
        for k, net in enumerate(params):
            mask = jnp.asarray(np.arange(n) % 2 == k % 2, x.dtype)
            log_scale, shift = jnp.split(plain.mlp(net, mask * x), 2)
            log_scale = jnp.tanh(log_scale)
            x = mask * x + (1 - mask) * (x * jnp.exp(log_scale) + shift)
            total += jnp.sum((1 - mask) * log_scale)
        return x, total

    return flow


def scanned_real_nvp_with_logdet(n: int, layers: int) -> WithLogdet:
    half, order = n // 2, plain.orders(np.random.default_rng(0), layers, n)

    def flow(x, params):
        def layer(carry, given):
            (x, total), (net, permutation) = carry, given
            x = x[permutation]
            log_scale, shift = jnp.split(plain.mlp(net, x[:half]), 2)
            log_scale = jnp.tanh(log_scale)
            x = jnp.concatenate([x[:half], x[half:] * jnp.exp(log_scale) + shift])
            return (x, total + jnp.sum(log_scale)), None

        return lax.scan(layer, (x, jnp.zeros((), x.dtype)), (params, order))[0]

    return flow


def spline_with_logdet(x: jax.Array, params: jax.Array, bound: float = 3.0) -> tuple[jax.Array, jax.Array]:
    """Equations 4 and 5 of Durkan et al. 2019."""
    x0, x1, y0, y1, d0, d1 = plain.spline_bin(x, plain.spline_knots(params, bound))
    slope = (y1 - y0) / (x1 - x0)
    t = jnp.clip((x - x0) / (x1 - x0), 0, 1)
    below = slope + (d0 + d1 - 2 * slope) * t * (1 - t)
    inside = y0 + (y1 - y0) * (slope * t**2 + d0 * t * (1 - t)) / below
    above = d1 * t**2 + 2 * slope * t * (1 - t) + d0 * (1 - t) ** 2
    log_slope = 2 * jnp.log(slope) + jnp.log(above) - 2 * jnp.log(below)
    within = jnp.abs(x) < bound
    return jnp.where(within, inside, x), jnp.sum(jnp.where(within, log_slope, 0))


def spline_coupling_with_logdet(n: int, layers: int) -> WithLogdet:
    half, order = n // 2, plain.orders(np.random.default_rng(0), layers, n)

    def flow(x, params):
        total = 0.0
        for net, permutation in zip(params, order, strict=True):
            kept, moved = x[:half], x[half:]
            moved, log_slope = spline_with_logdet(moved, plain.mlp(net, kept).reshape(n - half, -1))
            total += log_slope
            x = jnp.concatenate([kept, moved])[permutation]
        return x, total

    return flow


# -- autoregressive --------------------------------------------------------------------------------------------


def maf_with_logdet(n: int, layers: int, hidden: int) -> WithLogdet:
    masks, order = plain.made_masks(n, (hidden, hidden)), plain.orders(np.random.default_rng(0), layers, n)

    def flow(x, params):
        total = 0.0
        for net, permutation in zip(params, order, strict=True):
            shift, log_scale = plain.made(net, masks, x)
            log_scale = jnp.tanh(log_scale)
            x = ((x - shift) * jnp.exp(-log_scale))[permutation]
            total -= jnp.sum(log_scale)
        return x, total

    return flow


def scanned_maf_with_logdet(n: int, layers: int, hidden: int) -> WithLogdet:
    masks, order = plain.made_masks(n, (hidden, hidden)), plain.orders(np.random.default_rng(0), layers, n)

    def flow(x, params):
        def layer(carry, given):
            (x, total), (net, permutation) = carry, given
            shift, log_scale = plain.made(net, masks, x)
            log_scale = jnp.tanh(log_scale)
            return (((x - shift) * jnp.exp(-log_scale))[permutation], total - jnp.sum(log_scale)), None

        return lax.scan(layer, (x, jnp.zeros((), x.dtype)), (params, order))[0]

    return flow


def iaf_with_logdet(n: int, hidden: int = 64) -> WithLogdet:
    masks = plain.made_masks(n, (hidden,))

    def flow(x, params):
        total = 0.0
        for net in params:
            mean, logit = plain.made(net, masks, x)
            gate = jax.nn.sigmoid(logit + 1.5)
            total += jnp.sum(jax.nn.log_sigmoid(logit + 1.5))
            x = (gate * x + (1 - gate) * mean)[::-1]
        return x, total

    return flow


def hidden_order_with_logdet(n: int) -> WithLogdet:
    flow, _ = plain.hidden_order(n)
    return lambda x, params: (flow(x, params), jnp.sum(jnp.log(jnp.abs(jnp.sinh(params["scale"])))))


def block_autoregressive_with_logdet(n: int, block: int = 8, layers: int = 3) -> WithLogdet:
    """Products of positive blocks, in logarithms (De Cao et al. 2019, section 3.2)."""
    shapes = [(1, block), *[(block, block)] * (layers - 2), (block, 1)]
    masks = plain.block_masks(n, shapes)

    def log_product(a, b):  # (n, i, j) by (n, j, k), both logarithms
        up, right = jnp.max(a, -1, keepdims=True), jnp.max(b, -2, keepdims=True)
        up, right = lax.stop_gradient(up), lax.stop_gradient(right)
        return jnp.log(jnp.exp(a - up) @ jnp.exp(b - right)) + up + right

    def flow(x, params):
        log_blocks = jnp.zeros((n, 1, 1), x.dtype)
        for k, ((weight, bias), (own, before), (a, b)) in enumerate(zip(params, masks, shapes, strict=True)):
            if k:
                # log(1 - tanh²), stable for large x
                log_slope = 2 * (jnp.log(2.0) - x - jax.nn.softplus(-2 * x)).astype(x.dtype)
                log_blocks = log_blocks + log_slope.reshape(n, 1, a)
                x = jnp.tanh(x)
            x = x @ jnp.where(own, jnp.exp(weight), jnp.where(before, weight, 0)) + bias
            diagonal = jnp.moveaxis(jnp.diagonal(weight.reshape(n, a, n, b), axis1=0, axis2=2), -1, 0)
            log_blocks = log_product(log_blocks, diagonal)
        return x, jnp.sum(log_blocks)

    return flow


# -- images ----------------------------------------------------------------------------------------------------


def glow_with_logdet(channels: int) -> WithLogdet:
    half = channels // 2

    def flow(x, params):
        total, pixels = 0.0, x.shape[0] * x.shape[1]
        for step in params:
            x = (x + step["bias"]) * jnp.exp(step["log_scale"])
            x = image_flows.convolve(x, step["mix"][None, None])
            total += pixels * (jnp.sum(step["log_scale"]) + jnp.linalg.slogdet(step["mix"])[1])
            kept, moved = x[..., :half], x[..., half:]
            log_scale, shift = jnp.split(image_flows.image_net(step["net"], kept), 2, axis=-1)
            moved = (moved + shift) * jax.nn.sigmoid(log_scale + 2)
            total += jnp.sum(jax.nn.log_sigmoid(log_scale + 2))
            x = jnp.concatenate([kept, moved], axis=-1)
        return x, total

    return flow


def checkerboard_with_logdet(height: int, width: int) -> WithLogdet:
    black = np.add.outer(np.arange(height), np.arange(width))[..., None] % 2

    def flow(x, params):
        total = 0.0
        for k, net in enumerate(params):
            mask = jnp.asarray(black == k % 2, x.dtype)
            log_scale, shift = jnp.split(image_flows.image_net(net, mask * x), 2, axis=-1)
            log_scale = jnp.tanh(log_scale)
            x = mask * x + (1 - mask) * (x * jnp.exp(log_scale) + shift)
            total += jnp.sum((1 - mask) * log_scale)
        return x, total

    return flow


# -- narrow, linear, elementwise -------------------------------------------------------------------------------


def planar_with_logdet(x: jax.Array, params: Any) -> tuple[jax.Array, jax.Array]:
    total = 0.0
    for w, u, bias in params:
        direction, h = plain.planar_direction(w, u), jnp.tanh(w @ x + bias)
        x = x + direction * h
        total += jnp.log(jnp.abs(1 + (1 - h**2) * (w @ direction)))
    return x, total


def sylvester_with_logdet(x: jax.Array, params: Any) -> tuple[jax.Array, jax.Array]:
    """det(I + diag(h') R' R) with R' R triangular (van den Berg et al. 2018, theorem 1)."""
    total = 0.0
    for layer in params:
        q, _ = jnp.linalg.qr(layer["q"])
        first, second = (jnp.triu(r, 1) + jnp.diag(jnp.tanh(jnp.diag(r))) for r in layer["r"])
        h = jnp.tanh(second @ (q.T @ x) + layer["bias"])
        x = x + q @ (first @ h)
        total += jnp.sum(jnp.log(jnp.abs(1 + (1 - h**2) * jnp.diag(first) * jnp.diag(second))))
    return x, total


def residual_with_logdet(x: jax.Array, params: Any) -> tuple[jax.Array, jax.Array]:
    """det(I + W diag(h') V) = det(I + diag(h') V W), as small as the hidden layer."""
    total = 0.0
    for (inward, bias), (outward, shift) in params:
        h = jnp.tanh(x @ inward + bias)
        x = x + 0.5 * h @ outward + shift
        small = jnp.eye(h.size, dtype=x.dtype) + 0.5 * (1 - h**2)[:, None] * (outward @ inward)
        total += jnp.linalg.slogdet(small)[1]
    return x, total


def triangular_linear_with_logdet(n: int, layers: int) -> WithLogdet:
    order = plain.orders(np.random.default_rng(0), layers, n)

    def flow(x, params):
        total = 0.0
        for layer, permutation in zip(params, order, strict=True):
            diagonal = jax.nn.softplus(jnp.diag(layer["lu"]))
            lower = jnp.tril(layer["lu"], -1) + jnp.eye(n, dtype=x.dtype)
            upper = jnp.triu(layer["lu"], 1) + jnp.diag(diagonal)
            x = (lower @ (upper @ x) + layer["bias"])[permutation]
            h = jnp.tanh(x)
            total += jnp.sum(jnp.log(diagonal)) + jnp.sum(jnp.log(1.1 - h**2))
            x = h + 0.1 * x
        return x, total

    return flow


def elementwise_with_logdet(x: jax.Array, params: Any) -> tuple[jax.Array, jax.Array]:
    inner = (jnp.arcsinh(x) + params["skew"]) * jnp.exp(params["tail"])
    total = jnp.sum(jnp.log(jnp.cosh(inner)) + params["tail"] - 0.5 * jnp.log1p(x**2) + params["slope"])
    x = 1.0 - jnp.exp(params["slope"]) * jnp.sinh(inner)
    top = 0.1 + jax.nn.softplus(x)
    return jnp.log(top), total + jnp.sum(jax.nn.log_sigmoid(x) - jnp.log(top))


# -- the table -------------------------------------------------------------------------------------------------


def cases(n: int) -> Iterator[Case]:
    """The flows of vectors, n entries."""
    yield Case("RealNVP, 8 layers", *plain.real_nvp(n), real_nvp_with_logdet(n), (n,))
    yield Case("RealNVP, masks", *plain.masked_real_nvp(n), masked_real_nvp_with_logdet(n), (n,))
    yield Case("RealNVP, scan", *plain.scanned_real_nvp(n), scanned_real_nvp_with_logdet(n, 8), (n,))
    yield Case("spline coupling", *plain.spline_coupling(n), spline_coupling_with_logdet(n, 4), (n,))
    yield Case("MADE stack with permutations", *plain.maf(n), maf_with_logdet(n, 5, 128), (n,))
    yield Case("MADE stack, scan", *plain.scanned_maf(n), scanned_maf_with_logdet(n, 5, 128), (n,))
    yield Case("IAF", *plain.iaf(n), iaf_with_logdet(n), (n,))
    yield Case("block autoregressive", *plain.block_autoregressive(n), block_autoregressive_with_logdet(n), (n,))
    yield Case("hidden order", *plain.hidden_order(n), hidden_order_with_logdet(n), (n,))
    yield Case("triangular linear", *plain.triangular_linear(n), triangular_linear_with_logdet(n, 3), (n,))
    yield Case("elementwise", *plain.elementwise(n), elementwise_with_logdet, (n,))
    yield Case("planar", *plain.planar(n), planar_with_logdet, (n,), triangular=False)
    yield Case("Sylvester", *plain.sylvester(n), sylvester_with_logdet, (n,), triangular=False)
    yield Case("narrow residual", *plain.residual(n), residual_with_logdet, (n,), triangular=False)


def image_cases(side: int = 8, channels: int = 4) -> Iterator[Case]:
    shape = (side, side, channels)
    yield Case("Glow", *image_flows.glow(channels), glow_with_logdet(channels), shape, triangular=False)
    flow, params = image_flows.checkerboard(*shape)
    yield Case("checkerboard convolutions", flow, params, checkerboard_with_logdet(side, side), shape)
