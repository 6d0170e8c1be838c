"""Columns that enter f by different ways get passes of their own, without what stands still: against plain AD."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from pattern_checks import read, works
from test_programs import N, programs, run

import jacmap as jm
from jacmap.engine.backends.jax.run import Parts, Runner
from jacmap.engine.graph.reach import reach
from jacmap.engine.plan import apart, cost

RANDOM = np.random.default_rng(5)
POSES, MARKS, SEEN = 12, 40, 300
POSE, MARK = RANDOM.integers(0, POSES, SEEN), RANDOM.integers(0, MARKS, SEEN)


def bundle(x):
    """Turned, shifted and projected: three kinds of columns. The first pose is held."""
    poses = jnp.concatenate([jnp.zeros((1, 3)), x[: 3 * POSES - 3].reshape(-1, 3)])
    c, s = jnp.cos(poses[:, 0]), jnp.sin(poses[:, 0])
    p = x[3 * POSES - 3 :].reshape(MARKS, 2)[MARK] - poses[POSE, 1:]
    c, s = c[POSE], s[POSE]
    return jnp.stack([c * p[:, 0] + s * p[:, 1], c * p[:, 1] - s * p[:, 0]], 1).ravel()


def two_layers(x):
    a, w, v = x[:40], x[40:80], x[80:]
    return jnp.concatenate([jnp.tanh(a * jnp.sin(w)) * v[0], jnp.cumsum(v)])


def one_kind(x):
    return jnp.sin(x[::-1]) * x


X = jnp.asarray(RANDOM.standard_normal(3 * POSES - 3 + 2 * MARKS))
CASES = [(bundle, X, 3), (two_layers, jnp.asarray(RANDOM.standard_normal(90)), 4)]  # v[0] enters twice


@pytest.fixture
def always(monkeypatch):
    """However little work it saves."""
    monkeypatch.setattr(apart, "WORTH", -1.0)
    monkeypatch.setattr(cost, "KERNEL", 0.0)


def wide_and_narrow(x):
    """Two unknowns that move 4,000 numbers before they are summed, and two that move forty alone."""
    spread = jnp.sin(jnp.outer(x[:2], jnp.arange(1.0, 4001)))
    return (jnp.sin(x[2:])[:, None] * spread.reshape(2, 20, 200).sum(2)).ravel()


def test_each_group_of_passes_has_batches_of_its_own(always):
    x = jnp.asarray([0.3, -0.2, 0.5, 0.7])
    J = jm.jacobian(wide_and_narrow, form="sparse", memory="100 kB")
    np.testing.assert_allclose(J(x).todense(), jax.jacfwd(wide_and_narrow)(x), rtol=1e-12)
    chosen = next(c for c in J.plan(x).planned.candidates if c.name.startswith("column"))
    assert [part.chunk for part in chosen.parts] == [1, 0] and chosen.chunk == 1


@pytest.mark.parametrize(("f", "x", "kinds"), CASES)
@pytest.mark.parametrize("form", ["sparse", "dense"])
def test_passes_apart_give_the_same_jacobian(always, f, x, kinds, form):
    J = jm.jacobian(f, form=form)
    found = J(x) if form == "dense" else J(x).todense()
    np.testing.assert_allclose(found, jax.jacfwd(f)(x), rtol=1e-12, atol=1e-12)
    chosen = next(c for c in J.plan(x).planned.candidates if c.name.startswith("column"))
    assert sum(part.count for part in chosen.parts) == chosen.forward
    assert len(chosen.parts) == kinds
    assert f"{kinds} groups of passes" in str(J.plan(x))


def test_as_few_passes_as_together(always):
    plan = jm.jacobian(bundle, form="sparse").plan(X)
    assert plan.chosen.forward == 5 == plan.planned.lower_bound


def test_a_diagonal_without_what_stands_still(always):
    def f(x):
        a, b = x[:20], x[20:]
        return jnp.concatenate([jnp.cumsum(jnp.sin(a)) * a, b * jnp.sum(jnp.exp(b)) + a])

    x = jnp.asarray(RANDOM.standard_normal(40))
    np.testing.assert_allclose(jm.diagonal(f)(x), jnp.diag(jax.jacfwd(f)(x)), rtol=1e-12)


def test_it_can_be_mapped_differentiated_and_run_in_turn(always):
    J = jm.jacobian(bundle, form="sparse")
    xs = jnp.stack([X, 2 * X])
    whole = jnp.stack([jax.jacfwd(bundle)(x) for x in xs])
    np.testing.assert_allclose(jax.vmap(lambda x: J(x).todense())(xs), whole, rtol=1e-12, atol=1e-12)
    second = jax.grad(lambda x: (J(x).data ** 2).sum())(X)
    expected = jax.grad(lambda x: (jax.jacfwd(bundle)(x) ** 2).sum())(X)
    np.testing.assert_allclose(second, expected, rtol=1e-10, atol=1e-10)
    small = jm.jacobian(bundle, form="sparse", memory=20_000)
    np.testing.assert_allclose(small(X).todense(), whole[0], rtol=1e-12, atol=1e-12)
    assert small.plan(X).chosen.chunk == 1


def test_small_work_stays_together():
    assert not jm.jacobian(bundle, form="sparse").plan(X).chosen.parts


def test_one_kind_is_not_told_apart():
    assert reach(jm.jacobian(one_kind, form="sparse").plan(X).graph) is None


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(programs(), programs())
def test_what_is_said_to_stand_still_stands_still(first, second):
    """Two random programs of two halves of x, and a product of both."""

    def f(x):
        a, b = x[:N], x[N:]
        return jnp.concatenate([run(first, a), run(second, b), jnp.sin(a) * b[::-1]])

    x = np.random.default_rng(0).normal(size=2 * N)
    if not works(jax.jacfwd, f, [x], 0):
        return
    graph, _ = read(f, [x])
    found = reach(graph)
    if found is None:
        return
    point = Runner(None, jnp.asarray(x), graph.shape, Parts(graph, [jnp.asarray(x)], []))
    for kind, still in enumerate(found.still):
        direction = np.where(found.kinds == kind, np.random.default_rng(kind).normal(size=2 * N), 0.0)
        moving = {v for _, v, tangent in point.tangents(direction) if tangent.any()}
        assert not {(p, i) for p, i in still if graph.nodes[p].inputs[i] in moving}
