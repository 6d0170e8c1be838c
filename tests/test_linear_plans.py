"""What the plans and the report say, and what unknown questions are answered with."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_cases import brusselator, named
from scenarios import draw, heat

import jacmap as jm


def test_a_plan_tells_what_was_considered():
    plan = jm.linearize(heat, draw(1, 40)).explain("solve")
    lines = str(plan).splitlines()
    assert lines[0] == "plan for 'solve' of a 40×40 Jacobian (banded (lower 1, upper 1))"
    assert lines[1] == "  chosen: banded LU: lower 1, upper 1"
    assert plan.chosen == "banded LU" and plan.question == "solve"
    refused = next(line for line in lines if line.startswith("  division by the diagonal"))
    assert refused.endswith("not possible: J is not diagonal")
    assert lines[-1].startswith("  entries of J: ") and "JVPs" in lines[-1]


@pytest.mark.parametrize("question", ["solve", "lstsq", "svd", "norm", "rank", "cond"])
def test_every_question_has_a_plan_that_is_shared(question):
    J = named("tridiagonal").J
    plan = J.explain(question)
    assert plan.question == question and plan.chosen in str(plan)
    assert J.at(J.args[0] + 1).explain(question) is plan


def test_options_are_part_of_the_plan():
    J = jm.linearize(brusselator.make(20), brusselator.start(20))
    assert str(J.explain("svd", k=5)).startswith("plan for 'svd', k=5, of a 800×800 Jacobian")
    assert J.explain("svd", k=5).chosen == "Lanczos on the sparse matrix"
    assert J.explain("svd").chosen == "dense SVD (LAPACK)"
    assert J.explain("norm", ord="fro").chosen == "sums over the entries"
    assert J.explain("norm", ord=2).chosen == "Lanczos on the sparse matrix"


def test_unknown_questions_list_the_known_ones():
    with pytest.raises(jm.ArgumentError, match="question: got 'inverse', expected one of 'dense'.*'solve'.*'cond'"):
        named("dense").J.explain("inverse")


def test_options_of_other_questions_are_refused():
    with pytest.raises(jm.ArgumentError, match="k: got an option that 'dense' does not have"):
        named("dense").J.explain("dense", k=3)
    with pytest.raises(jm.ArgumentError, match="ord: got an option that 'rank' does not have"):
        named("dense").J.explain("rank", ord=1)


def test_the_inverse_is_an_operator():
    J = named("dense").J
    inverse = J.inverse()
    assert inverse.shape == J.shape
    assert inverse.explain() is J.explain("solve")
    assert "inverse of" in repr(inverse) and "transposed" in repr(inverse.T) and "transposed" not in repr(inverse.T.T)


def test_the_missing_library_is_named(monkeypatch):
    A = 3 * np.eye(100) + np.random.default_rng(4).normal(size=(100, 100)) / 30
    J = jm.linearize(lambda x: A @ x, draw(3, 100), memory="100kB")
    monkeypatch.setitem(sys.modules, "lineax", None)
    with pytest.raises(jm.ArgumentError, match=r"needs lineax: pip install 'jacmap\[linalg\]'"):
        J.solve(np.ones(100))


# -- the report --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "invertible", "said"),
    [
        ("tridiagonal", True, "is locally invertible here: J is 40×40 and invertible (inverse function theorem)"),
        ("wide", False, "has no smooth local inverse here: J is 4×9 and of full row rank: f reaches every"),
        ("tall", False, "J is 9×4 and of full column rank: f is one-to-one near the point"),
        ("low rank by its numbers", False, "it loses 5 directions"),
        ("low rank by a narrow cut", False, "passes through 2 numbers"),
    ],
)
def test_the_report_in_words(name, invertible, said):
    case = named(name)
    report = case.J.locally_invertible()
    assert bool(report) is invertible
    assert said in str(report).splitlines()[0]
    np.testing.assert_allclose(report.largest, case.singular_values[0])
    np.testing.assert_allclose(report.smallest, case.singular_values[-1], atol=1e-13)
    assert report.rank == np.linalg.matrix_rank(case.dense)
    assert report.square == (case.dense.shape[0] == case.dense.shape[1])
    with pytest.raises(AttributeError):
        report.rank = 3


AFFINE = np.array([[2.0, 1], [0, 3]])


@pytest.mark.parametrize(
    ("f", "radius"),
    [
        (lambda x: AFFINE @ x + 1, np.inf),
        (lambda x: x * 2 - jnp.flip(x), np.inf),
        (lambda x: x + x**3, None),
        # The derivative is constant; the function is not affine, and not one-to-one.
        (lambda x: x - 2 * jnp.floor(x), None),
        (lambda x: x + jax.lax.stop_gradient(x**2), None),
        (lambda x: x - 2 * (x > 0).astype(x.dtype), None),
        (lambda x: AFFINE @ x * (1 + 0 * jnp.sum(jnp.sign(x))), None),
    ],
)
def test_the_radius_is_given_only_where_it_is_certain(f, radius):
    report = jm.linearize(f, jnp.array([0.3, 1.4])).locally_invertible()
    assert report
    assert report.radius == radius
    assert ("one-to-one everywhere" in str(report)) == (radius is not None)
