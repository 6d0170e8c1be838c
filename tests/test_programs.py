"""Random programs: whatever is composed, no entry of the true Jacobian is missing from the pattern."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jax import lax
from pattern_checks import ROUNDING, read, works

N = 6
MASKS = [np.array([1.0, 0, 1, 1, 0, 1]), np.array([0.0, 1, 0, 1, 1, 0]), np.arange(N) / N]
WEIGHTS = [np.triu(np.ones((N, N))), np.eye(N, k=1) - np.eye(N), np.kron(np.eye(2), np.ones((3, 3)))]
INDICES = [np.array([0, 0, 3, 5, 1, 9]), np.array([5, 4, 3, 2, 1, 0]), np.array([2, 2, 2, -1, 4, 4])]
SIGNS = np.where(np.arange(90) % 3 == 0, -1.0, 1.0)


@jax.custom_vjp
def rounded(x):
    return jnp.round(x)


rounded.defvjp(lambda x: (jnp.round(x), None), lambda _, c: (c * 2,))


@jax.custom_jvp
def clipped(x, y):
    return jnp.where(y > 0, x, 0.0)


clipped.defjvp(lambda p, t: (clipped(*p), jnp.where(p[1] > 0, t[0], 0.0) + 0.1 * t[1][::-1]))

times = jax.jit(lambda a, b: a * b)


def computed_index(x, k):
    return (jnp.arange(N) * (k + 2) + 1) % N


# Each step makes a vector of N from the vectors made so far; k picks a constant.
STEPS = {
    "sin": lambda x, y, k: jnp.sin(x),
    "product": lambda x, y, k: x * y,
    "product through a shared function": lambda x, y, k: times(x, jnp.zeros(N)) + times(x, y),
    "quotient": lambda x, y, k: x / (y**2 + 1),
    "masked": lambda x, y, k: x * MASKS[k],
    "masked relu": lambda x, y, k: jax.nn.relu(x * MASKS[k]) - y,
    "mask of either": lambda x, y, k: jnp.where(MASKS[k] > 0, x, y),
    "the larger": lambda x, y, k: jnp.where(x > y, x, MASKS[k]),
    "flip": lambda x, y, k: x[::-1],
    "shift in zeros": lambda x, y, k: jnp.concatenate([jnp.zeros(k), x[: N - k]]),
    "halves": lambda x, y, k: jnp.concatenate([x[:3], y[3:]]),
    "pad and cut": lambda x, y, k: lax.pad(x, 0.0, [(k, -k, 0)]),
    "sum": lambda x, y, k: x + y.sum(),
    "row maxima": lambda x, y, k: jnp.tile(x.reshape(2, 3).max(1), 3),
    "running sum": lambda x, y, k: jnp.cumsum(x),
    "running product, backwards": lambda x, y, k: lax.cumprod(x, reverse=True),
    "masked weight": lambda x, y, k: WEIGHTS[k] @ x,
    "matrix of x": lambda x, y, k: jnp.outer(x, y) @ MASKS[k],
    "triangular part": lambda x, y, k: jnp.tril(jnp.outer(x, y), k - 1) @ x,
    "taken": lambda x, y, k: x.at[INDICES[k]].get(mode="fill", fill_value=0.0),
    "taken at computed places": lambda x, y, k: x[computed_index(x, k)],
    "taken where y is largest": lambda x, y, k: x * y[jnp.argmax(y)],
    "written": lambda x, y, k: x.at[INDICES[k][:3]].set(y[:3]),
    "added": lambda x, y, k: x.at[INDICES[k]].add(y),
    "multiplied": lambda x, y, k: jnp.zeros(N).at[computed_index(x, k)[:2]].set(x[:2]) * y,
    "slice at a varying place": lambda x, y, k: lax.dynamic_slice(jnp.tile(x, 2), (jnp.argmin(y),), (N,)),
    "sort": lambda x, y, k: jnp.sort(x),
    "window": lambda x, y, k: lax.reduce_window(x, 0.0, lax.add, (k + 1,), (1,), "SAME"),
    "convolution": lambda x, y, k: jnp.convolve(x, np.array([[1.0, 0, 2], [0, 0, 1], [1, 1, 1]])[k], "same"),
    "softmax with a mask": lambda x, y, k: jax.nn.softmax(jnp.where(MASKS[k] > 0, x, -jnp.inf)) * y,
    "short scan": lambda x, y, k: lax.scan(lambda c, a: (c * a + y[k], c), x[k], y)[1],
    "long scan": lambda x, y, k: lax.scan(
        lambda c, w: (jnp.where(w > 0, jnp.roll(c, 1) * 0.9, c * MASKS[k]) + 0.1 * y, None), x, SIGNS
    )[0],
    "counted loop": lambda x, y, k: lax.fori_loop(0, 3, lambda i, c: c.at[i].add(c[i + k] * y[i]), x),
    "while": lambda x, y, k: lax.while_loop(
        lambda s: s[0] < k + 1, lambda s: (s[0] + 1, jnp.roll(s[1], 1) * MASKS[k] + x), (0, y)
    )[1],
    "branch": lambda x, y, k: lax.cond(x[0] > y[0], lambda: x * MASKS[k], lambda: y[::-1]),
    "known branch": lambda x, y, k: lax.switch(k, [lambda: x, lambda: y * 2, lambda: x[::-1]]),
    "straight through": lambda x, y, k: rounded(x * MASKS[k]),
    "custom rule": lambda x, y, k: clipped(x, y * MASKS[k]),
    "mapped": lambda x, y, k: jax.vmap(lambda a, i: a * y[i])(x, INDICES[1]),
    "checkpoint": lambda x, y, k: jax.checkpoint(lambda a: jnp.sin(a) * y)(x),
    "mutable array": lambda x, y, k: written(x, y, k),
}  # fmt: skip


def written(x, y, k):
    box = jax.new_ref(x * MASKS[k])
    box[k] = y[0]
    box[5] = box[k] * y[5]
    return box[...]


@st.composite
def programs(draw):
    length = draw(st.integers(2, 6))
    return [
        (
            draw(st.sampled_from(sorted(STEPS))),
            draw(st.integers(0, t)),
            draw(st.integers(0, t)),
            draw(st.integers(0, 2)),
        )
        for t in range(length)
    ]


def run(program, x):
    made = [x]
    for name, first, second, k in program:
        made.append(STEPS[name](made[first], made[second], k))
    return made[-1]


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(programs())
def test_no_entry_is_missing(program):
    def function(x):
        return run(program, x)

    args = [np.ones(N)]
    transform = next((t for t in (jax.jacfwd, jax.jacrev) if works(t, function, args, 0)), None)
    if transform is None:
        return  # a straight-through rule and a while loop: JAX differentiates it in neither mode
    _, pattern = read(function, args)
    jacobian = jax.jit(transform(function), compiler_options={"xla_backend_optimization_level": 0})
    for seed in range(4):
        matrix = np.asarray(jacobian(np.random.default_rng(seed).normal(size=N)))
        size = np.where(np.isfinite(matrix), np.abs(matrix), 0)
        missing = ~pattern & (size > ROUNDING * size.max(initial=0))
        assert not missing.any(), f"{program}\n{missing.astype(int)}"


def test_a_mutable_array_leaves_custom_rules_alone():
    def function(x):
        box = jax.new_ref(x * MASKS[0])
        box[1] = x[4] * x[0]
        return rounded(box[...])

    _, pattern = read(function, [np.ones(N)])
    expected = np.diag(MASKS[0] != 0)
    expected[1, [0, 4]] = True
    np.testing.assert_array_equal(pattern, expected)
