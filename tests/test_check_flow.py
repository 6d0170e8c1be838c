"""jm.check_flow: mistakes planted in flows are found and named; right flows, ours and of other libraries, pass."""

import re

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jacmap as jm

KEY = jr.key(0)
N = 6
ORDER = np.array([2, 0, 5, 1, 3, 4])
W = 0.5 * jr.normal(jr.key(1), (3, 2, N // 2, N // 2))
X = jr.normal(jr.key(2), (20, N))
SCALE = jnp.linspace(0.5, 2.0, N)


def coupling(x, w):
    a, b = x[: N // 2], x[N // 2 :]
    log_scale, shift = jnp.tanh(w[0] @ a), w[1] @ a
    return jnp.concatenate([a, b * jnp.exp(log_scale) + shift]), jnp.sum(log_scale)


def uncoupled(z, w):
    a, b = z[: N // 2], z[N // 2 :]
    return jnp.concatenate([a, (b - w[1] @ a) * jnp.exp(-jnp.tanh(w[0] @ a))])


def forward(x, layers=3):
    """(z, log-dets of the layers): three couplings with a permutation after each, then a scale."""
    logs = []
    for w in W[:layers]:
        x, log = coupling(x, w)
        x = x[ORDER]
        logs.append(log)
    return SCALE * x, [*logs, jnp.sum(jnp.log(SCALE))]


def f(x):
    return forward(x)[0]


def log_det(x):
    return sum(forward(x)[1])


def backward(z, undo, layers=3):
    z = z / SCALE
    for w in W[:layers][::-1]:
        z = uncoupled(z[undo], w)
    return z


def inverse(z):
    return backward(z, np.argsort(ORDER))


def with_logs(combine):
    return lambda x: combine(forward(x)[1], x)


@jax.custom_jvp
def frozen(x):
    return log_det(jax.lax.stop_gradient(x))


frozen.defjvp(lambda primals, tangents: (frozen(*primals), jnp.zeros(())))

WRONG_LOGS = {
    "wrong sign": (with_logs(lambda logs, x: -sum(logs)), "sign", "opposite sign"),
    "missing layer": (with_logs(lambda logs, x: sum(logs) - logs[1]), "layer", "layer 1 of 3.*is missing"),
    "one layer's sign": (with_logs(lambda logs, x: sum(logs) - 2 * logs[1]), "layer", "layer 1 of 3.*the wrong sign"),
    "constant aside": (with_logs(lambda logs, x: sum(logs) - 2 * logs[2]), "layer", "layer 2 of 3.*constants aside"),
    "layer twice": (with_logs(lambda logs, x: sum(logs) + logs[0]), "layer", "layer 0 of 3.*counted twice"),
    "missing constant": (with_logs(lambda logs, x: sum(logs[:3])), "constant", "scales by constants"),
    "constant of the wrong sign": (with_logs(lambda logs, x: sum(logs[:3]) - logs[3]), "constant", "off by"),
    "mean": (with_logs(lambda logs, x: sum(logs) / N), "factor", "mean over the entries"),
    "bits": (with_logs(lambda logs, x: sum(logs) / np.log(2)), "factor", "in bits"),
    "unknown factor": (with_logs(lambda logs, x: 1.37 * sum(logs)), "factor", "1.37 times"),
    "determinant": (with_logs(lambda logs, x: jnp.exp(sum(logs))), "no logarithm", "determinant itself"),
    "at z": (lambda x: log_det(f(x)), "wrong point", "instead of at x"),
    "of the inverse": (lambda x: -log_det(inverse(x)), "direction", "of the inverse"),
    "zero": (lambda x: 0.0 * x[0], "zero", "is missing"),
    "something else": (lambda x: log_det(x) + x[0] ** 2, "other", "in no way known"),
    "not summed": (lambda x: jnp.full(N, log_det(x) / N), "shape", "not summed over the entries"),
    "kept axis": (lambda x: log_det(x)[None], "shape", "squeeze it"),
    "no gradient": (frozen, "gradient", "training would go wrong"),
}


@pytest.mark.parametrize("name", WRONG_LOGS)
def test_a_wrong_log_determinant_is_named(name):
    planted, kind, said = WRONG_LOGS[name]
    found = jm.check_flow(f, inverse, planted, X)
    assert [finding.kind for finding in found.findings] == [kind], str(found)
    assert found.findings[0].about == "log_det"
    assert re.search(said, str(found)), str(found)
    assert not found


def test_entries_that_are_missing():
    """One coupling: two of its three entries' terms are left out."""

    def one(x):
        return coupling(x, W[0])[0]

    found = jm.check_flow(one, None, lambda x: jnp.tanh(W[0][0] @ x[:3])[1], X)
    assert "the terms of entries 3, 5 are missing" in str(found)


WRONG_INVERSES = {
    "transposed permutation": (lambda x: coupling(x, W[0])[0][ORDER], lambda z: uncoupled(z[ORDER], W[0]),
                               "permutation", "np.argsort"),
    "permutations inside": (f, lambda z: backward(z, ORDER), "other", "first goes wrong in part 0 of"),
    "missing shift": (lambda x: 2 * x + 1, lambda z: z / 2, "shift", "shift of x by"),
    "scale not undone": (f, lambda z: inverse(z * SCALE), "other", "differs from x"),
    "scale": (lambda x: SCALE * x, lambda z: SCALE * z, "scale", "the wrong way round"),
    "matrix transposed": (lambda x: (jnp.eye(N) + jnp.diag(SCALE[1:], 1)) @ x,
                          lambda z: jnp.linalg.inv(jnp.eye(N) + jnp.diag(SCALE[1:], 1)).T @ z, "linear", "a matrix"),
    "one half": (lambda x: coupling(x, W[0])[0], lambda z: z, "entries", "entries 3, 4, 5 come back wrong"),
    "two to one": (lambda x: x**2, jnp.sqrt, "not one-to-one", "maps both to one"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_INVERSES)
def test_a_wrong_inverse_is_named(name):
    function, planted, kind, said = WRONG_INVERSES[name]
    found = jm.check_flow(function, planted, None, X)
    named = [finding for finding in found.findings if finding.about == "inverse"]
    assert [finding.kind for finding in named] == [kind], str(found)
    assert said in str(found)


def test_folds_and_singular_points():
    found = jm.check_flow(lambda x: x + 2.0 * jnp.sin(x), None, None, X)
    assert found.findings[0].kind == "fold"
    assert "det J changes its sign near x" in str(found)
    close = 0.1 * X + 1.0  # all on one side of the fold, but for what lies between two of them
    clusters = jnp.concatenate([close, -close])

    def even(x):
        return jnp.concatenate([x[:1] ** 3 - x[:1] * 0.2, x[1:]])

    assert jm.check_flow(even, None, None, clusters).findings[0].kind == "fold"
    flat = jm.check_flow(lambda x: jnp.full(N, x.sum()) + 0 * x, None, None, X)
    assert flat.findings[0].kind == "singular"
    nan = jm.check_flow(jnp.log, jnp.exp, lambda x: -jnp.sum(jnp.log(x)), X)
    assert nan.findings[0].kind == "not finite"


def test_a_missing_absolute_value():
    turned = SCALE.at[0].multiply(-1)
    found = jm.check_flow(lambda x: turned * x, None, lambda x: jnp.log(turned).sum() + 0 * x[0], X)
    assert "take the logarithm of its absolute value" in str(found)


def batch_logs(x):
    return jax.vmap(log_det)(x)


WRONG_BATCHES = {
    "summed": (lambda x: batch_logs(x).sum(), "summed over the batch"),
    "constant counted once": (lambda x: jax.vmap(lambda x: sum(forward(x)[1][:3]))(x).sum() + jnp.log(SCALE).sum(),
                              "counted once instead of once per point"),
    "mean": (lambda x: batch_logs(x).mean(), "mean over the batch"),
    "column": (lambda x: batch_logs(x)[:, None], "squeeze it"),
    "another axis": (lambda x: x.sum(0), "the axis of the batch is absent"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_BATCHES)
def test_the_axis_of_the_batch(name):
    planted, said = WRONG_BATCHES[name]
    found = jm.check_flow(jax.vmap(f), jax.vmap(inverse), planted, X, batched=True)
    assert len(found.findings) == 1, str(found)
    assert said in str(found)


def test_a_constant_without_the_axis_of_the_batch():
    def scaled(x):
        return SCALE * x

    found = jm.check_flow(scaled, None, lambda x: jnp.log(SCALE).sum(), X, batched=True)
    assert "the axis of the batch is absent; broadcast it" in str(found)


def test_points_that_change_each_other():
    found = jm.check_flow(lambda x: (x - x.mean(0)) * 2 + x, None, None, X, batched=True)
    assert found.findings[0].kind == "batch"


# -- right flows ---------------------------------------------------------------------------------------------------
def of_flowjax(make, **options):
    from flowjax.distributions import StandardNormal

    bijection = make(jr.key(3), base_dist=StandardNormal((N,)), nn_width=8, flow_layers=2, **options).bijection
    return bijection.inverse, bijection.transform, lambda x: bijection.inverse_and_log_det(x)[1]


def right():
    from flowjax import flows as theirs
    from numpyro.distributions import transforms

    from jacmap import flows

    yield "by hand", f, inverse, log_det, X, {}
    yield "by hand, batched", jax.vmap(f), jax.vmap(inverse), batch_logs, X, {"batched": True}
    yield "in single precision", f, inverse, log_det, X.astype(jnp.float32), {}
    yield "flowjax coupling", *of_flowjax(theirs.coupling_flow), X, {}
    yield "flowjax MAF", *of_flowjax(theirs.masked_autoregressive_flow), X, {}
    spline = flows.neural_spline(N, key=KEY, layers=2, width=8)
    yield "our spline", spline, spline.inverse, lambda x: jm.slogdet(spline)(x)[1], X, {}
    sigmoid = transforms.SigmoidTransform()
    yield ("numpyro sigmoid", sigmoid, sigmoid._inverse,
           lambda x: sigmoid.log_abs_det_jacobian(x, sigmoid(x)).sum(), X, {})  # fmt: skip
    yield "falling", lambda x: -2 * x, lambda z: z / -2, lambda x: N * jnp.log(2.0) + 0 * x[0], X, {}
    yield "few points", f, inverse, log_det, X[:1], {}
    yield "exp", jnp.exp, jnp.log, jnp.sum, X, {}


RIGHT = ["by hand", "by hand, batched", "in single precision", "flowjax coupling", "flowjax MAF",
         "our spline", "numpyro sigmoid", "falling", "few points", "exp"]  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_no_false_alarm(name):
    case = next(case for case in right() if case[0] == name)
    _, function, undone, log, x, options = case
    with jax.numpy_dtype_promotion("standard"):
        functions = [jax.jit(lambda x, own=own: own(x)) for own in (function, undone, log)]
        found = jm.check_flow(*functions, x, **options)
    assert found, str(found)
    assert "no mistake found at" in str(found)


def test_functions_of_numpy_and_of_tensors():
    import torch

    def numpy_flow(x):
        return np.array([x[0], x[1] * np.exp(np.sin(x[0])) + float(x[0]) ** 2])

    x = np.random.default_rng(0).standard_normal((12, 2))
    assert jm.check_flow(numpy_flow, None, lambda x: np.sin(x[0]), x)
    assert "opposite sign" in str(jm.check_flow(numpy_flow, None, lambda x: -np.sin(x[0]), x))

    def torch_flow(x):
        return torch.stack([x[0], x[1] * torch.exp(torch.sin(x[0])) + x[0] ** 2])

    points = torch.as_tensor(x)
    assert jm.check_flow(torch_flow, None, lambda x: torch.sin(x[0]), points)
    assert "opposite sign" in str(jm.check_flow(torch_flow, None, lambda x: -torch.sin(x[0]), points))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: jm.check_flow(3, None, None, X), "f: got int"),
        (lambda: jm.check_flow(f, 3, None, X), "inverse: got int"),
        (lambda: jm.check_flow(f, None, None, X[0]), "x: got shape"),
        (lambda: jm.check_flow(f, None, None, X.at[0, 0].set(jnp.nan)), "x: holds NaN"),
        (lambda: jm.check_flow(lambda x: x[:2], None, None, X), "gives 2 numbers for 6"),
    ],
)
def test_errors_say_what_to_do(call, message):
    with pytest.raises(jm.ArgumentError, match=message):
        call()
