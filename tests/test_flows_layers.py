"""jm.flows: Glow, residual and continuous flows, against plain JAX."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.scipy.linalg
import numpy as np
import pytest
from scipy import stats
from test_flows_density import moved

import jacmap as jm
from jacmap import flows

KEY = jr.key(0)


def dense_log_prob(transform, x):
    def flat(x):
        return transform(x.reshape(shape)).ravel()

    shape = x.shape[1:]
    points = x.reshape(len(x), -1)
    logs = np.linalg.slogdet(jax.jit(jax.vmap(jax.jacfwd(flat)))(points))[1]
    return stats.norm.logpdf(jax.jit(jax.vmap(flat))(points)).sum(1) + logs


def test_glow():
    """Two levels, actnorm set by data: density against a dense determinant, the inverse, the planned blocks."""
    shape = (2, 4, 4)
    transform = moved(flows.glow(shape, key=KEY, levels=2, steps=1, width=4), 0.1)
    flow = flows.Flow(transform, flows.Normal(32), direction="data_to_noise", shape=shape)
    x = 3 * jr.normal(KEY, (6, *shape)) + 1
    flow = flow.initialised(x)
    np.testing.assert_allclose(flow.log_prob(x), dense_log_prob(flow.transform, x), rtol=1e-10)
    np.testing.assert_allclose(flow.noise_to_data(flow.data_to_noise(x)), x, atol=1e-9)
    assert flow.sample(KEY, 3).shape == (3, *shape)
    (plan,) = flow.plan(x)
    assert "largest block 16×16" in plan.summary  # the second level has 16 channels


def test_actnorm_starts_from_data_once():
    layer = flows.ActNorm(3).initialised(5 + 2 * jr.normal(KEY, (400, 3, 2, 2)))
    out = jax.vmap(layer)(5 + 2 * jr.normal(KEY, (400, 3, 2, 2)))
    np.testing.assert_allclose(out.mean((0, 2, 3)), 0, atol=1e-10)
    np.testing.assert_allclose(out.std((0, 2, 3)), 1, atol=1e-10)
    assert layer.initialised(jnp.zeros((4, 3, 2, 2))) is layer


def test_squeeze_takes_squares_of_pixels():
    x = jnp.arange(16.0).reshape(1, 4, 4)
    z = flows.Squeeze()(x)
    np.testing.assert_array_equal(z[:, 0, 0], [0, 1, 4, 5])
    np.testing.assert_array_equal(flows.Squeeze().inverse(z), x)


def test_residual_flows():
    """Whatever the weights, the layers contract: the density is right, and iteration undoes them."""
    transform = moved(flows.residual(4, key=KEY, layers=2, width=8), 2.0)
    flow = flows.Flow(transform, flows.Normal(4), direction="data_to_noise")
    x = jr.normal(KEY, (3, 4))
    np.testing.assert_allclose(flow.log_prob(x), dense_log_prob(transform, x), rtol=1e-10)
    np.testing.assert_allclose(flow.noise_to_data(flow.data_to_noise(x)), x, atol=1e-11)
    slopes = jax.vmap(jax.jacfwd(transform.layers[0].contracting()))(x)
    assert np.linalg.norm(slopes, 2, axis=(1, 2)).max() < 0.9
    inverse = jax.jacobian(transform.inverse)(transform(x[0]))  # by the implicit function theorem
    np.testing.assert_allclose(inverse @ jax.jacobian(transform)(x[0]), np.eye(4), atol=1e-9)


class Linear(eqx.Module):
    matrix: jax.Array

    def __call__(self, t, x):
        return self.matrix @ x


def test_a_continuous_flow_along_a_linear_field_is_the_exponential():
    matrix = 0.5 * jr.normal(KEY, (3, 3))
    flow = flows.Flow(flows.Continuous(Linear(matrix), tolerance=1e-10), flows.Normal(3), direction="data_to_noise")
    x = jr.normal(KEY, (4, 3))
    z = x @ jax.scipy.linalg.expm(matrix).T
    np.testing.assert_allclose(flow.data_to_noise(x), z, atol=1e-8)
    np.testing.assert_allclose(flow.log_prob(x), stats.norm.logpdf(z).sum(1) + jnp.trace(matrix), atol=1e-8)
    np.testing.assert_allclose(flow.noise_to_data(z), x, atol=1e-8)


def test_a_continuous_flow_exact_and_estimated():
    """In a chain, exact against differences through the solver; Hutchinson within its bar."""
    field = moved(flows.Field(3, key=KEY, width=8, depth=1), 0.3)

    def chain(**options):
        whole = flows.Chain(flows.Permutation([2, 0, 1]), flows.Continuous(field, tolerance=1e-8, **options), jnp.sinh)
        return flows.Flow(whole, flows.Normal(3), direction="data_to_noise")

    x = jr.normal(KEY, (3, 3))
    exact = chain().log_prob(x)

    def through_the_solver(point):
        push = jax.jit(lambda x: chain().transform(x))
        columns = [(push(point + 1e-4 * v) - push(point - 1e-4 * v)) / 2e-4 for v in jnp.eye(3)]
        return np.linalg.slogdet(np.stack(columns, axis=1))[1] + stats.norm.logpdf(push(point)).sum()

    np.testing.assert_allclose(exact[0], through_the_solver(x[0]), atol=1e-5)
    few, many = (chain(trace="hutchinson", probes=k).log_prob_estimate(x, key=jr.key(5)) for k in (4, 64))
    assert many.probes == 64
    assert (np.abs(many.value - exact) <= 2 * many.bar).all()
    assert many.error.mean() < 0.6 * few.error.mean()
    again = chain(trace="hutchinson", probes=64).log_prob(x, key=jr.key(5))
    np.testing.assert_array_equal(again, many.value)
    assert (chain().log_prob_estimate(x).bar == 0).all()
    with pytest.raises(jm.ArgumentError, match="key: got None"):
        chain(trace="hutchinson").log_prob(x)


def test_a_continuous_flow_learns():
    data = 0.5 * jr.normal(KEY, (60, 2)) + 1.0
    field = flows.continuous(2, key=KEY, width=8, depth=1, trace="hutchinson", probes=2, tolerance=1e-3)
    flow = flows.Flow(field, flows.Normal(2), direction="data_to_noise")
    found = flows.fit(flow, data, key=KEY, epochs=6, batch_size=20, learning_rate=0.03, validation=0.0)
    assert found.losses[-1] < found.losses[0] - 0.2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: flows.glow((1, 6, 6), key=KEY, levels=2), "shape: got height 6"),
        (lambda: flows.residual(3, key=KEY, contraction=1.0), "contraction: got 1.0"),
        (lambda: flows.continuous(3, key=KEY, trace="some"), "trace: got 'some'"),
        (lambda: flows.continuous(3, key=KEY, trace="hutchinson", probes=1), "probes: got 1"),
        (lambda: flows.Continuous(3), "field: got int"),
    ],
)
def test_errors_say_what_to_do(make, message):
    with pytest.raises(jm.ArgumentError, match=message):
        make()
