"""The object for looking: lazy, sharing its plans between points, and telling what it is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scenarios import draw, heat, heat_known
from test_transforms import Counted

import jacmap as jm

W1, W2, W3 = (np.random.default_rng(k).normal(size=s) / 4 for k, s in enumerate([(4, 20), (20, 4), (5, 20)]))


def network(x):
    with jax.named_scope("encoder"):
        narrow = jnp.tanh(W1 @ x)
    with jax.named_scope("decoder"):
        wide = jnp.tanh(W2 @ narrow)
    with jax.named_scope("head"):
        return W3 @ wide


X = draw(1, 20)


def test_nothing_is_computed_before_it_is_asked_for():
    counted = Counted(heat)
    jacobian = jm.linearize(counted, X)
    assert counted.runs == 0
    np.testing.assert_allclose(jacobian.value, heat(X))
    assert counted.runs == 1
    jacobian.value  # noqa: B018
    assert counted.runs == 1


def test_shape_and_pattern_need_no_numbers():
    jacobian = jm.linearize(heat, X)
    assert jacobian.shape == (20, 20)
    assert jacobian.pattern.shape == (20, 20)
    assert jacobian.pattern.nnz == 58
    assert (jacobian.pattern.todense() == (heat_known(X) != 0)).all()
    assert (jacobian.pattern.tocsr().toarray() == jacobian.pattern.todense()).all()
    assert str(jacobian.structure) == "banded (lower 1, upper 1)"


@pytest.mark.parametrize("ask", ["dense", "sparse", "diagonal", "trace"])
def test_another_point_plans_nothing(ask):
    counted = Counted(heat)
    jacobian = jm.linearize(counted, X)
    getattr(jacobian, ask)()
    first = counted.runs
    for k in (1, 2):
        moved = jacobian.at(X + k)
        found = getattr(moved, ask)()
        assert moved.plan(ask) is jacobian.plan(ask)
    assert counted.runs == first
    true = heat_known(X + 2)
    true = {"diagonal": np.diagonal(true), "trace": np.trace(true)}.get(ask, true)
    np.testing.assert_allclose(found.todense() if ask == "sparse" else found, true, rtol=1e-12)
    np.testing.assert_allclose(jacobian.dense(), heat_known(X), rtol=1e-12)


def test_products_at_another_point_use_that_point():
    jacobian = jm.linearize(heat, X)
    jacobian @ X, jacobian.T @ X  # noqa: B018
    moved = jacobian.at(X + 1)
    np.testing.assert_allclose(moved @ X, heat_known(X + 1) @ X, rtol=1e-11)
    np.testing.assert_allclose(moved.T @ X, heat_known(X + 1).T @ X, rtol=1e-11)
    assert moved.T.shape == (20, 20)
    assert moved.T.T is moved


def test_numpy_vectors_and_integers_are_vectors():
    jacobian = jm.linearize(heat, X)
    np.testing.assert_allclose(jacobian @ np.arange(20), heat_known(X) @ np.arange(20), rtol=1e-12)
    np.testing.assert_allclose(jacobian @ np.ones((20, 3)), heat_known(X) @ np.ones((20, 3)), rtol=1e-11)


def test_other_arguments_and_argnums():
    def f(a, power, b):
        return a**power * jnp.sum(b)

    b = draw(2, 3)
    jacobian = jm.linearize(f, X, 3, b, argnums=(0, 2))
    assert jacobian.shape == (20, 23)
    x = np.asarray(X)
    true = np.concatenate([np.diag(3 * x**2) * float(b.sum()), np.repeat(x[:, None] ** 3, 3, 1)], axis=1)
    np.testing.assert_allclose(jacobian.dense(), true, rtol=1e-12)
    np.testing.assert_allclose(jacobian.at(X, 1, b).column(0), np.eye(20)[0] * float(b.sum()), rtol=1e-12)


def test_columns_follow_the_order_of_argnums():
    a, b = draw(3, 2), draw(4, 2)
    forward = jm.linearize(lambda a, b: a * b**2, a, b, argnums=(0, 1)).dense()
    swapped = jm.linearize(lambda a, b: a * b**2, a, b, argnums=(1, 0)).dense()
    np.testing.assert_allclose(swapped, np.concatenate([forward[:, 2:], forward[:, :2]], axis=1))


# -- chain -------------------------------------------------------------------------------------------------------
def test_the_chain_is_named_and_shaped():
    jacobian = jm.linearize(network, X)
    assert jacobian.rank_bound == 4
    names = [link.name for link in jacobian.chain]
    assert names == ["encoder", "decoder", "head"]
    assert [link.shape for link in jacobian.chain] == [(4, 20), (20, 4), (5, 20)]


def test_each_link_is_a_jacobian_of_its_own():
    jacobian = jm.linearize(network, X)
    hidden = np.tanh(W1 @ np.asarray(X))
    first, second, last = jacobian.chain
    np.testing.assert_allclose(first.dense(), (1 - hidden**2)[:, None] * W1, rtol=1e-12)
    np.testing.assert_allclose(last.dense(), W3, rtol=1e-12)
    wide = np.tanh(W2 @ hidden)
    np.testing.assert_allclose(second.dense(), (1 - wide**2)[:, None] * W2, rtol=1e-12)
    np.testing.assert_allclose(last @ (second @ (first @ X)), jacobian @ X, rtol=1e-12)
    assert "4×20" in str(first)


def test_links_without_a_scope_are_named_by_source_line():
    def f(x):
        h = jnp.tanh(W1 @ x)
        return W2 @ h

    names = [link.name for link in jm.linearize(f, X).chain]
    assert all("test_jacobian_object.py:" in name for name in names), names


def test_a_chain_of_one_is_the_function():
    (link,) = jm.linearize(heat, X).chain
    np.testing.assert_allclose(link.dense(), heat_known(X), rtol=1e-12)


# -- inside transforms -------------------------------------------------------------------------------------------
def test_inside_jit_grad_and_vmap():
    """Everything that needs no concrete number."""

    def squares(x):
        jacobian = jm.linearize(heat, x)
        return jnp.sum(jacobian.dense() ** 2) + jnp.sum((jacobian @ x) ** 2) + jnp.sum((jacobian.T @ x) ** 2)

    def plain(x):
        jacobian = jax.jacfwd(heat)(x)
        return jnp.sum(jacobian**2) + jnp.sum((jacobian @ x) ** 2) + jnp.sum((jacobian.T @ x) ** 2)

    np.testing.assert_allclose(jax.jit(squares)(X), plain(X), rtol=1e-12)
    np.testing.assert_allclose(jax.grad(squares)(X), jax.grad(plain)(X), rtol=1e-11)
    batch = jnp.stack([X, 2 * X])
    traces = jax.vmap(lambda x: jm.linearize(heat, x).trace())(batch)
    np.testing.assert_allclose(traces, [np.trace(heat_known(x)) for x in batch], rtol=1e-12)


# -- what it says ------------------------------------------------------------------------------------------------
def test_printed_small():
    text = str(jm.linearize(lambda x: jnp.stack([x[0] ** 2 - x[1] ** 2, 2 * x[0] * x[1]]), jnp.array([1.5, 0.5])))
    assert "2×2" in text.splitlines()[0]
    for number in ("3", "-1", "1"):
        assert number in text
    assert "dense: " in text.splitlines()[-1]


def test_printed_large():
    text = str(jm.linearize(heat, draw(5, 500)))
    first, *picture, last = text.splitlines()
    assert first == "J of heat: 500×500, banded (lower 1, upper 1)"
    assert all(0x2800 <= ord(c) < 0x2900 for line in picture for c in line) and picture
    assert last == "dense: column colouring: 3 JVPs (instead of 500 JVPs or 500 VJPs)"


@pytest.mark.parametrize("question", ["dense", "sparse", "diagonal", "trace"])
def test_explain_is_the_plan_of_the_question(question):
    jacobian = jm.linearize(heat, X)
    plan = jacobian.explain(question)
    assert isinstance(plan, jm.Plan)
    assert plan.question == question
    assert plan is jacobian.plan(question)
