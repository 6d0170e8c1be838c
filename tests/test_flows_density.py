"""jm.flows: densities of any invertible function, both directions, bases, transforms and their inverses."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.scipy.stats as stats_of_jax
import numpy as np
import pytest
from scipy import stats

import jacmap as jm
from jacmap import flows

KEY = jr.key(0)
N = 5


def moved(module, by=0.3):
    """Every parameter changed: what starts as an identity must not pass because it is one."""
    params, rest = eqx.partition(module, eqx.is_inexact_array)
    random = np.random.default_rng(1)
    return eqx.combine(jax.tree.map(lambda leaf: leaf + by * random.standard_normal(leaf.shape), params), rest)


TRANSFORMS = {
    "RealNVP": moved(flows.real_nvp(N, key=KEY, layers=2, width=8)),
    "MAF": moved(flows.maf(N, key=KEY, layers=2, width=8)),
    "spline": moved(flows.neural_spline(N, key=KEY, layers=2, width=8, bins=4, interval=2.0), 1.0),
    "inverted": flows.Inverted(moved(flows.real_nvp(N, key=KEY, layers=2, width=8))),
}


@pytest.fixture(params=TRANSFORMS)
def transform(request):
    return TRANSFORMS[request.param]


def test_density_and_inverse_against_dense_numpy(transform):
    """Both directions: log p from plain jacfwd and SciPy's normal; the inverse undoes."""
    x = jr.normal(KEY, (4, N))
    ahead = flows.Flow(transform, flows.Normal(N), direction="data_to_noise")
    back = flows.Flow(transform, flows.Normal(N), direction="noise_to_data")
    z = jax.vmap(transform)(x)
    logs = np.linalg.slogdet(jax.jit(jax.vmap(jax.jacfwd(transform)))(x))[1]
    np.testing.assert_allclose(ahead.log_prob(x), stats.norm.logpdf(z).sum(1) + logs, rtol=1e-11)
    np.testing.assert_allclose(back.log_prob(z), stats.norm.logpdf(x).sum(1) - logs, rtol=1e-7)
    np.testing.assert_allclose(ahead.noise_to_data(z), x, atol=1e-7)
    np.testing.assert_allclose(back.data_to_noise(z), x, atol=1e-7)
    assert ahead.invert(z).method == "given"


def test_gradients_by_the_parameters(transform):
    params, rest = eqx.partition(transform, eqx.is_inexact_array)
    x = jr.normal(KEY, (N,))

    def ours(params):
        return flows.Flow(eqx.combine(params, rest), flows.Normal(N), direction="data_to_noise").log_prob(x)

    def dense(params):
        whole = eqx.combine(params, rest)
        return jnp.linalg.slogdet(jax.jacfwd(whole)(x))[1] - 0.5 * jnp.sum(whole(x) ** 2)

    found, true = jax.jit(jax.grad(ours))(params), jax.jit(jax.grad(dense))(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-9), found, true)


@pytest.mark.parametrize("name", ["RealNVP", "MAF", "spline"])
def test_one_pass_per_layer_is_planned(name):
    flow = flows.Flow(TRANSFORMS[name], flows.Normal(N), direction="data_to_noise")
    (plan,) = flow.plan(jnp.zeros(N))
    assert "largest block 1×1" in plan.summary


def test_closed_forms():
    """Affine and Gaussian maps: equal to SciPy's densities to 1e-10."""
    random = np.random.default_rng(0)
    matrix = random.standard_normal((N, N)) + 3 * np.eye(N)
    shift = random.standard_normal(N)
    x = random.standard_normal((6, N))
    made = flows.Flow(lambda z: jnp.asarray(matrix) @ z + shift, flows.Normal(N), direction="noise_to_data")
    true = stats.multivariate_normal(shift, matrix @ matrix.T).logpdf(x)
    np.testing.assert_allclose(made.log_prob(x), true, rtol=1e-10)
    inverse = np.linalg.inv(matrix)
    whitened = flows.Flow(lambda x: jnp.asarray(inverse) @ (x - shift), flows.Normal(N), direction="data_to_noise")
    np.testing.assert_allclose(whitened.log_prob(x), true, rtol=1e-10)
    lognormal = flows.Flow(jnp.exp, flows.Normal(N), direction="noise_to_data", inverse=jnp.log)
    np.testing.assert_allclose(lognormal.log_prob(np.exp(x)), stats.lognorm(1).logpdf(np.exp(x)).sum(1), rtol=1e-10)
    assert lognormal.log_prob(np.exp(x[0])).shape == ()


