"""silero-vad, a trained detector of speech: 32 ms of sound and a memory to the probability of speech and a new memory.

The weights (MIT licence) ship in the package silero-vad, whose code needs PyTorch. Only the data file is read here:
``pip install --no-deps silero-vad``. The wiring below is that of the package's own ONNX graph
(``silero_vad_op18_ifless.onnx``, 16 kHz branch): magnitudes of a Fourier convolution (256 samples, step 128) of the
576 samples reflected by 64 at their end; four convolutions of width 3 with strides 1, 2, 2, 1 and ReLU; an LSTM cell of
128 units with gates in the order input, forget, cell, output; ReLU, a 1×1 convolution and a sigmoid.
"""

import importlib.util
import json
import struct
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

RATE = 16_000
CHUNK, CONTEXT, REFLECTED = 512, 64, 64  # samples: new ones, old ones before them, mirrored ones after them
STRIDES = (1, 2, 2, 1)
STATE = 128


def read(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file: a length, a JSON header, the numbers."""
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] != "F32":
            raise ValueError(f"{name}: got dtype {entry['dtype']}, expected F32")
        start, stop = (8 + length + offset for offset in entry["data_offsets"])
        tensors[name] = np.frombuffer(raw[start:stop], "<f4").reshape(entry["shape"])
    return tensors


def _find() -> Path:
    spec = importlib.util.find_spec("silero_vad")  # found, not imported: its code needs PyTorch
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("the weights ship in a package: pip install --no-deps silero-vad")
    return Path(spec.submodule_search_locations[0]) / "data" / "silero_vad_16k.safetensors"


WEIGHTS = read(_find())


def encode(sound: jax.Array) -> jax.Array:
    """576 samples (64 old, 512 new) → 128 features."""
    w = WEIGHTS
    padded = jnp.concatenate([sound, sound[-2 : -2 - REFLECTED : -1]])
    with jax.named_scope("spectrum"):
        waves = _convolve(padded[None], w["stft_conv.weight"], stride=128, pad=0)
        x = jnp.sqrt(waves[:129] ** 2 + waves[129:] ** 2)
    for k, stride in enumerate(STRIDES, 1):
        with jax.named_scope(f"convolution {k}"):
            x = jax.nn.relu(_convolve(x, w[f"conv{k}.weight"], stride, pad=1) + w[f"conv{k}.bias"][:, None])
    return x[:, 0]


def _convolve(x: jax.Array, kernel: np.ndarray, stride: int, pad: int) -> jax.Array:
    return jax.lax.conv_general_dilated(x[None], jnp.asarray(kernel), (stride,), [(pad, pad)])[0]


def cell(state: jax.Array, features: jax.Array) -> jax.Array:
    """The LSTM: state (2, 128), hidden and cell, and features (128,) to the next state."""
    w = {name: jnp.asarray(WEIGHTS[f"lstm_cell.{name}"]) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    h, c = state
    gates = w["weight_ih"] @ features + w["bias_ih"] + w["weight_hh"] @ h + w["bias_hh"]
    i, f, g, o = jnp.split(gates, 4)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jnp.stack([jax.nn.sigmoid(o) * jnp.tanh(c), c])


def speech(state: jax.Array) -> jax.Array:
    """The probability of speech."""
    w, b = jnp.asarray(WEIGHTS["final_conv.weight"][0, :, 0]), jnp.asarray(WEIGHTS["final_conv.bias"][0])
    return jax.nn.sigmoid(w @ jax.nn.relu(state[0]) + b)


def chunks(sound: np.ndarray) -> np.ndarray:
    """Sound at 16 kHz, (samples,) → (steps, 576): each chunk of 512 with the 64 samples before it."""
    steps = len(sound) // CHUNK
    padded = np.concatenate([np.zeros(CONTEXT, np.float32), np.asarray(sound, np.float32)])
    return np.stack([padded[k * CHUNK : (k + 1) * CHUNK + CONTEXT] for k in range(steps)])


def through_time(state: jax.Array, features: jax.Array) -> jax.Array:
    """The state after all steps, (2, 128), from the first state and the features (steps, 128)."""
    return jax.lax.scan(lambda s, x: (cell(s, x), None), state, features)[0]


def probabilities(sound: np.ndarray) -> np.ndarray:
    """Of speech, at every chunk of the sound."""
    features = jax.jit(jax.vmap(encode))(jnp.asarray(chunks(sound)))
    first = jnp.zeros((2, STATE), features.dtype)
    return np.asarray(jax.jit(lambda x: jax.lax.scan(_step, first, x)[1])(features))


def _step(state: jax.Array, features: jax.Array) -> tuple[jax.Array, jax.Array]:
    state = cell(state, features)
    return state, speech(state)


def voice(seconds: float, pitch: float = 130.0, seed: int = 0) -> np.ndarray:
    """Something like a voice: harmonics of a wavering pitch through the formants of changing vowels, in syllables."""
    t = np.arange(int(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(pitch * (1 + 0.05 * np.sin(2 * np.pi * 3 * t))) / RATE
    vowels = np.array([[730, 1090, 2440], [270, 2290, 3010], [300, 870, 2240], [530, 1840, 2480]])  # Hz; a, i, u, e
    formants = vowels[(t * 4).astype(int) % 4].T
    sound = np.zeros_like(t)
    for k in range(1, 40):
        near = sum(np.exp(-(((k * pitch - formant) / 120) ** 2)) for formant in formants)
        sound += (near + 0.02) * np.sin(k * phase)
    syllables = np.clip(np.sin(2 * np.pi * 4 * t), 0, 1) ** 0.5
    noise = np.random.default_rng(seed).standard_normal(len(t))
    return (0.1 * syllables * sound + 0.001 * noise).astype(np.float32)


if __name__ == "__main__":
    import jacmap as jm

    for name, sound in {"voice": voice(2.0), "silence": 0 * voice(2.0)}.items():
        print(f"probability of speech, {name}: {probabilities(sound).max():.3f}")
    heard = jax.vmap(encode)(jnp.asarray(chunks(voice(1.0))[:30]))
    state = jnp.zeros((2, STATE))
    print(jm.gradient_flow(through_time, state, heard, loss=speech))
