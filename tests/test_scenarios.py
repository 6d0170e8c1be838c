"""Every scenario × every question × every transform, and × every candidate that a planner may choose."""

import functools
import itertools

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


def close(ours, true, name="", rtol=1e-10):
    """Equal up to rounding: that of float32 where a scenario holds float32."""
    rtol = 2e-6 if name == "mixed precision" else rtol
    np.testing.assert_allclose(np.asarray(ours), true, rtol=rtol, atol=rtol * max(1.0, np.abs(true).max(initial=0)))


# -- questions ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", NAMES)
def test_answers(name):
    """Dense, tree, sparse, diagonal, trace and some entries, all of one object."""
    scenario, true = BY_NAME[name], expected(name)
    jacobian = jm.linearize(scenario.function, *scenario.args, argnums=scenario.argnums)
    m, n = jacobian.shape
    assert (m, n) == true.shape
    assert not true[~jacobian.pattern.todense()].any(), "the pattern misses an entry"
    assert np.linalg.matrix_rank(true) <= jacobian.rank_bound

    close(jacobian.dense(), true, name)
    close(jacobian.sparse().todense(), true, name)
    close(jacobian.diagonal(), np.diagonal(true), name)
    close(jacobian.trace(), np.trace(true), name)
    # The corners, one of them twice, and one in the middle: in the order asked.
    rows, columns = [m - 1, 0, m // 2, 0, m - 1], [0, 0, n // 2, n - 1, 0]
    close(jacobian.entries(rows, columns), true[rows, columns], name)

    ours, theirs = jacobian.tree(), scenario.oracle_tree(*scenario.args)
    assert jax.tree_util.tree_structure(ours) == jax.tree_util.tree_structure(theirs)
    for mine, block in zip(jax.tree_util.tree_leaves(ours), jax.tree_util.tree_leaves(theirs), strict=True):
        assert mine.shape == block.shape
        close(mine, block, name)

    # The same plans at a point where nothing is as it was when they were made.
    elsewhere = jax.tree_util.tree_map(lambda leaf: (0.9 * leaf + 0.05).astype(leaf.dtype), scenario.args)
    close(jacobian.at(*elsewhere).dense(), scenario.expected(*elsewhere), name)


@pytest.mark.parametrize("name", NAMES)
def test_products_rows_columns_and_chain(name):
    scenario, true = BY_NAME[name], expected(name)
    jacobian = jm.linearize(scenario.function, *scenario.args, argnums=scenario.argnums)
    m, n = true.shape
    close(jacobian.row(m // 2), true[m // 2], name)
    close(jacobian.column(n - 1), true[:, n - 1], name)
    if "forward" in scenario.modes:
        v = np.random.default_rng(0).uniform(-1, 1, (n, 2))
        close(jacobian @ v, true @ v, name)
        close(jacobian @ v[:, 0], true @ v[:, 0], name)
    if "reverse" in scenario.modes:
        u = np.random.default_rng(1).uniform(-1, 1, (m, 2))
        close(jacobian.T @ u, true.T @ u, name)
        close(jacobian.T @ u[:, 0], true.T @ u[:, 0], name)
    product = np.eye(n)
    for link in jacobian.chain:
        product = np.asarray(link.dense()) @ product
    close(product, true, name)


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
# Sparse answers of all kinds of read-out: both sides, blocks moved as a whole, gathered entries, empty rows.
ALSO_SPARSE = ["arrow", "batch MLP", "heat", "Brusselator", "gather and scatter", "mixed precision"]
CASES = [*itertools.product(NAMES, ["dense", "diagonal"]), *((name, "sparse") for name in ALSO_SPARSE)]


@pytest.mark.parametrize(("name", "kind"), CASES)
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