def test_density_integrates_to_one():
    """The trapezoidal rule is exact for a smooth density that vanishes at the edges."""
    transform = moved(flows.real_nvp(2, key=KEY, layers=2, width=6, activation=jnp.tanh), 0.1)
    flow = flows.Flow(transform, flows.Normal(2), direction="data_to_noise")
    side = jnp.linspace(-15, 15, 401)
    points = jnp.stack(jnp.meshgrid(side, side), axis=-1)
    assert abs(float(jnp.exp(flow.log_prob(points)).sum() * (side[1] - side[0]) ** 2) - 1) < 1e-9


def test_batches_precision_jit_and_vmap():
    transform = flows.real_nvp(N, key=KEY, layers=2, width=8)
    flow = flows.Flow(transform, flows.Normal(N), direction="data_to_noise")
    x = jr.normal(KEY, (2, 3, N))
    whole = flow.log_prob(x)
    assert whole.shape == (2, 3)
    np.testing.assert_allclose(eqx.filter_jit(flow.log_prob)(x), whole, rtol=1e-12)
    np.testing.assert_allclose(jax.vmap(flow.log_prob)(x), whole, rtol=1e-12)
    assert flow.log_prob(np.zeros((0, N))).shape == (0,)
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32) if eqx.is_inexact_array(leaf) else leaf, flow)
    assert single.log_prob(x).dtype == jnp.float32
    np.testing.assert_allclose(single.log_prob(x), whole, rtol=1e-4)


def test_masks_of_a_module_are_known_and_plans_are_kept():
    class Masked(eqx.Module):
        weight: jax.Array
        mask: jax.Array

        def __call__(self, x):
            return x + jnp.tanh(jnp.where(self.mask, self.weight, 0) @ x)

    mask = jnp.tril(jnp.ones((N, N), bool), -1)
    flow = flows.Flow(Masked(jr.normal(KEY, (N, N)), mask), flows.Normal(N), direction="data_to_noise")
    (plan,) = flow.plan(jnp.zeros(N))
    assert plan.passes <= 1
    upper = eqx.tree_at(lambda flow: flow.transform.mask, flow, mask.T)
    dense = eqx.tree_at(lambda flow: flow.transform.mask, flow, ~mask)
    x = jr.normal(KEY, (N,))
    for one in (flow, upper, dense):
        log = jnp.linalg.slogdet(jax.jacfwd(one.transform)(x))[1]
        np.testing.assert_allclose(one.log_prob(x), stats.norm.logpdf(one.transform(x)).sum() + log, rtol=1e-10)


# -- inverses found by numbers -------------------------------------------------------------------------------------
def skewed(x):
    """Triangular in a hidden order, falling in one entry, without an inverse in closed form."""
    a, b, c = x
    return jnp.stack([b + jnp.tanh(b) + a**2, -c - c**3 + jnp.sin(a * b), a + 0.5 * jnp.sin(a)])


def mixed(x):
    """Dense, one to one."""
    return x + 0.4 * jnp.sin(jnp.asarray([[0.5, 1.0, 0.2], [1.0, 0.3, 0.5], [0.2, 0.9, 0.4]]) @ x)


@pytest.mark.parametrize(("function", "method"), [(skewed, "bisection"), (mixed, "Newton"), (jnp.sinh, "bisection")])
def test_a_numerical_inverse(function, method):
    flow = flows.Flow(function, flows.Normal(3), direction="noise_to_data")
    x = jr.normal(KEY, (5, 3))
    z, residual, used = flow.invert(x)
    assert used == method
    assert residual.shape == (5,)
    np.testing.assert_allclose(jax.vmap(function)(z), x, atol=1e-12)
    np.testing.assert_allclose(jnp.max(jnp.abs(jax.vmap(function)(z) - x), axis=1), residual)
    logs = np.linalg.slogdet(jax.vmap(jax.jacfwd(function))(z))[1]
    np.testing.assert_allclose(flow.log_prob(x), stats.norm.logpdf(z).sum(1) - logs, rtol=1e-9)


