"""Patterns of black boxes: given, probed, missed; and the number of calls that they save."""

import numpy as np
import pytest
from difference_maps import chain, chain_jacobian, gated
from scipy import sparse

import jacmap as jm

X = np.linspace(0.3, 1.9, 60)
BAND = sparse.diags_array([np.ones(59), np.ones(60), np.ones(59)], offsets=[-1, 0, 1])


def test_a_pattern_that_is_given():
    for pattern in (BAND, BAND.toarray(), jm.Pattern.from_csr(BAND.tocsr())):
        J = jm.linearize(chain, X, differences=jm.Differences(pattern=pattern))
        np.testing.assert_allclose(J.dense(), chain_jacobian(X), atol=1e-9)
        assert "probing" not in J.calls and "given by the user" in str(J.explain())
        assert J.explain().answer.groups == 3
        assert isinstance(J.sparse(), sparse.csr_array) and J.sparse().nnz == 178


def test_a_pattern_that_misses_entries_raises():
    lower = sparse.diags_array([np.ones(59), np.ones(60)], offsets=[-1, 0])
    with pytest.raises(jm.StructureError, match="pattern: outputs 0 depend"):
        jm.jacobian(chain, differences=jm.Differences(pattern=lower))(X)
    nearly = BAND.toarray()
    nearly[30, 31] = 0
    with pytest.raises(jm.StructureError, match="outputs 30 depend"):
        jm.jacobian(chain, differences=jm.Differences(pattern=nearly))(X)


def test_a_pattern_of_another_shape():
    with pytest.raises(jm.ArgumentError, match="got shape 60×59, expected outputs × inputs, 60×60"):
        jm.jacobian(chain, differences=jm.Differences(pattern=np.ones((60, 59))))(X)
    tall = jm.Differences(pattern=np.ones((60, 120)))
    with pytest.raises(jm.ArgumentError, match="transposed"):
        jm.jacobian(lambda x: np.concatenate([chain(x), x]), differences=tall)(X)


@pytest.mark.parametrize("n", [40, 60, 500])
def test_a_pattern_that_is_probed(n):
    x = np.linspace(0.3, 1.9, n)
    J = jm.linearize(chain, x)
    np.testing.assert_array_equal(J.pattern.tocsr().toarray(), np.abs(np.subtract.outer(range(n), range(n))) <= 1)
    np.testing.assert_allclose(J.dense(), chain_jacobian(x), atol=1e-8)
    assert "probed by moving inputs, not proven" in str(J.explain())


def test_group_testing_takes_far_fewer_calls_than_inputs():
    x = np.linspace(0.3, 1.9, 3000)
    J = jm.linearize(chain, x)
    assert J.pattern.nnz == 3 * 3000 - 2
    assert J.calls["probing"] < 400


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("shape", [(50, 70), (300, 250)])
def test_random_patterns_are_never_missed(seed, shape):
    m, n = shape
    rng = np.random.default_rng(seed)
    weights = sparse.random_array((m, n), density=3 / n, rng=rng, data_sampler=lambda size: rng.normal(size=size))
    weights = weights.tocsr()
    x = rng.normal(size=n)
    J = jm.linearize(lambda x: np.tanh(weights @ np.asarray(x, float)), x)
    found, true = J.pattern.tocsr().toarray(), weights.toarray() != 0
    assert not (true & ~found).any()
    slope = 1 / np.cosh(weights @ x) ** 2
    np.testing.assert_allclose(J.dense(), slope[:, None] * weights.toarray(), atol=1e-8)


def test_a_gate_that_is_closed_at_the_point_is_looked_behind():
    x = np.linspace(1.1, 1.19, 40)  # closed everywhere: the pattern at x alone is diagonal
    J = jm.linearize(gated, x)
    found = J.pattern.tocsr().toarray()
    assert sum(found[i, i + 1] for i in range(39)) > 2
    np.testing.assert_allclose(J.dense(), np.diag(2 * x), atol=1e-8)
    assert "only at other points" in str(J.explain())


def test_dense_functions_are_recognised_by_a_sample():
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(20, 50))
    x = rng.normal(size=50)
    J = jm.linearize(lambda x: np.tanh(weights @ np.asarray(x, float)), x)
    assert J.calls["probing"] <= 7
    assert "every entry is measured" in str(J.explain())
    np.testing.assert_allclose(J.dense(), weights / np.cosh(weights @ x)[:, None] ** 2, atol=1e-9)


def test_a_probed_pattern_is_kept_for_other_points():
    J = jm.linearize(chain, X)
    J.dense()
    again = J.at(X + 0.1)
    np.testing.assert_allclose(again.dense(), chain_jacobian(X + 0.1), atol=1e-8)
    assert "probing" not in again.calls
    jacobian = jm.jacobian(chain, form="sparse")
    jacobian(X)
    assert "probing" not in jacobian.plan(2 * X).calls


def test_a_kept_pattern_that_no_longer_holds_is_dropped():
    def switching(x):
        x = np.asarray(x, float)
        return x**2 + (x[::-1] if x[0] > 100 else 0.0)

    jacobian = jm.jacobian(switching, differences=jm.Differences())
    small, large = np.linspace(1, 2, 40), np.linspace(150, 160, 40)
    np.testing.assert_allclose(jacobian(small), np.diag(2 * small), atol=1e-8)
    np.testing.assert_allclose(jacobian(large), np.diag(2 * large) + np.eye(40)[::-1], atol=1e-6)


def test_the_pattern_is_not_looked_for_where_that_is_asked():
    J = jm.linearize(chain, X, differences=jm.Differences(pattern="dense"))
    assert "probing" not in J.calls and J.pattern.nnz == 3600
    few = jm.linearize(chain, X[:5], differences=jm.Differences(pattern="probe"))
    assert few.pattern.nnz == 13
