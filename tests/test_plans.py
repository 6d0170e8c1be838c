"""Golden plans: known structures with their proven numbers of passes, and what a printed plan says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scenarios import BY_NAME, arrow, brusselator, draw, heat, newton_root, reverse_only, shifted_sum

import jacmap as jm
from jacmap.engine.backends.jax.rules import RULES

RNG = np.random.default_rng(0)
W1, W2 = RNG.normal(size=(40, 60)), RNG.normal(size=(60, 6))
V1, V2 = RNG.normal(size=(6, 60)), RNG.normal(size=(60, 40))
LAYERS = [RNG.normal(size=shape) / 8 for shape in ((64, 196), (8, 64), (64, 8), (196, 64))]


def autoencoder(x):
    for w in LAYERS:
        x = jnp.tanh(w @ x)
    return x


def wide_batch(x):
    return jnp.tanh(x @ W1) @ W2


def tall_batch(x):
    return jnp.tanh(x @ V1) @ V2


D = 64
STRICT, LOWER = np.tril(np.ones((D, D)), -1), np.tril(np.ones((D, D)))
A, B, C = RNG.normal(size=(3, D, D)) / 8


def autoregressive(x):
    """Each entry is scaled and shifted by what the entries before it say, as in a masked autoregressive flow."""
    hidden = jnp.tanh((A * STRICT) @ x)
    return x * jnp.exp((B * LOWER) @ hidden) + (C * LOWER) @ hidden


def products(x):
    return x * jnp.roll(x, 1)


def smoothed(x):
    return jnp.convolve(jnp.tanh(x), jnp.arange(1.0, 6.0), mode="same")


# name, function, point, question, (JVPs, VJPs) and why no plan can do with fewer.
GOLDEN = [
    ("tridiagonal", heat, draw(1, 2000), "dense", (3, 0)),  # a row of three entries
    ("tridiagonal", heat, draw(1, 2000), "sparse", (3, 0)),
    ("diagonal", jnp.sin, draw(2, 2000), "dense", (1, 0)),
    ("diagonal", jnp.sin, draw(2, 2000), "trace", (1, 0)),
    ("diagonal of a tridiagonal", heat, draw(3, 2000), "diagonal", (1, 0)),  # neighbours' tangents dropped
    ("trace of a tridiagonal", heat, draw(3, 2000), "trace", (1, 0)),
    ("batch, few outputs", wide_batch, draw(4, 32, 40), "dense", (0, 6)),  # blocks of 6×40
    ("batch, few inputs", tall_batch, draw(5, 32, 6), "dense", (6, 0)),  # blocks of 40×6
    ("arrow", arrow, draw(6, 2000), "sparse", (2, 1)),  # one row aside: the rest needs two
    ("bottleneck of 8", autoencoder, draw(7, 196), "dense", (8, 8)),  # J = U V through 8 values
    ("affine", lambda x: LAYERS[0] @ x, draw(8, 196), "dense", (0, 0)),
    ("affine", shifted_sum, draw(9, 50), "sparse", (0, 0)),
    ("autoregressive", autoregressive, draw(10, D), "diagonal", (1, 0)),
    ("autoregressive", autoregressive, draw(10, D), "trace", (1, 0)),
    ("odd ring", products, draw(11, 1001), "sparse", (3, 0)),  # an odd cycle has no 2-colouring
    ("even ring", products, draw(11, 1000), "sparse", (2, 0)),
    ("5-point stencil in 1-D", smoothed, draw(12, 500), "sparse", (5, 0)),
    ("constant", lambda x: jnp.ones(3), draw(13, 4), "dense", (0, 0)),
    ("gradient", lambda x: jnp.sum(x**3), draw(14, 100), "dense", (0, 1)),
    ("curve", lambda t: jnp.sin(t * jnp.arange(50.0)), jnp.asarray(0.3), "dense", (1, 0)),
]


@pytest.mark.parametrize(
    ("function", "x", "question", "passes"),
    [case[1:] for case in GOLDEN],
    ids=[f"{case[0]}, {case[3]}" for case in GOLDEN],
)
def test_golden_passes(function, x, question, passes):
    plan = jm.plan(function, x, question=question)
    inner = plan.chosen
    found = (0, 0) if plan.passes == 0 else (inner.forward, inner.reverse)
    assert found == passes, f"\n{plan}"
    assert plan.passes == sum(passes)


def test_brusselator_reaches_its_lower_bound_or_near():
    """A 5-point stencil in two species: a row has six entries; nobody is known to do with fewer than 8 colours."""
    plan = jm.plan(brusselator, draw(15, 2, 20, 20), question="sparse")
    assert 6 <= plan.planned.lower_bound <= plan.passes <= 8


@pytest.mark.parametrize(
    ("function", "x"),
    [(autoregressive, draw(10, D) / 4), (heat, draw(3, 300)), (arrow, draw(3, 300))],
    ids=["autoregressive", "heat", "arrow"],
)
def test_few_passes_are_right(function, x):
    """At sizes where the structured plan is the chosen one."""
    true = np.asarray(jax.jacfwd(function)(x))
    diagonal = jm.plan(function, x, question="diagonal")
    assert diagonal.passes <= 2
    np.testing.assert_allclose(diagonal(x), np.diagonal(true), rtol=1e-10)
    np.testing.assert_allclose(jm.plan(function, x, question="trace")(x), np.trace(true), rtol=1e-10)
    np.testing.assert_allclose(jm.jacobian(function, form="sparse")(x).todense(), true, rtol=1e-10, atol=1e-14)


def test_bracketed_jacobian_is_right():
    x = draw(7, 196)
    assert jm.plan(autoencoder, x).chosen.name == "cut and bracket"
    np.testing.assert_allclose(jm.jacobian(autoencoder)(x), jax.jacrev(autoencoder)(x), rtol=1e-9, atol=1e-14)


def test_batch_jacobian_is_right():
    for function, shape in ((wide_batch, (32, 40)), (tall_batch, (32, 6))):
        x = draw(4, *shape)
        np.testing.assert_allclose(jm.jacobian(function)(x), jax.jacrev(function)(x), rtol=1e-9, atol=1e-14)


# -- modes -------------------------------------------------------------------------------------------------------
def sparse_reverse_only(x):
    return reverse_only(x)[1:] + x[:-1] ** 2


@pytest.mark.parametrize("question", ["dense", "sparse", "diagonal", "trace"])
def test_custom_vjp_is_never_pushed_forward(question):
    plan = jm.plan(sparse_reverse_only, draw(1, 400), question=question)
    assert plan.chosen.reverse and not plan.chosen.forward
    assert not any(candidate.forward for candidate in plan.planned.candidates)
    (told,) = [line for line in str(plan).splitlines() if "not possible" in line]
    assert "plain forward" in told and "custom_vjp" in told and "forward mode" in told


@pytest.mark.parametrize("question", ["dense", "sparse", "diagonal", "trace"])
def test_while_loop_is_never_pulled_back(question):
    plan = jm.plan(newton_root, draw(2, 400, low=1, high=2), question=question)
    assert plan.chosen.forward == 1 and not plan.chosen.reverse
    assert not any(candidate.reverse for candidate in plan.planned.candidates)
    (told,) = [line for line in str(plan).splitlines() if "not possible" in line]
    assert "plain reverse" in told and "while" in told and "reverse mode" in told


def test_bracket_uses_each_segment_in_a_mode_it_has():
    """Forward only before the bottleneck, reverse only after it: no plain mode exists, the bracket does."""

    def f(x):
        narrow = jnp.tanh(LAYERS[1] @ (LAYERS[0] @ newton_root(x + 2)))
        return reverse_only(LAYERS[3] @ (LAYERS[2] @ narrow))

    x = draw(3, 196)
    plan = jm.plan(f, x)
    assert plan.chosen.name == "cut and bracket"
    assert {name for name, _ in plan.planned.rejected} == {"plain forward", "plain reverse"}

    def smooth(x):
        return (LAYERS[3] @ (LAYERS[2] @ jnp.tanh(LAYERS[1] @ (LAYERS[0] @ jnp.sqrt(x + 2))))) ** 3

    np.testing.assert_allclose(plan(x), jax.jacrev(smooth)(x), rtol=1e-9, atol=1e-12)


# -- what a plan says --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("question", ["dense", "sparse", "diagonal", "trace"])
def test_printed_plan(question):
    x = draw(1, 2000)
    plan = jm.linearize(heat, x).explain(question)
    text = str(plan)
    lines = text.splitlines()
    assert lines[0] == f"plan for '{question}' of a 2000×2000 Jacobian (banded (lower 1, upper 1))"
    assert lines[1] == f"  chosen: {plan.summary}"
    assert "(instead of 2000 JVPs or 2000 VJPs)" in plan.summary
    head = next(line for line in lines if line.startswith("  candidate"))
    assert [head.index(word) for word in ("passes", "cost", "memory", "verdict")] == sorted(
        head.index(word) for word in ("passes", "cost", "memory", "verdict")
    )
    for candidate in plan.planned.candidates:
        assert f"  {candidate.name}" in text
    assert text.count("chosen;") + text.count("chosen\n") >= 1
    assert "probed against plain AD: relative difference" in lines[-1]


def test_summary_counts_one_pass_as_one():
    assert jm.plan(lambda x: jnp.sum(x**3), draw(1, 6)).summary == "plain reverse: 1 VJP"
    assert jm.plan(jnp.sin, draw(1, 500)).summary == "column colouring: 1 JVP (instead of 500 JVPs or 500 VJPs)"
    for scenario in ("gradient", "scalar input", "scalar to scalar", "heat"):
        plan = jm.plan(BY_NAME[scenario].function, *BY_NAME[scenario].args)
        assert "1 JVPs" not in str(plan) and "1 VJPs" not in str(plan)


def test_the_plan_shown_is_the_plan_that_runs():
    """A plan is callable, at other points too, and answers its own question."""
    x = draw(1, 300)
    diagonal = 3 * np.asarray(x + 1) ** 2 - 2
    np.testing.assert_allclose(jm.plan(heat, x, question="trace")(x + 1), diagonal.sum(), rtol=1e-12)
    np.testing.assert_allclose(jm.plan(heat, x, question="diagonal")(x + 1), diagonal, rtol=1e-12)
    np.testing.assert_allclose(jm.jacobian(heat).plan(x)(x + 1).diagonal(), diagonal, rtol=1e-12)


def test_candidates_are_told_apart_by_name():
    """Also where there is nothing to ask, so that neither side has a colour."""
    for name, question in [("constant", "dense"), ("permuted", "diagonal"), ("heat", "diagonal")]:
        plan = jm.plan(BY_NAME[name].function, *BY_NAME[name].args, question=question)
        names = [candidate.name for candidate in plan.planned.candidates]
        assert len(set(names)) == len(names), f"{name}: {names}"


def test_over_estimates_are_noted(monkeypatch):
    """What no rule knows counts as full, and the plan says so."""
    monkeypatch.delitem(RULES, "cumsum")
    plan = jm.plan(lambda x: jnp.cumsum(x**2), draw(1, 4))
    assert plan.planned.pattern.is_full
    assert plan.graph.notes()
    for note in plan.graph.notes():
        assert f"note: {note}" in str(plan)


def test_memory_is_told():
    plan = jm.plan(heat, draw(1, 2000), memory="100KB")
    assert plan.chosen.chunk == 0 or "seeds at a time" in str(plan)
    chunked = jm.plan(lambda x: jnp.sin(jnp.outer(x, x) @ x), draw(1, 100), memory="1MB")
    assert chunked.chosen.memory <= 1e6
    assert f"({chunked.chosen.chunk} seeds at a time)" in str(chunked)


def test_the_gradient_of_a_diagonal_whose_tangents_were_dropped():
    # Leaving an edge out of the tangent must not cut the derivative of the answer along that edge.
    below = jnp.asarray(np.tril(np.random.default_rng(0).standard_normal((300, 300)), -1)) / 16

    def f(x):
        return x * jnp.exp(jnp.tanh(below @ x))

    x = jnp.linspace(0.1, 1.0, 300)
    assert jm.plan(f, x, question="diagonal").chosen.dropped
    ours = jax.grad(lambda x: jm.diagonal(f)(x).sum())(x)
    true = jax.grad(lambda x: jnp.trace(jax.jacfwd(f)(x)))(x)
    np.testing.assert_allclose(ours, true, rtol=1e-10)
