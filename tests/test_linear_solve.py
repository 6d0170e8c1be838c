"""J x = b: by every structure, by every way, and never silently wrong."""

import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_cases import CASES, REGULAR, arrow, by_every_way, named
from scenarios import draw, heat
from test_transforms import Counted

import jacmap as jm

ITERATIVE = "matrix-free GMRES"


def right_sides(case):
    return np.random.default_rng(1).normal(size=(case.dense.shape[0], 2))


def close(found, true, rtol=1e-11):
    np.testing.assert_allclose(np.asarray(found), true, rtol=rtol, atol=rtol * np.abs(true).max())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_cases_have_the_structure_they_are_named_for(case):
    assert case.J.structure.kind == case.kind


@pytest.mark.parametrize("case", REGULAR, ids=str)
def test_the_structure_chooses(case):
    assert case.J.explain("solve").chosen == case.solve


@pytest.mark.parametrize("case", REGULAR, ids=str)
def test_every_way_solves_as_numpy_does(case):
    b = right_sides(case)
    for way, J in by_every_way(case, "solve", without=(ITERATIVE,)):
        inverse = J.inverse()
        found = inverse @ b
        assert found.dtype == case.x.dtype, way
        close(found, np.linalg.solve(case.dense, b))
        close(inverse.T @ b[:, 0], np.linalg.solve(case.dense.T, b[:, 0]))
        close(J.solve(b[:, 1]), np.linalg.solve(case.dense, b[:, 1]))


# One function for all that is solved by products, so that the iteration is compiled once.
MANY, RIGHT = draw(30, 100), np.random.default_rng(3).normal(size=100)
MIXING = np.random.default_rng(4).normal(size=(100, 100))
TOO_LARGE = jm.linearize(lambda x, A: A @ (x + x**3), MANY, 3 * np.eye(100) + MIXING / 30, memory="100kB")


def test_what_does_not_fit_is_solved_by_products():
    assert TOO_LARGE.explain("solve").chosen == ITERATIVE
    assert "needs 156 KiB, above the bound of 97.7 KiB" in str(TOO_LARGE.explain("solve"))
    for A in (TOO_LARGE.args[1], 2 * np.eye(100) - MIXING / 20):
        J, dense = TOO_LARGE.at(MANY, A), A * (1 + 3 * np.asarray(MANY) ** 2)
        close(J.solve(RIGHT), np.linalg.solve(dense, RIGHT), rtol=1e-9)
    close(J.inverse().T @ RIGHT, np.linalg.solve(dense.T, RIGHT), rtol=1e-9)


def test_singular_without_a_factorisation():
    """The right side is in the range: an iteration solves it, and would never notice."""
    A = 3 * np.eye(100) + MIXING / 30
    A[:, 0] = A[:, 1]
    J = TOO_LARGE.at(MANY * 0, A)
    with pytest.raises(jm.SingularError, match="a random z is not recovered"):
        J.solve(A @ np.ones(100))


def test_an_iteration_that_stalls_says_so():
    with pytest.raises(jm.ConvergenceError, match="did not solve J x = b: a relative residual of .* give more memory="):
        TOO_LARGE.at(MANY, MIXING).solve(RIGHT)


# -- other points, dtypes and shapes -----------------------------------------------------------------------------
def test_another_point_plans_nothing():
    counted = Counted(heat)
    x, b = draw(5, 40), np.arange(40.0)
    J = jm.linearize(counted, x)
    J.solve(b)
    plan, runs = J.explain("solve"), counted.runs
    moved = J.at(x + 1)
    close(moved.solve(b), np.linalg.solve(np.asarray(jax.jacfwd(heat)(x + 1)), b))
    assert moved.explain("solve") is plan
    assert counted.runs == runs
    close(J.solve(b), np.linalg.solve(np.asarray(jax.jacfwd(heat)(x)), b))


@pytest.mark.parametrize("case", REGULAR[3:11:3], ids=str)
def test_single_precision(case):
    x, b = case.x.astype(jnp.float32), right_sides(case)
    J = jm.linearize(_single(case.function), x)
    found = J.solve(b)
    assert found.dtype == jnp.float32
    close(found, np.linalg.solve(np.asarray(J.dense(), float), b), rtol=2e-6)


def _single(f):
    """f with its constants in single precision."""
    return lambda x: f(x.astype(jnp.float64)).astype(jnp.float32)


