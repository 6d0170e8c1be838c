"""Mixed precision against NumPy: roundings of float16 and bfloat16, overflow, underflow, the loss scale."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jacmap as jm
from jacmap._data_path import data_path
from jacmap._evaluate import wide_sums

# What is rounded when, XLA's optimiser decides, too.
pytestmark = pytest.mark.usefixtures("optimised")

RNG = np.random.default_rng(0)
WS = [jnp.asarray(RNG.normal(0, 0.15, (32, 32)), jnp.float32) for _ in range(5)]
X = jnp.asarray(RNG.normal(size=(16, 32)), jnp.float32)


def mlp(ws, x):
    for w in ws:
        x = jnp.tanh(x @ w)
    return jnp.mean(x * x)


def test_errors_are_those_of_the_rounding():
    study = jm.precision(mlp, WS, X)
    for dtype in ("float16", "bfloat16"):
        eps = float(jnp.finfo(dtype).eps)
        found = study[dtype]
        assert 0.05 * eps < found.segments[0].value < eps  # rounded inputs and one product
        assert eps / 10 < found.error < 20 * eps
        assert found.half == 1.0
    assert study["bfloat16"].error > 3 * study["float16"].error


def test_the_first_segment_against_numpy():
    """One product of half-precision operands, added up in single precision and rounded once, then tanh in float16."""
    found = jm.precision(mlp, WS, X, dtype="float16")["float16"].segments[0].value
    x, w = np.asarray(X, np.float16), np.asarray(WS[0], np.float16)
    product = (x.astype(np.float32) @ w.astype(np.float32)).astype(np.float16)
    low = np.tanh(product.astype(np.float32)).astype(np.float16).astype(np.float64)
    exact = np.tanh(np.asarray(X, np.float64) @ np.asarray(WS[0], np.float64))
    expected = np.linalg.norm(low - exact) / np.linalg.norm(exact)
    assert found == pytest.approx(expected, rel=0.15)


def test_sums_are_taken_in_single_precision():
    """4096 terms of 1 + 1e-3: a running sum in float16 would stop at 2048."""
    w, x = jnp.full((4096, 1), 1.0, jnp.float16), jnp.full((1, 4096), 1.0, jnp.float16)
    path = data_path(lambda w, x: jnp.sum(x @ w), (w, x))
    state = ()
    for stretch, own in zip(path.stretches, path.operands((w, x)), strict=True):
        state = stretch.run(state, own, bind=wide_sums)
    assert float(path.output(state)) == 4096
    text = str(jax.make_jaxpr(lambda w, x: path.stretches[0].run((), path.operands((w, x))[0], bind=wide_sums))(w, x))
    assert "preferred_element_type=float32" in text


def test_gradients_that_underflow_are_found_and_a_scale_saves_them():
    def tiny(ws, x):
        return mlp(ws, x) * 1e-5

    found = jm.precision(tiny, WS, X, dtype="float16")["float16"]
    assert found.plain > 0.5 and found.trials[0][2] > 0.5  # most of the gradient is lost
    assert found.scale is not None and found.scale >= 512
    assert found.error < 0.02
    wide = jm.precision(tiny, WS, X, dtype="bfloat16")["bfloat16"]
    assert wide.scale == 1 and wide.trials[0][2] == 0


def test_values_that_overflow_are_found():
    def large(ws, x):
        return jnp.mean((x @ ws[0] * 3e4) ** 2)

    found = jm.precision(large, WS, X, dtype="float16")["float16"]
    assert found.scale is None and max(s.overflow for s in found.segments) > 0
    assert "too large for this dtype" in str(jm.precision(large, WS, X, dtype="float16"))
    assert jm.precision(large, WS, X, dtype="bfloat16")["bfloat16"].scale == 1


def test_the_gradient_error_is_that_of_the_whole_gradient():
    found = jm.precision(mlp, WS, X, dtype="bfloat16")["bfloat16"]
    exact = np.concatenate([np.ravel(g) for g in jax.grad(mlp)(WS, X)])
    low = jax.grad(mlp)([w.astype(jnp.bfloat16) for w in WS], X.astype(jnp.bfloat16))
    plain = np.concatenate([np.ravel(g.astype(jnp.float32)) for g in low])
    error = np.linalg.norm(plain - exact) / np.linalg.norm(exact)
    assert 0.3 * error < found.plain < 3 * error


def test_printed_form_dictionary_and_faults():
    study = jm.precision(mlp, WS, X)
    text = str(study)
    assert "No loss scale is needed" in text or "With the loss times" in text
    assert max(map(len, text.splitlines())) <= 100
    assert len(json.loads(json.dumps(study.to_dict()))["dtypes"]) == 2
    with pytest.raises(jm.ArgumentError, match="^dtype: got 'float8'"):
        jm.precision(mlp, WS, X, dtype="float8")
    with pytest.raises(jm.ArgumentError, match="expected one scalar"):
        jm.precision(lambda w, x: x @ w[0], WS, X)
    with pytest.raises(jm.ArgumentError, match="^dtype: got 'float32'"):
        study["float32"]
