"""Functions with known Jacobians: what every question, plan and transform is tried on.

`known` is a closed form in NumPy, outputs × inputs, that shares no code with JAX or jacmap; where there is none, plain
`jax.jacfwd` (or `jax.jacrev`, for functions without a forward mode) in float64 is the oracle.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


@dataclass(frozen=True, eq=False)
class Scenario:
    """`args`: the point; `argnums`: what is differentiated; `known(*args)`: the m×n Jacobian, or None.

    `modes`: which of plain AD's modes JAX itself can run. `differentiable_twice`: may J be differentiated in reverse?
    """

    name: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    argnums: int | tuple[int, ...] = 0
    known: Callable[..., np.ndarray] | None = None
    modes: tuple[str, ...] = ("forward", "reverse")
    differentiable_twice: bool = True

    def __str__(self):
        return self.name

    def oracle_tree(self, *args):
        """Plain JAX's Jacobian, in its own layout."""
        with jax.numpy_dtype_promotion("standard"):  # JAX's own basis vectors mix the dtypes of a pytree
            return self._oracle(*args)

    @functools.cached_property
    def _oracle(self):
        transform = jax.jacfwd if "forward" in self.modes else jax.jacrev
        return jax.jit(transform(self.function, self.argnums))

    def expected(self, *args):
        """J at `args` as one NumPy matrix, m×n."""
        args = args or self.args
        if self.known is not None:
            return np.asarray(self.known(*args))
        outputs = jax.eval_shape(self.function, *args)
        return as_matrix(self.oracle_tree(*args), outputs, self.inputs(*args))

    def inputs(self, *args):
        """The differentiated arguments, as jax.jacobian lays them out."""
        return args[self.argnums] if isinstance(self.argnums, int) else tuple(args[k] for k in self.argnums)


def as_matrix(tree, outputs, inputs):
    """The blocks of a Jacobian pytree as one m×n NumPy matrix, all in float64 (complex128)."""
    blocks = iter(jax.tree_util.tree_leaves(tree))
    rows = []
    for out in jax.tree_util.tree_leaves(outputs):
        widths = [np.size(leaf) for leaf in jax.tree_util.tree_leaves(inputs)]
        row = [np.asarray(next(blocks)).reshape(int(np.prod(out.shape)), w) for w in widths]
        rows.append(np.concatenate(row, axis=1))
    assert next(blocks, None) is None, "more blocks than outputs × inputs"
    return np.concatenate(rows).astype(np.result_type(*rows, np.float64))


def draw(seed, *shape, low=-1.0, high=1.0, dtype=np.float64):
    return jnp.asarray(np.random.default_rng(seed).uniform(low, high, shape), dtype)


# -- entrywise and linear ----------------------------------------------------------------------------------------
W = np.random.default_rng(10).uniform(-1, 1, (4, 6))


def permuted_tanh(x):
    return jnp.tanh(x[np.array([3, 0, 4, 1, 2])])


def permuted_known(x):
    slope = 1 - np.tanh(np.asarray(x)) ** 2
    return np.eye(5)[[3, 0, 4, 1, 2]] * slope


def softmax_known(x):
    e = np.exp(np.asarray(x) - np.max(x))
    s = e / e.sum()
    return np.diag(s) - np.outer(s, s)


B = np.random.default_rng(11).uniform(-1, 1, (5, 5))


def residual(x):
    return x + jnp.tanh(B @ x)


def residual_known(x):
    return np.eye(5) + (1 - np.tanh(B @ np.asarray(x)) ** 2)[:, None] * B


def shifted_sum(x):
    return x + jnp.sum(x)


# -- sparse ------------------------------------------------------------------------------------------------------
def heat(u):
    """One step of a diffusion with conductivity u², ends held: tridiagonal."""
    padded = jnp.concatenate([jnp.zeros(1, u.dtype), u, jnp.zeros(1, u.dtype)])
    return padded[2:] - 2 * u + padded[:-2] + u**3


def heat_known(u):
    n = len(u)
    return np.eye(n, k=1) + np.eye(n, k=-1) + np.diag(3 * np.asarray(u) ** 2 - 2)


