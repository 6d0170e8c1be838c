"""Latent geometry and diffusion, against closed forms and dense linear algebra."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jacmap as jm

RANDOM = np.random.default_rng(5)
latent = jm.latent


def draw(*shape):
    return jnp.asarray(RANDOM.standard_normal(shape))


A, B = draw(12, 4), draw(40, 12)
Z = draw(4)


def decoder(z):
    return (B @ jnp.tanh(A @ z)).reshape(5, 8)


def sphere(angles, r=2.0):
    a, b = angles
    return r * jnp.stack([jnp.sin(a) * jnp.cos(b), jnp.sin(a) * jnp.sin(b), jnp.cos(a)])


def dense(f, z):
    return np.asarray(jax.jacfwd(lambda v: f(v.reshape(z.shape)).ravel())(z.ravel()))


# -- directions --------------------------------------------------------------------------------------------------------
WIDE, SYMMETRIC = draw(7, 90), draw(90, 90)
MULTIPLE = jnp.concatenate([jnp.full(5, 2.0), jnp.linspace(1.99, 0.1, 95)])


@pytest.mark.parametrize(
    "f, z, k",
    [
        (decoder, Z, 4),
        (lambda z: jnp.tanh(WIDE @ z), draw(90) / 9, 3),
        (lambda z: jnp.tanh(SYMMETRIC @ z / 9), draw(90), 5),
        (lambda z: B @ jnp.maximum(A[:, :2] @ z[:2], 0), Z, 4),  # rank two at most
        (lambda z: z * 1.0, draw(80), 3),  # all equal
        (lambda z: jnp.zeros(50), Z, 2),
        (lambda z: MULTIPLE * z, draw(100), 5),
        (lambda z: jnp.where(jnp.arange(100) < 2, z, 0), draw(100), 2),  # nothing is left without the two
    ],
    ids=["tall", "wide", "square", "rank-deficient", "identity", "zero", "multiple", "rank two"],
)
def test_leading_directions(f, z, k):
    J, found = dense(f, z), latent.directions(f, z, k)
    expected = np.linalg.svd(J)[1][:k]
    np.testing.assert_allclose(found.values, expected, rtol=1e-9, atol=1e-12)
    left, right = np.asarray(found.left).reshape(k, -1), np.asarray(found.right).reshape(k, -1)
    np.testing.assert_allclose(left @ left.T, np.eye(k), atol=1e-10)
    np.testing.assert_allclose(right @ right.T, np.eye(k), atol=1e-10)
    np.testing.assert_allclose(J @ right.T, left.T * np.asarray(found.values), atol=1e-7 * max(1, expected[0]))
    assert np.all(np.asarray(found.residual) < 1e-6)


def test_directions_of_a_batch():
    points = draw(9, 4)
    found = latent.directions(decoder, points, 2, batch=True, chunk=4)
    assert found.left.shape == (9, 2, 5, 8) and found.right.shape == (9, 2, 4)
    for values, z in zip(found.values, points, strict=True):
        np.testing.assert_allclose(values, np.linalg.svd(dense(decoder, z))[1][:2], rtol=1e-10)


def test_no_matrix_is_formed():
    """What is traced of a 300×300 problem holds no array of n² entries."""
    weights = draw(300) / 10

    def f(x):
        return jnp.tanh(weights * x + jnp.roll(x, 1))

    jaxpr = jax.make_jaxpr(lambda z: latent.directions(f, z, 3))(draw(300))
    sizes = [1]

    def walk(inner):
        for eqn in inner.eqns:
            sizes.extend(var.aval.size for var in eqn.outvars if hasattr(var.aval, "size"))
            for value in eqn.params.values():
                for sub in value if isinstance(value, (tuple, list)) else (value,):
                    if hasattr(sub, "jaxpr"):
                        walk(sub.jaxpr)

    walk(jaxpr.jaxpr)
    assert max(sizes) < 300 * 40


# -- metric, curvature, geodesics --------------------------------------------------------------------------------------
def test_metric_and_volume():
    J = dense(decoder, Z)
    np.testing.assert_allclose(latent.metric(decoder, Z), J.T @ J, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(latent.log_volume(decoder, Z), np.linalg.slogdet(J.T @ J)[1] / 2, rtol=1e-12)
    angles = jnp.asarray([0.7, 0.3])
    np.testing.assert_allclose(jnp.exp(latent.log_volume(sphere, angles)), 4 * np.sin(0.7), rtol=1e-12)
    assert latent.log_volume(lambda z: jnp.stack([z[0], z[0]]), draw(2)) == -jnp.inf
    many = jax.vmap(lambda z: latent.metric(decoder, z))(draw(3, 4))
    assert many.shape == (3, 4, 4)


def test_fisher_metrics():
    J, logits = dense(decoder, Z), np.asarray(decoder(Z))
    p = 1 / (1 + np.exp(-logits.ravel()))
    np.testing.assert_allclose(
        latent.metric(decoder, Z, "bernoulli"), J.T @ np.diag(p * (1 - p)) @ J, rtol=1e-10, atol=1e-10
    )
    shares = np.asarray(jax.nn.softmax(logits, axis=-1))
    F = np.zeros((40, 40))
    for k in range(5):
        F[8 * k : 8 * k + 8, 8 * k : 8 * k + 8] = np.diag(shares[k]) - np.outer(shares[k], shares[k])
    np.testing.assert_allclose(latent.metric(decoder, Z, "categorical"), J.T @ F @ J, rtol=1e-9, atol=1e-10)
    # The Fisher-Rao distance of two Bernoulli parameters is 2 |asin √p − asin √q|: here as a small step.
    step = latent.metric(lambda z: z, jnp.asarray([0.4]), "bernoulli")[0, 0]
    q = 1 / (1 + np.exp(-0.4))
    angle = jax.grad(lambda z: 2 * jnp.arcsin(jnp.sqrt(jax.nn.sigmoid(z))))(0.4)
    np.testing.assert_allclose(step, angle**2, rtol=1e-12)
    np.testing.assert_allclose(step, q * (1 - q), rtol=1e-12)


def cylinder(z):
    return jnp.stack([jnp.cos(z[0]), jnp.sin(z[0]), z[1]])


def saddle(z):
    return jnp.stack([z[0], z[1], z[0] * z[1]])


@pytest.mark.parametrize(
    "surface, z, expected", [(sphere, [0.9, 0.2], 0.25), (cylinder, [0.9, 0.2], 0.0), (saddle, [0.0, 0.0], -1.0)]
)
def test_curvature(surface, z, expected):
    u, v = jnp.asarray([1.0, 0.3]), jnp.asarray([-0.2, 1.0])
    np.testing.assert_allclose(latent.curvature(surface, jnp.asarray(z), u, v), expected, atol=1e-12)
    assert np.isnan(latent.curvature(surface, jnp.asarray(z), u, u))


def test_geodesics_of_the_sphere_are_great_circles():
    a, b = jnp.asarray([1.0, 0.0]), jnp.asarray([1.2, 1.5])
    found = latent.geodesic(sphere, a, b, points=65)
    p, q = np.asarray(sphere(a)) / 2, np.asarray(sphere(b)) / 2
    assert found.converged and found.length == pytest.approx(2 * np.arccos(p @ q), rel=2e-4)
    assert found.length < found.straight and "of the straight line's" in str(found)
    normal = np.cross(p, q) / np.linalg.norm(np.cross(p, q))
    assert np.abs(np.asarray(jax.vmap(sphere)(jnp.asarray(found.path))) @ normal).max() < 1e-3
    assert latent.distance(cylinder, jnp.zeros(2), jnp.asarray([1.0, 2.0])) == pytest.approx(np.sqrt(5), rel=1e-6)


# -- denoisers ---------------------------------------------------------------------------------------------------------
n = 90
BASIS = np.linalg.qr(RANDOM.standard_normal((n, n)))[0]
SPECTRUM = 2.0 ** -np.arange(n)
COVARIANCE = (BASIS * SPECTRUM) @ BASIS.T
SIGMA = 0.3
WIENER = jnp.asarray(COVARIANCE @ np.linalg.inv(COVARIANCE + SIGMA**2 * np.eye(n)))


def test_no_posterior_has_negative_variances():
    """The largest eigenvalues are told, not those largest in size."""
    values = jnp.concatenate([jnp.asarray([-3.0, 2.0, 1.0]), jnp.linspace(0.1, 0.9, 97)])
    found = latent.posterior(lambda y: values * y, draw(100), 1.0, k=2)
    np.testing.assert_allclose(found.variances, [2.0, 1.0], rtol=1e-8)


def test_posterior_of_a_gaussian():
    y = draw(9, 10)
    found = latent.posterior(lambda y: (WIENER @ y.ravel()).reshape(9, 10), y, SIGMA, k=4)
    expected = SPECTRUM * SIGMA**2 / (SPECTRUM + SIGMA**2)
    np.testing.assert_allclose(found.variances, expected[:4], rtol=1e-9)
    for component, axis in zip(found.components.reshape(4, n), BASIS.T[:4], strict=True):
        assert abs(component @ axis) == pytest.approx(1, abs=1e-8)
    assert found.is_symmetric and found.asymmetry < 1e-10 and found.components.shape == (4, 9, 10)
    crooked = latent.posterior(lambda y: WIENER @ y + 0.05 * jnp.roll(y, 1), draw(n), SIGMA, k=2)
    assert not crooked.is_symmetric
    small = latent.posterior(lambda y: WIENER[:6, :6] @ y, draw(6), SIGMA, k=6)
    np.testing.assert_allclose(small.variances, SIGMA**2 * np.linalg.eigvalsh(WIENER[:6, :6])[::-1], rtol=1e-10)


def test_divergence():
    def f(x):
        return jnp.sin(WIENER[:10, :10] @ x)

    x = draw(10)
    exact = latent.divergence(f, x)
    np.testing.assert_allclose(exact.value, np.trace(dense(f, x)), rtol=1e-11)
    assert exact.error == 0
    inside = 0
    for seed in range(40):
        rough = latent.divergence(f, x, probes=50, key=seed)
        inside += bool(abs(rough.value - exact.value) <= 1.96 * rough.error)
    assert 33 <= inside
    assert np.isnan(latent.divergence(f, x, probes=1).error)
    a, b = latent.divergence(f, x, probes=8, key=3), latent.divergence(f, x, probes=8, key=jax.random.key(3))
    assert a.value == b.value


# -- likelihood --------------------------------------------------------------------------------------------------------
MEAN, SCALE = draw(6), np.tril(RANDOM.standard_normal((6, 6))) / 2 + np.eye(6)
GAUSS = jnp.asarray(SCALE @ SCALE.T)


def exploding_score(x, sigma):
    return -jnp.linalg.solve(GAUSS + sigma**2 * jnp.eye(6), x - MEAN)


def preserving_score(x, t):
    integral = 0.1 * t + 0.5 * t**2 * (60.0 - 0.1)
    shrunk = jnp.exp(-integral)
    return -jnp.linalg.solve(shrunk * GAUSS + (1 - shrunk) * jnp.eye(6), x - jnp.sqrt(shrunk) * MEAN)


@pytest.mark.parametrize(
    "score, schedule",
    [(exploding_score, latent.VarianceExploding(mean=MEAN)), (preserving_score, latent.VariancePreserving(most=60.0))],
    ids=["exploding", "preserving"],
)
def test_likelihood_of_a_gaussian(score, schedule):
    x = MEAN + jnp.asarray(RANDOM.standard_normal((3, 6)) @ SCALE.T)
    smoothed = schedule.least**2 if score is exploding_score else 0.0
    expected = jax.scipy.stats.multivariate_normal.logpdf(x, MEAN, GAUSS + smoothed * jnp.eye(6))
    found = latent.likelihood(score, x, schedule, batch=True)
    np.testing.assert_allclose(found.log_density / 6, expected / 6, atol=1e-4)
    np.testing.assert_allclose(found.bits, -found.log_density / 6 / np.log(2), rtol=1e-12)
    assert np.all(np.asarray(found.error) == 0) and np.all(np.asarray(found.evaluations) > 20)
    rough = latent.likelihood(score, x[0], schedule, probes=200, key=1, step=0.5)
    assert abs(rough.log_density - expected[0]) < 4 * rough.error and rough.error > 0
    np.testing.assert_allclose(rough.bits, -(rough.log_density / 6 + np.log(0.5)) / np.log(2), rtol=1e-12)


# -- scores ------------------------------------------------------------------------------------------------------------
def gaussian_score(x):
    return exploding_score(x, 0.0)


SAMPLES = MEAN + jnp.asarray(np.random.default_rng(8).standard_normal((600, 6)) @ SCALE.T)


def test_the_right_score_fits():
    found = latent.check_score(gaussian_score, SAMPLES)
    assert found.ok and str(found) == "the score fits the samples" and found.asymmetry < 1e-12


@pytest.mark.parametrize(
    "score, word",
    [
        (lambda x: -gaussian_score(x), "E[s xᵀ]"),
        (lambda x: 1.3 * gaussian_score(x), "E[s·x]"),
        (lambda x: gaussian_score(x + 0.5), "mean is not 0"),
        (lambda x: gaussian_score(x)[::-1], "not symmetric"),
        (lambda x: jnp.tanh(gaussian_score(x)), "Fisher"),
        (lambda x: jnp.where(x[0] > 0, jnp.nan, gaussian_score(x)), "not finite"),
    ],
    ids=["sign", "scale", "shift", "reversed", "squashed", "nan"],
)
def test_wrong_scores_are_named(score, word):
    found = latent.check_score(score, SAMPLES)
    assert not found.ok and word in str(found)


def test_kernel_discrepancy_has_the_right_size():
    """The p-value is below one in ten for the true score in about a tenth of the samples."""
    low, score = 0, jnp.negative
    for seed in range(40):
        x = jnp.asarray(np.random.default_rng(seed).standard_normal((100, 2)))
        low += latent.check_score(score, x, seed=seed).p_value < 0.1
    assert low <= 10


def test_pictures_of_directions():
    plt = pytest.importorskip("matplotlib.pyplot")
    found = latent.directions(decoder, Z, 3)
    ax = jm.plot.directions(found)
    shown = np.ma.filled(ax.images[0].get_array(), np.nan)
    np.testing.assert_allclose(shown[:, :8], found.left[0])  # the strongest stands first
    assert [float(label.get_text()) for label in ax.get_xticklabels()] == pytest.approx(
        np.asarray(found.values).tolist(), rel=1e-2
    )
    pieces = latent.posterior(lambda y: WIENER @ y, draw(n), SIGMA, k=2)
    assert jm.plot.directions(pieces, (9, 10)).get_xlabel() == "posterior variance"
    with pytest.raises(jm.ArgumentError, match="expected one point's"):
        jm.plot.directions(latent.directions(decoder, draw(2, 4), 3, batch=True))
    with pytest.raises(jm.ArgumentError, match="give the picture's"):
        jm.plot.directions(pieces)
    plt.close("all")


# -- bad input ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "action, words",
    [
        (lambda: latent.directions(decoder, Z, 9), "k: got 9, expected 1 to 4"),
        (lambda: latent.directions(decoder, jnp.arange(4)), "expected real floating-point numbers"),
        (lambda: latent.directions(lambda z: (z, z), Z), "expected one array"),
        (lambda: latent.directions(decoder, jnp.asarray(1.0), batch=True), "batch=True"),
        (lambda: latent.metric(decoder, Z, "poisson"), "likelihood: got 'poisson'"),
        (lambda: latent.geodesic(decoder, Z, Z[:2]), "end: got shape"),
        (lambda: latent.geodesic(decoder, Z, Z, points=2), "at least 3"),
        (lambda: latent.curvature(decoder, Z, Z, Z[:1]), "v: got shape"),
        (lambda: latent.divergence(decoder, Z), "expected the same size"),
        (lambda: latent.divergence(jnp.sin, Z, probes=0), "probes: got 0"),
        (lambda: latent.posterior(jnp.sin, Z, -1.0), "sigma: got -1"),
        (lambda: latent.posterior(decoder, Z, 1.0), "expected the same size"),
        (lambda: latent.likelihood(lambda x, t: x[:2], Z, latent.VarianceExploding()), "score: returned"),
        (lambda: latent.VarianceExploding(1.0, 0.5), "0 < least < most"),
        (lambda: latent.VariancePreserving(start=1.0), "start"),
        (lambda: latent.check_score(gaussian_score, SAMPLES[:5]), "at least 20 points"),
        (lambda: latent.check_score(lambda x: x[0], SAMPLES), "gradient of log p"),
    ],
)
def test_bad_input(action, words):
    with pytest.raises(jm.ArgumentError, match=words.replace("(", r"\(")):
        action()
