"""Gradient flow against plain AD: every figure of a segment, a product or a gradient, from Jacobians made by hand."""

import json
import math
import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jacmap as jm
from jacmap._segments import segments

WIDTHS = (6, 9, 9, 4)
BATCH = 5


def weights(seed=0, widths=WIDTHS):
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.standard_normal((m, n)) / n**0.5) for n, m in zip(widths, widths[1:], strict=False)]


def layer(w, x):
    return jnp.tanh(w @ x)


def network(x, ws):
    for k, w in enumerate(ws):
        with jax.named_scope(f"layer {k + 1}"):
            x = layer(w, x)
    return x


def loss(y):
    return jnp.sum(y**3)


def batch(seed=1, n=WIDTHS[0], size=BATCH):
    return jnp.asarray(np.random.default_rng(seed).standard_normal((size, n)))


def cuts(ws, x):
    values = [x]
    for w in ws:
        values.append(layer(w, values[-1]))
    return values


@pytest.fixture(scope="module")
def flow():
    return jm.gradient_flow(network, batch(), weights(), batch=True, loss=loss, method="exact")


@pytest.fixture(scope="module")
def by_hand():
    """(per example: the layers' Jacobians; the loss gradients at all cuts), by jax.jacfwd and jax.grad."""
    ws, matrices, gradients = weights(), [], []
    for x in batch():
        values = cuts(ws, x)
        matrices.append([np.asarray(jax.jacfwd(layer, 1)(w, v)) for w, v in zip(ws, values, strict=False)])
        tails = [
            jax.grad(lambda v, k=k: loss(network(v, ws[k:])))(value) if k < len(ws) else jax.grad(loss)(value)
            for k, value in enumerate(values)
        ]
        gradients.append([np.linalg.norm(g) for g in tails])
    return matrices, np.array(gradients)


def product(matrices):
    found = np.eye(matrices[0].shape[1])
    for J in matrices:
        found = J @ found
    return found


def check(spectrum, matrices):
    s = np.array([np.linalg.svd(J, compute_uv=False) for J in matrices])
    n = matrices[0].shape[1]
    expected = {
        "largest": np.median(s[:, 0]),
        "smallest": np.median(s[:, -1]),
        "median": np.median(np.median(s, axis=1)),
        "condition": np.median(s[:, 0] / s[:, -1]),
        "log_volume": np.log(s).sum(axis=1).mean(),
        "gain": math.sqrt(np.mean([np.sum(J**2) / n for J in matrices])),
    }
    for name, value in expected.items():
        figure = getattr(spectrum, name)
        assert figure.kind == "exact"
        assert figure.value == pytest.approx(value, rel=1e-8), name


def test_the_rows_are_the_layers(flow):
    assert [row.name for row in flow.rows] == ["layer 1", "layer 2", "layer 3"]
    assert [row.shape for row in flow.rows] == [(9, 6), (9, 9), (4, 9)]
    assert all("test_gradient_flow.py" in row.place for row in flow.rows)


@pytest.mark.parametrize("k", range(3))
def test_the_figures_of_a_segment_and_of_the_products(flow, by_hand, k):
    matrices = by_hand[0]
    check(flow.rows[k].own, [Js[k] for Js in matrices])
    check(flow.rows[k].so_far, [product(Js[: k + 1]) for Js in matrices])
    check(flow.rows[k].onward, [product(Js[k:]) for Js in matrices])


def test_the_gradients_at_all_cuts(flow, by_hand):
    expected = np.sqrt(np.mean(by_hand[1] ** 2, axis=0))
    assert [flow.input_gradient, *(row.gradient for row in flow.rows)] == pytest.approx(list(expected), rel=1e-10)
    assert flow.rows[1].log_gradient == pytest.approx(math.log(expected[2]))


def test_a_target_for_every_example(by_hand):
    targets = jnp.arange(BATCH * 4.0).reshape(BATCH, 4)
    found = jm.gradient_flow(
        network, batch(), weights(), batch=True, loss=lambda y, t: jnp.sum((y - t) ** 2), target=targets
    )
    every = jax.vmap(jax.grad(lambda x, t: jnp.sum((network(x, weights()) - t) ** 2)))(batch(), targets)
    assert found.input_gradient == pytest.approx(float(jnp.sqrt(jnp.mean(jnp.sum(every**2, axis=1)))), rel=1e-10)