def test_half_precision_is_solved_in_single():
    J = jm.linearize(lambda x: x**3 + x, jnp.asarray([0.5, 1.0], jnp.float16))
    found = J.solve(np.ones(2))
    assert found.dtype == jnp.float16
    close(found, [1 / 1.75, 1 / 4], rtol=2e-3)


def test_complex_outputs_of_real_inputs():
    A = np.array([[1 + 2j, 0.5], [0, 2 - 1j]])
    f = lambda x: A @ (x**3 + x).astype(complex)  # noqa: E731
    x = draw(31, 2)
    D, b = A * (3 * np.asarray(x) ** 2 + 1), np.array([1.0 + 1j, 2.0])
    J = jm.linearize(f, x)
    close(J.solve(b), np.linalg.solve(D, b))
    close(J.inverse().T @ b, np.linalg.solve(D.T, b))
    close(J.svd()[1], np.linalg.svd(D)[1])
    close(J.lstsq(b), np.linalg.solve(D, b))


@pytest.mark.parametrize("b", [[1, 2, 3, 4, 5, 6], np.arange(6), np.arange(6, dtype=np.float32), np.eye(6)])
def test_right_sides_of_other_kinds(b):
    case = named("diagonal")
    close(case.J.solve(b), np.linalg.solve(case.dense, np.asarray(b, float)))


@pytest.mark.parametrize(
    ("b", "said"),
    [
        (np.ones(5), r"b: got shape \(5,\), expected \(6,\) or \(6, k\)"),
        (np.ones((6, 2, 2)), r"b: got shape \(6, 2, 2\)"),
        (1.0, r"b: got shape \(\)"),
        ("b", "b: got str"),
        (np.ones(6) + 1j, "b: got complex numbers for a real Jacobian"),
        (np.array([1, 2, np.nan, 4, 5, 6]), r"b: got NaN or infinity, first at \(2,\)"),
    ],
)
def test_bad_right_sides(b, said):
    with pytest.raises(jm.ArgumentError, match=said):
        named("diagonal").J.solve(b)


@pytest.mark.parametrize("name", ["wide", "tall", "gradient"])
@pytest.mark.parametrize("ask", [lambda J: J.solve(np.ones(J.shape[0])), lambda J: J.inverse()])
def test_other_shapes_are_sent_to_lstsq(name, ask):
    J = named(name).J
    with pytest.raises(jm.ArgumentError, match=r"needs a square Jacobian, got \d×\d; J.lstsq\(b\)"):
        ask(J)


def test_a_jacobian_that_is_not_finite_is_refused():
    with pytest.warns(jm.NotFiniteWarning):
        J = jm.linearize(jnp.sqrt, jnp.array([1.0, np.nan]))
    with pytest.raises(jm.ArgumentError, match="not finite at this point .*the first at row 1, column 1"):
        J.solve(np.ones(2))


# -- singular ----------------------------------------------------------------------------------------------------
FOUR = draw(32, 4)


@pytest.mark.parametrize(
    ("f", "said"),
    [
        (lambda x: x.at[2].set(1.0), "output 2 reads no input"),
        (lambda x: x.at[1].set(x[0]), "no output reads input 1"),
        (lambda x: jnp.stack([x[0], x[0] ** 2, x[1] * x[0] * x[2] * x[3], x[2]]), "outputs 0, 1 read only input 0"),
        (lambda x: jnp.concatenate([x[1:], jnp.zeros(1)]), "output 3 reads no input"),
        (lambda x: jnp.outer(jnp.arange(1.0, 5), jnp.tanh(jnp.ones((1, 4)) @ x)).ravel(), "passes through 1 number"),
    ],
)
def test_singular_at_every_point(f, said):
    J = jm.linearize(f, FOUR)
    with pytest.raises(jm.SingularError, match=rf"singular at every point: .*{said}.*J.lstsq\(b\)"):
        J.solve(np.ones(4))
    assert re.search(rf"note: singular at every point: .*{said}", str(J.explain("solve")))
    assert not J.locally_invertible()


def test_singular_at_every_point_is_said_without_running_f():
    counted = Counted(lambda x: x.at[2].set(1.0))
    J = jm.linearize(counted, FOUR)
    J.structure  # noqa: B018
    runs = counted.runs
    with pytest.raises(jm.SingularError):
        J.solve(np.ones(4))
    assert counted.runs == runs


