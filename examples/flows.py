"""Normalizing flows as plain functions ``y = flow(x, params)``: there is no log-determinant in this file.

Each maker returns the flow and its parameters, a pytree of arrays drawn from a NumPy seed. What is learnt is in
`params`; what is fixed (masks, permutations, splits) is closed over, so that a reader of the flow can see it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Flow = tuple[Callable[[Any, Any], Any], Any]

# -- parts -----------------------------------------------------------------------------------------------------


def draw(random: np.random.Generator, *shape: int, scale: float = 1.0) -> jax.Array:
    return jnp.asarray(scale * random.standard_normal(shape))


def orthogonal(random: np.random.Generator, n: int) -> jax.Array:
    return jnp.asarray(np.linalg.qr(random.standard_normal((n, n)))[0])


def orders(random: np.random.Generator, layers: int, n: int) -> np.ndarray:
    """One permutation of n entries per layer, (layers, n)."""
    return np.stack([random.permutation(n) for _ in range(layers)])


def mlp_params(random: np.random.Generator, widths: Sequence[int]) -> list[tuple[jax.Array, jax.Array]]:
    pairs = zip(widths[:-1], widths[1:], strict=True)
    return [(draw(random, a, b, scale=a**-0.5), draw(random, b, scale=0.1)) for a, b in pairs]


def mlp(params: list[tuple[jax.Array, jax.Array]], x: jax.Array) -> jax.Array:
    for weight, bias in params[:-1]:
        x = jax.nn.relu(x @ weight + bias)
    weight, bias = params[-1]
    return x @ weight + bias


def stacked(params: Sequence[Any]) -> Any:
    """The parameters of equal layers, with a leading axis to scan over."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *params)


# -- coupling: RealNVP (Dinh et al. 2017), rational-quadratic splines (Durkan et al. 2019) -----------------------


def real_nvp(n: int, layers: int = 8, hidden: int = 64, seed: int = 0) -> Flow:
    """Affine coupling of one half by the other, the halves in turn."""
    half, random = n // 2, np.random.default_rng(seed)
    sizes = [(half, n - half) if k % 2 == 0 else (n - half, half) for k in range(layers)]
    params = [mlp_params(random, (known, hidden, hidden, 2 * moved)) for known, moved in sizes]

    def flow(x, params):
        for k, net in enumerate(params):
            kept, moved = (x[:half], x[half:]) if k % 2 == 0 else (x[half:], x[:half])
            log_scale, shift = jnp.split(mlp(net, kept), 2)
            moved = moved * jnp.exp(jnp.tanh(log_scale)) + shift
            x = jnp.concatenate([kept, moved] if k % 2 == 0 else [moved, kept])
        return x

    return flow, params


def masked_real_nvp(n: int, layers: int = 4, hidden: int = 32, seed: int = 0) -> Flow:
    """The same with masks, every second entry in turn: multiplied by 0 and 1 instead of cut apart."""
    random = np.random.default_rng(seed)
    params = [mlp_params(random, (n, hidden, 2 * n)) for _ in range(layers)]

    def flow(x, params):
        for k, net in enumerate(params):
            mask = jnp.asarray(np.arange(n) % 2 == k % 2, x.dtype)
            log_scale, shift = jnp.split(mlp(net, mask * x), 2)
            x = mask * x + (1 - mask) * (x * jnp.exp(jnp.tanh(log_scale)) + shift)
        return x

    return flow, params


def scanned_real_nvp(n: int, layers: int = 8, hidden: int = 64, seed: int = 0) -> Flow:
    """Equal layers under `lax.scan`: each couples the first half to the second, after a permutation of its own."""
    half, random = n // 2, np.random.default_rng(seed)
    order = orders(random, layers, n)
    params = stacked([mlp_params(random, (half, hidden, 2 * (n - half))) for _ in range(layers)])

    def flow(x, params):
        def layer(x, given):
            net, order = given
            x = x[order]
            log_scale, shift = jnp.split(mlp(net, x[:half]), 2)
            return jnp.concatenate([x[:half], x[half:] * jnp.exp(jnp.tanh(log_scale)) + shift]), None

        return lax.scan(layer, x, (params, order))[0]

    return flow, params