def test_at_another_batch(flow):
    other, ws = batch(7), weights(3)
    again, anew = flow.at(other, ws), jm.gradient_flow(network, other, ws, batch=True, loss=loss, method="exact")
    for a, b in zip(again.rows, anew.rows, strict=True):
        assert a.own.largest.value == pytest.approx(b.own.largest.value, rel=1e-12)
        assert a.gradient == pytest.approx(b.gradient, rel=1e-12)
    with pytest.raises(jm.ArgumentError, match="other shapes"):
        flow.at(other[:, :3], ws)


def test_arguments_that_hold_one_example_per_row_too():
    """Every example has weights of its own."""
    many = [jnp.stack([w, 2 * w]) for w in weights()]
    x = batch(size=2)
    found = jm.gradient_flow(network, x, many, batch=(0, 1), method="exact")
    expected = [jax.jacfwd(lambda v, k=k: layer(many[0][k], v))(x[k]) for k in range(2)]
    check(found.rows[0].own, [np.asarray(J) for J in expected])


def test_estimates_agree_with_the_exact_figures():
    ws, x = weights(2, (40, 48, 40, 36)), batch(3, 40, 24)
    exact = jm.gradient_flow(network, x, ws, batch=True, loss=loss, method="exact")
    found = jm.gradient_flow(network, x, ws, batch=True, loss=loss, method="estimate")
    for a, b in zip(exact.rows, found.rows, strict=True):
        for name in ("own", "so_far", "onward"):
            true, estimate = getattr(a, name).gain.value, getattr(b, name).gain
            assert abs(estimate.value - true) < 4 * estimate.error
            assert estimate.error < 0.2 * true
            if name != "own":
                assert getattr(b, name).largest.kind == "at least"
                assert getattr(b, name).largest.value < getattr(a, name).largest.value
        assert b.own.largest.value == pytest.approx(a.own.largest.value, rel=0.1)
        assert b.own.median.value == pytest.approx(a.own.median.value, rel=0.2)
        assert b.own.smallest.kind == "at most" and b.own.smallest.value > 0.9 * a.own.smallest.value
        assert b.gradient == pytest.approx(a.gradient)


def test_all_lanczos_steps_give_exact_extremes():
    ws, x = weights(4, (7, 9, 5)), batch(3, 7, 1)
    exact = jm.gradient_flow(network, x, ws, batch=True, method="exact")
    found = jm.gradient_flow(network, x, ws, batch=True, method="estimate")
    for a, b in zip(exact.rows, found.rows, strict=True):
        for name in ("largest", "smallest", "condition"):
            assert getattr(b.own, name).value == pytest.approx(getattr(a.own, name).value, rel=1e-6)


def test_dead_units_are_zero_rows_over_the_whole_batch():
    w = weights(0, (8, 30))[0]
    bias = jnp.where(jnp.arange(30) % 3 == 0, -50.0, 1.0)
    x = batch(5, 8, 16)

    def f(x):
        return jax.nn.relu(w @ x + bias)[:20]

    found = jm.gradient_flow(f, x, batch=True)
    rows = np.asarray(jax.vmap(jax.jacfwd(f))(x))
    assert found.rows[-1].dead == np.mean((rows == 0).all(axis=(0, 2))) > 0.3


def test_saturated_units_are_counted():
    w, bias = weights(0, (8, 20))[0], jnp.where(jnp.arange(20) < 5, 9.0, 0.0)
    x = 0.1 * batch(5, 8, 16)
    found = jm.gradient_flow(lambda x: jax.nn.sigmoid(w @ x + bias), x, batch=True)
    assert found.rows[0].saturated == 0.25
    assert jm.gradient_flow(lambda x: jnp.sin(w @ x), x, batch=True).rows[0].saturated is None


