"""Backpropagation step by step against JAX's own gradient, products worked out by hand, and counts in closed form."""

import json
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from backprop_cases import NETS, PARAMS, Net, X, classifier, log_loss, numbers, shared

import jacmap as jm
from jacmap.study.backprop import front


@pytest.mark.parametrize("net", NETS, ids=str)
def test_the_gradient_arises_in_the_steps(net: Net) -> None:
    found = net.followed
    theirs = jax.tree.leaves(jax.grad(net.total, argnums=net.argnums)(*net.args))
    for value, own in zip(found.inputs, theirs, strict=True):
        np.testing.assert_allclose(value.cotangent, own, rtol=1e-12, atol=1e-13)
    assert found.value == pytest.approx(float(net.total(*net.args)), rel=1e-13)
    assert found.directional == pytest.approx(float(theirs[0].ravel()[0]), rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("net", NETS, ids=str)
def test_every_cotangent_is_the_derivative_by_the_value(net: Net) -> None:
    """What is handed back is the local Jacobian, transposed, times what came; what is read often adds up."""
    found = net.followed
    values = {v.name: v for v in (*found.inputs, *(made for step in found.steps for made in step.makes))}
    total = {name: np.zeros_like(v.value) for name, v in values.items() if v.cotangent is not None}
    total[found.steps[-1].makes[0].name] = np.ones(())
    for step in reversed(found.steps):
        (made,) = step.makes
        for read in step.reads:
            if read.handed is None:
                continue
            assert read.jacobian is not None and read.jacobian.shape == read.shape
            by_hand = (read.jacobian.T @ made.cotangent.ravel()).reshape(read.handed.shape)
            np.testing.assert_allclose(read.handed, by_hand, rtol=1e-12, atol=1e-13)
            total[read.name] = total[read.name] + read.handed
    for name, expected in total.items():
        np.testing.assert_allclose(values[name].cotangent, expected, rtol=1e-12, atol=1e-13)


def test_intermediate_values_against_a_network_written_by_hand() -> None:
    found = NETS[0].followed
    w1, b1, w2 = (np.asarray(PARAMS[k]) for k in ("w1", "b1", "w2"))
    a = np.asarray(X) @ w1 + b1
    h = np.tanh(a)
    s = h @ w2
    p = np.exp(s) / np.exp(s).sum()
    ds = p - np.array([0.0, 1.0])  # of a softmax behind a log-loss
    dh = w2 @ ds
    by = {step.formula.split("(")[0]: step for step in found.steps}
    np.testing.assert_allclose(by["tanh"].makes[0].value, h, rtol=1e-13)
    np.testing.assert_allclose(by["tanh"].makes[0].cotangent, dh, rtol=1e-12)
    np.testing.assert_allclose(np.diagonal(by["tanh"].reads[0].jacobian), 1 - h**2, rtol=1e-12)
    scores = next(step for step in found.steps if step.formula == "v3 @ params['w2']")
    np.testing.assert_allclose(scores.makes[0].cotangent, ds, rtol=1e-11)
    gradient = {value.name: value.cotangent for value in found.inputs}
    np.testing.assert_allclose(gradient["params['w1']"], np.outer(X, dh * (1 - h**2)), rtol=1e-11)
    np.testing.assert_allclose(gradient["params['w2']"], np.outer(h, ds), rtol=1e-11)


def test_what_is_read_twice_adds_up_and_says_so() -> None:
    found = jm.backprop(shared, jnp.array([0.3, -0.7]))
    (x,) = found.inputs
    assert len(x.readers) >= 2
    np.testing.assert_allclose(sum(back for _, back in x.readers), x.cotangent, rtol=1e-14)
    assert f"x is read {len(x.readers)} times: what comes back adds up" in str(found)


def test_multiplications_in_closed_form() -> None:
    """A network 2-3-2 on a batch of 4, differentiated by its weights: m·k·n for products, n for functions."""

    def net(params: Any, x: Any) -> Any:
        return jnp.sum(jnp.tanh(x @ params["w1"]) @ params["w2"])

    params = {name: PARAMS[name] for name in ("w1", "w2")}
    found = jm.backprop(net, params, numbers(4, 2))
    first, tanh, hidden, weights = 4 * 2 * 3, 4 * 3, 4 * 3 * 2, 4 * 3 * 2
    sweep = first + tanh + hidden + weights
    assert found.size == 12
    assert found.multiplications == {
        "one JVP": sweep, "one VJP": sweep, "gradient by forward mode": 12 * sweep, "gradient by reverse mode": sweep,
    }  # fmt: skip


def test_additions_and_moves_are_free_and_known_zeros_cost_nothing() -> None:
    found = jm.backprop(lambda x: jnp.sum((x + x[::-1]).reshape(2, 2).T - 1), jnp.arange(4.0))
    assert found.multiplications["one VJP"] == 0
    masked = jnp.array([1.0, 0.0, 2.0, 0.0])
    assert jm.backprop(lambda x: jnp.sum(masked * x), jnp.arange(4.0)).multiplications["one VJP"] == 2


def test_forward_wins_nothing_is_said_to_win_for_one_input() -> None:
    assert "both take one sweep" in jm.backprop(jnp.sin, jnp.array(0.3)).to_dict()["words"][1]
    assert "15 times fewer" in " ".join(NETS[0].followed.to_dict()["words"])


def test_a_direction() -> None:
    direction = jax.tree.map(lambda leaf: numbers(*leaf.shape, seed=4), PARAMS)
    found = jm.backprop(classifier, PARAMS, X, loss=log_loss, direction=direction)
    exact = jax.jvp(lambda p: log_loss(classifier(p, X)), (PARAMS,), (direction,))[1]
    assert found.directional == pytest.approx(float(exact), rel=1e-12)
    for step in found.steps:
        for made in step.makes:
            if made.tangent is not None and made.cotangent is not None and made.value.shape == ():
                assert np.isfinite(made.tangent)


def test_what_a_stop_gradient_hides_gets_nothing_back() -> None:
    found = jm.backprop(lambda x: jnp.sum(x * jax.lax.stop_gradient(jnp.sin(x))), jnp.array([0.3, 0.4]))
    sin = next(step for step in found.steps if step.operation == "sin")
    assert sin.reads[0].handed is None and not sin.makes[0].cotangent.any()
    assert "nothing comes back" in str(found)
    assert found.multiplications["one JVP"] > found.multiplications["one VJP"]


def test_custom_rules_and_loops_are_steps() -> None:
    @jax.custom_vjp
    def twice(x: Any) -> Any:
        return 2 * x

    twice.defvjp(lambda x: (2 * x, None), lambda _, g: (5 * g,))  # wrong on purpose: the rule counts
    found = jm.backprop(lambda x: jnp.sum(twice(x)), jnp.ones(2))
    np.testing.assert_allclose(found.inputs[0].cotangent, [5.0, 5.0])
    assert found.directional is None and "knows reverse mode alone" in str(found)

    def loop(x: Any) -> Any:
        return jax.lax.scan(lambda c, _: (jnp.sin(c), c), x, None, length=3)[0].sum()

    x = jnp.array([0.3, 0.4])
    np.testing.assert_allclose(jm.backprop(loop, x).inputs[0].cotangent, jax.grad(loop)(x), rtol=1e-12)


def test_without_reverse_mode_there_is_no_way_back() -> None:
    def loop(x: Any) -> Any:
        return jax.lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, jnp.sin(c[1])), (0, x))[1]

    with pytest.raises(jm.ModeError, match="needs reverse mode, which while cannot run in"):
        jm.backprop(loop, jnp.array(0.3))


