"""Every scenario × every question × every transform, and × every candidate that a planner may choose."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scenarios import BY_NAME, SCENARIOS, as_matrix, expected

import jacmap as jm
from jacmap._transforms import Transform
from jacmap.engine.backends.jax import function as backend
from jacmap.engine.plan.execute import execute
from jacmap.engine.plan.question import Question
from jacmap.engine.plan.recipe import Constant

NAMES = [scenario.name for scenario in SCENARIOS]
FORWARD = [s.name for s in SCENARIOS if "forward" in s.modes]
REVERSE = [s.name for s in SCENARIOS if "reverse" in s.modes]


def close(ours, true, name="", rtol=1e-10):
    """Equal up to rounding: that of float32 where a scenario holds float32."""
    rtol = 2e-6 if name == "mixed precision" else rtol
    np.testing.assert_allclose(np.asarray(ours), true, rtol=rtol, atol=rtol * max(1.0, np.abs(true).max(initial=0)))


@functools.cache
def looked_at(name):
    scenario = BY_NAME[name]
    return jm.linearize(scenario.function, *scenario.args, argnums=scenario.argnums)


# -- questions ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", NAMES)
def test_dense(name):
    assert looked_at(name).shape == expected(name).shape
    close(looked_at(name).dense(), expected(name), name)


@pytest.mark.parametrize("name", NAMES)
def test_pattern_misses_nothing(name):
    outside = ~looked_at(name).pattern.todense()
    assert not expected(name)[outside].any()


@pytest.mark.parametrize("name", NAMES)
def test_sparse(name):
    close(looked_at(name).sparse().todense(), expected(name), name)


@pytest.mark.parametrize("name", NAMES)
def test_diagonal_and_trace(name):
    jacobian, diagonal = looked_at(name), np.diagonal(expected(name))
    close(jacobian.diagonal(), diagonal, name)
    close(jacobian.trace(), diagonal.sum(), name)


@pytest.mark.parametrize("name", NAMES)
def test_entries(name):
    """The corners, one of them twice, and one in the middle: in the order asked."""
    m, n = expected(name).shape
    rows, columns = [m - 1, 0, m // 2, 0, m - 1], [0, 0, n // 2, n - 1, 0]
    close(looked_at(name).entries(rows, columns), expected(name)[rows, columns], name)


@pytest.mark.parametrize("name", NAMES)
def test_rows_and_columns(name):
    true = expected(name)
    for i in {0, true.shape[0] // 2}:
        close(looked_at(name).row(i), true[i], name)
    for j in {0, true.shape[1] - 1}:
        close(looked_at(name).column(j), true[:, j], name)


@pytest.mark.parametrize("name", FORWARD)
def test_product(name):
    true = expected(name)
    v = np.random.default_rng(0).uniform(-1, 1, (true.shape[1], 2))
    close(looked_at(name) @ v, true @ v, name)
    close(looked_at(name) @ v[:, 0], true @ v[:, 0], name)


@pytest.mark.parametrize("name", REVERSE)
def test_transposed_product(name):
    true = expected(name)
    u = np.random.default_rng(1).uniform(-1, 1, (true.shape[0], 2))
    close(looked_at(name).T @ u, true.T @ u, name)
    close(looked_at(name).T @ u[:, 0], true.T @ u[:, 0], name)


@pytest.mark.parametrize("name", NAMES)
def test_tree_is_laid_out_as_jax_does(name):
    scenario = BY_NAME[name]
    ours, true = looked_at(name).tree(), scenario.oracle_tree(*scenario.args)
    assert jax.tree_util.tree_structure(ours) == jax.tree_util.tree_structure(true)
    for mine, theirs in zip(jax.tree_util.tree_leaves(ours), jax.tree_util.tree_leaves(true), strict=True):
        assert mine.shape == theirs.shape
        close(mine, theirs, name)


@pytest.mark.parametrize("name", NAMES)
def test_another_point(name):
    """The same plan at a point where nothing is as it was when the plan was made."""
    scenario = BY_NAME[name]
    elsewhere = tuple(0.9 * arg + 0.05 if np.ndim(arg) else arg for arg in _floats(scenario))
    close(looked_at(name).at(*elsewhere).dense(), scenario.expected(*elsewhere), name)


def _floats(scenario):
    return scenario.args if not isinstance(scenario.args[0], dict) else ()


@pytest.mark.parametrize("name", [n for n in NAMES if "reverse" in BY_NAME[n].modes and "forward" in BY_NAME[n].modes])
def test_chain_multiplies_to_the_jacobian(name):
    product = functools.reduce(lambda sofar, link: np.asarray(link.dense()) @ sofar, looked_at(name).chain, np.eye(1))
    close(product, expected(name), name)


# -- transforms of transforms ------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", NAMES)
def test_under_jit_vmap_and_grad(name):
    scenario = BY_NAME[name]
    jacobian = jm.jacobian(scenario.function, scenario.argnums)
    batch = jax.tree_util.tree_map(lambda leaf: jnp.stack([leaf, 0.9 * leaf]), scenario.args)

    def penalty(transform, *args):
        squares = [jnp.sum(jnp.square(b).astype(float)) for b in jax.tree_util.tree_leaves(transform(*args))]
        return sum(squares)

    @jax.jit
    def ours(args, batch):
        penalised = functools.partial(penalty, jacobian)
        slope = jax.grad(penalised, scenario.argnums)(*args) if scenario.differentiable_twice else ()
        return jacobian(*args), jax.vmap(jacobian)(*batch), slope

    inside, stacked, slope = ours(scenario.args, batch)
    outputs = jax.eval_shape(scenario.function, *scenario.args)
    inputs = scenario.inputs(*scenario.args)
    close(as_matrix(inside, outputs, inputs), expected(name), name)
    for k in range(2):
        one = jax.tree_util.tree_map(lambda leaf, k=k: leaf[k], stacked)
        point = jax.tree_util.tree_map(lambda leaf, k=k: leaf[k], batch)
        close(as_matrix(one, outputs, inputs), scenario.expected(*point), name)
    if scenario.differentiable_twice:
        plain = jax.jacfwd if scenario.modes[0] == "forward" else jax.jacrev
        with jax.numpy_dtype_promotion("standard"):
            oracle = functools.partial(penalty, plain(scenario.function, scenario.argnums))
            true = jax.jit(jax.grad(oracle, scenario.argnums))(*scenario.args)
        for mine, theirs in zip(jax.tree_util.tree_leaves(slope), jax.tree_util.tree_leaves(true), strict=True):
            close(mine, theirs, name, rtol=1e-9)


# -- candidates --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["dense", "sparse", "diagonal"])
@pytest.mark.parametrize("name", NAMES)
def test_every_candidate_gives_the_same_numbers(name, kind):
    """Not only the one chosen: at these sizes plain AD nearly always wins."""
    scenario, question = BY_NAME[name], Question(kind)
    transform = Transform(scenario.function, question, scenario.argnums)
    plan = transform.plan(*scenario.args)
    recipes = [c.inner if isinstance(c, Constant) else c for c in plan.planned.candidates]
    distinct = list({id(recipe): recipe for recipe in recipes}.values())
    signature = backend.signature(scenario.args, {}, transform.argnums)
    call = backend.on_leaves(scenario.function, signature, False)
    traced = backend.trace(call, signature)
    leaves = jax.tree_util.tree_leaves(scenario.args)

    @jax.jit
    def answers(moving, others):
        return [
            execute(recipe, question, plan.planned.read_for(recipe), backend.runner(call, traced, moving, others))
            for recipe in distinct
        ]

    true = expected(name)
    if kind != "dense":
        read = plan.planned.entries()
        true = true[read.rows, read.cols]
    found = answers([leaves[p] for p in signature.moving], [leaves[p] for p in signature.others])
    for recipe, numbers in zip(distinct, found, strict=True):
        assert numbers.shape == true.shape, recipe.name
        close(numbers, true, name)
    tried = {recipe.name.removeprefix("plain ") for recipe in distinct}
    assert set(scenario.modes) <= tried
    assert tried.isdisjoint({"forward", "reverse"} - set(scenario.modes))
