"""Log-determinants found in the function alone: every scenario, and random compositions, against dense NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flow_scenarios import BY_NAME, QUICK, SCENARIOS, SINGULAR, FlowScenario, along, draw, flows
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import jacmap as jm

REGULAR = [scenario.name for scenario in SCENARIOS if scenario not in SINGULAR]


def close(ours, true, rtol=1e-9):
    true = np.asarray(true)
    np.testing.assert_allclose(np.asarray(ours), true, rtol=rtol, atol=rtol * max(1.0, np.abs(true).max(initial=0)))


def batch_of(x):
    """Three points: x itself, a smaller one, and another one."""
    return jax.tree.map(lambda leaf: jnp.stack([leaf, 0.8 * leaf, 0.7 * leaf + 0.1]), x)


def taken(batch, k):
    return jax.tree.map(lambda leaf: leaf[k], batch)


# -- scenarios ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", REGULAR)
def test_value_gradients_and_passes(name):
    """At a point, and under jit, vmap and grad at three: sign, logarithm, y, gradient by x and by the parameters.

    Triangular factors need one tangent each, however the triangle is hidden; and the plan says so.
    """
    scenario = BY_NAME[name]
    x, *rest = scenario.point
    true = scenario.oracle()
    ours, both = jm.slogdet(scenario.function), jm.value_and_slogdet(scenario.function)
    found = ours(*scenario.point)
    assert jnp.shape(found[0]) == jnp.shape(found[1]) == ()
    assert float(found[0]) == true.sign
    close(found[1], true.log)
    plan = ours.plan(*scenario.point)
    assert plan.passes <= (scenario.passes or 2 * plan.shape[0]), str(plan)
    assert "slogdet" in str(plan)

    def scored(*point):
        y, (sign, log) = both(*point)
        return log, (y, sign)

    batch = batch_of(x)
    slope = jax.value_and_grad(scored, scenario.smooth_arguments, has_aux=True)
    mapped = jax.vmap(slope, (0, *[None] * len(rest)))
    (logs, (values, signs)), slopes = jax.jit(mapped, compiler_options=QUICK)(batch, *rest)
    for k in range(3):
        true = scenario.oracle(taken(batch, k), *rest)
        assert float(signs[k]) == true.sign, k
        close(logs[k], true.log)
        close(along(taken(slopes, k), scenario.direction), true.slope, rtol=1e-7)
        assert jax.tree.structure(values) == jax.tree.structure(true.value)
        jax.tree.map(functools.partial(close, rtol=1e-12), taken(values, k), true.value)


@pytest.mark.parametrize("scenario", SINGULAR, ids=lambda scenario: scenario.name)
def test_a_determinant_that_is_zero(scenario):
    sign, log = jm.slogdet(scenario.function)(*scenario.point)
    assert float(sign) == 0.0
    assert float(log) == -np.inf
    batch = batch_of(scenario.point[0])
    signs, logs = jax.vmap(jm.slogdet(scenario.function), (0, *[None] * (len(scenario.point) - 1)))(
        batch, *scenario.point[1:]
    )
    assert float(signs[0]) == 0.0
    assert float(logs[0]) == -np.inf
    assert not np.isnan(logs).any()


@pytest.mark.parametrize("name", ["MADE stack, scan", "wide residual"])
def test_likelihood_of_a_batch(name):
    """The gradient that trains a flow: of a mean over a batch, through y and through log|det J| at once."""
    scenario = BY_NAME[name]
    x, params = scenario.point
    both, batch = jm.value_and_slogdet(scenario.function), batch_of(x)

    def dense(x, params):
        return scenario.function(x, params), jnp.linalg.slogdet(scenario.dense(x, params))

    def trained(run):
        def loss(params):
            y, (_, logdet) = jax.vmap(run, (0, None))(batch, params)
            return jnp.mean(0.5 * jnp.sum(y**2, axis=1) - logdet)

        return jax.jit(jax.value_and_grad(loss), compiler_options=QUICK)(params)

    (value, slopes), (true, true_slopes) = trained(both), trained(dense)
    close(value, true)
    for mine, theirs in zip(jax.tree.leaves(slopes), jax.tree.leaves(true_slopes), strict=True):
        close(mine, theirs, rtol=1e-7)


# -- arguments, dtypes, derivatives of derivatives -----------------------------------------------------------------
def test_argnums():
    """By the second argument; by two at once, whose entries are laid one after the other."""
    a, b = draw(1, 2), draw(2, 3)

    def f(a, b):
        return jnp.concatenate([b * jnp.exp(a[0]), jnp.sinh(a) + b[:2]])

    matrix = np.concatenate([np.asarray(m) for m in jax.jacfwd(f, (0, 1))(a, b)], axis=1)
    true = np.linalg.slogdet(matrix)
    found = jm.slogdet(f, argnums=(0, 1))(a, b)
    assert float(found[0]) == true[0]
    close(found[1], true[1])

    def second(w, x):
        return x**3 + w @ x

    w = draw(3, 3, 3)
    true = np.linalg.slogdet(jax.jacfwd(second, 1)(w, b))
    y, found = jm.value_and_slogdet(second, argnums=1)(w, b)
    assert float(found[0]) == true[0]
    close(found[1], true[1])
    close(y, second(w, b))


def test_single_precision_stays_single():
    function, params = flows.residual(4, 2, 1)
    x, params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), (draw(1, 4), params))
    y, (sign, log) = jm.value_and_slogdet(function)(x, params)
    assert {y.dtype, sign.dtype, log.dtype} == {jnp.dtype("float32")}
    matrix = np.asarray(jax.jacfwd(function)(x, params), float)
    close(log, np.linalg.slogdet(matrix)[1], rtol=1e-5)


@pytest.mark.parametrize("name", ["elementwise", "pairs", "repeated slice"])
def test_second_derivatives(name):
    """Reverse over forward and forward over forward, by the dense formula."""
    scenario = BY_NAME[name]
    x, *rest = scenario.point

    def both(log):
        return jax.hessian(log)(x), jax.jvp(log, (x,), (jnp.ones_like(x),))[1]

    run = functools.partial(jax.jit, compiler_options=QUICK)
    found = run(lambda: both(lambda x: jm.slogdet(scenario.function)(x, *rest)[1]))()
    true = run(lambda: both(lambda x: jnp.linalg.slogdet(scenario.dense(x, *rest))[1]))()
    jax.tree.map(functools.partial(close, rtol=1e-7), found, true)


def test_parameters_closed_over_or_passed():
    """Weights among the arguments are unknown when planned; closed over, their zeros are. The answer is the same."""
    function, params = flows.maf(4, 1, 6)
    x = draw(1, 4)

    def inside(params):
        return jm.slogdet(lambda x: function(x, params))(x)[1]

    def outside(params):
        return jm.slogdet(function)(x, params)[1]

    close(inside(params), outside(params), rtol=1e-12)
    slopes = jax.jit(lambda p: (jax.grad(inside)(p), jax.grad(outside)(p)), compiler_options=QUICK)(params)
    jax.tree.map(functools.partial(close, rtol=1e-10), *slopes)


def test_one_plan_serves_other_points_and_parameters():
    scenario = BY_NAME["spline coupling"]
    ours = jax.jit(jm.slogdet(scenario.function), compiler_options=QUICK)
    for factor in (1.0, 0.5, -1.3):
        point = jax.tree.map(lambda leaf, factor=factor: factor * leaf, scenario.point)
        true, found = scenario.oracle(*point), ours(*point)
        assert float(found[0]) == true.sign
        close(found[1], true.log)


def test_of_the_object():
    scenario = BY_NAME["triples"]
    jacobian = jm.linearize(scenario.function, *scenario.point)
    matrix = np.asarray(scenario.dense(*scenario.point))
    sign, log = jacobian.slogdet()
    true = np.linalg.slogdet(matrix)
    assert float(sign) == true[0]
    close(log, true[1])
    close(jacobian.det(), np.linalg.det(matrix))


# -- plans ---------------------------------------------------------------------------------------------------------
def test_a_structural_zero_is_told():
    plan = jm.slogdet(BY_NAME["through a narrow cut"].function).plan(*BY_NAME["through a narrow cut"].point)
    assert "zero at every point" in str(plan)


# -- errors ----------------------------------------------------------------------------------------------------------
def test_not_square():
    with pytest.raises(jm.ArgumentError, match="square"):
        jm.slogdet(lambda x: x[:3])(draw(1, 4))
    with pytest.raises(jm.ArgumentError, match="square"):
        jm.value_and_slogdet(lambda x: x[:3])(draw(1, 4))
    with pytest.raises(jm.ArgumentError):
        jm.linearize(lambda x: x[:3], draw(1, 4)).slogdet()


def test_not_a_function():
    with pytest.raises(jm.ArgumentError, match="f: got"):
        jm.slogdet(3.0)
    with pytest.raises(jm.ArgumentError, match="f: got"):
        jm.value_and_slogdet(None)


def test_integers():
    with pytest.raises(jm.ArgumentError):
        jm.slogdet(lambda x: x)(jnp.arange(3))


# -- random compositions -----------------------------------------------------------------------------------------------
def _triangular(random, n):
    weight, upper = random.uniform(-1, 1, (n, n)), random.random() < 0.5
    weight = np.tril(weight, -1)
    own = random.choice([-1.5, -0.7, 0.8, 1.6], n)
    weight = jnp.asarray(weight.T if upper else weight)
    return lambda x: own * x + weight @ jnp.tanh(x)


def _permutation(random, n):
    order = random.permutation(n)
    return lambda x: x[order]


def _elementwise(random, n):
    functions = [jnp.sinh, lambda x: -jnp.arcsinh(x), lambda x: jnp.exp(0.5 * x), lambda x: x + 0.5 * jnp.sin(x)]
    chosen = functions[random.integers(len(functions))]
    scale = random.choice([-1.0, 0.5, 1.2], n)
    return lambda x: chosen(scale * x)


def _dense(random, n):
    q, _ = np.linalg.qr(random.standard_normal((n, n)))
    weight = jnp.asarray(q * random.choice([-1.0, 0.6, 1.4], n))
    return lambda x: weight @ x


def _dense_nonlinear(random, n):
    weight = jnp.asarray(0.5 * random.standard_normal((n, n)) / np.sqrt(n))
    return lambda x: x + jnp.tanh(weight @ x)


def _coupling(random, n):
    chosen = random.random(n) < 0.5
    weight = jnp.asarray(random.standard_normal((n, n)))
    return lambda x: jnp.where(chosen, x, x * jnp.exp(jnp.tanh(weight @ jnp.where(chosen, x, 0.0))) + 1)


def _blocks(random, n):
    """Dense inside the first entries and inside the rest."""
    cut = int(random.integers(0, n + 1))
    parts = [_dense_nonlinear(random, size) for size in (cut, n - cut) if size]
    return lambda x: jnp.concatenate([part(y) for part, y in zip(parts, jnp.split(x, [cut][: len(parts) - 1] or []),
                                                                 strict=True)])  # fmt: skip


def _rank_one(random, n):
    u, w = (jnp.asarray(random.uniform(-1, 1, n)) / n for _ in range(2))
    return lambda x: x + u * jnp.tanh(w @ x)


def _scan(random, n):
    rows = jnp.asarray(random.uniform(0.3, 1.5, (3, n)))
    orders = np.stack([random.permutation(n) for _ in range(3)])
    return lambda x: jax.lax.scan(lambda x, row: (jnp.sinh(row[0] * x)[row[1]], None), x, (rows, orders))[0]


KINDS = {
    "triangular": _triangular,
    "permutation": _permutation,
    "elementwise": _elementwise,
    "dense": _dense,
    "dense, nonlinear": _dense_nonlinear,
    "coupling": _coupling,
    "blocks": _blocks,
    "rank one": _rank_one,
    "scan": _scan,
}


@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@given(
    n=st.integers(1, 7),
    kinds=st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=4),
    seed=st.integers(0, 2**16),
)
def test_random_compositions(n, kinds, seed):
    random = np.random.default_rng(seed)
    maps = [KINDS[kind](random, n) for kind in kinds]

    def f(x):
        for one in maps:
            x = one(x)
        return x

    scenario = FlowScenario(" ".join(kinds), f, (jnp.asarray(random.uniform(-1, 1, n)),))
    true = scenario.oracle()
    rounding = 1e-13 * true.condition

    def ours(x):
        y, (sign, log) = jm.value_and_slogdet(f)(x)
        return log, (y, sign)

    run = jax.jit(jax.value_and_grad(ours, has_aux=True), compiler_options=QUICK)
    (log, (y, sign)), slopes = run(*scenario.point)
    assert float(sign) == true.sign
    close(log, true.log, rtol=max(1e-9, rounding))
    close(y, true.value, rtol=1e-12)
    close(along(slopes, scenario.direction), true.slope, rtol=max(1e-7, 10 * rounding))