def test_an_unused_parameter_has_a_zero_gradient() -> None:
    found = jm.backprop(lambda p: jnp.sum(p["a"] ** 2), {"a": jnp.ones(2), "b": jnp.ones(3)})
    np.testing.assert_array_equal(found.inputs[1].cotangent, np.zeros(3))


@pytest.mark.parametrize("net", NETS, ids=str)
def test_the_printed_form(net: Net) -> None:
    text = str(net.followed)
    assert max(map(len, text.split("\n"))) <= 100
    for heading in ("Forward: every value", "Backward: last to first", "The gradient", "side by side", "Counted:"):
        assert heading in text


def test_large_arrays_are_told_by_shape_and_norm() -> None:
    w = numbers(60, 50)
    found = jm.backprop(lambda w: jnp.sum(jnp.tanh(w @ jnp.ones(50)) ** 2), w)
    assert "w = 60×50 numbers, norm" in str(found)
    assert any(read.jacobian is None for step in found.steps for read in step.reads)
    theirs = jax.grad(lambda w: jnp.sum(jnp.tanh(w @ jnp.ones(50)) ** 2))(w)
    np.testing.assert_allclose(found.inputs[0].cotangent, theirs, rtol=1e-9, atol=1e-11)


def test_plain_numbers() -> None:
    found = NETS[0].followed.to_dict()
    assert json.loads(json.dumps(found)) == found
    assert found["inputs"][1]["shape"] == [2, 3]


def test_lines_of_code_are_named() -> None:
    found = NETS[0].followed
    tanh = next(step for step in found.steps if step.operation == "tanh")
    assert tanh.text == 'h = jnp.tanh(x @ params["w1"] + params["b1"])'
    assert tanh.line.startswith("backprop_cases.py:")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: jm.backprop(jnp.tanh, jnp.ones(3)), r"tanh: returned float64\[3\], expected one real number"),
        (lambda: jm.backprop(lambda x: (x[0], x[1]), jnp.ones(3)), "pass loss="),
        (lambda: jm.backprop(jnp.tanh, jnp.ones(3), loss=jnp.exp), "loss: returned"),
        (lambda: jm.backprop(jnp.sum, jnp.ones(3), loss=3), "loss: got int"),
        (lambda: jm.backprop(jnp.sum), "got no point"),
        (lambda: jm.backprop(3, jnp.ones(3)), "f: got int"),
        (lambda: jm.backprop(jnp.sum, jnp.ones(3), direction=jnp.ones(2)), "direction: got shapes"),
        (lambda: jm.backprop(jnp.sum, jnp.arange(3)), "expected floating-point"),
        (lambda: jm.backprop(lambda x: jnp.array(2.0), jnp.ones(3)), "does not depend on its arguments"),
        (lambda: jax.jit(lambda x: jm.backprop(jnp.sum, x).value)(jnp.ones(3)), "outside jit"),
    ],
)
def test_bad_input(call: Callable[[], Any], said: str) -> None:
    with pytest.raises(jm.ArgumentError, match=said):
        call()


def test_a_gradient_that_differs_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    real = front.sweep

    def wrong(*args: Any) -> Any:
        numbers = real(*args)
        for v, cotangent in numbers.cotangents.items():
            numbers.cotangents[v] = cotangent * (1 + 1e-6)
        return numbers

    monkeypatch.setattr(front, "sweep", wrong)
    with pytest.raises(jm.StructureError, match="jax.grad"):
        jm.backprop(classifier, PARAMS, X, loss=log_loss)