TURN = np.array([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]])
SINGULAR_HERE = [
    ("division by the diagonal", lambda x: x**2, jnp.array([1.0, 0, 2])),
    ("triangular substitution", lambda x: jnp.cumsum(x**2), jnp.array([1.0, 0, 2])),
    ("banded LU", heat, jnp.sqrt(jnp.full(9, 2 / 3))),
    ("LU of the blocks", lambda x: (x.reshape(2, 3) @ TURN.T).ravel() ** 2, draw(33, 6)),
    ("dense LU", lambda x: TURN @ x, draw(34, 3)),
    ("dense LU", lambda x: jnp.sum(x) ** 2 + x * 0, draw(35, 3)),
    ("dense LU", arrow, jnp.full(20, -3.0)),
    ("sparse LU", lambda x: jnp.roll(x, 1) + jnp.roll(x, -1) - 2 * x + jnp.roll(x, 200) * x**2, jnp.zeros(400)),
]


@pytest.mark.parametrize(
    ("way", "f", "x"), SINGULAR_HERE, ids=[f"{k}-{case[0]}" for k, case in enumerate(SINGULAR_HERE)]
)
def test_singular_at_this_point(way, f, x):
    J = jm.linearize(f, x)
    dense = np.asarray(jax.jacfwd(f)(x))
    if np.linalg.matrix_rank(dense) == len(dense):
        pytest.fail("the case is not singular")
    assert J.explain("solve").chosen == way
    with pytest.raises(jm.SingularError, match=r"singular here: .*J.lstsq\(b\)"):
        J.solve(np.ones(len(x)))
    with pytest.raises(jm.SingularError):
        J.inverse().T @ np.ones(len(x))


# -- ill-conditioned ---------------------------------------------------------------------------------------------
def hilbert(n):
    return 1.0 / (np.arange(n)[:, None] + np.arange(n) + 1)


def estimated(message):
    return float(re.search(r"condition number is about (\S+?)[,;]", str(message))[1])


@pytest.mark.parametrize("n", [7, 9, 10])
def test_ill_conditioned_is_told_with_the_condition_number(n):
    A = hilbert(n)
    J = jm.linearize(lambda x: A @ x, draw(38, n))
    with pytest.warns(jm.IllConditionedWarning) as caught:
        J.solve(np.ones(n))
    true = np.linalg.cond(A, 1)
    assert true / 10 <= estimated(caught[0].message) <= 1.1 * true
    assert caught[0].filename == __file__
    with pytest.warns(jm.IllConditionedWarning) as caught:
        J.inverse() @ np.ones(n)
    assert caught[0].filename == __file__


def test_hopeless_is_an_error():
    A = hilbert(14)
    with pytest.raises(jm.SingularError, match="numerically singular"):
        jm.linearize(lambda x: A @ x, draw(39, 14)).solve(np.ones(14))


@pytest.mark.parametrize("case", REGULAR, ids=str)
def test_condition_estimates_are_close(case):
    found = case.J._linear._solver.condition
    true = np.linalg.cond(case.dense, 1)
    assert true / 4 <= found <= true * (1 + 1e-9)


def test_units_alone_make_no_garbage():
    """Rows and columns scaled by 1e±12: the condition number is huge, the solution is not worse for it."""
    A = np.random.default_rng(6).normal(size=(6, 6))
    rows, columns = 10.0 ** np.array([0, 6, -6, 12, -12, 0]), 10.0 ** np.array([-9, 0, 9, 0, 3, -3])
    J = jm.linearize(lambda x: (rows[:, None] * A * columns) @ x, draw(40, 6))
    b = np.arange(1.0, 7)
    with pytest.warns(jm.IllConditionedWarning, match="once rows and columns are scaled"):
        found = J.solve(b)
    np.testing.assert_allclose(found * columns, np.linalg.solve(A, b / rows), rtol=1e-10)


def test_the_scaled_condition_decides_in_single_precision_too():
    J = jm.linearize(lambda x: jnp.array([1.0, 1e-20], jnp.float32) * x, jnp.ones(2, jnp.float32))
    with pytest.warns(jm.IllConditionedWarning):
        np.testing.assert_allclose(J.solve(np.ones(2)), [1, 1e20], rtol=1e-6)


def test_well_conditioned_is_not_told():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for case in REGULAR:
            case.J.at(case.x).solve(right_sides(case))
