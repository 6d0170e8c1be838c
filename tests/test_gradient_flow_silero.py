"""silero-vad's forward pass against one in plain NumPy (float64), its behaviour, and its gradient through time."""

import importlib.util
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jacmap as jm

if importlib.util.find_spec("silero_vad") is None:
    pytest.skip("the weights ship in the package silero-vad", allow_module_level=True)

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
import silero

W = {name: np.asarray(array, np.float64) for name, array in silero.WEIGHTS.items()}


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def slow_convolution(x, kernel, stride, pad):
    """(in, t) → (out, t'), one window at a time."""
    x = np.pad(x, ((0, 0), (pad, pad)))
    width = kernel.shape[2]
    starts = range(0, x.shape[1] - width + 1, stride)
    return np.stack([np.einsum("oik,ik->o", kernel, x[:, s : s + width]) for s in starts], axis=1)


def by_numpy(sound):
    """Probabilities at every chunk."""
    h, c, found = np.zeros(128), np.zeros(128), []
    for chunk in silero.chunks(sound).astype(np.float64):
        waves = slow_convolution(np.pad(chunk, (0, 64), mode="reflect")[None], W["stft_conv.weight"], 128, 0)
        x = np.hypot(waves[:129], waves[129:])
        for k, stride in enumerate((1, 2, 2, 1), 1):
            x = np.maximum(slow_convolution(x, W[f"conv{k}.weight"], stride, 1) + W[f"conv{k}.bias"][:, None], 0)
        assert x.shape == (128, 1)
        gates = W["lstm_cell.weight_ih"] @ x[:, 0] + W["lstm_cell.bias_ih"]
        gates = gates + W["lstm_cell.weight_hh"] @ h + W["lstm_cell.bias_hh"]
        i, f, g, o = gates.reshape(4, 128)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        found.append(sigmoid(W["final_conv.weight"][0, :, 0] @ np.maximum(h, 0) + W["final_conv.bias"][0]))
    return np.array(found)


def test_the_forward_pass():
    sound = silero.voice(0.5)
    np.testing.assert_allclose(silero.probabilities(sound), by_numpy(sound), atol=2e-4)


def test_the_first_weights_are_a_fourier_transform():
    """The window is a Hann window: what the convolution computes is known."""
    n = np.arange(256)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * n / 256)
    waves = np.exp(-2j * np.pi * np.outer(np.arange(129), n) / 256) * window
    np.testing.assert_allclose(W["stft_conv.weight"][:, 0], np.concatenate([waves.real, waves.imag]), atol=1e-5)


def test_it_tells_a_voice_from_silence_and_noise():
    voice = silero.voice(2.0)
    noise = 0.01 * np.random.default_rng(0).standard_normal(len(voice)).astype(np.float32)
    assert silero.probabilities(voice).max() > 0.9
    assert silero.probabilities(0 * voice).max() < 0.1
    assert silero.probabilities(noise).max() < 0.3


def test_the_gradient_through_time():
    steps = 30
    heard = jax.vmap(silero.encode)(jnp.asarray(silero.chunks(silero.voice(1.0))[:steps]))
    state = jnp.zeros((2, silero.STATE), heard.dtype)
    flow = jm.gradient_flow(silero.through_time, state, heard, loss=silero.speech)
    assert [row.name for row in flow.rows] == [f"step {k}" for k in range(1, steps + 1)]
    gradient = jax.grad(lambda s: silero.speech(silero.through_time(s, heard)))(state)
    assert flow.input_gradient == pytest.approx(float(jnp.linalg.norm(gradient)), rel=1e-4)
    late = jax.grad(lambda s: silero.speech(silero.through_time(s, heard[20:])))
    before = silero.through_time(state, heard[:20])
    assert flow.rows[19].gradient == pytest.approx(float(jnp.linalg.norm(late(before))), rel=1e-4)
    assert flow.diagnosis.healthy