def test_products_that_would_underflow_keep_their_logarithm():
    ws = [1e-40 * w for w in weights(0, (6,) * 12)]
    found = jm.gradient_flow(network, batch(), ws, batch=True, loss=jnp.sum, method="exact")
    assert found.input_gradient == 0.0 or found.input_gradient < 1e-300
    assert found.rows[0].log_gradient < -900
    assert found.rows[0].own.largest.value == pytest.approx(np.linalg.norm(ws[0], 2), rel=0.01)
    assert not found.diagnosis.healthy


def test_a_suggestion_is_measured_on_the_function_itself():
    ws = weights(0, (6, 6, 6, 6))
    ws[1] = 1e-4 * ws[1]
    x = batch()
    found = jm.gradient_flow(network, x, ws, batch=True, loss=loss)
    (finding,) = found.diagnosis.findings
    assert (finding.kind, finding.segments) == ("weak", (2,))
    (trial,) = finding.trials
    scale = 1 / np.linalg.norm(np.stack([jax.jacfwd(layer, 1)(ws[1], layer(ws[0], v)) for v in x])) * (6 * BATCH) ** 0.5

    def rescaled(x):
        return layer(ws[2], scale * layer(ws[1], layer(ws[0], x)))

    def ratio(f):
        """Of the gradient lengths at the input and at the output."""
        first = jax.vmap(jax.grad(lambda x: loss(f(x))))(x)
        last = jax.vmap(lambda x: jax.grad(loss)(f(x)))(x)
        return float(jnp.linalg.norm(first) / jnp.linalg.norm(last))

    assert trial.label == "measured"
    assert trial.before == pytest.approx(ratio(lambda x: network(x, ws)), rel=1e-8)
    assert trial.after == pytest.approx(ratio(rescaled), rel=0.5)  # the trial's gain is sampled, ours is not


def test_a_scan_is_opened_step_by_step():
    ws = jnp.stack(weights(0, (6,) * 8))

    def scanned(x, ws):
        def body(h, w):
            return layer(w, h), None

        return jax.lax.scan(body, x, ws)[0]

    x = batch()
    opened = jm.gradient_flow(scanned, x, ws, batch=True, loss=loss, method="exact")
    written = jm.gradient_flow(network, x, list(ws), batch=True, loss=loss, method="exact")
    assert [row.name for row in opened.rows] == [f"step {k}" for k in range(1, 8)]
    for a, b in zip(opened.rows, written.rows, strict=True):
        assert a.own.median.value == pytest.approx(b.own.median.value, rel=1e-10)
        assert a.gradient == pytest.approx(b.gradient, rel=1e-10)


def odd(x, w):
    """A mask made long before it is used, a stopped gradient, two outputs."""
    mask = x[::-1] > 0
    y = jnp.tanh(w @ x)
    stopped = jax.lax.stop_gradient(jnp.tanh(y) * x)
    z = jnp.where(mask, jax.nn.relu(w @ y), 0.0) + stopped
    return {"a": w @ z, "b": jnp.sum(z)}


def nested(x, w):
    def outer(h, _):
        return jax.lax.fori_loop(0, 2, lambda i, v: jnp.tanh(w @ v), h), h

    last, ys = jax.lax.scan(outer, x, None, length=3, reverse=True)
    return last + ys[0] + 2 * ys[1]


