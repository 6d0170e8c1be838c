"""Memory plans: the gradient is f's, the budget is kept by XLA's own figure, predictions come near it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jacmap as jm
from jacmap._data_path import data_path

# Memory is a figure of XLA's optimiser.
pytestmark = pytest.mark.usefixtures("optimised")

OPTIONS = {"work": "counted", "progress": False}


def weights(count, width, seed=0, dtype=jnp.float32):
    keys = jax.random.split(jax.random.key(seed), count)
    return [jax.random.normal(key, (width, width), dtype) * width**-0.5 for key in keys]


def mlp(ws, x):
    for w in ws:
        x = jnp.tanh(x @ w)
    return jnp.sum(x * x)


def attention(params, tokens):
    """Two blocks; integer data, a mask shared by the blocks, residuals, tied embedding."""
    length = tokens.shape[-1]
    mask = jnp.tril(jnp.ones((length, length), bool))
    h = params["embed"][tokens]
    for p in params["blocks"]:
        q, k, v = (h @ p[name] for name in ("q", "k", "v"))
        scores = jnp.where(mask, jnp.einsum("bsd,btd->bst", q, k), jnp.array(-1e9, h.dtype))
        h = h + jax.nn.softmax(scores) @ v
        h = h + jax.nn.gelu(h @ p["up"]) @ p["up"].T
    logits = h @ params["embed"].T
    return jnp.mean(jax.nn.logsumexp(logits, -1))


def attention_case(width=16, batch=2, length=12):
    rng = np.random.default_rng(0)

    def draw(*shape):
        return jnp.asarray(rng.normal(0, 0.3, shape), jnp.float32)

    blocks = [{name: draw(width, width) for name in ("q", "k", "v", "up")} for _ in range(2)]
    return {"embed": draw(20, width), "blocks": blocks}, jnp.asarray(rng.integers(0, 20, (batch, length)))


def recurrent(params, xs, target):
    def step(h, x):
        h = jnp.tanh(h @ params["a"] + x @ params["b"])
        return h, h.sum()

    h, sums = jax.lax.scan(step, jnp.zeros((xs.shape[1], 16), xs.dtype), xs, reverse=True)
    return jnp.mean((h - target) ** 2) + jnp.mean(sums**2)


def recurrent_case(steps=11, batch=64):
    rng = np.random.default_rng(1)
    params = {"a": jnp.asarray(rng.normal(0, 0.2, (16, 16))), "b": jnp.asarray(rng.normal(0, 0.2, (5, 16)))}
    return params, jnp.asarray(rng.normal(size=(steps, batch, 5))), jnp.asarray(rng.normal(size=(batch, 16)))


def gradients_agree(f, args, plan, *rows):
    expected = jax.tree_util.tree_leaves(jax.jit(jax.grad(f))(*args))
    for row in rows or (plan.chosen,):
        found = jax.tree_util.tree_leaves(jax.jit(jax.grad(plan.apply(row.name)))(*args))
        for a, b in zip(found, expected, strict=True):
            scale = float(jnp.abs(b).max()) + 1e-30
            assert float(jnp.abs(a - b).max()) <= 20 * jnp.finfo(b.dtype).eps * scale, row.name


@pytest.fixture(scope="module")
def deep():
    args = weights(12, 64), jnp.ones((512, 64), jnp.float32) * jnp.linspace(-1, 1, 64, dtype=jnp.float32)
    return args, jm.memory_plan(mlp, *args, budget=0.5, compiled="all", **OPTIONS)


def test_every_schedule_gives_the_gradient(deep):
    args, plan = deep
    gradients_agree(mlp, args, plan, *plan.schedules)
    assert float(plan.apply()(*args)) == pytest.approx(float(mlp(*args)), rel=1e-6)


def test_the_budget_is_kept_by_xlas_own_figure(deep):
    args, plan = deep
    figure = jax.jit(jax.grad(plan.apply())).lower(*args).compile().memory_analysis().temp_size_in_bytes
    whole = jax.jit(jax.grad(mlp)).lower(*args).compile().memory_analysis().temp_size_in_bytes
    assert plan.chosen.measured == figure <= plan.budget == 0.5 * whole
    assert plan.chosen is not plan.keep_all and plan.keep_all.measured == whole


def test_the_recomputation_is_not_undone_by_the_compiler(deep):
    """What `jax.checkpoint` alone does not reach on the CPU: fewer bytes, and more operations."""
    args, plan = deep
    programs = {
        name: jax.jit(jax.grad(plan.apply(name))).lower(*args).compile() for name in ("keep all", "recompute all")
    }
    flops = {name: program.cost_analysis()["flops"] for name, program in programs.items()}
    one = 2 * 512 * 64 * 64
    # 12 layers: 11·12/2 = 66 layers again, of which the last in each run is not needed by its VJP alone
    assert flops["recompute all"] - flops["keep all"] > 50 * one
    small, large = (programs[n].memory_analysis().temp_size_in_bytes for n in ("recompute all", "keep all"))
    assert small < 0.4 * large


def test_predictions_are_near_xlas_figure(deep):
    _, plan = deep
    state = 512 * 64 * 4
    for row in plan.schedules:
        assert abs(row.peak - row.measured) <= max(0.15 * row.measured, 1.1 * state), row.name


def test_integer_data_masks_and_shared_weights():
    args = attention_case()
    plan = jm.memory_plan(attention, *args, budget=0.6, **OPTIONS)
    gradients_agree(attention, args, plan)
    assert len(plan.segments) > 4


def test_a_scan_keeps_every_kth_carry():
    args = recurrent_case()
    path = data_path(recurrent, args)
    (scan,) = [k for k, stretch in enumerate(path.stretches) if stretch.steps]
    expected = jax.jit(jax.grad(recurrent))(*args)
    for chunk in (1, 3, 11):

        def chunked(params, xs, target, chunk=chunk):
            state = ()
            operands = path.operands((params, xs, target))
            for k, (stretch, own) in enumerate(zip(path.stretches, operands, strict=True)):
                state = stretch.run(state, own, chunk if k == scan else 0)
            return path.output(state)

        found = jax.jit(jax.grad(chunked))(*args)
        for name in expected:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-12, atol=1e-15)


def test_a_scan_fits_into_a_budget():
    args = recurrent_case(steps=25, batch=128)
    plan = jm.memory_plan(recurrent, *args, budget=0.5, **OPTIONS)
    assert plan.chosen.measured <= 0.5 * plan.keep_all.measured
    assert "steps" in plan.chosen.describe() or "step by step" in plan.chosen.describe()
    gradients_agree(recurrent, args, plan)


def test_an_impossible_budget_is_refused_with_the_smallest_possible():
    args = weights(8, 32), jnp.ones((256, 32), jnp.float32)
    with pytest.raises(jm.ArgumentError, match="budget: got 1 kB, but no schedule of mlp needs less than") as told:
        jm.memory_plan(mlp, *args, budget="1kB", **OPTIONS)
    least = float(str(told.value).split("needs less than ")[1].split(" kB")[0]) * 1000
    plan = jm.memory_plan(mlp, *args, budget=least * 1.01, **OPTIONS)
    assert plan.chosen.measured <= least * 1.01


@pytest.mark.parametrize("budget", ["many", -1, 0, "12 apples", True])
def test_a_budget_that_is_none_is_refused(budget):
    with pytest.raises(jm.ArgumentError, match="^budget: got"):
        jm.memory_plan(mlp, weights(2, 4), jnp.ones((2, 4)), budget=budget, **OPTIONS)


def test_other_faults_are_told():
    ws, x = weights(2, 4), jnp.ones((2, 4), jnp.float32)
    with pytest.raises(jm.ArgumentError, match="expected one scalar"):
        jm.memory_plan(lambda w, x: x @ w[0], ws, x, **OPTIONS)
    with pytest.raises(jm.ArgumentError, match="^work: got 'guessed'"):
        jm.memory_plan(mlp, ws, x, work="guessed")
    plan = jm.memory_plan(mlp, ws, x, **OPTIONS)
    # Activations that fit into the buffers of the gradients cost nothing: no schedule needs less than keep-all.
    big = weights(3, 64), jnp.ones((4, 64), jnp.float32)
    whole = jax.jit(jax.grad(mlp)).lower(*big).compile().memory_analysis().temp_size_in_bytes
    with pytest.raises(jm.ArgumentError, match="needs less than") as told:
        jm.memory_plan(mlp, *big, budget=1, **OPTIONS)
    assert f"{whole / 1e3:.3g} kB" in str(told.value) or f"{whole} B" in str(told.value)
    with pytest.raises(jm.ArgumentError, match="other shapes"):
        plan.apply()(ws, x[:1])
    with pytest.raises(jm.ArgumentError, match="schedule: got 'best', expected one of 'keep all'"):
        plan.apply("best")


def test_the_printed_form_the_dictionary_and_the_plot(deep):
    import json

    import matplotlib

    matplotlib.use("Agg")
    _, plan = deep
    text = str(plan)
    assert "optimum for the budget is chosen" in text and max(map(len, text.splitlines())) <= 100
    found = json.loads(json.dumps(plan.to_dict()))
    assert found["chosen"] == "optimum for the budget" and len(found["segments"]) == len(plan.segments)
    assert {row["name"] for row in found["schedules"]} >= {"keep all", "recompute all", "every 4th state"}
    ax = plan.plot()
    xs = [line.get_xdata()[0] for line in ax.lines if line.get_marker() == "o"]
    assert pytest.approx(100 * plan.chosen.peak / plan.keep_all.peak) in xs
    matplotlib.pyplot.close("all")


def test_one_argument_and_several_differentiated():
    x = jnp.linspace(-1.0, 1.0, 6)

    def f(x, y):
        return jnp.sum(jnp.outer(jnp.sin(x), y) @ x)

    plan = jm.memory_plan(lambda x: f(x, x), x, **OPTIONS)
    np.testing.assert_allclose(jax.grad(plan.apply())(x), jax.grad(lambda x: f(x, x))(x), rtol=1e-12)
    both = jm.memory_plan(f, x, x + 1, argnums=(0, 1), **OPTIONS)
    for a, b in zip(jax.grad(both.apply(), (0, 1))(x, x + 1), jax.grad(f, (0, 1))(x, x + 1), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
