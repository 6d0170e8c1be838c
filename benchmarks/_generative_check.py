"""A flow written by hand with mistakes planted in it, and right flows, for check_flow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from flowjax import flows as theirs
from flowjax.distributions import StandardNormal
from numpyro.distributions import transforms

import jacmap as jm
from jacmap import flows

N = 6
ORDER = np.array([2, 0, 5, 1, 3, 4])
W = 0.5 * jr.normal(jr.key(1), (3, 2, N // 2, N // 2))
X = jr.normal(jr.key(2), (20, N))
SCALE = jnp.linspace(0.5, 2.0, N)


def coupling(x: jax.Array, w: jax.Array) -> tuple[jax.Array, jax.Array]:
    a, b = x[: N // 2], x[N // 2 :]
    log_scale, shift = jnp.tanh(w[0] @ a), w[1] @ a
    return jnp.concatenate([a, b * jnp.exp(log_scale) + shift]), jnp.sum(log_scale)


def undone(z: jax.Array, w: jax.Array) -> jax.Array:
    a, b = z[: N // 2], z[N // 2 :]
    return jnp.concatenate([a, (b - w[1] @ a) * jnp.exp(-jnp.tanh(w[0] @ a))])


def layers(x: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
    """(z, the log-determinant of each layer): three couplings with a permutation after each, and a scale."""
    logs = []
    for w in W:
        x, log = coupling(x, w)
        x = x[ORDER]
        logs.append(log)
    return SCALE * x, [*logs, jnp.sum(jnp.log(SCALE))]


@jax.jit
def flow(x: jax.Array) -> jax.Array:
    return layers(x)[0]


@jax.jit
def inverse(z: jax.Array) -> jax.Array:
    z = z / SCALE
    for w in W[::-1]:
        z = undone(z[np.argsort(ORDER)], w)
    return z


@jax.jit
def log_det(x: jax.Array) -> jax.Array:
    return sum(layers(x)[1])


Planted = tuple[str, tuple[Any, ...], dict[str, Any], str, str]


def planted() -> Iterator[Planted]:
    """(name, arguments, options, kind, words that the report must hold)."""

    def of_log(name: str, function: Callable[..., Any], kind: str, said: str, **options: Any) -> Planted:
        maps = (jax.vmap(flow), jax.vmap(inverse)) if options else (flow, inverse)
        return name, (*maps, function, X), options, kind, said

    def logs(x: Any) -> list[jax.Array]:
        return layers(x)[1]

    def each(x: Any) -> jax.Array:
        return jax.vmap(log_det)(x)

    def first(x: jax.Array) -> jax.Array:
        return coupling(x, W[0])[0][ORDER]

    yield of_log("wrong sign", lambda x: -log_det(x), "sign", "opposite sign")
    yield of_log("missing layer", lambda x: log_det(x) - logs(x)[1], "layer", "layer 1 of 3")
    yield of_log("a layer's sign", lambda x: log_det(x) - 2 * logs(x)[2], "layer", "layer 2 of 3")
    yield of_log("missing constant", lambda x: log_det(x) - logs(x)[3], "constant", "scales by constants")
    yield of_log("mean, not sum", lambda x: log_det(x) / N, "factor", "mean over the entries")
    yield of_log("wrong direction", lambda x: -log_det(inverse(x)), "direction", "of the inverse")
    yield of_log("at z, not x", lambda x: log_det(flow(x)), "wrong point", "instead of at x")
    yield of_log("no logarithm", lambda x: jnp.exp(log_det(x)), "no logarithm", "determinant itself")
    yield of_log("summed over the batch", lambda x: each(x).sum(), "batch", "summed over the batch", batched=True)
    yield of_log("absent batch term", lambda x: each(x).sum() - (len(x) - 1) * logs(x[0])[3], "batch",
                 "counted once instead of once per point", batched=True)  # fmt: skip
    yield of_log("stop_gradient", lambda x: log_det(jax.lax.stop_gradient(x)), "gradient", "training would go wrong")
    transposed = (first, lambda z: undone(z[ORDER], W[0]), None, X)
    yield "transposed permutation", transposed, {}, "permutation", "np.argsort"
    yield "scale undone twice", (lambda x: SCALE * x, lambda z: SCALE * z, None, X), {}, "scale", "wrong way round"
    yield "half of the inverse", (lambda x: coupling(x, W[0])[0], lambda z: z, None, X), {}, "entries", "3, 4, 5"
    yield "two to one", (lambda x: x**2, jnp.sqrt, None, X), {}, "not one-to-one", "maps both to one"
    yield "fold", (lambda x: x + 2 * jnp.sin(x), None, None, X), {}, "fold", "changes its sign"


def right() -> Iterator[tuple[str, tuple[Any, ...], dict[str, Any]]]:
    """(name, arguments, options) of flows without a mistake: by hand, flowjax's, numpyro's and ours."""
    yield "by hand", (flow, inverse, log_det, X), {}
    yield "by hand, in batches", (jax.vmap(flow), jax.vmap(inverse), jax.vmap(log_det), X), {"batched": True}
    for make in (theirs.coupling_flow, theirs.masked_autoregressive_flow, theirs.planar_flow):
        narrow = {} if make is theirs.planar_flow else {"nn_width": 8}
        bijection = make(jr.key(3), base_dist=StandardNormal((N,)), flow_layers=2, invert=False, **narrow).bijection
        back = None if make is theirs.planar_flow else jax.jit(lambda z, own=bijection: own.inverse(z))
        found = jax.jit(lambda x, own=bijection: own.transform_and_log_det(x)[1])
        yield make.__name__, (jax.jit(lambda x, own=bijection: own.transform(x)), back, found, X), {}
    sigmoid = transforms.SigmoidTransform()
    log = jax.jit(lambda x: sigmoid.log_abs_det_jacobian(x, sigmoid(x)).sum())
    yield "numpyro's sigmoid", (sigmoid.__call__, sigmoid._inverse, log, X), {}
    spline = flows.neural_spline(N, key=jr.key(4), layers=2, width=8)
    ahead, back = jax.jit(lambda x: spline(x)), jax.jit(lambda z: spline.inverse(z))
    yield "our splines", (ahead, back, lambda x: jm.slogdet(spline)(x)[1], X), {}
