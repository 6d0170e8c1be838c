"""A gallery of layers: each a plain function, with its Jacobians written by hand in NumPy, by inputs and by weights.

J is m×n, outputs × inputs, both flattened in row-major order. `python examples/layers.py` prints the table.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.linalg import block_diag
from scipy.special import erf

import jacmap as jm

EPS = 1e-5
GENERATOR = np.random.default_rng(0)


def numbers(*shape: int) -> np.ndarray:
    return GENERATOR.standard_normal(shape)


@dataclass(frozen=True, eq=False)
class Layer:
    """`f(*args)`; `closed(*args)`: argument name → its Jacobian; `says`: what the layer does to a gradient.

    `wider`: argument → why the pattern that the engine finds is wider than J's at this point.
    """

    name: str
    f: Callable[..., Any]
    names: Sequence[str]
    args: Sequence[np.ndarray]
    closed: Callable[..., dict[str, np.ndarray]]
    says: str
    wider: dict[str, str] = field(default_factory=dict)

    def jacobian(self, argument: str) -> jm.Jacobian:
        """The engine's J with respect to one argument."""
        return jm.linearize(self.f, *map(jnp.asarray, self.args), argnums=list(self.names).index(argument))

    @property
    def arguments(self) -> list[str]:
        """Those with a closed form."""
        return list(self.closed(*self.args))

    def kept(self) -> int:
        """Bytes that a VJP by all arguments keeps from the forward pass, measured; the arguments are not counted.

        JAX's own VJP holds them in its closure; an array that is kept twice counts once.
        """
        args = [jnp.asarray(a) for a in self.args]
        chosen = [list(self.names).index(name) for name in self.arguments]

        def by(*moving: Any) -> Any:
            whole = list(args)
            for k, a in zip(chosen, moving, strict=True):
                whole[k] = a
            return self.f(*whole)

        pull = jax.vjp(by, *(args[k] for k in chosen))[1]
        held = {id(leaf): leaf for leaf in jax.tree.leaves(pull) if isinstance(leaf, jax.Array) and leaf.ndim}
        given = [np.asarray(a) for a in args]
        return sum(leaf.nbytes for leaf in held.values() if not any(_same(leaf, a) for a in given))


def _same(leaf: Any, array: np.ndarray) -> bool:
    return leaf.size == array.size and bool(np.array_equal(np.ravel(leaf), array.ravel()))


# -- linear maps -------------------------------------------------------------------------------------------
def linear(x, w, b):
    return x @ w + b


def linear_closed(x, w, b):
    m = len(b)
    # y_j = Σ_i x_i w_ij: every output sees its own column of w, so J is xᵀ ⊗ I.
    return {"x": w.T, "w": np.kron(x[None], np.eye(m)), "b": np.eye(m)}


def convolution(x, w):
    """x (channels, height, width), w (filters, channels, 3, 3); the borders are padded with zeros."""
    return jax.lax.conv_general_dilated(x[None], w, (1, 1), "SAME")[0]


def convolution_closed(x, w):
    channels, height, width = x.shape
    filters = len(w)
    by_x = np.zeros((filters, height, width, channels, height, width))
    by_w = np.zeros((filters, height, width, *w.shape))
    for i in range(height):
        for j in range(width):
            for a in range(3):
                for b in range(3):
                    p, q = i + a - 1, j + b - 1
                    if 0 <= p < height and 0 <= q < width:
                        by_x[:, i, j, :, p, q] = w[:, :, a, b]
                        for o in range(filters):
                            by_w[o, i, j, o, :, a, b] = x[:, p, q]
    m = filters * height * width
    return {"x": by_x.reshape(m, -1), "w": by_w.reshape(m, -1)}


