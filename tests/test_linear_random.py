"""Random sparse matrices of every shape and rank: all answers against NumPy, singular ones refused."""

import warnings

import jax.numpy as jnp
import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import sparse

import jacmap as jm
from jacmap import Pattern
from jacmap._linear import Form, Inverse, Linear, Subject


@st.composite
def matrices(draw, square=False):
    """Values of random sparse patterns: small, of mixed structure, sometimes with repeated rows."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    m = draw(st.integers(1, 9))
    n = m if square else draw(st.integers(1, 9))
    A = rng.normal(size=(m, n)) * (rng.random((m, n)) < draw(st.sampled_from([0.15, 0.3, 0.6, 1.0])))
    form = draw(st.sampled_from(["any", "lower", "band", "diagonal first"]))
    if form == "lower":
        A = np.tril(A)
    elif form == "band":
        A = np.triu(np.tril(A, 1), -1)
    if form != "any":
        A[np.arange(min(m, n)), np.arange(min(m, n))] = 1 + rng.random(min(m, n))
    if draw(st.booleans()):
        A = A[rng.permutation(m)][:, rng.permutation(n)]
    if m > 1 and draw(st.integers(0, 4)) == 0:
        A[0] = -2 * A[-1]
    return A


def linear(A):
    """The linear algebra of A without a function behind it: nothing has to be compiled."""
    form = Form(Pattern.from_csr(sparse.csr_array(A)), min(A.shape), affine=False)
    return Linear(
        Subject(
            name="f",
            shape=A.shape,
            dtype=A.dtype,
            memory=None,
            form=form,
            leaves=None,
            numbers=lambda: A if form.full else A[form.rows, form.columns],
            push=lambda _, v: A @ v,
            pull=lambda _, u: A.T @ u,
            symbolic=lambda *_: False,
            entries=str,
        )
    )


@settings(max_examples=3)
@given(matrices())
def test_the_stand_in_is_the_jacobian(A):
    rows, columns = np.nonzero(A)
    J = jm.linearize(
        lambda x: jnp.zeros(A.shape[0]).at[rows].add(A[rows, columns] * (x + x**2)[columns]), jnp.zeros(A.shape[1])
    )
    other = linear(A)
    np.testing.assert_array_equal(J.pattern.todense(), A != 0)
    np.testing.assert_allclose(J.svd()[1], other.svd()[1], atol=1e-13)
    assert J.explain("lstsq").candidates == other.plan("lstsq").candidates
    assert str(J.locally_invertible()).partition(" ")[2] == str(other.locally_invertible()).partition(" ")[2]


@settings(max_examples=150)
@given(matrices(square=True), st.integers(0, 100))
def test_systems(A, seed):
    b = np.random.default_rng(seed).normal(size=(len(A), 2))
    condition = np.linalg.cond(A)
    J = linear(A)
    assert bool(J.locally_invertible()) == (np.linalg.matrix_rank(A) == len(A))
    if np.linalg.matrix_rank(A) < len(A):
        try:
            J.solve(b)
        except jm.SingularError:
            return
        raise AssertionError("a singular matrix was solved")
    assume(condition < 1e10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jm.IllConditionedWarning)
        inverse = Inverse(J)
        np.testing.assert_allclose(A @ np.asarray(inverse @ b), b, atol=1e-12 * condition)
        np.testing.assert_allclose(A.T @ np.asarray(inverse.T @ b), b, atol=1e-12 * condition)


@settings(max_examples=150)
@given(matrices())
def test_values(A):
    J = linear(A)
    m, n = A.shape
    r = min(m, n)
    u, s, vh = map(np.asarray, J.svd())
    values = np.linalg.svd(A, compute_uv=False)
    np.testing.assert_allclose(s, values, atol=1e-13)
    np.testing.assert_allclose((u * s) @ vh, A, atol=1e-12)
    np.testing.assert_allclose(u.T @ u, np.eye(r), atol=1e-12)
    np.testing.assert_allclose(vh @ vh.T, np.eye(r), atol=1e-12)
    assert J.rank() == np.linalg.matrix_rank(A) <= J.form.bound
    for order in (1, 2, np.inf, "fro", "nuc"):
        np.testing.assert_allclose(J.norm(order), np.linalg.norm(A, order), rtol=1e-12, atol=1e-15)
    kept = values[values > 1e-14 * max(values[0], 1e-300)]
    assume(not kept.size or kept[0] / kept[-1] < 1e6)
    b = np.ones((m, 1))
    np.testing.assert_allclose(J.lstsq(b), np.linalg.pinv(A, rcond=1e-14) @ b, atol=1e-8)
