"""The probe: a rule that misses a dependence is caught when a plan is built, whatever the question."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scenarios import draw, heat, heat_known, newton_root

import jacmap as jm
from jacmap._probe import probe
from jacmap._transforms import Transform
from jacmap._truth import Truth
from jacmap.engine.backends.jax import function as backend
from jacmap.engine.backends.jax.rules import RULES
from jacmap.engine.backends.rule import Rule
from jacmap.engine.graph import Pattern
from jacmap.engine.plan.question import Question

N = 300
X = draw(1, N)


def diagonal_only(call):
    """What a careless rule of cumsum would say: each output reads the input beside it."""
    return {(0, 0): Pattern.identity(int(np.prod(call.out)))}


def nothing(call):
    return {}


@pytest.fixture
def broken(monkeypatch):
    def breaking(name, local):
        monkeypatch.setitem(RULES, name, Rule("elementwise", local))

    yield breaking


def coupled(x):
    return jnp.cumsum(jnp.sin(x))


def crossed(x):
    """A diagonal and an antidiagonal; without the sine's the plan would add the two up in one pass."""
    return jnp.sin(x)[::-1] + x**2


def crossed_known(x):
    return np.diag(2 * np.asarray(x)) + np.fliplr(np.diag(np.cos(x)[::-1]))


ASK = {
    "dense": lambda f: jm.jacobian(f),
    "sparse": lambda f: jm.jacobian(f, form="sparse"),
    "diagonal": lambda f: jm.diagonal(f),
    "trace": lambda f: jm.trace(f),
}


@pytest.mark.parametrize("question", ["dense", "sparse"])
def test_a_missing_dependence_is_caught(broken, question):
    """The plan takes one pass and would put the sum of a row on the diagonal."""
    broken("cumsum", diagonal_only)
    with pytest.raises(jm.StructureError, match=r"plain AD.*suspected:.*cumsum") as raised:
        ASK[question](coupled)(X)
    assert 'plan="plain"' in str(raised.value)


@pytest.mark.parametrize("question", list(ASK))
def test_a_lost_operation_is_caught(broken, question):
    """No question may answer: even the diagonal would hold what belongs beside it."""
    broken("sin", nothing)
    with pytest.raises(jm.StructureError):
        ASK[question](crossed)(X)


@pytest.mark.parametrize("question", list(ASK))
def test_plans_and_explanations_are_probed_too(broken, question):
    broken("sin", nothing)
    with pytest.raises(jm.StructureError):
        jm.plan(crossed, X, question=question)
    with pytest.raises(jm.StructureError):
        jm.linearize(crossed, X).explain(question)


def test_a_diagonal_with_foreign_entries_is_caught(broken):
    """cumsum said to be diagonal: its diagonal, by one pass of ones, would be the sum of each row."""
    broken("cumsum", diagonal_only)
    with pytest.raises(jm.StructureError):
        jm.diagonal(coupled)(X)
    with pytest.raises(jm.StructureError):
        jm.trace(coupled)(X)


def test_an_error_is_raised_at_every_call(broken):
    """The wrong plan is thrown away, not kept for the second call."""
    broken("sin", nothing)
    jacobian = jm.jacobian(crossed)
    for _ in range(3):
        with pytest.raises(jm.StructureError):
            jacobian(X)


def test_nothing_wrong_remains_once_the_rule_is_right(monkeypatch):
    jacobian, diagonal = jm.jacobian(crossed), jm.diagonal(crossed)
    with monkeypatch.context() as patch:
        patch.setitem(RULES, "sin", Rule("elementwise", nothing))
        for transform in (jacobian, diagonal):
            with pytest.raises(jm.StructureError):
                transform(X)
    true = crossed_known(X)
    for _ in range(2):
        np.testing.assert_allclose(jacobian(X), true, rtol=1e-12)
        np.testing.assert_allclose(diagonal(X), np.diagonal(true), rtol=1e-12)


def test_a_plan_made_inside_a_trace_is_caught_at_the_first_values(broken):
    broken("cumsum", diagonal_only)
    jacobian = jm.jacobian(coupled)
    jax.jit(jacobian)(X)  # nothing can be compared with here
    with pytest.raises(jm.StructureError):
        jacobian(X)