def spline_knots(params: jax.Array, bound: float) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Knots in x and y from -bound to bound and the slopes there, (…, K+1) each, of params (…, 3K-1)."""
    bins = (params.shape[-1] + 1) // 3
    sides = [2 * bound * (0.001 + (1 - 0.001 * bins) * jax.nn.softmax(params[..., k * bins : (k + 1) * bins]))
             for k in (0, 1)]  # fmt: skip
    ends = [(0, 0)] * (params.ndim - 1) + [(1, 0)]
    x, y = (jnp.pad(jnp.cumsum(side, -1), ends) - bound for side in sides)
    inner = 0.001 + jax.nn.softplus(params[..., 2 * bins :])
    one = jnp.ones_like(inner[..., :1])
    return x, y, jnp.concatenate([one, inner, one], -1)


def spline_bin(x: jax.Array, knots: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, ...]:
    """The bin of each x: its left and right knot in x, in y, and the slopes there."""
    at = jnp.sum(x[..., None] >= knots[0][..., 1:-1], -1, keepdims=True)
    return tuple(jnp.take_along_axis(knot, at + side, -1)[..., 0] for knot in knots for side in (0, 1))


def spline(x: jax.Array, params: jax.Array, bound: float = 3.0) -> jax.Array:
    """A monotone rational-quadratic spline per entry (eq. 4 of Durkan et al.), the identity outside ±bound."""
    x0, x1, y0, y1, d0, d1 = spline_bin(x, spline_knots(params, bound))
    slope = (y1 - y0) / (x1 - x0)
    t = jnp.clip((x - x0) / (x1 - x0), 0, 1)
    top = (y1 - y0) * (slope * t**2 + d0 * t * (1 - t))
    inside = y0 + top / (slope + (d0 + d1 - 2 * slope) * t * (1 - t))
    return jnp.where(jnp.abs(x) < bound, inside, x)


def spline_coupling(n: int, layers: int = 4, hidden: int = 32, bins: int = 8, seed: int = 0) -> Flow:
    half, random = n // 2, np.random.default_rng(seed)
    order = orders(random, layers, n)
    params = [mlp_params(random, (half, hidden, (n - half) * (3 * bins - 1))) for _ in range(layers)]

    def flow(x, params):
        for net, permutation in zip(params, order, strict=True):
            kept, moved = x[:half], x[half:]
            moved = spline(moved, mlp(net, kept).reshape(n - half, -1))
            x = jnp.concatenate([kept, moved])[permutation]
        return x

    return flow, params


# -- autoregressive: MADE (Germain et al. 2015), MAF (Papamakarios et al. 2017), IAF (Kingma et al. 2016) ---------


def made_masks(n: int, hidden: Sequence[int], outputs: int = 2) -> list[np.ndarray]:
    """Masks (in, out) such that each of the `outputs` numbers for entry i reads only entries before i."""
    degrees = [np.arange(n), *(np.arange(width) % max(1, n - 1) for width in hidden)]
    masks = [a[:, None] <= b[None, :] for a, b in zip(degrees[:-1], degrees[1:], strict=True)]
    return [*masks, np.tile(degrees[-1][:, None] < np.arange(n), outputs)]


def made(params: list[tuple[jax.Array, jax.Array]], masks: list[np.ndarray], x: jax.Array) -> list[jax.Array]:
    """A shift and a log-scale for every entry of x, each read from the entries before it."""
    masked = [(jnp.where(mask, weight, 0), bias) for mask, (weight, bias) in zip(masks, params, strict=True)]
    return jnp.split(mlp(masked, x), 2)


def maf(n: int, layers: int = 5, hidden: int = 128, seed: int = 0) -> Flow:
    """A stack of MADEs in the direction of a density, with fixed permutations between them."""
    random = np.random.default_rng(seed)
    masks, order = made_masks(n, (hidden, hidden)), orders(random, layers, n)
    params = [mlp_params(random, (n, hidden, hidden, 2 * n)) for _ in range(layers)]

    def flow(x, params):
        for net, permutation in zip(params, order, strict=True):
            shift, log_scale = made(net, masks, x)
            x = ((x - shift) * jnp.exp(-jnp.tanh(log_scale)))[permutation]
        return x

    return flow, params


def scanned_maf(n: int, layers: int = 5, hidden: int = 128, seed: int = 0) -> Flow:
    """The same under `lax.scan`, over stacks of parameters and of permutations."""
    random = np.random.default_rng(seed)
    masks, order = made_masks(n, (hidden, hidden)), orders(random, layers, n)
    params = stacked([mlp_params(random, (n, hidden, hidden, 2 * n)) for _ in range(layers)])

    def flow(x, params):
        def layer(x, given):
            net, permutation = given
            shift, log_scale = made(net, masks, x)
            return ((x - shift) * jnp.exp(-jnp.tanh(log_scale)))[permutation], None

        return lax.scan(layer, x, (params, order))[0]

    return flow, params


def iaf(n: int, layers: int = 3, hidden: int = 64, seed: int = 0) -> Flow:
    """Inverse autoregressive: gated as in eq. 14 of Kingma et al., the order turned round from layer to layer."""
    random, masks = np.random.default_rng(seed), made_masks(n, (hidden,))
    params = [mlp_params(random, (n, hidden, 2 * n)) for _ in range(layers)]

    def flow(x, params):
        for net in params:
            mean, logit = made(net, masks, x)
            gate = jax.nn.sigmoid(logit + 1.5)
            x = (gate * x + (1 - gate) * mean)[::-1]
        return x

    return flow, params


def maf_sampling(n: int, hidden: int = 16, seed: int = 0) -> Flow:
    """The other direction of one MADE: entry by entry, each from the outputs before it."""
    random, masks = np.random.default_rng(seed), made_masks(n, (hidden,))
    params = mlp_params(random, (n, hidden, 2 * n))

    def flow(x, params):
        y = jnp.zeros_like(x)
        for i in range(n):
            shift, log_scale = made(params, masks, y)
            y = y.at[i].set(x[i] * jnp.exp(jnp.tanh(log_scale[i])) + shift[i])
        return y

    return flow, params


def hidden_order(n: int, seed: int = 0) -> Flow:
    """Triangular, but only after its inputs and its outputs are permuted, by orders that nothing shows."""
    random = np.random.default_rng(seed)
    inputs, outputs = random.permutation(n), random.permutation(n)
    mask = np.zeros((n, n), bool)
    mask[np.ix_(outputs, inputs)] = np.tri(n, k=-1, dtype=bool)
    own = inputs[np.argsort(outputs)]  # output i reads entry own[i], and those before it
    params = {"weight": draw(random, n, n, scale=n**-0.5), "scale": draw(random, n)}

    def flow(x, params):
        return jnp.sinh(params["scale"]) * x[own] + jnp.where(mask, params["weight"], 0) @ jnp.tanh(x)

    return flow, params


def block_autoregressive(n: int, block: int = 8, layers: int = 3, seed: int = 0) -> Flow:
    """Block neural autoregressive (De Cao et al. 2019): positive diagonal blocks, free ones below, tanh between."""
    random = np.random.default_rng(seed)
    shapes = [(1, block), *[(block, block)] * (layers - 2), (block, 1)]
    masks = block_masks(n, shapes)
    params = [(draw(random, n * a, n * b, scale=(n * a) ** -0.5), draw(random, n * b, scale=0.1)) for a, b in shapes]

    def flow(x, params):
        for k, ((weight, bias), (own, before)) in enumerate(zip(params, masks, strict=True)):
            x = x if k == 0 else jnp.tanh(x)
            x = x @ jnp.where(own, jnp.exp(weight), jnp.where(before, weight, 0)) + bias
        return x

    return flow, params


def block_masks(n: int, shapes: Sequence[tuple[int, int]]) -> list[tuple[np.ndarray, np.ndarray]]:
    """The diagonal blocks and those strictly before them, (n·a, n·b) each, of every shape (a, b)."""
    return [(np.kron(np.eye(n), np.ones((a, b))) > 0, np.kron(np.triu(np.ones((n, n)), 1), np.ones((a, b))) > 0)
            for a, b in shapes]  # fmt: skip


# -- narrow: planar (Rezende & Mohamed 2015), Sylvester (van den Berg et al. 2018), residual -------------------------


def planar(n: int, layers: int = 4, seed: int = 0) -> Flow:
    """x + û tanh(w·x + b), with û such that w·û > -1 (their appendix A.1)."""
    random = np.random.default_rng(seed)
    params = [(draw(random, n, scale=n**-0.5), draw(random, n, scale=n**-0.5), draw(random)) for _ in range(layers)]

    def flow(x, params):
        for w, u, bias in params:
            x = x + planar_direction(w, u) * jnp.tanh(w @ x + bias)
        return x

    return flow, params


def planar_direction(w: jax.Array, u: jax.Array) -> jax.Array:
    return u + (jax.nn.softplus(w @ u) - 1 - w @ u) * w / (w @ w)


def sylvester(n: int, rank: int = 4, layers: int = 3, seed: int = 0) -> Flow:
    """x + Q R tanh(R' Qᵀ x + b) with n×rank orthonormal Q, upper triangular R and R' whose diagonals are below 1."""
    random = np.random.default_rng(seed)
    params = [
        {"q": draw(random, n, rank), "r": draw(random, 2, rank, rank, scale=0.5), "bias": draw(random, rank)}
        for _ in range(layers)
    ]

    def flow(x, params):
        for layer in params:
            q, _ = jnp.linalg.qr(layer["q"])
            first, second = (jnp.triu(r, 1) + jnp.diag(jnp.tanh(jnp.diag(r))) for r in layer["r"])
            x = x + q @ (first @ jnp.tanh(second @ (q.T @ x) + layer["bias"]))
        return x

    return flow, params


def residual(n: int, hidden: int = 4, layers: int = 3, seed: int = 0) -> Flow:
    """x + tanh(x W + b) V through a narrow hidden layer."""
    random = np.random.default_rng(seed)
    params = [mlp_params(random, (n, hidden, n)) for _ in range(layers)]

    def flow(x, params):
        for (inward, bias), (outward, shift) in params:
            x = x + 0.5 * jnp.tanh(x @ inward + bias) @ outward + shift
        return x

    return flow, params


# -- linear and elementwise ----------------------------------------------------------------------------------------


def triangular_linear(n: int, layers: int = 3, seed: int = 0) -> Flow:
    """P L U x + b with a fixed P, L with ones and U with positive numbers on the diagonal; a leaky tanh between."""
    random = np.random.default_rng(seed)
    order = orders(random, layers, n)
    params = [{"lu": draw(random, n, n, scale=n**-0.5), "bias": draw(random, n)} for _ in range(layers)]

    def flow(x, params):
        for layer, permutation in zip(params, order, strict=True):
            lower = jnp.tril(layer["lu"], -1) + jnp.eye(n, dtype=x.dtype)
            upper = jnp.triu(layer["lu"], 1) + jnp.diag(jax.nn.softplus(jnp.diag(layer["lu"])))
            x = (lower @ (upper @ x) + layer["bias"])[permutation]
            x = jnp.tanh(x) + 0.1 * x
        return x

    return flow, params


def elementwise(n: int, seed: int = 0) -> Flow:
    """Sinh-arcsinh, a falling line, softplus and a logarithm, entry by entry."""
    random = np.random.default_rng(seed)
    params = {"skew": draw(random, n), "tail": draw(random, n, scale=0.3), "slope": draw(random, n, scale=0.3)}

    def flow(x, params):
        x = jnp.sinh((jnp.arcsinh(x) + params["skew"]) * jnp.exp(params["tail"]))
        x = 1.0 - jnp.exp(params["slope"]) * x
        return jnp.log(0.1 + jax.nn.softplus(x))

    return flow, params