@pytest.mark.parametrize(
    ("f", "length"),
    [
        (odd, 3),
        (nested, 1),  # its early outputs are alive to the end
        (lambda x, w: jax.jit(nested)(x, w), 1),
        (lambda x, w: network(x, [w, w]), 2),
    ],
)
def test_segments_compose_to_the_function(f, length):
    w, x = weights(0, (6, 6))[0], batch()[0]
    chain = segments(f, x, w)
    state = chain.start(x, w)
    for link, operands in zip(chain, chain.operands(x, w), strict=True):
        state = link.run(state, operands)
    assert len(chain) == length
    for a, b in zip(jax.tree.leaves(chain.output(state)), jax.tree.leaves(f(x, w)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-14)


def test_segments_can_be_differentiated_by_the_other_arguments():
    w, x = weights(0, (6, 6))[0], batch()[0]
    chain = segments(odd, x, w)

    def composed(w):
        state = chain.start(x, w)
        for link, operands in zip(chain, chain.operands(x, w), strict=True):
            state = jax.checkpoint(link.run)(state, operands)
        return chain.output(state)["b"]

    np.testing.assert_allclose(jax.grad(composed)(w), jax.grad(lambda w: odd(x, w)["b"])(w), rtol=1e-12)


def test_an_equinox_model():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = eqx.nn.MLP(6, 3, 8, 3, key=jax.random.key(0), activation=jnp.tanh)
    x = batch()
    found = jm.gradient_flow(model, x, batch=True, method="exact")
    check(found.total, list(np.asarray(jax.vmap(jax.jacfwd(model))(x))))
    assert len(found.rows) == 4


def test_what_is_printed_fits_and_the_dictionary_is_json(flow):
    text = str(flow)
    assert max(map(len, text.splitlines())) <= 100
    assert "layer 2" in text and "Healthy" in text
    found = json.loads(json.dumps(flow.to_dict(), allow_nan=False))
    assert found["rows"][1]["own"]["gain"]["value"] == pytest.approx(flow.rows[1].own.gain.value)


def test_one_point_and_no_loss():
    x, ws = batch()[0], weights()
    found = jm.gradient_flow(network, x, ws)
    check(found.total, [np.asarray(jax.jacfwd(network)(x, ws))])
    assert found.input_gradient is None and found.rows[0].gradient is None
    scalar = jm.gradient_flow(lambda x: loss(network(x, ws)), x)
    assert scalar.input_gradient == pytest.approx(float(jnp.linalg.norm(jax.grad(lambda x: loss(network(x, ws)))(x))))


@jax.custom_vjp
def reverse_only(x):
    return x**2


reverse_only.defvjp(lambda x: (x**2, x), lambda x, u: (2 * x * u,))


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: jm.gradient_flow(3, batch()), jm.ArgumentError, "f: got int"),
        (lambda: jm.gradient_flow(network, batch(), weights(), batch=True, method="best"), jm.ArgumentError, "method"),
        (lambda: jm.gradient_flow(network, batch(), weights(), batch=(5,)), jm.ArgumentError, "batch: got"),
        (lambda: jm.gradient_flow(network, batch(), weights(), batch=(0, 1)), jm.ArgumentError, "leading axes"),
        (lambda: jm.gradient_flow(network, batch()[0], weights(), loss=jnp.sin), jm.ArgumentError, "loss: returned"),
        (lambda: jm.gradient_flow(network, batch()[0], weights(), target=1.0), jm.ArgumentError, "without a loss"),
        (lambda: jm.gradient_flow(network, batch()[0], weights(), memory=10), jm.ArgumentError, "memory"),
        (lambda: jm.gradient_flow(lambda x: jnp.cumsum(reverse_only(x)), batch()[0]), jm.ModeError, "forward"),
        (lambda: jm.gradient_flow(lambda x: jnp.cumsum(jnp.log(x)), -batch()[0] ** 2), jm.ArgumentError, "not finite"),
        (lambda: jm.gradient_flow(jnp.cumsum, jnp.array([1.0, jnp.inf])), jm.ArgumentError, "expected finite"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_bad_input_gets_one_clear_error(call, error, said):
    with pytest.raises(error, match=said):
        call()


def test_the_plot():
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("Agg")
    ws = weights(0, (6, 6, 6, 6))
    ws[1] = 1e-4 * ws[1]
    found = jm.gradient_flow(network, batch(), ws, batch=True, loss=loss)
    ax = found.plot()
    assert "weak" in ax.get_title()
    line = next(line for line in ax.get_lines() if "gradient" in line.get_label())
    assert line.get_ydata()[0] == pytest.approx(found.input_gradient / found.rows[-1].gradient)
    ax.figure.canvas.draw()
    plt.close("all")
    with pytest.raises(jm.ArgumentError, match="flow: got"):
        jm.plot.gradient_flow(3)
