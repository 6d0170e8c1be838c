"""Interval rules against brute force: no point of the box leaves the bounds; a rule too tight by half is found out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jacmap as jm
from jacmap.robustness.intervals import Region, enclose
from jacmap.robustness.intervals.enclose import RULES
from jacmap.robustness.intervals.interval import Interval, magnitude
from jacmap.robustness.intervals.program import read
from jacmap.robustness.intervals.rule import Rule

RANDOM = np.random.default_rng(3)
W = jnp.asarray(RANDOM.standard_normal((6, 6)))
KERNEL = jnp.asarray(RANDOM.standard_normal((2, 1, 2, 2)))
LAX = jax.lax


def image(x):
    return x.reshape(1, 1, 2, 3)


def window(x, start, op):
    return LAX.reduce_window(x.reshape(2, 3), start, op, (2, 2), (1, 1), "SAME")


# Operation → (function of six numbers that uses it, least, largest entry of the box's middle).
EXAMPLES = {
    "abs": (jnp.abs, -1, 1),
    "add": (lambda x: x + x[::-1], -1, 1),
    "add_any": (lambda x: jax.vjp(lambda y: (2 * y, 3 * y), x)[1]((x, x))[0], -1, 1),
    "and": (lambda x: jnp.where((x > 9) & (x < 99), x, 2 * x), -1, 1),
    "asinh": (jnp.arcsinh, -2, 2),
    "atan": (jnp.arctan, -2, 2),
    "broadcast_in_dim": (lambda x: jnp.broadcast_to(x[:, None], (6, 2)).ravel() * jnp.arange(12.0), -1, 1),
    "ceil": (lambda x: jnp.ceil(x / 100 + 0.5) + x, -1, 1),
    "clamp": (lambda x: LAX.clamp(-0.3, x, 0.4), -1, 1),
    "concatenate": (lambda x: jnp.concatenate([x[:2] * 2, x, jnp.ones(2)]), -1, 1),
    "conv_general_dilated": (lambda x: LAX.conv(image(x), KERNEL, (1, 1), "SAME").ravel(), -1, 1),
    "convert_element_type": (lambda x: x.astype(jnp.float32).astype(float) ** 2, -1, 1),
    "copy": (lambda x: 2 * jnp.copy(x), -1, 1),
    "cos": (jnp.cos, -6, 6),
    "cumsum": (jnp.cumsum, -1, 1),
    "div": (lambda x: x / (3 + x[::-1]), -1, 1),
    "dot_general": (lambda x: W @ x + x * jnp.dot(x, x[::-1]), -1, 1),
    "dynamic_slice": (lambda x: LAX.dynamic_slice(x * 2, (2,), (3,)), -1, 1),
    "eq": (lambda x: jnp.where(x == 99, x, 2 * x), -1, 1),
    "erf": (LAX.erf, -2, 2),
    "erfc": (LAX.erfc, -2, 2),
    "exp": (jnp.exp, -2, 2),
    "expm1": (jnp.expm1, -2, 2),
    "floor": (lambda x: jnp.floor(x / 100 + 0.5) + x, -1, 1),
    "gather": (lambda x: jnp.take(x * 2, jnp.array([3, 0, 0])), -1, 1),
    "ge": (lambda x: jnp.where(x >= 0, x, 0.2 * x), -1, 1),
    "gt": (lambda x: jnp.where(x > 0, x, jnp.expm1(x)), -1, 1),
    "integer_pow": (lambda x: jnp.stack([x**3, (x + 3) ** -2, x**4]).ravel(), -1, 1),
    "is_finite": (lambda x: jnp.where(jnp.isfinite(x), x, 0.0), -1, 1),
    "le": (lambda x: jnp.where(x <= 0, -x, 2 * x), -1, 1),
    "log": (jnp.log, 1, 3),
    "log1p": (jnp.log1p, 0, 3),
    "logistic": (jax.nn.sigmoid, -3, 3),
    "lt": (lambda x: (lambda a, b: jnp.where(a < b, a, b))(x, x[::-1]), -1, 1),
    "max": (lambda x: jnp.maximum(x, x[::-1] * 0.5), -1, 1),
    "min": (lambda x: jnp.minimum(x, 0.1), -1, 1),
    "mul": (lambda x: x * x[::-1] + x * x, -1, 1),
    "ne": (lambda x: jnp.logaddexp(x, 0.3), -1, 1),
    "neg": (lambda x: -x, -1, 1),
    "not": (lambda x: jnp.where(~(x > 99), x, 2 * x), -1, 1),
    "optimization_barrier": (lambda x: LAX.optimization_barrier(x) * 2, -1, 1),
    "or": (lambda x: jnp.where((x > 99) | (x < 98), x, 2 * x), -1, 1),
    "pad": (lambda x: LAX.pad(x, 0.5, [(1, 1, 1)]), -1, 1),
    "pow": (lambda x: jnp.concatenate([x**1.5, 2.0**x, x ** x[::-1]]), 1, 3),
    "reduce_and": (lambda x: jnp.where(jnp.all(x < 99), x, 2 * x), -1, 1),
    "reduce_max": (lambda x: jnp.max(x.reshape(2, 3), axis=1), -1, 1),
    "reduce_min": (lambda x: jnp.min(x.reshape(2, 3), axis=0), -1, 1),
    "reduce_or": (lambda x: jnp.where(jnp.any(x > 99), x, 2 * x), -1, 1),
    "reduce_sum": (lambda x: jnp.sum(x.reshape(2, 3), axis=1), -1, 1),
    "reduce_window_max": (lambda x: window(x, -jnp.inf, LAX.max).ravel(), -1, 1),
    "reduce_window_min": (lambda x: window(x, jnp.inf, LAX.min).ravel(), -1, 1),
    "reduce_window_sum": (lambda x: window(x, 0.0, LAX.add).ravel(), -1, 1),
    "reshape": (lambda x: (x.reshape(2, 3) * W[:2, :3]).ravel(), -1, 1),
    "rev": (lambda x: jnp.flip(x) * 2, -1, 1),
    "round": (lambda x: jnp.round(x / 100) + x, -1, 1),
    "rsqrt": (LAX.rsqrt, 1, 3),
    "select_n": (lambda x: jnp.where(jnp.arange(6) < 3, x, -x) + jax.nn.elu(x), -1, 1),
    "sign": (lambda x: jnp.sign(x + 50) * x, -1, 1),
    "sin": (jnp.sin, -6, 6),
    "sinh": (jnp.sinh, -2, 2),
    "slice": (lambda x: x[1:5:2] * 2, -1, 1),
    "split": (lambda x: jnp.split(x, 2)[1] * 2, -1, 1),
    "sqrt": (jnp.sqrt, 1, 3),
    "square": (lambda x: LAX.square(x), -1, 1),
    "squeeze": (lambda x: jnp.squeeze(x.reshape(6, 1) * 2), -1, 1),
    "stack": (lambda x: jnp.stack([x, 2 * x]).ravel(), -1, 1),
    "stop_gradient": (lambda x: x - jnp.max(x), -1, 1),
    "sub": (lambda x: x - 0.5 * x[::-1], -1, 1),
    "tanh": (jnp.tanh, -2, 2),
    "transpose": (lambda x: (x.reshape(2, 3).T * W[:3, :2]).ravel(), -1, 1),
}
UNSEEN = {"copy_p", "expand_dims", "stack", "stop_gradient"}  # names that other versions of JAX write down
WIDTHS = (0.02, 0.7)


def points(centre, radius, count=60):
    moves = RANDOM.uniform(-1, 1, (count, centre.size))
    moves[::2] = np.sign(moves[::2])
    return jnp.asarray(centre + radius * np.concatenate([moves, np.zeros((1, centre.size))]))


def outside(f, centre, radius, bound):
    """(values, slopes) that leave their bounds, of all points tried."""
    tried = points(centre, radius)
    values, slopes = jax.vmap(f)(tried), jax.vmap(jax.jacfwd(f))(tried)
    leaves = [
        int(jnp.sum((given < held.lo) | (given > held.hi)))
        for given, held in ((values, bound.value), (slopes, bound.slope))
    ]
    return leaves


@pytest.mark.parametrize("name", sorted(RULES))
def test_no_point_leaves_the_bounds(name):
    if name in UNSEEN and name not in EXAMPLES:
        return
    f, least, most = EXAMPLES[name]
    names = {step.name for step in read(f, jnp.ones(6)).steps}
    assert name in names or name in UNSEEN, f"the example of {name} uses {sorted(names)}"
    bounded = jax.jit(lambda c, r: enclose(f, Region.ball(c, r, np.inf)))
    for radius in WIDTHS:
        for _ in range(3):
            centre = jnp.asarray(RANDOM.uniform(least, most, 6))
            found = bounded(centre, radius)
            assert outside(f, centre, radius, found) == [0, 0]
            assert np.isfinite(np.asarray(found.slope.hi)).all() or radius > 0.5


def halved(interval):
    """Too tight by half."""
    if not interval.is_float:
        return interval
    middle = (interval.lo + interval.hi) / 2
    return Interval((interval.lo + middle) / 2, (interval.hi + middle) / 2)


LOGIC = {"and", "or", "not", "eq", "ne", "lt", "le", "gt", "ge", "is_finite", "reduce_and", "reduce_or"}
JUMPS = {"ceil", "floor", "round", "sign"}  # constant on these boxes: their intervals have no width


@pytest.mark.parametrize("name", sorted(set(RULES) - LOGIC - JUMPS - UNSEEN))
def test_a_rule_too_tight_is_found_out(name, monkeypatch):
    f, least, most = EXAMPLES[name]
    rule = RULES[name]
    monkeypatch.setitem(
        RULES, name, Rule(lambda step, operands: [halved(v) for v in rule.value(step, operands)], rule.slope)
    )
    monkeypatch.setattr(Region, "moved", lambda self, slope: jnp.full(slope.shape[1:], jnp.inf))
    tight = jax.jit(lambda c: enclose(f, Region.ball(c, 0.7, np.inf)))
    centres = jnp.asarray(RANDOM.uniform(least, most, (5, 6)))
    assert any(outside(f, centre, 0.7, tight(centre))[0] for centre in centres)


CURVED = ["tanh", "exp", "mul", "abs", "max", "reduce_max", "select_n", "sin", "reduce_window_max"]


@pytest.mark.parametrize("name", CURVED)
def test_a_slope_too_tight_is_found_out(name, monkeypatch):
    f, least, most = EXAMPLES[name]
    rule = RULES[name]
    monkeypatch.setitem(RULES, name, Rule(rule.value, lambda call: [halved(s) for s in rule.slope(call)]))
    tight = jax.jit(lambda c: enclose(f, Region.ball(c, 0.7, np.inf)))
    centres = jnp.asarray(RANDOM.uniform(least, most, (8, 6)))
    assert any(outside(f, centre, 0.7, tight(centre))[1] for centre in centres)


UNARY = [jnp.tanh, jax.nn.relu, jnp.sin, jnp.exp, jax.nn.softplus, jax.nn.gelu, jax.nn.silu, jax.nn.leaky_relu, jnp.abs]
BINARY = [jnp.add, jnp.subtract, jnp.multiply, jnp.maximum, lambda a, b: a / (2 + b * b)]


@settings(max_examples=8)
@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 4), st.integers(0, 9)), min_size=1, max_size=5),
       st.integers(0, 1000))  # fmt: skip
def test_small_random_programs(recipe, seed):
    random = np.random.default_rng(seed)
    centre = random.standard_normal(4)
    mix = jnp.asarray(random.standard_normal((4, 4)) / 2)

    def f(x):
        values = [x, mix @ x]
        for one, two, which in recipe:
            values.append(BINARY[two](UNARY[one](values[-1] * 0.5), values[which % len(values)]))
        return values[-1]

    found = enclose(f, Region.ball(jnp.asarray(centre), 0.05, np.inf))
    assert outside(f, centre, 0.05, found) == [0, 0]


def test_balls_of_the_2_norm():
    f = lambda x: W @ jnp.tanh(W @ x)  # noqa: E731
    centre = jnp.asarray(RANDOM.standard_normal(6))
    ball, box = (enclose(f, Region.ball(centre, 0.3, p)).value for p in (2, np.inf))
    assert bool(jnp.all(ball.hi - ball.lo < box.hi - box.lo))
    moves = RANDOM.standard_normal((500, 6))
    values = jax.vmap(f)(centre + 0.3 * moves / np.linalg.norm(moves, axis=1, keepdims=True))
    assert bool(jnp.all((values >= ball.lo) & (values <= ball.hi)))


def test_jumps_have_no_bound_and_kinks_have_one():
    step = lambda x: jnp.where(x > 0, 1.0, 0.0)  # noqa: E731
    straight_through = lambda x: x + LAX.stop_gradient(jnp.round(x) - x)  # noqa: E731
    gate = lambda x: x * (x > 0).astype(float)  # noqa: E731
    near, far = jnp.array([0.001, 3.2]), jnp.array([2.2, 3.2])

    def most(f, x):
        return float(magnitude(jax.jit(lambda c: enclose(f, Region.ball(c, 0.01, 2)).slope)(x)).max())

    for f in (step, gate, lambda x: jnp.round(x + 0.5) * 1.0, lambda x: straight_through(x + 0.5)):
        assert most(f, near) == np.inf
    assert jm.robustness.lipschitz(step, near, 0.01).bound == np.inf
    assert most(step, far) < 1e-6
    for f in (jax.nn.elu, jax.nn.leaky_relu, lambda x: jnp.where(x > 0, x, 0.2 * x), jax.nn.relu):
        assert most(f, near) < 1.2


def test_what_has_no_rule_is_named():
    with pytest.raises(jm.TraceError, match="uses sort, for which interval arithmetic has no rule"):
        jm.robustness.lipschitz(jnp.sort, jnp.ones(3), 0.1)
    with pytest.raises(jm.TraceError, match="at places that depend on x"):
        jm.robustness.lipschitz(lambda x: x[jnp.int32(x[0])], jnp.ones(3), 0.1)


def test_single_precision_bounds_hold_in_double():
    """The margin of rounding covers what single precision computes, and the real value."""
    weights = RANDOM.standard_normal((3, 40, 40)) / 6
    f = lambda w, x: jnp.sum(jnp.tanh(w[2] @ jax.nn.relu(w[1] @ jax.nn.sigmoid(w[0] @ x))).reshape(8, 5), 1)  # noqa: E731
    w32 = jnp.asarray(weights, jnp.float32)
    x = jnp.asarray(RANDOM.standard_normal(40), jnp.float32)
    found = jax.jit(lambda v: enclose(lambda z: f(w32, z), Region.ball(v, jnp.float32(1e-7), np.inf)))(x)
    exact = f(w32.astype(float), x.astype(float))
    assert bool(jnp.all((found.value.lo.astype(float) <= exact) & (exact <= found.value.hi.astype(float))))
    assert float(jnp.max(found.value.hi - found.value.lo)) < 1e-2
