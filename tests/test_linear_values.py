"""Least squares, singular values, norms, rank and condition, by every way that is possible, against NumPy and SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_cases import CASES, brusselator, by_every_way, forced, named
from scenarios import draw
from scipy import sparse
from scipy.sparse import linalg as sparse_linalg

import jacmap as jm
from jacmap._lanczos import Products, largest
from jacmap._linear import lstsq


def left_out(case):
    """Ways that cost seconds and show nothing new: LAPACK on the largest, compiled products of every case."""
    dense = ("dense SVD (LAPACK)",) if case.name == "brusselator" else ()
    products = ("LSMR on products", "Lanczos on products", "sums over a few columns at a time")
    return dense + (() if case.name in ("tridiagonal", "wide", "tall and sparse") else products)


# -- least squares -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("case", CASES, ids=str)
def test_least_squares(case):
    b = np.random.default_rng(2).normal(size=(case.dense.shape[0], 2))
    true = np.linalg.lstsq(case.dense, b, rcond=None)[0]
    for way, J in by_every_way(case, "lstsq", without=left_out(case)):
        tolerance = 1e-9 if "LSMR" in way else 1e-11
        np.testing.assert_allclose(J.lstsq(b), true, rtol=tolerance, atol=tolerance * abs(true).max())
        np.testing.assert_allclose(J.lstsq(b[:, 0]), true[:, 0], rtol=tolerance, atol=tolerance * abs(true).max())


def test_a_rank_deficient_sparse_matrix_gets_the_least_norm():
    """The normal equations of a periodic difference have no factors: LSMR takes over."""
    n = 300
    J = jm.linearize(lambda x: jnp.roll(x, 1) - x, draw(50, n))
    assert J.explain("lstsq").chosen == "sparse factors"
    b = np.random.default_rng(3).normal(size=n)
    dense = np.roll(np.eye(n), 1, axis=0) - np.eye(n)
    np.testing.assert_allclose(J.lstsq(b), np.linalg.pinv(dense) @ b, atol=1e-9)


def test_ill_conditioned_least_squares_are_told():
    A = np.vander(np.linspace(0.1, 1, 60), 13)
    with pytest.warns(jm.IllConditionedWarning) as caught:
        jm.linearize(lambda x: A @ x, draw(51, 13)).lstsq(np.ones(60))
    assert f"condition number is about {np.linalg.cond(A):.1e}" in str(caught[0].message)
    assert caught[0].filename == __file__


def test_least_squares_that_do_not_converge_say_so(monkeypatch):
    monkeypatch.setattr(lstsq, "STEPS", -4)
    A = np.random.default_rng(9).normal(size=(60, 49)) * np.logspace(0, -5, 49)
    J = jm.linearize(lambda x: A @ x, draw(51, 49), memory="22kB")
    assert J.explain("lstsq").chosen == "LSMR on products"
    with pytest.raises(jm.ConvergenceError, match=r"LSMR did not reach .* of ‖J‖ ‖r‖; scale"):
        J.lstsq(np.ones(60))


# -- singular values ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("k", [None, 3, 1])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_singular_triples(case, k):
    m, n = case.dense.shape
    k = k and min(k, m, n)
    count, size = k or min(m, n), max(case.singular_values[0], 1e-300)
    for way, J in by_every_way(case, "svd", without=left_out(case), k=k):
        u, s, vh = map(np.asarray, J.svd(k))
        assert u.shape == (m, count) and s.shape == (count,) and vh.shape == (count, n), way
        np.testing.assert_allclose(s, case.singular_values[:count], atol=1e-12 * size)
        np.testing.assert_allclose(u.T @ u, np.eye(count), atol=1e-12)
        np.testing.assert_allclose(vh @ vh.T, np.eye(count), atol=1e-12)
        np.testing.assert_allclose(case.dense @ vh.T, u * s, atol=1e-11 * size)
        if k is None:
            np.testing.assert_allclose((u * s) @ vh, case.dense, atol=1e-12 * size)


def test_a_large_sparse_jacobian_needs_no_dense_matrix():
    J = jm.linearize(brusselator.rhs, brusselator.point())
    assert J.shape == (20_000, 20_000)
    plan = J.explain("svd", k=5)
    assert plan.chosen == "Lanczos on the sparse matrix"
    assert "dense SVD (LAPACK)" in [rejected.name for rejected in plan.rejected]
    u, s, vh = J.svd(5)
    found = J.sparse()
    A = sparse.csr_array((np.asarray(found.data), np.asarray(found.indices).T), shape=J.shape)
    true = sparse_linalg.svds(A, k=5, return_singular_vectors=False)[::-1]
    np.testing.assert_allclose(s, true, rtol=1e-8)
    np.testing.assert_allclose(A @ np.asarray(vh).T, np.asarray(u * s), atol=1e-8 * float(s[0]))


def test_equal_singular_values_are_all_found():
    """A Lanczos iteration may see a multiple value once: what is left over is looked at, too."""
    values = np.array([9.0, 9, 9, 9, 5, 5, 4, *np.linspace(0.1, 1, 53)])
    left, right = (np.linalg.qr(np.random.default_rng(k).normal(size=(60, 60)))[0] for k in (4, 5))
    A = (left * values) @ right
    J = jm.linearize(lambda x: A @ x, draw(52, 60), memory="60kB")
    assert J.explain("svd", k=6).chosen == "Lanczos on products"
    np.testing.assert_allclose(J.svd(6)[1], values[:6], rtol=1e-10)


@pytest.mark.parametrize("k", [2, 5])
@pytest.mark.parametrize("rest", [np.linspace(1.99, 0.1, 295), np.zeros(295)], ids=["close", "zero"])
def test_values_that_one_iteration_misses(k, rest):
    """Where others lie close, Lanczos stops before rounding shows it the rest of a multiple value."""
    values = np.array([2.0] * 5 + list(rest))
    u, s, vh = largest(Products((300, 300), float, values[:, None].__mul__, values[:, None].__mul__), k, "f")
    np.testing.assert_allclose(s, np.full(k, 2.0), rtol=1e-10)
    np.testing.assert_allclose(values[:, None] * vh.T, u * s, atol=1e-8)
    np.testing.assert_allclose(u.T @ u, np.eye(k), atol=1e-10)


def test_a_jacobian_that_happens_to_be_zero():
    J = jm.linearize(lambda x: jnp.roll(x, 1) * x**2, jnp.zeros(200))
    assert J.explain("svd", k=3).chosen == "Lanczos on the sparse matrix"
    u, s, vh = J.svd(3)
    assert not s.any() and J.norm() == 0 and J.rank() == 0 and J.cond() == np.inf
    np.testing.assert_allclose(u.T @ u, np.eye(3))
    with pytest.raises(jm.SingularError, match="all derivatives of output 0 are zero"):
        J.solve(np.ones(200))


@pytest.mark.parametrize("k", [0, -1, 5, 1.5, True, "3"])
def test_bad_counts(k):
    with pytest.raises(jm.ArgumentError, match=r"k: got .*, expected None for all or a count from 1 to 4"):
        named("wide").J.svd(k)


# -- norms -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("case", CASES, ids=str)
def test_norms(case):
    for order in (1, 2, np.inf, "fro", "nuc"):
        if order in (2, "nuc"):
            true = case.singular_values[0] if order == 2 else case.singular_values.sum()
        else:
            true = np.linalg.norm(case.dense, order)
        for way, J in by_every_way(case, "norm", without=left_out(case), ord=order):
            found = J.norm(order)
            assert found.dtype == case.x.dtype, way
            np.testing.assert_allclose(found, true, rtol=1e-12, atol=1e-14)


def test_a_norm_by_columns_holds_a_few_at_a_time():
    """J does not fit at all: its columns pass by in chunks."""
    A = np.random.default_rng(6).normal(size=(50, 64))
    J = jm.linearize(lambda x: A @ x, draw(54, 64), memory="8kB")
    for order in (1, np.inf, "fro"):
        assert J.explain("norm", ord=order).chosen == "sums over a few columns at a time"
        np.testing.assert_allclose(J.norm(order), np.linalg.norm(A, order), rtol=1e-13)


@pytest.mark.parametrize("order", [3, "2", "nuclear", None, True, -1])
def test_bad_orders(order):
    with pytest.raises(jm.ArgumentError, match=r'ord: got .*, expected 1, 2, inf, "fro" or "nuc"'):
        named("wide").J.norm(order)


@pytest.mark.parametrize("ask", [lambda J: J.norm("nuc"), lambda J: J.svd()])
def test_what_is_too_large_says_what_to_do(ask):
    J = jm.linearize(lambda x: jnp.roll(x, 1) * x, draw(55, 4000), memory="50MB")
    with pytest.raises(jm.ArgumentError, match=r"ask for a few singular values, as J.svd\(k=5\), or give linearize"):
        ask(J)


# -- rank and condition ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("case", CASES, ids=str)
def test_rank_and_condition(case):
    true, least = np.linalg.matrix_rank(case.dense), min(case.dense.shape)
    for way, J in by_every_way(case, "rank", without=left_out(case)):
        assert J.rank() == true, way
    for way, J in by_every_way(case, "cond", without=left_out(case)):
        found = J.cond()
        if J._form.bound < least:
            assert found == np.inf, way
        elif true < least:
            assert found > 1e15, way
        else:
            np.testing.assert_allclose(found, case.singular_values[0] / case.singular_values[-1], rtol=1e-9)


@pytest.mark.parametrize("lost", [0, 12])
@pytest.mark.parametrize("shape", ["square", "tall", "wide"])
def test_the_rank_of_a_large_sparse_matrix(shape, lost):
    """Chains of differences, all shuffled; closing a chain loses a direction."""
    n, rng = 240, np.random.default_rng(8)
    A = sparse.lil_array((n, n))
    for start in range(0, n, 20):
        at = np.arange(start, start + 20)
        A[at, at] = 1.0
        A[at[1:], at[:-1]] = -1.0
        if start // 20 < lost:
            A[at[0], at[-1]] = -1.0
    A = A.toarray()
    rows, columns = rng.permutation(n), rng.permutation(n)
    A = A[rows][:, columns]
    if shape == "tall":
        A = np.vstack([A, 2 * A[:50]])
    elif shape == "wide":
        A = np.hstack([A, 3 * A[:, :50]])
    J = jm.linearize(lambda x: A @ x, draw(56, A.shape[1]))
    with forced(J, "rank", "Lanczos on J and its inverse") as J:
        assert J.rank() == n - lost
    with forced(J, "cond", "Lanczos on J and its inverse") as J:
        found = J.cond()
    values = np.linalg.svd(A, compute_uv=False)
    if lost:
        assert found > 1e14
    else:
        np.testing.assert_allclose(found, values[0] / values[-1], rtol=1e-7)


def test_rank_is_bounded_by_the_narrow_cut_and_the_pattern():
    assert named("low rank by a narrow cut").J.rank() == 2
    assert named("zero").J.rank() == 0
    noisy = jm.linearize(lambda x: jnp.ones((3, 1)) @ (jnp.ones((1, 3)) @ x), draw(57, 3))
    assert noisy.rank() == 1 and noisy.cond() == np.inf


@pytest.mark.parametrize("name", ["dense", "tridiagonal", "tall and sparse"])
def test_single_precision(name):
    case = named(name)
    f = lambda x: case.function(x.astype(jnp.float64)).astype(jnp.float32)  # noqa: E731
    J = jm.linearize(f, case.x.astype(jnp.float32))
    dense = np.asarray(jax.jacfwd(f)(case.x.astype(jnp.float32)), float)
    for found, true in [
        (J.svd()[1], np.linalg.svd(dense)[1]),
        (J.norm(2), np.linalg.norm(dense, 2)),
        (J.cond(), np.linalg.cond(dense)),
        (J.lstsq(np.ones(len(dense))), np.linalg.lstsq(dense, np.ones(len(dense)), rcond=None)[0]),
    ]:
        assert found.dtype == jnp.float32
        np.testing.assert_allclose(found, true, rtol=1e-4, atol=1e-6)
    assert J.rank() == min(dense.shape)