def brusselator(state):
    """Two species on a periodic 5×5 grid."""
    u, v = state[0], state[1]

    def laplacian(a):
        return jnp.roll(a, 1, 0) + jnp.roll(a, -1, 0) + jnp.roll(a, 1, 1) + jnp.roll(a, -1, 1) - 4 * a

    return jnp.stack([1 + u**2 * v - 4.4 * u + 0.1 * laplacian(u), 3.4 * u - u**2 * v + 0.1 * laplacian(v)])


def brusselator_known(state):
    u, v = np.asarray(state).reshape(2, -1)
    ring = np.roll(np.eye(5), 1, 0) + np.roll(np.eye(5), -1, 0) - 2 * np.eye(5)
    diffusion = 0.1 * (np.kron(ring, np.eye(5)) + np.kron(np.eye(5), ring))
    return np.block(
        [[np.diag(2 * u * v - 4.4) + diffusion, np.diag(u**2)], [np.diag(3.4 - 2 * u * v), diffusion - np.diag(u**2)]]
    )


BATCH, WIDTH, CLASSES = 4, 5, 3
W1 = np.random.default_rng(12).uniform(-1, 1, (WIDTH, 6))
W2 = np.random.default_rng(13).uniform(-1, 1, (6, CLASSES))


def batch_mlp(x):
    return jnp.tanh(x @ W1) @ W2


def batch_mlp_known(x):
    out = np.zeros((BATCH, CLASSES, BATCH, WIDTH))
    for k, row in enumerate(np.asarray(x)):
        slope = 1 - np.tanh(row @ W1) ** 2
        out[k, :, k, :] = (W1 * slope @ W2).T
    return out.reshape(BATCH * CLASSES, BATCH * WIDTH)


def arrow(x):
    """x_0 couples to all, the rest only to itself."""
    return jnp.concatenate([jnp.sum(x**2)[None], x[1:] ** 3 + x[0] * x[1:]])


def arrow_known(x):
    x = np.asarray(x)
    out = np.diag(3 * x**2 + x[0])
    out[1:, 0] = x[1:]
    out[0] = 2 * x
    return out


ENCODE = np.random.default_rng(14).uniform(-1, 1, (2, 12))
DECODE = np.random.default_rng(15).uniform(-1, 1, (12, 2))


def bottleneck(x):
    return jnp.sin(DECODE @ jnp.tanh(ENCODE @ x))


def bottleneck_known(x):
    hidden = ENCODE @ np.asarray(x)
    outer = np.cos(DECODE @ np.tanh(hidden))
    return (outer[:, None] * DECODE) @ ((1 - np.tanh(hidden) ** 2)[:, None] * ENCODE)


def cumulated(x):
    return jnp.cumsum(x**2)


def cumulated_known(x):
    return np.tril(np.ones((6, 6))) * 2 * np.asarray(x)


def causal_attention(x):
    scores = jnp.where(np.tril(np.ones((4, 4), bool)), x @ x.T, -jnp.inf)
    return jax.nn.softmax(scores, axis=-1) @ x


# -- loops and branches ------------------------------------------------------------------------------------------
RECUR = np.random.default_rng(16).uniform(-1, 1, (3, 3))


def rnn(xs):
    def step(h, x):
        h = jnp.tanh(RECUR @ h + x)
        return h, h

    return lax.scan(step, jnp.zeros(3), xs)[1]


def newton_root(a):
    """√a by Newton's iteration until it stands still: `while_loop` has no reverse mode."""

    def step(state):
        x, _ = state
        return 0.5 * (x + a / x), x

    return lax.while_loop(lambda s: jnp.max(jnp.abs(s[0] - s[1])) > 1e-12, step, (a, a + 1))[0]


def newton_root_known(a):
    return np.diag(0.5 / np.sqrt(np.asarray(a)))


def branch(x):
    return lax.cond(jnp.sum(x) > 0, lambda z: z**2, lambda z: jnp.sin(z), x)


def branch_known(x):
    x = np.asarray(x)
    return np.diag(2 * x if x.sum() > 0 else np.cos(x))


# -- custom rules ------------------------------------------------------------------------------------------------
@jax.custom_vjp
def reverse_only(x):
    return x**3


reverse_only.defvjp(lambda x: (x**3, x), lambda x, g: (3 * x**2 * g,))


