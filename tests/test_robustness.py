"""Norms, attacks, margins, certificates and training aids against dense linear algebra and closed forms."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import jacmap as jm

robustness = jm.robustness
RANDOM = np.random.default_rng(8)
INF = np.inf


def draw(*shape):
    return jnp.asarray(RANDOM.standard_normal(shape))


A, B = draw(12, 6), draw(4, 12)
X = draw(6)
LINEAR, OFFSET = draw(4, 6), draw(4)


def network(x):
    return B @ jax.nn.relu(A @ x)


def linear(x):
    return LINEAR @ x + OFFSET


# -- norms -------------------------------------------------------------------------------------------------------------
def brute(M, p, q):
    """max ‖Mx‖_q over the corners of the p-ball; by many directions for p = 2."""
    n = M.shape[1]
    if p == 1:
        corners = np.eye(n)
    elif p == INF:
        corners = np.array(list(itertools.product((-1, 1), repeat=n)), float)
    else:  # ‖M‖_{2→q} = ‖Mᵀ‖_{q*→2}
        return brute(M.T, {1: INF, INF: 1}[q], 2)
    return np.linalg.norm(corners @ M.T, q, axis=1).max()


@pytest.mark.parametrize("p, q", list(itertools.product((1, 2, INF), repeat=2)))
def test_operator_norms(p, q):
    J = np.asarray(jax.jacobian(network)(X))
    expected = np.linalg.norm(J, 2) if p == q == 2 else brute(J, p, q)
    found = robustness.operator_norm(network, X, p, q)
    assert found.exact and found.kind == "exact"
    np.testing.assert_allclose([found.bound, found.found], expected, rtol=1e-12)


@pytest.mark.parametrize("p, q", [(INF, 1), (INF, 2), (2, 1)])
def test_hard_norms_lie_between_bound_and_found(p, q):
    M = draw(14, 13)
    found = robustness.operator_norm(lambda x: M @ x, draw(13), p, q)
    truth = brute(np.asarray(M), p, q)
    assert found.kind == "bound"
    assert truth * 0.9 < found.found <= truth * (1 + 1e-12) and truth * (1 - 1e-12) <= found.bound < 2 * truth


@pytest.mark.parametrize("p, q", list(itertools.product((1, 2, INF), repeat=2)))
def test_interval_norms_bound_every_matrix_between(p, q):
    from jacmap.robustness._orders import interval_norm

    lo, width = RANDOM.standard_normal((5, 4)), RANDOM.uniform(0, 0.5, (5, 4))
    bound = float(interval_norm(jnp.asarray(lo), jnp.asarray(lo + width), p, q))
    for _ in range(200):
        M = lo + width * RANDOM.integers(0, 2, (5, 4))
        assert bound >= (np.linalg.norm(M, 2) if p == q == 2 else brute(M, p, q))
    exact = float(interval_norm(jnp.asarray(lo), jnp.asarray(lo), p, q))
    truth = np.linalg.norm(lo, 2) if p == q == 2 else brute(lo, p, q)
    assert truth <= exact <= truth * (1 + 1e-9 if p == 1 or q == INF or p == q == 2 else 2)


@pytest.mark.parametrize("p", [1, 2, INF])
def test_worst_directions(p):
    J = np.asarray(jax.jacobian(network)(X))
    for output in (None, 2):
        found = robustness.worst_direction(network, X, p, output)
        np.testing.assert_allclose(np.linalg.norm(found.direction, p), 1, rtol=1e-12)
        moved = J @ np.asarray(found.direction)
        gain = np.linalg.norm(moved, p) if output is None else moved[output]
        np.testing.assert_allclose(gain, found.gain, rtol=1e-9)
        dual = {1: INF, 2: 2, INF: 1}[p]
        np.testing.assert_allclose(gain, np.linalg.norm(J, p) if output is None else np.linalg.norm(J[2], dual))


# -- convolutions ------------------------------------------------------------------------------------------------------
CONVOLUTIONS = [
    ((5, 3, 3, 3), (7, 6), dict(padding="SAME")),
    ((5, 3, 3, 2), (7, 6), dict(padding="VALID", strides=2)),
    ((4, 3, 3, 3), (9, 9), dict(padding="VALID", dilation=(2, 1))),
    ((6, 2, 3, 3), (6, 6), dict(groups=3)),
    ((3, 2, 3, 3), (6, 5), dict(padding=((2, 0), (1, 1)))),
    ((3, 2, 5), (40,), dict(strides=3)),
    ((8, 8, 3, 3), (9, 9), dict()),
]


def dense_convolution(kernel, size, strides=1, padding="SAME", dilation=1, groups=1):
    sides = len(size)
    options = dict(
        window_strides=(strides,) * sides, padding=padding, feature_group_count=groups,
        rhs_dilation=dilation if isinstance(dilation, tuple) else (dilation,) * sides,
    )  # fmt: skip
    start = jnp.zeros((kernel.shape[1] * groups, *size))
    apply = lambda x: jax.lax.conv_general_dilated(x[None], jnp.asarray(kernel), **options).ravel()  # noqa: E731
    return np.asarray(jax.jacrev(apply)(start)).reshape(-1, start.size)


@pytest.mark.parametrize("shape, size, options", CONVOLUTIONS)
def test_convolution_norms(shape, size, options):
    kernel = np.random.default_rng(0).standard_normal(shape)
    truth = np.linalg.norm(dense_convolution(kernel, size, **options), 2)
    np.testing.assert_allclose(float(robustness.conv_norm(kernel, size, **options)), truth, rtol=1e-9)
    cheap = robustness.conv_norm(kernel, size, method="fft", **options)
    assert cheap.kind == "bound" and truth * (1 - 1e-12) <= cheap.bound < 4 * truth
    normed = robustness.spectral_normalise(jnp.asarray(kernel), shape=size, steps=None, **options)
    np.testing.assert_allclose(normed.norm, truth, rtol=1e-9)


def test_circular_convolutions_are_exact_by_frequencies():
    kernel = RANDOM.standard_normal((4, 3, 3, 3))
    exact, cheap = (robustness.conv_norm(kernel, (6, 7), padding="CIRCULAR", method=m) for m in ("exact", "fft"))
    assert cheap.exact
    np.testing.assert_allclose(float(exact), float(cheap), rtol=1e-9)


# -- attacks -----------------------------------------------------------------------------------------------------------
def test_attacks_of_a_linear_classifier():
    """Two classes: the worst point of the ball is known."""
    two = lambda x: (LINEAR @ x)[:2]  # noqa: E731
    g = np.asarray(LINEAR[1] - LINEAR[0])
    label = 0
    lead = float(two(X)[1] - two(X)[0])
    for p, dual in ((INF, 1), (2, 2)):
        worst = lead + 0.3 * np.linalg.norm(g, dual)
        for attack in (
            robustness.fgsm(two, X, label, 0.3, norm=p, loss=robustness.negative_margin),
            robustness.pgd(two, X, label, 0.3, norm=p, key=jax.random.key(0), restarts=3,
                           loss=robustness.negative_margin),
        ):  # fmt: skip
            np.testing.assert_allclose(attack.loss, worst, rtol=1e-6)
            assert float(attack.distance) <= 0.3 * (1 + 1e-12) and bool(attack.fooled) == (worst > 0)


def test_pgd_in_a_domain_and_mapped():
    points, labels = jnp.clip(draw(5, 6), 0, 1), jnp.arange(5) % 4
    keys = jax.random.split(jax.random.key(1), 5)
    run = lambda x, y, k: robustness.pgd(network, x, y, 0.2, key=k, domain=(0.0, 1.0), steps=5)  # noqa: E731
    found = jax.jit(jax.vmap(run))(points, labels, keys)
    assert bool(jnp.all((found.x >= 0) & (found.x <= 1))) and bool(jnp.all(found.distance <= 0.2 + 1e-12))
    start = jax.vmap(lambda x, y: robustness.cross_entropy(network(x), y))(points, labels)
    assert bool(jnp.mean(found.loss - start) > 0)


def test_saliency_by_its_definition():
    J = np.asarray(jax.jacobian(network)(X))
    others = J.sum(0) - J[1]
    expected = np.where((J[1] < 0) | (others > 0), 0, J[1] * abs(others))
    np.testing.assert_allclose(robustness.saliency(network, X, 1), expected, rtol=1e-12)
    found = robustness.jsma(linear, jnp.full(6, 0.5), int(jnp.argmin(linear(jnp.full(6, 0.5)))), inputs=6)
    assert 0 < int(found.distance) <= 6 and float(found.x.min()) >= 0 and float(found.x.max()) <= 1


# -- margins -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("p", [1, 2, INF])
def test_margins_of_a_linear_classifier_are_exact(p):
    found = robustness.margin(linear, X, norm=p)
    scores, W = np.asarray(linear(X)), np.asarray(LINEAR)
    label = int(scores.argmax())
    dual = {1: INF, 2: 2, INF: 1}[p]
    expected = [
        INF if k == label else (scores[label] - scores[k]) / np.linalg.norm(W[label] - W[k], dual) for k in range(4)
    ]
    np.testing.assert_allclose(found.distances, expected, rtol=1e-12)
    np.testing.assert_allclose([found.remainder, found.relative], 0, atol=1e-12)
    np.testing.assert_allclose(found.found, min(expected), rtol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(found.boundary - X, p), min(expected), rtol=1e-9)


def test_the_remainder_is_what_the_linear_model_missed():
    curved = lambda x: jnp.stack([x[0] ** 2 + 1, 3 + 0 * x[0]])  # noqa: E731
    found = robustness.margin(curved, jnp.array([1.0]))
    # 2 against 3: the boundary is at √2, the first step of Newton's method at 1.5.
    assert int(found.label) == 1
    np.testing.assert_allclose([found.boundary[0], found.remainder, found.relative], [1.5, -0.25, 0.25])
    np.testing.assert_allclose(found.found, np.sqrt(2) - 1, rtol=1e-6)


# -- certificates ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("p, q", [(2, 2), (INF, INF), (1, 2)])
def test_lipschitz_lies_between(p, q):
    points = draw(8, 6)
    run = jax.jit(jax.vmap(lambda x: robustness.lipschitz(network, x, 0.1, norm=p, out=q)))
    found = run(points)
    assert bool(jnp.all(found.found <= found.bound))
    assert bool(jnp.all(found.bound <= jnp.minimum(found.by_intervals, found.by_product)))
    moves = RANDOM.uniform(-1, 1, (2, 300, 6))
    a, b = (0.1 * m / np.linalg.norm(m, p, axis=1, keepdims=True) for m in moves)
    for x, bound in zip(points, found.bound, strict=True):
        far = np.linalg.norm(np.asarray(jax.vmap(network)(x + a) - jax.vmap(network)(x + b)), q, axis=1)
        assert (far <= float(bound) * np.linalg.norm(a - b, p, axis=1) * (1 + 1e-12)).all()


def test_lipschitz_of_an_affine_map_is_its_norm():
    found = robustness.lipschitz(linear, X, 5.0)
    np.testing.assert_allclose([found.bound, found.found], np.linalg.norm(LINEAR, 2), rtol=1e-9)
    assert "certified" in str(found)


def test_over_a_large_ball_the_product_is_the_smaller_bound():
    weights = [jnp.asarray(np.linalg.qr(RANDOM.standard_normal((20, 20)))[0]) for _ in range(3)]

    def deep(x):
        for w in weights:
            x = jnp.tanh(w @ x)
        return x

    found = robustness.lipschitz(deep, 0.1 * draw(20), 3.0)
    assert float(found.found) <= float(found.by_product) < float(found.by_intervals)
    assert float(found.by_product) < 1.001  # orthogonal matrices, and tanh' ≤ 1; norms are bounded to a few 1e-5


def test_certificates_of_a_linear_classifier_are_exact():
    two = lambda x: linear(x)[:2]  # noqa: E731
    label = int(jnp.argmax(two(X)))
    for p in (2, INF):
        truth = float(robustness.margin(two, X, norm=p).distance)
        inside = robustness.certify(two, X, label, 0.999 * truth, norm=p)
        outside = robustness.certify(two, X, label, 1.01 * truth, norm=p)
        assert inside.verdict is True and outside.verdict is False
        radius = robustness.certified_radius(two, X, label, norm=p, most=2 * truth, halvings=30)
        np.testing.assert_allclose(radius, truth, rtol=1e-6)
    assert robustness.certified_radius(two, X, 1 - label) == 0


def test_what_is_certified_is_never_broken():
    points = draw(40, 6)
    labels, keys = jnp.argmax(jax.vmap(network)(points), 1), jax.random.split(jax.random.key(4), 40)
    certify = jax.jit(jax.vmap(lambda x, y, k, r: robustness.certify(network, x, y, r, key=k), (0, 0, 0, None)))
    for radius in (0.02, 0.1):
        found = certify(points, labels, keys, radius)
        assert not bool(jnp.any(found.certified & found.broken))
        assert bool(jnp.any(found.certified)) and bool(jnp.any(found.broken))


# -- training ----------------------------------------------------------------------------------------------------------
def test_penalty_exact_and_unbiased():
    model = lambda x, w: w[1] @ jnp.tanh(w[0] @ x)  # noqa: E731
    w = [draw(5, 6), draw(3, 5)]
    plain = lambda w: jnp.sum(jax.jacrev(lambda x: model(x, w))(X) ** 2)  # noqa: E731
    ours = lambda w: robustness.jacobian_penalty(model, X, w)  # noqa: E731
    np.testing.assert_allclose(ours(w), plain(w), rtol=1e-12)
    for a, b in zip(jax.jit(jax.grad(ours))(w), jax.grad(plain)(w), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    drawn = jax.vmap(lambda k: robustness.jacobian_penalty(model, X, w, key=k, projections=1))(
        jax.random.split(jax.random.key(0), 4000)
    )
    assert abs(drawn.mean() - plain(w)) < 4 * drawn.std() / 4000**0.5


def test_spectral_normalisation():
    W = draw(9, 7)
    truth = np.linalg.norm(W, 2)
    exact = jax.jit(lambda w: robustness.spectral_normalise(w, steps=None, bound=0.5))(W)
    np.testing.assert_allclose([exact.norm, np.linalg.norm(exact.weight, 2)], [truth, 0.5], rtol=1e-9)
    slope = jax.grad(lambda w: robustness.spectral_normalise(w, steps=None).norm)(W)
    np.testing.assert_allclose(slope, jax.grad(lambda w: jnp.linalg.norm(w, 2))(W), atol=1e-5)
    state, values = None, []
    for _ in range(60):
        *_, norm, state = robustness.spectral_normalise(W, state)
        values.append(float(norm))
    assert max(values) <= truth * (1 + 1e-12) and values[-1] > truth * 0.9999 > values[0]


@pytest.mark.parametrize("loss, batch", [("softmax", 3), ("softmax", 60), ("squared", 3), ("squared", 60)])
def test_a_natural_gradient_step_by_its_formula(loss, batch):
    """Both spaces, against the matrices written out."""
    model = lambda w, x: w[1] @ jnp.tanh(w[0] @ x)  # noqa: E731
    w, x = [draw(5, 6), draw(3, 5)], draw(batch, 6)
    y = jnp.asarray(RANDOM.integers(0, 3, batch)) if loss == "softmax" else draw(batch, 3)
    theta, unravel = jax.flatten_util.ravel_pytree(w)
    J = np.asarray(jax.jacobian(lambda t: jax.vmap(lambda z: model(unravel(t), z))(x))(theta))
    scores = np.asarray(jax.vmap(lambda z: model(w, z))(x))
    p = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    r = p - np.eye(3)[np.asarray(y)] if loss == "softmax" else scores - np.asarray(y)
    H = [np.diag(a) - np.outer(a, a) if loss == "softmax" else np.eye(3) for a in p]
    G = sum(j.T @ h @ j for j, h in zip(J, H, strict=True)) / batch
    expected = -np.linalg.solve(G + 10 * np.eye(len(theta)), sum(j.T @ e for j, e in zip(J, r, strict=True)) / batch)
    optimiser = robustness.natural_gradient(model, loss, damping=10.0)
    updates, state = jax.jit(optimiser.update)(w, optimiser.init(w), x, y)
    np.testing.assert_allclose(jax.flatten_util.ravel_pytree(updates)[0], expected, rtol=1e-8, atol=1e-12)
    assert state.damping != 10 or 0.25 < state.gain < 0.75


# -- PyTorch, errors ---------------------------------------------------------------------------------------------------
def test_modules_of_pytorch():
    module = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3)).double()
    x = torch.linspace(-1, 1, 4, dtype=torch.float64)
    J = torch.func.jacrev(module)(x).detach().numpy()
    np.testing.assert_allclose(robustness.operator_norm(module, x).bound, np.linalg.norm(J, 2), rtol=1e-10)
    found = robustness.lipschitz(module, x, 0.05)
    assert np.linalg.norm(J, 2) * (1 - 1e-12) <= float(found.found) <= float(found.bound)
    assert robustness.certify(module, x, int(module(x).argmax()), 1e-4).verdict is True


@pytest.mark.parametrize(
    "call, said",
    [
        (lambda: robustness.operator_norm(network, X, 3), "norm: got 3, expected one of 1, 2, inf"),
        (lambda: robustness.lipschitz(network, X, -1.0), "radius: got -1.0"),
        (lambda: robustness.lipschitz(network, jnp.arange(6), 0.1), "x: got int"),
        (lambda: robustness.certify(network, X, 9, 0.1), "label: got 9, expected a class from 0 to 3"),
        (lambda: robustness.certify(lambda x: x[0], X, 0, 0.1), "expected scores"),
        (lambda: robustness.pgd(network, X, 0, 0.1, restarts=2), "key: got None"),
        (lambda: robustness.pgd(network, X, 0, 0.1, norm=1), "norm: got 1"),
        (lambda: robustness.conv_norm(np.ones((3, 3)), (4,)), "kernel: got shape"),
        (lambda: robustness.conv_norm(np.ones((1, 1, 3, 3)), (2, 2), padding="VALID"), "shape: got"),
        (lambda: robustness.conv_norm(np.ones((1, 1, 3, 3)), (5, 5), padding="REFLECT"), "padding: got"),
        (lambda: robustness.worst_direction(network, X, output=7), "output: got 7"),
        (lambda: robustness.jacobian_penalty(network, X, projections=1), "key: got None"),
        (lambda: robustness.spectral_normalise(jnp.ones((2, 2, 3, 3))), "give shape for a convolution"),
        (lambda: robustness.natural_gradient(network, "hinge"), "loss: got 'hinge'"),
    ],
)
def test_errors_name_the_argument(call, said):
    with pytest.raises(jm.ArgumentError, match=said):
        call()