def average_pooling(x):
    """2×2 blocks of a (height, width) image."""
    return x.reshape(x.shape[0] // 2, 2, x.shape[1] // 2, 2).mean(axis=(1, 3))


def _blocks(x):
    """For each 2×2 block the flat positions of its four entries."""
    height, width = x.shape
    at = np.arange(height * width).reshape(height // 2, 2, width // 2, 2)
    return at.transpose(0, 2, 1, 3).reshape(-1, 4)


def average_pooling_closed(x):
    J = np.zeros((x.size // 4, x.size))
    for row, block in zip(J, _blocks(x), strict=True):
        row[block] = 0.25
    return {"x": J}


def max_pooling(x):
    return x.reshape(x.shape[0] // 2, 2, x.shape[1] // 2, 2).max(axis=(1, 3))


def max_pooling_closed(x):
    J = np.zeros((x.size // 4, x.size))
    for row, block in zip(J, _blocks(x), strict=True):
        row[block[np.argmax(x.ravel()[block])]] = 1
    return {"x": J}


TOKENS = np.array([2, 0, 2, 4])


def embedding(table):
    """Rows of the table (words, width) for a sentence of four words."""
    return table[TOKENS]


def embedding_closed(table):
    words, width = table.shape
    return {"table": np.kron(np.eye(words)[TOKENS], np.eye(width))}


KEEP = 0.75
MASK = np.array([1.0, 0.0, 1.0, 1.0, 0.0, 1.0])


def dropout(x):
    return x * MASK / KEEP


def dropout_closed(x):
    return {"x": np.diag(MASK / KEEP)}


# -- activations -------------------------------------------------------------------------------------------
def gelu_exact(x):
    return jax.nn.gelu(x, approximate=False)


def gelu_tanh(x):
    return jax.nn.gelu(x, approximate=True)


def sigmoid_of(x):
    return 1 / (1 + np.exp(-x))


def gelu_exact_slope(x):
    # d/dx x Φ(x) = Φ(x) + x φ(x)
    return (1 + erf(x / np.sqrt(2))) / 2 + x * np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)


def gelu_tanh_slope(x):
    root = np.sqrt(2 / np.pi)
    t = np.tanh(root * (x + 0.044715 * x**3))
    return (1 + t) / 2 + x * (1 - t**2) / 2 * root * (1 + 3 * 0.044715 * x**2)


SLOPES = {
    "relu": lambda x: (x > 0).astype(float),
    "sigmoid": lambda x: sigmoid_of(x) * (1 - sigmoid_of(x)),
    "tanh": lambda x: 1 - np.tanh(x) ** 2,
    "gelu": gelu_exact_slope,
    "gelu, tanh form": gelu_tanh_slope,
}


def diagonal(name):
    return lambda x: {"x": np.diag(SLOPES[name](x))}


def softmax_of(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def softmax_closed(x):
    s = softmax_of(x)
    return {"x": np.diag(s) - np.outer(s, s)}


def log_softmax_closed(x):
    return {"x": np.eye(len(x)) - np.outer(np.ones(len(x)), softmax_of(x))}


# -- normalisation -----------------------------------------------------------------------------------------
def batch_norm(x, scale, shift):
    """x (batch, features), with the statistics of the batch itself."""
    return scale * (x - x.mean(axis=0)) / jnp.sqrt(x.var(axis=0) + EPS) + shift


def _normalised(x, scale):
    """J of scale (x − mean)/√(var + ε) for one group x (n,): scale/σ (I − 1/n − x̂ x̂ᵀ/n)."""
    n, deviation = len(x), np.sqrt(x.var() + EPS)
    unit = (x - x.mean()) / deviation
    return np.reshape(scale, (-1, 1)) / deviation * (np.eye(n) - 1 / n - np.outer(unit, unit) / n)


def batch_norm_closed(x, scale, shift):
    batch, features = x.shape
    by_x = np.zeros((batch, features, batch, features))
    for k in range(features):
        by_x[:, k, :, k] = _normalised(x[:, k], scale[k])
    unit = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + EPS)
    by_scale = np.concatenate([np.diag(row) for row in unit])
    return {"x": by_x.reshape(x.size, x.size), "scale": by_scale, "shift": np.tile(np.eye(features), (batch, 1))}


MEAN, VARIANCE = numbers(3), numbers(3) ** 2 + 0.5


def batch_norm_running(x, scale, shift):
    """The same with statistics that training has left behind."""
    return scale * (x - MEAN) / jnp.sqrt(VARIANCE + EPS) + shift


def batch_norm_running_closed(x, scale, shift):
    batch, features = x.shape
    unit = (x - MEAN) / np.sqrt(VARIANCE + EPS)
    by_x = np.diag(np.tile(scale / np.sqrt(VARIANCE + EPS), batch))
    by_scale = np.concatenate([np.diag(row) for row in unit])
    return {"x": by_x, "scale": by_scale, "shift": np.tile(np.eye(features), (batch, 1))}


def layer_norm(x, scale, shift):
    """x (positions, features), each position by its own statistics."""
    mean, var = x.mean(axis=1, keepdims=True), x.var(axis=1, keepdims=True)
    return scale * (x - mean) / jnp.sqrt(var + EPS) + shift


def layer_norm_closed(x, scale, shift):
    positions, features = x.shape
    unit = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + EPS)
    return {
        "x": block_diag(*(_normalised(row, scale) for row in x)),
        "scale": np.concatenate([np.diag(row) for row in unit]),
        "shift": np.tile(np.eye(features), (positions, 1)),
    }


def rms_norm(x, scale):
    return scale * x / jnp.sqrt((x**2).mean() + EPS)


def rms_norm_closed(x, scale):
    n, root = len(x), np.sqrt((x**2).mean() + EPS)
    # scale_i (δ_ij − x_i x_j / (n r²)) / r
    return {"x": scale[:, None] / root * (np.eye(n) - np.outer(x, x) / (n * root**2)), "scale": np.diag(x / root)}


# -- blocks ------------------------------------------------------------------------------------------------
def residual(x, w):
    return x + jnp.tanh(w @ x)


def residual_closed(x, w):
    slope = 1 - np.tanh(w @ x) ** 2
    return {"x": np.eye(len(x)) + slope[:, None] * w, "w": slope[:, None] * np.kron(np.eye(len(w)), x[None])}


def attention(x, wq, wk, wv):
    """x (positions, width): every position looks at all."""
    q, k, v = x @ wq, x @ wk, x @ wv
    return jax.nn.softmax(q @ k.T / np.sqrt(q.shape[1])) @ v


def causal_attention(x, wq, wk, wv):
    """Every position looks at itself and at those before it."""
    q, k, v = x @ wq, x @ wk, x @ wv
    seen = np.tril(np.ones((len(x), len(x)), bool))
    return jax.nn.softmax(jnp.where(seen, q @ k.T / np.sqrt(q.shape[1]), -jnp.inf)) @ v


def _attention_closed(x, wq, wk, wv, seen):
    positions, width = x.shape
    q, k, v = x @ wq, x @ wk, x @ wv
    inner, outer = q.shape[1], v.shape[1]
    root = np.sqrt(inner)
    a = softmax_of(np.where(seen, q @ k.T / root, -np.inf))
    by_q = np.zeros((positions, outer, positions, inner))
    by_k = np.zeros((positions, outer, positions, inner))
    for i in range(positions):
        through = v.T @ (np.diag(a[i]) - np.outer(a[i], a[i])) / root  # output i by its scores, (outer, positions)
        by_q[i, :, i] = through @ k
        by_k[i] = through[:, :, None] * q[i]
    by_q, by_k = by_q.reshape(positions * outer, -1), by_k.reshape(positions * outer, -1)
    by_v = np.kron(a, np.eye(outer))
    eye = np.eye(positions)
    by_x = by_q @ np.kron(eye, wq.T) + by_k @ np.kron(eye, wk.T) + by_v @ np.kron(eye, wv.T)
    w = [by @ np.kron(x, np.eye(n)) for by, n in ((by_q, inner), (by_k, inner), (by_v, outer))]
    return {"x": by_x, "wq": w[0], "wk": w[1], "wv": w[2]}


def attention_closed(x, wq, wk, wv):
    return _attention_closed(x, wq, wk, wv, np.ones((len(x), len(x)), bool))


def causal_attention_closed(x, wq, wk, wv):
    return _attention_closed(x, wq, wk, wv, np.tril(np.ones((len(x), len(x)), bool)))


# -- recurrent cells ---------------------------------------------------------------------------------------
def gru(x, h, w, u, b):
    """One step; w (3, m, n), u (3, m, m), b (3, m): update gate, reset gate, candidate (Cho et al. 2014)."""
    z = jax.nn.sigmoid(w[0] @ x + u[0] @ h + b[0])
    r = jax.nn.sigmoid(w[1] @ x + u[1] @ h + b[1])
    c = jnp.tanh(w[2] @ x + u[2] @ (r * h) + b[2])
    return (1 - z) * h + z * c


def gru_closed(x, h, w, u, b):
    m = len(h)
    z, r = (sigmoid_of(w[k] @ x + u[k] @ h + b[k]) for k in (0, 1))
    c = np.tanh(w[2] @ x + u[2] @ (r * h) + b[2])
    by_c = np.diag(z * (1 - c**2))  # the output by the arguments of the three functions: candidate, update, reset
    by_z = np.diag((c - h) * z * (1 - z))
    by_r = by_c @ u[2] @ np.diag(h * r * (1 - r))
    gates = (by_z, by_r, by_c)
    reads = (h, h, r * h)
    return {
        "x": sum(by @ w[k] for k, by in enumerate(gates)),
        "h": np.diag(1 - z) + by_z @ u[0] + by_r @ u[1] + by_c @ u[2] @ np.diag(r),
        "w": np.concatenate([by @ np.kron(np.eye(m), x[None]) for by in gates], axis=1),
        "u": np.concatenate([by @ np.kron(np.eye(m), v[None]) for by, v in zip(gates, reads, strict=True)], axis=1),
        "b": np.concatenate(gates, axis=1),
    }


def lstm(x, h, c, w, u, b):
    """One step to [h, c]; w (4, m, n), u (4, m, m), b (4, m): forget, input, output gate, candidate."""
    forget, let_in, let_out = (jax.nn.sigmoid(w[k] @ x + u[k] @ h + b[k]) for k in range(3))
    new = forget * c + let_in * jnp.tanh(w[3] @ x + u[3] @ h + b[3])
    return jnp.concatenate([let_out * jnp.tanh(new), new])


def lstm_closed(x, h, c, w, u, b):
    m = len(h)
    forget, let_in, let_out = (sigmoid_of(w[k] @ x + u[k] @ h + b[k]) for k in range(3))
    candidate = np.tanh(w[3] @ x + u[3] @ h + b[3])
    t = np.tanh(forget * c + let_in * candidate)
    out = let_out * (1 - t**2)  # h by the new c
    zero = np.zeros(m)
    new = (c * forget * (1 - forget), candidate * let_in * (1 - let_in), zero, let_in * (1 - candidate**2))
    direct = (zero, zero, t * let_out * (1 - let_out), zero)
    gates = [np.concatenate([np.diag(d + out * n), np.diag(n)]) for d, n in zip(direct, new, strict=True)]
    return {
        "x": sum(by @ w[k] for k, by in enumerate(gates)),
        "h": sum(by @ u[k] for k, by in enumerate(gates)),
        "c": np.concatenate([np.diag(out * forget), np.diag(forget)]),
        "w": np.concatenate([by @ np.kron(np.eye(m), x[None]) for by in gates], axis=1),
        "u": np.concatenate([by @ np.kron(np.eye(m), h[None]) for by in gates], axis=1),
        "b": np.concatenate(gates, axis=1),
    }


VECTOR = np.array([1.2, -0.7, 0.3, 2.0, -1.5, 0.1])
GATES = (numbers(3, 4, 3) / 2, numbers(3, 4, 4) / 2, numbers(3, 4) / 2)
CELLS = (numbers(4, 4, 3) / 2, numbers(4, 4, 4) / 2, numbers(4, 4) / 2)
HEADS = (numbers(5, 4), numbers(4, 3), numbers(4, 3), numbers(4, 2))

GALLERY = [
    Layer("linear", linear, ("x", "w", "b"), (numbers(6), numbers(6, 4), numbers(4)), linear_closed,
          "multiplied by W: grows or fades with its singular values"),
    Layer("convolution", convolution, ("x", "w"), (numbers(2, 5, 5), numbers(3, 2, 3, 3)), convolution_closed,
          "spread over each pixel's neighbours; the weights get sums over all positions"),
    Layer("ReLU", jax.nn.relu, ("x",), (VECTOR,), diagonal("relu"), "passed where x > 0, stopped elsewhere",
          {"x": "where x > 0 depends on x: every entry may pass"}),
    Layer("sigmoid", jax.nn.sigmoid, ("x",), (VECTOR,), diagonal("sigmoid"),
          "at most a quarter is left, far from 0 almost nothing"),
    Layer("tanh", jnp.tanh, ("x",), (VECTOR,), diagonal("tanh"), "kept near 0, faded where it saturates"),
    Layer("GELU", gelu_exact, ("x",), (VECTOR,), diagonal("gelu"),
          "passed above 0, almost stopped below −3; up to 1.13 times"),
    Layer("GELU, tanh form", gelu_tanh, ("x",), (VECTOR,), diagonal("gelu, tanh form"), "as GELU, within 0.001"),
    Layer("softmax", jax.nn.softmax, ("x",), (VECTOR,), softmax_closed,
          "what is common to all entries is lost; at most half is left"),
    Layer("log-softmax", jax.nn.log_softmax, ("x",), (VECTOR,), log_softmax_closed,
          "what is common is lost, the rest kept even where softmax saturates"),
    Layer("batch norm, training", batch_norm, ("x", "scale", "shift"), (numbers(4, 3), numbers(3), numbers(3)),
          batch_norm_closed, "mean and size over the batch are lost; the rest divided by the deviation"),
    Layer("batch norm, running", batch_norm_running, ("x", "scale", "shift"), (numbers(4, 3), numbers(3), numbers(3)),
          batch_norm_running_closed, "scaled, feature by feature"),
    Layer("layer norm", layer_norm, ("x", "scale", "shift"), (numbers(2, 5), numbers(5), numbers(5)),
          layer_norm_closed, "mean and size of a position are lost; the rest divided by its deviation"),
    Layer("RMS norm", rms_norm, ("x", "scale"), (numbers(6), numbers(6)), rms_norm_closed,
          "the size is lost, the mean kept"),
    Layer("dropout", dropout, ("x",), (VECTOR,), dropout_closed, "stopped where masked, else 1/(1 − p) times"),
    Layer("max pooling", max_pooling, ("x",), (numbers(4, 6),), max_pooling_closed,
          "all to the winner of its block, nothing to the others",
          {"x": "which of four wins depends on x: all may"}),
    Layer("average pooling", average_pooling, ("x",), (numbers(4, 6),), average_pooling_closed,
          "a quarter to each of four: half as long"),
    Layer("embedding", embedding, ("table",), (numbers(5, 3),), embedding_closed,
          "to the rows that were read, summed where one is read twice"),
    Layer("residual", residual, ("x", "w"), (numbers(5), numbers(5, 5) / 3), residual_closed,
          "I + J_f: handed on whole, and what f adds to that"),
    Layer("attention", attention, ("x", "wq", "wk", "wv"), HEADS, attention_closed,
          "spread over all positions by the weights; fades through scores where the softmax saturates"),
    Layer("causal attention", causal_attention, ("x", "wq", "wk", "wv"), HEADS, causal_attention_closed,
          "the same, only to positions before",
          {name: "the first position sees itself alone, whatever its score" for name in ("wq", "wk")}),
    Layer("GRU cell", gru, ("x", "h", "w", "u", "b"), (numbers(3), np.tanh(numbers(4)), *GATES), gru_closed,
          "to h nearly unchanged where the update gate is shut"),
    Layer("LSTM cell", lstm, ("x", "h", "c", "w", "u", "b"), (numbers(3), np.tanh(numbers(4)), numbers(4), *CELLS),
          lstm_closed, "along c times the forget gate, and through no matrix"),
]  # fmt: skip


@cache
def measured(layer: Layer) -> dict[str, Any]:
    """What the table tells: J by the first argument, its structure and gains, and what a VJP keeps."""
    J = layer.jacobian(layer.names[0])
    gains = np.linalg.svd(np.asarray(J.dense()), compute_uv=False)
    return {"shape": J.shape, "structure": str(J.structure), "gains": (gains[0], gains[-1]), "kept": layer.kept()}


def table() -> str:
    """One row per layer: J by its input, the gains at this point, the bytes kept for a VJP, the structure found."""
    lines = [f"{'layer':<21}{'J':<7}{'gains':<13}{'kept':>6}  structure that the engine finds"]
    for layer in GALLERY:
        found = measured(layer)
        m, n = found["shape"]
        high, low = (f"{gain:.2f}" if gain > 1e-9 else "0" for gain in found["gains"])
        gains = f"{high} … {low}"
        lines.append(f"{layer.name:<21}{f'{m}×{n}':<7}{gains:<13}{found['kept']:>4} B  {_short(found['structure'])}")
    return "\n".join(lines)


def _short(structure: str) -> str:
    """Without what stands in brackets, without the second of two names, and the sizes of blocks only where alike."""
    return re.sub(r"sizes .*", "several sizes", structure.partition(" (")[0].partition(";")[0])


def weights() -> str:
    """J by each weight: its shape, how many entries can differ from zero, its structure."""
    lines = [f"{'layer':<21}{'by':<7}{'J':<8}{'entries':>7}  structure that the engine finds"]
    for layer in GALLERY:
        for name in layer.arguments[1:]:
            J = layer.jacobian(name)
            m, n = J.shape
            lines.append(f"{layer.name:<21}{name:<7}{f'{m}×{n}':<8}{J.pattern.nnz:>7}  {_short(str(J.structure))}")
    return "\n".join(lines)


def wider() -> str:
    """Where the engine's pattern, which holds at every point, has more entries than J has at this one."""
    lines = []
    for layer in GALLERY:
        exact = layer.closed(*layer.args)
        for name, why in layer.wider.items():
            found, true = layer.jacobian(name).pattern.nnz, np.count_nonzero(exact[name])
            lines.append(f"{layer.name:<21}{name:<4}{found:>4} entries, {true:>3} nonzero: {why}")
    return "\n".join(lines)


def gradients() -> str:
    """What each layer does to a gradient that comes back through it."""
    return "\n".join(f"{layer.name:<21}{layer.says}" for layer in GALLERY)


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    print(table(), weights(), wider(), gradients(), sep="\n\n")
