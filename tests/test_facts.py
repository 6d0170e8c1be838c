"""What is known of values thins the pattern, and never more than it may: unknown entries stay unknown."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from pattern_checks import nonzero, read, real_outputs, true_jacobian

N = 6
MASK = np.array([1.0, 0, 1, 1, 0, 1])
LOWER = np.tril(np.ones((N, N)))
WEIGHTS = np.random.default_rng(0).normal(size=(N, N))
CHECKERBOARD = np.indices((3, 3)).sum(0) % 2
KEY = jax.random.key(0)
BYTES = jnp.array([1, 2, 3], jnp.uint8)
times = jax.jit(lambda a, b: a * b)


def attention(x):
    scores = jnp.where(np.tril(np.ones((3, 3), bool)), x.reshape(3, 2) @ x.reshape(3, 2).T, -jnp.inf)
    return jax.nn.softmax(scores)[1:]


def autoregressive(x):
    return jnp.tanh((WEIGHTS * np.tril(LOWER, -1)) @ jnp.tanh((WEIGHTS * LOWER) @ x))


# Name → (function of N inputs, does the pattern equal the entries seen?)
KNOWN_ZEROS = {
    "masked weight": lambda x: (WEIGHTS * LOWER) @ x,
    "two masked layers": autoregressive,
    "causal softmax": attention,
    "zero product": lambda x: x * MASK,
    "zero numerator": lambda x: MASK / (x + 10),
    "zeros that are a function of x": lambda x: (x * MASK)[::-1] * jnp.sin(x),
    "product of disjoint masks": lambda x: (x * MASK) * (x[::-1] * (1 - MASK)),
    "triu": lambda x: jnp.triu(jnp.outer(x, x)) @ x,
    "tril": lambda x: jnp.tril(jnp.outer(x, x), -1) @ x,
    "cholesky": lambda x: jnp.linalg.cholesky(jnp.diag(x**2 + 1) + 0.1),
    "pad": lambda x: jnp.pad(x, 2) * jnp.sin(jnp.arange(N + 4.0)),
    "padded, then squared": lambda x: jnp.pad(x, 2) * jnp.pad(x[::-1], 2),
    "concatenated zeros": lambda x: jnp.concatenate([x[:3], jnp.zeros(3)]) * x[::-1],
    "zeros written in": lambda x: x.at[np.array([1, 3])].set(0.0) * x[::-1],
    "zeros added to": lambda x: jnp.zeros(N).at[2].set(x[0]) * x,
    "relu of known zeros": lambda x: jax.nn.relu(x * MASK),
    "relu6 behind zeros": lambda x: jax.nn.relu6(jnp.concatenate([x, jnp.zeros(3)])),
    "checkerboard kernel": lambda x: lax.conv(
        jnp.pad(x.reshape(1, 1, 2, 3), [(0, 0), (0, 0), (1, 1), (1, 1)]),
        CHECKERBOARD[None, None].astype(float),
        (1, 1),
        "VALID",
    ),
    "kernel of a masked x": lambda x: lax.conv(np.ones((1, 1, 7)), (x * MASK)[None, None, :], (1,), "VALID"),
    "stale constants": lambda x: times(x, jnp.zeros(N)) + times(x, x),
    "stale constants, other order": lambda x: times(x, x) + times(x, jnp.zeros(N)),
    "dropout with a fixed key": lambda x: jnp.where(jax.random.bernoulli(KEY, 0.5, (N,)), x, 0.0),
    "computed indices": lambda x: x[(jnp.arange(N) * 7 + 3) // 2 % N] * 2,
    "computed mask": lambda x: jnp.where(jnp.sin(jnp.arange(float(N))) > 0, x, x[::-1]),
    "integer division": lambda x: x[-((-jnp.arange(N)) // 4)],
    "complex constant": lambda x: x * jnp.real(lax.integer_pow(jnp.full(N, 1j), 2)),
    "ratio of counts": lambda x: x * (lax.iota(float, N) / (1 + lax.iota(float, N))),
    "fill value": lambda x: x * BYTES.at[np.array([0, 5, 2, 1, 0, 0])].get(mode="fill").astype(float),
    "two updates of one entry": lambda x: jnp.zeros(N).at[np.array([1, 1])].set(jnp.stack([x[0], 0 * x[1]])) * x,
    "zero times infinity": lambda x: x * (jnp.zeros(N) * jnp.inf),
}  # fmt: skip

# Loops pass on what is the same in every step; the rest must count as unknown.
SIGNS = np.where(np.arange(400) % 2 == 0, 1.0, -1.0)
OVER_ESTIMATED = {
    "sign of a scanned constant": lambda x: lax.scan(
        lambda c, a: (jnp.where(a > 0, c, jnp.roll(c, 1) * a), None), x, SIGNS
    )[0],
    "index from a scanned constant": lambda x: lax.scan(
        lambda c, a: (c + 0 * a, c[a.astype(int)]), x, np.arange(400.0) % N
    )[1],
    "branch from an unknown": lambda x: lax.cond(x[0] > 0, lambda y: y * MASK, lambda y: y[::-1] * MASK, x),
    "index that varies": lambda x: x[jnp.argmax(x * MASK)] * x,
    "case that varies": lambda x: jnp.where(x > 0, x * MASK, 0.0) * x[::-1],
    "integer that varies": lambda x: x * (jnp.floor(x).astype(int) // 2).astype(float),
    "NaN in a constant": lambda x: jnp.where(jnp.array([jnp.nan, 1, 1, -1, 1, 1]) > 0, x, x[::-1]),
}


def compare(function):
    function = real_outputs(function)
    _, pattern = read(function, [np.ones(N)])
    jacobian = true_jacobian(function, [np.ones(N)])
    seen = np.zeros(pattern.shape, bool)
    for seed in range(8):
        seen |= nonzero(jacobian(np.random.default_rng(seed).normal(size=N)))
    assert not (seen & ~pattern).any(), "missing entries"
    return pattern, seen


@pytest.mark.parametrize("name", KNOWN_ZEROS)
def test_known_zeros_are_left_out(name):
    pattern, seen = compare(KNOWN_ZEROS[name])
    if name != "two updates of one entry":
        np.testing.assert_array_equal(pattern, seen)


@pytest.mark.parametrize("name", OVER_ESTIMATED)
def test_unknown_entries_stay_unknown(name):
    compare(OVER_ESTIMATED[name])


def test_constants_of_an_outer_transformation_are_unknown():
    seen = []

    def outer(c):
        seen.append(read(lambda x: x * c, [np.ones(N)])[1])
        return c.sum()

    jax.grad(outer)(jnp.zeros(N))
    np.testing.assert_array_equal(seen[0], np.eye(N, dtype=bool))


def test_given_values_are_used_and_their_unknown_entries_are_not():
    def function(x, w):
        return jnp.where(w > 0, x, 0.0) + x[::-1] * w

    args = [np.ones(3), np.ones(3)]
    full = read(function, args, given={1: np.array([0.0, 1.0, 0.0])})[1]
    np.testing.assert_array_equal(full, [[0, 0, 0], [0, 1, 0], [0, 0, 0]])
    partly = read(function, args, given={1: np.array([0.0, np.nan, np.nan])})[1]
    np.testing.assert_array_equal(partly, [[1, 0, 0], [0, 1, 0], [1, 0, 1]])
