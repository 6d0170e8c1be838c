"""Log-determinants: what is asked for beside the flows of test_flows.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jacmap as jm
from jacmap._determinant.transforms import Determinant
from jacmap.engine.plan.blocks import block_triangular, parity

RANDOM = np.random.default_rng(0)
DENSE = jnp.asarray(RANDOM.standard_normal((300, 300)) / 40)


def dense(x):
    return x + jnp.tanh(DENSE @ x)


def chain(x):
    for _ in range(3):
        a, b = x[:100], x[100:]
        x = jnp.concatenate([a, b * jnp.exp(jnp.tanh(DENSE[:200, :100] @ a))])[::-1]
    return x


POINT = jnp.asarray(RANDOM.standard_normal(300))


def test_the_object_answers_and_explains():
    J = jm.linearize(chain, POINT)
    true = np.linalg.slogdet(jax.jacfwd(chain)(POINT))
    np.testing.assert_allclose(J.slogdet(), true, rtol=1e-10)
    np.testing.assert_allclose(J.det(), true[0] * np.exp(true[1]), rtol=1e-8)
    assert "1 tangent" in str(J.explain("logdet"))
    assert jm.plan(chain, POINT, question="slogdet").passes == 1
    np.testing.assert_allclose(J.at(2 * POINT).slogdet(), np.linalg.slogdet(jax.jacfwd(chain)(2 * POINT)), rtol=1e-10)


def test_an_estimate_has_an_error_bar_that_holds():
    found = jm.slogdet(dense, estimate=True)(POINT)
    true = np.linalg.slogdet(jax.jacfwd(dense)(POINT))[1]
    assert np.isnan(found.sign) and 0 < found.error < 2
    assert abs(found.logabsdet - true) < 4 * found.error


def test_memory_refuses_a_dense_block_and_says_what_to_do():
    with pytest.raises(jm.ArgumentError, match="300×300.*estimate=True"):
        jm.slogdet(dense, memory="100KB")(POINT)
    jm.slogdet(chain, memory="100KB")(POINT)


def test_a_jacobian_that_is_not_square_is_refused():
    with pytest.raises(jm.ArgumentError, match="2 outputs and 3 differentiated inputs"):
        jm.slogdet(lambda x: x[:2])(jnp.ones(3))


def test_structurally_singular_is_zero_and_says_why():
    def narrow(x):
        return jnp.outer(jnp.tanh(x[:3]), jnp.ones(2)).ravel() + jnp.sum(x)

    answer = jm.slogdet(narrow)(jnp.arange(1.0, 7.0))
    assert answer == (0.0, -np.inf)
    assert "rank is below 6" in jm.slogdet(narrow).plan(jnp.arange(1.0, 7.0)).summary


def test_a_wrong_pattern_is_caught_above_the_size_of_the_dense_probe(monkeypatch):
    # The rule of tanh claims that nothing depends on anything: the factor check must see true tangents elsewhere.
    from jacmap.engine.backends.jax.rules import RULES
    from jacmap.engine.graph import Pattern

    def coupled(x):
        return x + 0.1 * jnp.cumsum(x**2)[::-1]

    broken = RULES["cumsum"].__class__("broken", lambda call: {(0, 0): Pattern.identity(300)}, affine=lambda call: True)
    monkeypatch.setitem(RULES, "cumsum", broken)
    with pytest.raises(jm.StructureError, match="determinant"):
        Determinant(coupled).call(POINT)


def test_custom_vjp_factors_run_in_reverse():
    @jax.custom_vjp
    def squash(x):
        return jnp.tanh(x)

    squash.defvjp(lambda x: (jnp.tanh(x), x), lambda x, u: (u * (1 - jnp.tanh(x) ** 2),))

    def f(x):
        return jnp.cumsum(squash(x)) + 2 * squash(x)

    x = jnp.linspace(-1.0, 1.0, 9)
    np.testing.assert_allclose(jm.slogdet(f)(x), np.linalg.slogdet(jax.jacrev(f)(x)), rtol=1e-10)


def test_sparse_plus_low_rank_with_zeros_on_the_diagonal():
    u, v = RANDOM.standard_normal((12, 2)), RANDOM.standard_normal((2, 12))

    def f(x):
        return x**2 + u @ jnp.tanh(v @ x)

    for zeros in range(4):  # more than two zeros: singular
        x = jnp.asarray(RANDOM.standard_normal(12)).at[:zeros].set(0.0)
        sign, log = jm.slogdet(f)(x)
        true = np.linalg.slogdet(jax.jacfwd(f)(x))
        if zeros > 2:
            assert log == -np.inf or log < true[1] + 1 or not np.isfinite(log)
        else:
            np.testing.assert_allclose((sign, log), true, rtol=1e-8)
    assert "rank 2" in str(jm.slogdet(f).plan(x))


def test_block_triangular_form():
    assert parity(np.array([1, 0, 2])) == -1 and parity(np.array([1, 2, 0])) == 1
    from scipy.sparse import csr_array

    assert block_triangular(csr_array(np.array([[1, 1], [0, 0]], bool))) is None
    pattern = np.tril(np.ones((5, 5), bool))[RANDOM.permutation(5)][:, RANDOM.permutation(5)]
    blocks = block_triangular(csr_array(pattern))
    assert (blocks.sizes == 1).all()
    values = np.where(pattern, RANDOM.standard_normal((5, 5)), 0)
    product = blocks.sign * np.prod(values[blocks.rows, blocks.columns])
    np.testing.assert_allclose(product, np.linalg.det(values))