def test_the_escape_it_names_answers(broken):
    broken("cumsum", diagonal_only)
    found = jm.jacobian(coupled, plan="plain")(X)
    np.testing.assert_allclose(found, np.tril(np.ones((N, N))) * np.cos(X), rtol=1e-12)


# -- no false alarms ---------------------------------------------------------------------------------------------
def test_values_that_are_not_finite_are_no_mismatch():
    """Infinite entries cannot be compared; the others are, and a later finite point is."""
    x = jnp.linspace(0.0, 4.0, N)
    jacobian = jm.diagonal(jnp.sqrt)
    assert not np.isfinite(jacobian(x)[0])
    np.testing.assert_allclose(jacobian(x)[1:], 0.5 / np.sqrt(x[1:]), rtol=1e-12)
    only_nan = jm.jacobian(heat)
    assert np.isnan(only_nan(jnp.full(N, jnp.nan))).any()
    np.testing.assert_allclose(only_nan(X), heat_known(X), rtol=1e-12)


def test_cancellation_is_no_mismatch():
    """1 − tanh² of saturated units is rounding noise; in float32 it differs from pass to pass."""
    w = draw(3, 40, 60, low=-30, high=30, dtype=np.float32)
    x = draw(4, 64, 60, low=-30, high=30, dtype=np.float32)
    found = jm.jacobian(lambda x: jnp.tanh(x @ w.T) @ w)(x)
    assert found.dtype == jnp.float32


def test_a_row_that_is_seen_whole_does_not_excuse_the_others(broken):
    """Row 0 of a lower triangular J is its diagonal entry alone, and right; the rest of the diagonal is not."""

    strict, late = np.tril(np.ones((N, N)), -1), np.where(np.arange(N) < 1, 0.0, 1.0)

    def f(x):
        return strict @ x + x**2 + late * jnp.cumsum(jnp.sin(x))

    broken("cumsum", diagonal_only)
    with pytest.raises(jm.StructureError):
        jm.diagonal(f)(X)


@pytest.mark.parametrize("question", ["diagonal", "trace"])
def test_a_mode_that_is_missing_is_not_used(question):
    """Column 0 is seen whole and no row is, but a while loop and complex outputs have no reverse mode."""

    def loop(x):
        roots = newton_root(x)
        return roots[1:] * roots[:-1]

    def spectrum(x):
        return jax.lax.complex(x[1:] * x[:-1], x[1:])

    x = draw(6, 400, low=1, high=2)
    for function in (loop, spectrum):
        plan = jm.plan(function, x, question=question)
        assert plan.passes < 10
        true = jnp.diagonal(jax.jacfwd(function)(x))
        np.testing.assert_allclose(plan(x), true if question == "diagonal" else true.sum(), rtol=1e-10)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_scale_does_not_matter(scale):
    found = jm.jacobian(lambda x: heat(x) * scale)(X)
    np.testing.assert_allclose(np.asarray(found) / scale, heat_known(X), rtol=1e-12)


# -- the comparison itself ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["dense", "sparse", "diagonal"])
def test_one_wrong_number_is_seen(kind):
    """Any entry, off by a thousandth."""
    x = draw(5, 300)
    transform = Transform(heat, Question(kind))
    plan = transform.plan(x)
    signature = backend.signature((x,), {}, (0,))
    call = backend.on_leaves(heat, signature, False)
    traced = backend.trace(call, signature)
    numbers = np.array(transform.call(x).data if kind == "sparse" else transform.call(x))
    assert probe(numbers, plan, transform.question, Truth(call, traced, [x], [])) < 1e-9
    if kind == "diagonal":  # checked at a sample of its entries
        wrong = numbers * 1.001
    else:
        wrong = numbers.copy()
        wrong[tuple(np.argwhere(wrong)[7])] *= 1.001
    with pytest.raises(jm.StructureError):
        probe(wrong, plan, transform.question, Truth(call, traced, [x], []))
