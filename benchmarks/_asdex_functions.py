"""What asdex's own tests ask it to read and colour, in our words: one function for each thing they cover.

Points are random in (0.2, 0.9). The patterns at the end are those that its colouring tests start from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import asdex
import jax
import jax.numpy as jnp
import numpy as np
from scipy import sparse

RANDOM = np.random.default_rng(11)
ORDER = np.array([2, 0, 1])
KERNELS = [jnp.asarray(RANDOM.standard_normal(shape)) for shape in ((5, 1, 8), (3, 8, 4), (3, 4, 2))]
IMAGE_KERNEL = jnp.asarray(RANDOM.standard_normal((3, 3, 1, 2)))
SPD = jnp.asarray(np.eye(3) * 4)


def heat(u: Any) -> Any:
    return jnp.concatenate([u[1:2] - 2 * u[:1], u[2:] - 2 * u[1:-1] + u[:-2], u[-2:-1] - 2 * u[-1:]])


def convolution_chain(x: Any) -> Any:
    y = x.reshape(1, -1, 1)
    for kernel in KERNELS:
        y = jax.nn.relu(jax.lax.conv_general_dilated(y, kernel, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC")))
    return y.ravel()


def image_convolution(strides: tuple[int, int], padding: str) -> Callable[[Any], Any]:
    def f(x: Any) -> Any:
        image = x.reshape(1, 8, 8, 1)
        kinds = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(image, IMAGE_KERNEL, strides, padding, dimension_numbers=kinds).ravel()

    return f


def brusselator(state: Any) -> Any:
    u, v = state.reshape(2, 8, 8)

    def spread(w: Any) -> Any:
        return sum(jnp.roll(w, step, axis) for step in (1, -1) for axis in (0, 1)) - 4 * w

    return jnp.stack([1 + u**2 * v - 4.4 * u + spread(u), 3.4 * u - u**2 * v + spread(v)]).ravel()


def mirrored_differences(x: Any) -> Any:
    forward = x[1:] ** 2 - x[:-1] ** 2
    return forward - forward[::-1]


def running(combine: Callable[[Any, Any], Any], reverse: bool = False) -> Callable[[Any], Any]:
    def f(x: Any) -> Any:
        return jax.lax.scan(lambda c, v: (combine(c, v),) * 2, jnp.ones(()), x, reverse=reverse)[1]

    return f


def scan_of_rows(x: Any) -> Any:
    return jax.lax.scan(lambda c, row: (c + row,) * 2, jnp.zeros(3), x.reshape(4, 3))[1].ravel()


def loop(body: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda x: jax.lax.while_loop(lambda y: jnp.sum(y) < 100.0, body, x)


def loop_beside_a_counter(x: Any) -> Any:
    return jax.lax.while_loop(lambda s: s[1] < 5, lambda s: (s[0] * 1.5, s[1] + 1), (x, 0))[0]


def either(a: Callable[[Any], Any], b: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda x: jax.lax.cond(x[0] > 0.5, a, b, x)


def matrix_vector(x: Any) -> Any:
    return x[:12].reshape(3, 4) @ x[12:]


def matrix_matrix(x: Any) -> Any:
    return (x[:6].reshape(2, 3) @ x[6:].reshape(3, 2)).ravel()


def gram(x: Any) -> Any:
    matrix = x.reshape(3, 4)
    return (matrix @ matrix.T).ravel()


def batched_product(x: Any) -> Any:
    return (x[:24].reshape(3, 2, 4) @ x[24:].reshape(3, 4, 5)).ravel()


def layer_norm(x: Any) -> Any:
    y = x.reshape(4, 6)
    return ((y - y.mean(1, keepdims=True)) / jnp.sqrt(y.var(1, keepdims=True) + 1e-6)).ravel()


FUNCTIONS: dict[str, tuple[Callable[[Any], Any], int]] = {
    "three sums and products": (lambda x: jnp.array([x[0] + x[1], x[1] * x[2], x[2]]), 3),
    "square": (lambda x: x**2, 7),
    "sum and product": (lambda x: jnp.array([jnp.sum(x), jnp.prod(x)]), 5),
    "identity": (lambda x: x, 5),
    "constant": (lambda x: jnp.ones(3), 4),
    "ceil, round": (lambda x: jnp.array([x[0] * x[1], jnp.ceil(x[0] * x[1]), x[0] * jnp.round(x[1])]), 2),
    "sign": (jnp.sign, 4),
    "comparisons": (lambda x: jnp.array([(x[0] < x[1]) * x[2], (x[1] == x[2]) * 1.0, x[3]]), 4),
    "clip to constants": (lambda x: jnp.clip(x, 0.3, 0.6), 5),
    "clip to inputs": (lambda x: jnp.clip(x[::3], x[1::3], x[2::3]), 9),
    "times zero": (lambda x: jnp.concatenate([0 * x[:2], x[2:] * 1.0]), 4),
    "minimum, maximum": (lambda x: jnp.array([jnp.minimum(x[0], x[1]), jnp.maximum(x[1], x[2])]), 3),
    "atan2, remainder": (lambda x: jnp.array([jnp.arctan2(x[0], x[1]), jnp.remainder(x[1], x[2])]), 3),
    "mirrored differences": (mirrored_differences, 12),
    "one row of everything": (lambda x: jnp.array([x[0] + x[1] * x[2] + 1 / x[3] + x[1] ** x[4]]), 5),
    "x + sum(x)": (lambda x: x + jnp.sum(x), 50),
    "heat equation": (heat, 200),
    "chain of convolutions": (convolution_chain, 200),
    "Brusselator 8×8×2": (brusselator, 128),
    "convolution, same": (image_convolution((1, 1), "SAME"), 64),
    "convolution, valid": (image_convolution((1, 1), "VALID"), 64),
    "convolution, strides": (image_convolution((2, 2), "VALID"), 64),
    "gather": (lambda x: x[ORDER], 3),
    "gather of rows": (lambda x: x.reshape(3, 4)[ORDER].ravel(), 12),
    "gather of columns": (lambda x: x.reshape(4, 3)[:, ORDER].ravel(), 12),
    "gather of pairs": (lambda x: x.reshape(3, 4)[ORDER, np.array([3, 1, 0])], 12),
    "gather by a value": (lambda x: x[jnp.argmax(x[3:])] * x[:3], 6),
    "scatter": (lambda x: jnp.zeros(6).at[jnp.array([1, 3, 4])].set(x), 3),
    "scatter, added": (lambda x: jnp.zeros(4).at[jnp.array([1, 3, 1])].add(x), 3),
    "scatter into the input": (lambda x: x.reshape(2, 3, 4).at[:, 2].set(0.0).ravel(), 24),
    "scatter by a value": (lambda x: x[:3].at[jnp.argmax(x[3:])].set(x[3]), 5),
    "segment sum": (lambda x: jax.ops.segment_sum(x, np.array([0, 0, 1, 1, 1]), 2), 5),
    "dynamic slice": (lambda x: jax.lax.dynamic_slice(x, (jnp.argmax(x) // 2,), (3,)), 8),
    "sort": (jnp.sort, 6),
    "sort of rows": (lambda x: jnp.sort(x.reshape(3, 4), axis=1).ravel(), 12),
    "top k": (lambda x: jax.lax.top_k(x.reshape(3, 4), 2)[0].ravel(), 12),
    "cumulative sum": (jnp.cumsum, 8),
    "cumulative product of rows": (lambda x: jnp.cumprod(x.reshape(3, 4), axis=1).ravel(), 12),
    "associative scan": (lambda x: jax.lax.associative_scan(jnp.add, x), 8),
    "sum over an axis": (lambda x: x.reshape(2, 3, 4).sum(1).ravel(), 24),
    "max over two axes": (lambda x: x.reshape(2, 3, 4).max((0, 2)), 24),
    "transpose": (lambda x: x.reshape(2, 3, 4).transpose(2, 0, 1).ravel(), 24),
    "reverse": (lambda x: x.reshape(3, 4)[::-1, ::-1].ravel(), 12),
    "pad": (lambda x: jnp.pad(x.reshape(3, 4), ((1, 0), (0, 2))).ravel(), 12),
    "tile": (lambda x: jnp.tile(x, 3), 4),
    "broadcast and sum": (lambda x: jnp.broadcast_to(x, (3, 4)).sum(0) * x, 4),
    "split and stack": (lambda x: jnp.stack(jnp.split(x, 3)).prod(0), 12),
    "select": (lambda x: jnp.where(x[:4] > 0.5, x[4:8], x[8:]), 12),
    "select by a constant": (lambda x: jnp.where(np.array([True, False, True]), x[:3], x[3:]), 6),
    "dot": (lambda x: jnp.dot(x[:4], x[4:])[None], 8),
    "matrix times vector": (matrix_vector, 16),
    "matrix times matrix": (matrix_matrix, 12),
    "Gram matrix": (gram, 12),
    "batched product": (batched_product, 84),
    "outer product": (lambda x: jnp.outer(x[:3], x[3:]).ravel(), 7),
    "running sum": (running(jnp.add), 6),
    "running product, backwards": (running(jnp.multiply, reverse=True), 6),
    "scan of rows": (scan_of_rows, 12),
    "loop of an elementwise body": (loop(lambda y: 2 * y), 4),
    "loop of a rolling body": (loop(lambda y: jnp.roll(2 * y, 1)), 4),
    "loop beside a counter": (loop_beside_a_counter, 5),
    "branch: elementwise": (either(lambda y: 2 * y, lambda y: y**2), 5),
    "branch: slices": (either(lambda y: y[:2], lambda y: y[3:]), 5),
    "branch: one is constant": (either(lambda y: y, lambda y: jnp.ones_like(y)), 5),
    "branch: a permutation": (either(lambda y: y[ORDER], lambda y: y), 3),
    "switch": (lambda x: jax.lax.switch(1, [lambda y: y[:2], lambda y: y[2:4]], x), 4),
    "softmax of rows": (lambda x: jax.nn.softmax(x.reshape(4, 3)).ravel(), 12),
    "layer norm": (layer_norm, 24),
    "logsumexp": (lambda x: jax.nn.logsumexp(x.reshape(3, 4), axis=1), 12),
    "Cholesky": (lambda x: jnp.linalg.cholesky(SPD + 0.1 * x.reshape(3, 3) @ x.reshape(3, 3).T).ravel(), 9),
    "nested jit": (lambda x: jax.jit(lambda y: jax.jit(jnp.sin)(y) * y)(x), 5),
    "mapped": (lambda x: jax.vmap(lambda row: jnp.array([row[0] * row[1], row[2]]))(x.reshape(4, 3)).ravel(), 12),
    "random noise added": (lambda x: x + jax.random.normal(jax.random.key(0), (5,)), 5),
}


def points() -> Iterator[tuple[str, Callable[[Any], Any], Any]]:
    for k, (name, (f, n)) in enumerate(FUNCTIONS.items()):
        yield name, f, jnp.asarray(np.random.default_rng(k).uniform(0.2, 0.9, n))


def patterns() -> Iterator[tuple[str, sparse.csr_array]]:
    for half in (1, 2, 3):
        yield f"band of {2 * half + 1}", _csr(np.tri(12, k=half) * np.tri(12, k=half).T)
    arrow = np.eye(8)
    arrow[0], arrow[:, 0] = 1, 1
    yield "arrow", _csr(arrow)
    yield "diagonal", _csr(np.eye(6))
    yield "antidiagonal", _csr(np.eye(6)[::-1])
    yield "full", _csr(np.ones((4, 6)))
    yield "lower triangle", _csr(np.tri(6))
    yield "checkerboard", _csr(np.indices((6, 6)).sum(0) % 2)
    yield "blocks", _csr(np.kron(np.eye(3), np.ones((2, 3))))
    for seed in range(12):
        rows, columns, density = [(20, 30, 0.1), (30, 20, 0.2), (60, 60, 0.05), (100, 80, 0.04)][seed % 4]
        yield f"random {seed}", _csr(np.random.default_rng(seed).random((rows, columns)) < density)


def asdex_colours(pattern: sparse.csr_array) -> int:
    return asdex.jacobian_coloring_from_sparsity(pattern.toarray().astype(int)).num_colors


def _csr(dense: np.ndarray) -> sparse.csr_array:
    return sparse.csr_array(dense.astype(bool))
