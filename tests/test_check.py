"""`jm.check`: right Jacobians pass, and each kind of mistake is found and named."""

import jax.numpy as jnp
import numpy as np
import pytest
from difference_maps import plane, plane_jacobian
from scipy import sparse

import jacmap as jm

X = np.array([1.5, 0.5])


def three(x):
    return jnp.stack([x[0] * x[1], jnp.sin(x[2]) + x[0], x[2] ** 2 * x[1]])


def three_jacobian(x):
    return jnp.array([[x[1], x[0], 0.0], [1.0, 0.0, jnp.cos(x[2])], [0.0, x[2] ** 2, 2 * x[1] * x[2]]])


AT = jnp.array([0.7, -1.2, 0.4])


def test_right_ones_pass():
    for report in (
        jm.check(plane, plane_jacobian, X),
        jm.check(plane, plane_jacobian(X), X),
        jm.check(plane, sparse.csr_array(plane_jacobian(X)), X),
        jm.check(plane, lambda p: [[2 * p[0], -2 * p[1]], [2 * p[1], 2 * p[0]]], X),
        jm.check(three, three_jacobian, AT),
        jm.check(three, jm.jacobian(three, form="sparse"), AT),
    ):
        assert report and not report.wrong and "agree" in str(report)


@pytest.mark.parametrize("i", range(3))
@pytest.mark.parametrize("j", range(3))
@pytest.mark.parametrize("change", [1e-9, 1.0, np.nan])
def test_one_wrong_entry_is_found(i, j, change):
    wrong = np.array(three_jacobian(AT))
    wrong[i, j] += change
    report = jm.check(three, wrong, AT)
    assert not report and report.mask.sum() == 1 and report.mask[i, j]
    (entry,) = report.wrong
    assert (entry.output, entry.input) == (f"y[{i}]", f"x[{j}]")
    assert f"y[{i}]" in str(report)


def changed(at, to):
    def jacobian(x):
        found = np.array(three_jacobian(x))
        found[at] = to(found)
        return found

    return jacobian


MISTAKES = {
    "transposed": (lambda x: three_jacobian(x).T, "it is transposed"),
    "all signs": (lambda x: -three_jacobian(x), "all of it is negated"),
    "all twice": (lambda x: 2 * three_jacobian(x), "all of it is 2 times"),
    "a row missing": (changed(1, lambda J: 0), "row 1 is missing"),
    "a row's sign": (changed(2, lambda J: -J[2]), "row 2 is negated"),
    "a column's half": (changed((slice(None), 1), lambda J: J[:, 1] / 2), "column 1 is 0.5 times"),
    "an entry's sign": (changed((0, 1), lambda J: -J[0, 1]), r"entry (0, 1) is negated"),
    "the 2 of a square": (changed((2, 2), lambda J: J[2, 2] / 2), r"entry (2, 2) is 0.5 times"),
    "an entry missing": (changed((1, 2), lambda J: 0), r"entry (1, 2) is missing"),
    "an entry too many": (changed((0, 2), lambda J: 3.0), r"entry (0, 2) should be zero"),
    "a term missing": (changed((2, 1), lambda J: J[2, 1] - 0.123), r"entry (2, 1) lacks a term"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_named(mistake):
    jacobian, said = MISTAKES[mistake]
    report = jm.check(three, jacobian, AT)
    assert not report
    assert any(said in hint for hint in report.hints), report.hints
    assert said in str(report)


def test_other_shapes():
    def two(x):
        return three(x)[:2]

    report = jm.check(two, lambda x: three_jacobian(x)[:2].T, AT)
    assert not report and "3×2, expected 2×3" in str(report) and "right otherwise" in str(report)
    assert "1 of 3 rows" in str(jm.check(three, lambda x: three_jacobian(x)[:2], AT))
    with pytest.raises(jm.ArgumentError, match="jac: got str"):
        jm.check(three, "matrix", AT)


def test_differences_are_allowed_their_own_error():
    def real(x):
        return plane(np.asarray(x, float))

    report = jm.check(real, plane_jacobian, X)
    assert report and report.approximate and "by differences" in str(report)
    nearly = plane_jacobian(X) + 1e-6
    assert not jm.check(real, nearly, X)
    assert jm.check(real, nearly, X, atol=1e-5)


def test_the_worst_come_first_and_the_rest_is_counted():
    wrong = np.zeros((4, 4)) + np.arange(1.0, 17).reshape(4, 4) ** 3
    report = jm.check(lambda x: x * 1.0, wrong, np.ones(4))
    sizes = [abs(entry.theirs - entry.ours) for entry in report.wrong]
    assert sizes == sorted(sizes, reverse=True) and len(sizes) == 15 + (wrong[0, 0] != 1)
    assert "and 7 more" in str(report)


def test_pytrees_and_several_arguments():
    def f(p, x):
        return {"y": p["w"] * x, "z": jnp.sum(x)[None]}

    p, x = {"w": jnp.array([2.0, 3.0])}, jnp.array([1.0, -1.0])
    assert jm.check(f, jm.jacobian(f, (0, 1)), p, x, argnums=(0, 1))
    blocks = jm.jacobian(f, (0, 1))(p, x)
    blocks["z"] = (blocks["z"][0], 2 * blocks["z"][1])
    report = jm.check(f, blocks, p, x, argnums=(0, 1))
    assert {entry.output for entry in report.wrong} == {"y['z'][0]"}