def through_reverse_only(x):
    return reverse_only(x)[1:] * 2.0


def through_reverse_only_known(x):
    return np.diag(6 * np.asarray(x) ** 2)[1:]


@jax.custom_jvp
def straight_through_jvp(x):
    return jnp.round(x)


straight_through_jvp.defjvp(lambda p, t: (jnp.round(p[0]), t[0]))


def straight_through(x):
    """Three ways to write a rounding whose derivative is one."""
    stopped = x + lax.stop_gradient(jnp.round(x) - x)
    return jnp.concatenate([straight_through_jvp(x), stopped])


@jax.jit
def shared_product(a, b):
    return a * b


def shared_inner(x):
    """One jitted inner function at two call sites, the first time with zeros."""
    return shared_product(x, jnp.zeros_like(x)) + shared_product(x, x)


# -- linear algebra, indexing, convolution, complex --------------------------------------------------------------
def power_spectrum(x):
    return jnp.abs(jnp.fft.rfft(x)) ** 2


def power_spectrum_known(x):
    n = len(x)
    k, t = np.arange(n // 2 + 1)[:, None], np.arange(n)[None, :]
    cos, sin = np.cos(2 * np.pi * k * t / n), np.sin(2 * np.pi * k * t / n)
    return 2 * ((cos @ np.asarray(x))[:, None] * cos + (sin @ np.asarray(x))[:, None] * sin)


def solved(x):
    """Cholesky and a triangular solve of a matrix that depends on x."""
    a = jnp.outer(x, x) + 3 * jnp.eye(4)
    return jnp.linalg.solve(a, jnp.sin(x)) + jnp.linalg.cholesky(a)[:, 0]


def gathered(x):
    """Indexing, and adding at indices, some of them twice."""
    picked = x[np.array([4, 1, 1, 0])]
    return jnp.zeros(6).at[np.array([2, 2, 0, 5])].add(picked**2)


def gathered_known(x):
    out = np.zeros((6, 5))
    for to, source in zip([2, 2, 0, 5], [4, 1, 1, 0], strict=True):
        out[to, source] += 2 * float(x[source])
    return out


KERNEL = np.random.default_rng(17).uniform(-1, 1, (2, 1, 3, 3))


def convolved(x):
    return lax.conv(jnp.tanh(x)[None, None], jnp.asarray(KERNEL), (1, 1), "SAME")[0]


def convolved_known(x):
    slope = 1 - np.tanh(np.asarray(x)) ** 2
    out = np.zeros((2, 5, 4, 5, 4))
    for c, i, j, di, dj in np.ndindex(2, 5, 4, 3, 3):
        if 0 <= i + di - 1 < 5 and 0 <= j + dj - 1 < 4:
            out[c, i, j, i + di - 1, j + dj - 1] = KERNEL[c, 0, di, dj] * slope[i + di - 1, j + dj - 1]
    return out.reshape(40, 20)


# -- shapes ------------------------------------------------------------------------------------------------------
TALL = np.random.default_rng(18).uniform(-1, 1, (30, 2))


def tall(x):
    return jnp.sin(TALL @ x)


def wide(x):
    return jnp.tanh(TALL.T @ x)


def spiral(t):
    return jnp.stack([t * jnp.cos(t), t * jnp.sin(t), t])


def spiral_known(t):
    t = float(t)
    return np.array([[np.cos(t) - t * np.sin(t)], [np.sin(t) + t * np.cos(t)], [1.0]])


def dense_layer(params, x):
    hidden = jnp.tanh(params["w"] @ x + params["b"])
    return {"mean": hidden.sum(), "hidden": (hidden, hidden[:2] ** 2)}


def two_arguments(x, scale, y):
    return {"product": x * y[:3] * scale, "sum": jnp.sum(y) + x[0]}


def mixed_precision(tree):
    """float32 and float64 side by side."""
    return {"low": tree["low"] ** 2, "high": tree["high"] * jnp.sum(tree["low"].astype(jnp.float64))}


def mixed_known(tree):
    low, high = np.asarray(tree["low"], np.float64), np.asarray(tree["high"])
    # Inputs and outputs in pytree order: "high" before "low".
    return np.block([[np.eye(3) * low.sum(), np.repeat(high[:, None], 2, 1)], [np.zeros((2, 3)), np.diag(2 * low)]])


def constant(x):
    return jnp.arange(3.0) + 0.0 * lax.stop_gradient(jnp.sum(x))


def itself(x):
    return {"same": x, "square": x**2, "same_again": x}


def itself_known(x):
    return np.concatenate([np.eye(3), np.eye(3), np.diag(2 * np.asarray(x))])


S = Scenario
SCENARIOS = [
    S("elementwise", lambda x: jnp.exp(x) * x, (draw(1, 7),), known=lambda x: np.diag(np.exp(x) * (1 + np.asarray(x)))),
    S("affine", lambda x: W @ x + 1.0, (draw(2, 6),), known=lambda x: W),
    S("softmax", jax.nn.softmax, (draw(3, 6),), known=softmax_known),
    S("residual block", residual, (draw(4, 5),), known=residual_known),
    S("permuted", permuted_tanh, (draw(5, 5),), known=permuted_known),
    S("x plus its sum", shifted_sum, (draw(6, 9),), known=lambda x: np.eye(9) + 1),
    S("heat", heat, (draw(7, 12),), known=heat_known),
    S("Brusselator", brusselator, (draw(8, 2, 5, 5, low=0.5),), known=brusselator_known),
    S("batch MLP", batch_mlp, (draw(9, BATCH, WIDTH),), known=batch_mlp_known),
    S("arrow", arrow, (draw(10, 8, low=0.2),), known=arrow_known),
    S("bottleneck", bottleneck, (draw(11, 12),), known=bottleneck_known),
    S("cumulated", cumulated, (draw(12, 6),), known=cumulated_known),
    S("causal attention", causal_attention, (draw(13, 4, 3),)),
    S("RNN", rnn, (draw(14, 5, 3),)),
    S("while loop", newton_root, (draw(15, 4, low=0.5, high=3),), known=newton_root_known, modes=("forward",),
      differentiable_twice=False),
    S("branch", branch, (draw(16, 5, low=0.1),), known=branch_known),
    S("custom VJP", through_reverse_only, (draw(17, 5),), known=through_reverse_only_known, modes=("reverse",)),
    S("straight-through", straight_through, (draw(18, 4, high=5),), known=lambda x: np.concatenate([np.eye(4)] * 2)),
    S("shared inner jit", shared_inner, (draw(19, 5),), known=lambda x: np.diag(2 * np.asarray(x))),
    S("power spectrum", power_spectrum, (draw(20, 8),), known=power_spectrum_known),
    S("solve and Cholesky", solved, (draw(21, 4),)),
    S("gather and scatter", gathered, (draw(22, 5),), known=gathered_known),
    S("convolution", convolved, (draw(23, 5, 4),), known=convolved_known),
    S("gradient", lambda x: jnp.sum(x**3), (draw(24, 6),), known=lambda x: 3 * np.asarray(x)[None] ** 2),
    S("scalar input", spiral, (jnp.asarray(0.7),), known=spiral_known),
    S("scalar to scalar", jnp.sin, (jnp.asarray(0.7),), known=lambda x: np.cos([[float(x)]])),
    S("many outputs", tall, (draw(25, 2),), known=lambda x: np.cos(TALL @ np.asarray(x))[:, None] * TALL),
    S("many inputs", wide, (draw(26, 30),),
      known=lambda x: (1 - np.tanh(TALL.T @ np.asarray(x)) ** 2)[:, None] * TALL.T),
    S("pytrees", dense_layer, ({"w": draw(27, 3, 4), "b": draw(28, 3)}, draw(29, 4)), argnums=(0, 1)),
    S("other arguments", two_arguments, (draw(30, 3), jnp.asarray(2.5), draw(31, 4)), argnums=(0, 2)),
    S("mixed precision", mixed_precision, ({"low": draw(32, 2, dtype=np.float32), "high": draw(33, 3)},),
      known=mixed_known),
    S("constant", constant, (draw(34, 4),), known=lambda x: np.zeros((3, 4))),
    S("outputs that are inputs", itself, (draw(35, 3),), known=itself_known),
]  # fmt: skip

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


@functools.cache
def expected(name):
    """J at the scenario's own point, worked out once for all tests."""
    return BY_NAME[name].expected()