def test_a_numerical_inverse_has_the_gradient_of_the_implicit_function():
    def family(scale):
        flow = flows.Flow(lambda z: scale * (z + z**3), flows.Normal(1), direction="noise_to_data")
        return flow.log_prob(jnp.array([0.7]))

    step = 1e-5
    slope = (family(1.3 + step) - family(1.3 - step)) / (2 * step)
    np.testing.assert_allclose(jax.grad(family)(1.3), slope, rtol=1e-6)


def test_a_chain_is_undone_layer_by_layer():
    chain = flows.Chain(skewed, flows.Permutation([2, 0, 1]), mixed, flows.Permutation.reverse(3))
    assert chain.inverse is None
    flow = flows.Flow(chain, flows.Normal(3), direction="data_to_noise")
    x = 0.3 * jr.normal(KEY, (4, 3))
    found = flow.invert(flow.data_to_noise(x))
    np.testing.assert_allclose(found.value, x, atol=1e-10)
    assert found.method == "given and Newton and bisection"


def test_a_target_out_of_reach_is_told():
    flow = flows.Flow(jnp.tanh, flows.Normal(2), direction="data_to_noise")
    with pytest.raises(jm.ConvergenceError, match="undone by bisection"):
        flow.sample(KEY, 50)
    assert np.isnan(jax.jit(lambda key: flow.sample(key, 50))(KEY)).any()


# -- base distributions and samples --------------------------------------------------------------------------------
class Seeded:
    """A distribution as distrax has them: the key is called seed, by name only."""

    event_shape = (2,)

    def log_prob(self, z):
        return stats_of_jax.norm.logpdf(z).sum(-1)

    def sample(self, *, seed, sample_shape=()):
        return jr.normal(seed, (*sample_shape, 2))


def test_bases_of_other_libraries():
    import flowjax.distributions
    import numpyro.distributions

    x = jr.normal(KEY, (3, 2))
    ours = flows.Flow(jnp.sinh, flows.Normal(2), direction="data_to_noise", inverse=jnp.arcsinh)
    for base in (
        numpyro.distributions.Normal(jnp.zeros(2), 1.0).to_event(1),
        Seeded(),
        flowjax.distributions.StandardNormal((2,)),
    ):
        theirs = flows.Flow(jnp.sinh, base, direction="data_to_noise", inverse=jnp.arcsinh)
        np.testing.assert_allclose(theirs.log_prob(x), ours.log_prob(x), rtol=1e-10)
        assert theirs.sample(KEY, (4, 3)).shape == (4, 3, 2)


@pytest.mark.parametrize("direction", flows.DIRECTIONS)
def test_samples_follow_the_density(direction):
    """E[1/p̂·uniform box] by samples: the mean of q(x)/p(x) over draws of p is 1 for any density q with p's support."""
    flow = flows.Flow(moved(flows.real_nvp(2, key=KEY, layers=2, width=6), 0.3), flows.Normal(2), direction=direction)
    x = flow.sample(jr.key(3), 20_000)
    centre, spread = x.mean(0), np.cov(x.T)
    q = stats.multivariate_normal(centre, 0.5 * spread).logpdf(x)
    weights = np.exp(q - flow.log_prob(x))
    assert abs(weights.mean() - 1) < 5 * weights.std() / np.sqrt(len(x))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: flows.Flow(jnp.tanh, flows.Normal(2), direction="forward"), "direction: got 'forward'"),
        (lambda: flows.Flow(3, flows.Normal(2), direction="data_to_noise"), "transform: got int"),
        (lambda: flows.Flow(jnp.tanh, object(), direction="data_to_noise"), "base: got object without log_prob"),
        (lambda: flows.Flow(jnp.tanh, flows.Normal(2), direction="data_to_noise").log_prob(jnp.ones(3)), "x: got sh"),
        (lambda: flows.Flow(jnp.ravel, flows.Normal((2, 2)), direction="data_to_noise").log_prob(jnp.ones((2, 2))),
         "gives noise of shape"),
        (lambda: flows.Permutation([0, 0]), "order: got"),
        (lambda: flows.real_nvp(1, key=KEY), "n: got 1"),
        (lambda: flows.Chain(3), r"layers\[0\]"),
    ],
)  # fmt: skip
def test_errors_say_what_to_do(make, message):
    with pytest.raises(jm.ArgumentError, match=message):
        make()
