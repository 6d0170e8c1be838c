"""Covariance, variances and rank from sparse factors against the dense inverse and dense singular values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jacmap as jm
from jacmap.least_squares import _covariance, _selected

DRAW = np.random.default_rng(4)
LINKS = DRAW.integers(0, 150, (2, 260))
SEEN = DRAW.integers(0, 6, (2, 130))


def chain(x):
    return jnp.concatenate([3 * (x[1:] - x[:-1] ** 2), 0.7 - x])


def net(x):
    """A random graph: neither narrow nor an arrow."""
    return jnp.concatenate([x[LINKS[0]] - 2 * x[LINKS[1]], 0.5 * x**2 - 0.3])


def bundle(x):
    cameras, points = x[:24].reshape(6, 4), x[24:].reshape(65, 2)
    near = points[np.arange(130) % 65]
    seen = cameras[SEEN].sum(0)
    pixels = seen[:, :2] * near + seen[:, 2:] + near**2
    return jnp.concatenate([(pixels - 1).ravel(), 0.3 * (x - 1)])


def blocks(x):
    return jnp.concatenate([(x.reshape(60, 2) @ np.array([[1.0, 2.0], [0.5, -1.0]]) - 1).ravel(), x**2])


CASES = {"banded": (chain, 150), "sparse": (net, 150), "schur": (bundle, 154), "block-diagonal": (blocks, 120)}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """No J is small, and few columns are solved for at once: the roads of large problems."""
    monkeypatch.setattr(_covariance, "SMALL", 0.0)
    monkeypatch.setattr(_covariance, "CHUNK", 2**16)
    monkeypatch.setattr(_selected, "CHUNK", 2**14)


@pytest.mark.parametrize(("way", "held"), [*((way, False) for way in CASES), ("sparse", True), ("schur", True)])
def test_selected_entries_are_those_of_the_dense_inverse(way: str, held: bool) -> None:
    f, n = CASES[way]
    low = np.where(np.arange(n) % 7 == 0, 1.0, -np.inf) if held else np.full(n, -np.inf)
    found = jm.least_squares(f, np.ones(n), bounds=(low, np.inf), linear_solver=way)
    free = found.active_mask == 0
    assert found.plan.name == way and held == (not free.all())
    J = np.asarray(jax.jacfwd(f)(found.x))[:, free]
    truth = np.zeros((n, n))
    truth[np.ix_(free, free)] = np.linalg.inv(J.T @ J) * 2 * found.cost / (len(J) - free.sum())
    assert found.rank == free.sum() == np.linalg.matrix_rank(J)
    top = np.abs(truth).max()
    assert np.allclose(found.covariance(), truth, atol=1e-9 * top)
    assert np.allclose(found.variances(), np.diag(truth), atol=1e-9 * top)
    chosen = [n - 1, 3, 30, 3]
    assert np.allclose(found.covariance(chosen), truth[np.ix_(chosen, chosen)], atol=1e-9 * top)
    assert np.allclose(found.variances(chosen, absolute_sigma=True) * 2 * found.cost / (len(J) - free.sum()),
                       np.diag(truth)[chosen], atol=1e-9 * top)  # fmt: skip


def test_unknowns_are_named_by_index_or_mask() -> None:
    def f(p, y):
        return {"near": p["a"] * jnp.arange(3.0)[:, None] - y, "prior": p["b"] - 0.1 * p["a"].sum(), "a": p["a"] - 1}

    start = {"a": jnp.ones((3, 2)), "b": jnp.array(0.0)}
    found = jm.least_squares(f, start, args=(DRAW.standard_normal((3, 2)),), linear_solver="sparse")
    full = found.covariance(absolute_sigma=True)
    assert found.index["b"] == 6 and (found.index["a"] == np.arange(6).reshape(3, 2)).all()
    assert np.allclose(found.covariance(found.index["a"][1], True), full[2:4, 2:4])
    assert np.allclose(found.covariance({"x": found.index["b"], "y": 0}, True), full[np.ix_([6, 0], [6, 0])])
    assert np.allclose(found.covariance(np.arange(7) > 4, True), full[5:, 5:])
    for wrong in (7, [True, False], 1.0, []):
        with pytest.raises(jm.ArgumentError, match="unknowns: got"):
            found.covariance(wrong)


@pytest.mark.parametrize("way", ["sparse", "schur", "banded"])
@pytest.mark.parametrize("lost", [1, 6])
def test_a_singular_jacobian_is_counted_and_named(way: str, lost: int) -> None:
    """Free chains, or points seen from free cameras: each may be moved as a whole."""

    def f(x):
        p = x.reshape(lost, -1)
        if way == "schur":
            return (p[:, None, 4:] - p[:, :4, None] - 0.1).ravel()
        return jnp.concatenate([(p[:, 1:] - p[:, :-1] - 0.1).ravel(), (p[:, 2:] - p[:, :-2] - 0.3).ravel()])

    found = jm.least_squares(f, np.zeros(60 * lost), linear_solver=way)
    assert found.rank == 59 * lost
    with pytest.raises(jm.SingularError, match=f"rank {59 * lost} for {60 * lost} unknowns"):
        found.covariance([0])
    with pytest.raises(jm.SingularError, match="take part; fix one or add data"):
        found.variances()


@pytest.mark.parametrize(("weight", "said"), [(2e-3, "digits hold"), (1e-11, "too large for the factors")])
def test_an_ill_conditioned_jacobian_is_told_but_not_called_singular(weight: float, said: str) -> None:
    def f(x):
        return jnp.concatenate([x[1:] - x[:-1] - 0.1, weight * x[:1], x[2:] - x[:-2]])

    found = jm.least_squares(f, np.zeros(80), linear_solver="sparse")
    assert found.rank == 80 == np.linalg.matrix_rank(np.asarray(jax.jacfwd(f)(found.x)))
    with (pytest.warns(jm.IllConditionedWarning) if weight == 2e-3 else pytest.raises(jm.SingularError)) as told:
        found.covariance([5, 6])
    assert said in str(told[0].message if weight == 2e-3 else told.value)


def test_a_matrix_that_would_not_fit_is_refused() -> None:
    found = jm.least_squares(chain, np.full(20_000, 0.9))
    with pytest.raises(jm.ArgumentError, match="20000, whose covariance takes 3.2 GB; name those"):
        found.covariance()
    near = found.covariance([10, 11], absolute_sigma=True)
    J = jax.jacfwd(chain)(found.x[:200])
    assert np.allclose(near, np.linalg.inv(J.T @ J)[10:12, 10:12], rtol=1e-9)
    assert np.isclose(found.variances(absolute_sigma=True)[10], near[0, 0], rtol=1e-12)


def test_cancelled_fill_sends_the_diagonal_to_columns() -> None:
    from scipy.sparse import csr_array

    H = np.diag([4.0, 4, 4, 4]) + np.eye(4)[::-1]
    H[0, 1] = H[1, 0] = 0.5
    factors = _selected.Cholesky(csr_array(H))
    assert np.allclose(factors.diagonal(), np.diag(np.linalg.inv(H)))
    assert np.allclose(factors._by_columns(), np.diag(np.linalg.inv(H)))
