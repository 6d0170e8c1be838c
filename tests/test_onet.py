"""O-Net read from its file and run without PyTorch, and its landmark sensitivities on a real face."""

import pickle
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jacmap as jm

pytest.importorskip("skimage")
sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
try:
    import onet
except FileNotFoundError:
    pytest.skip("facenet-pytorch's weights are not installed", allow_module_level=True)

WEIGHTS = {name: np.asarray(array, np.float64) for name, array in onet.WEIGHTS.items()}


def by_hand(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The forward pass in NumPy, loop by loop, after facenet_pytorch/models/mtcnn.py."""
    x = image.transpose(2, 0, 1)
    for k, window in ((1, 3), (2, 3), (3, 2), (4, 0)):
        kernel, bias = WEIGHTS[f"conv{k}.weight"], WEIGHTS[f"conv{k}.bias"]
        patches = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[2:], axis=(1, 2))
        x = np.einsum("cijab,ocab->oij", patches, kernel, optimize=True) + bias[:, None, None]
        x = np.where(x > 0, x, WEIGHTS[f"prelu{k}.weight"][:, None, None] * x)
        if window:
            side = -(-(x.shape[1] - window) // 2) + 1
            x = np.stack([
                np.stack([x[:, 2 * i : 2 * i + window, 2 * j : 2 * j + window].max((1, 2)) for j in range(side)], -1)
                for i in range(side)
            ], 1)  # fmt: skip
    flat = x.transpose(2, 1, 0).reshape(-1)  # x.permute(0, 3, 2, 1) of (batch, channel, row, column)
    h = WEIGHTS["dense5.weight"] @ flat + WEIGHTS["dense5.bias"]
    h = np.where(h > 0, h, WEIGHTS["prelu5.weight"] * h)
    a, b, c = (WEIGHTS[f"dense6_{k}.weight"] @ h + WEIGHTS[f"dense6_{k}.bias"] for k in (1, 2, 3))
    return np.exp(a) / np.exp(a).sum(), b, c


@pytest.fixture(scope="module")
def image() -> jax.Array:
    return onet.point()


def test_the_file_holds_the_network() -> None:
    assert sum(array.size for array in onet.WEIGHTS.values()) == 389_040
    assert onet.WEIGHTS["conv4.weight"].shape == (128, 64, 2, 2)
    assert all(np.isfinite(array).all() for array in WEIGHTS.values())


@pytest.mark.parametrize("seed", [None, 0])
def test_the_forward_pass(image: jax.Array, seed: int | None) -> None:
    x = image if seed is None else jnp.asarray(np.random.default_rng(seed).normal(size=image.shape), jnp.float32)
    for ours, theirs in zip(onet.onet(onet.WEIGHTS, x), by_hand(np.asarray(x, np.float64)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_the_face_is_found_and_its_parts_are_where_they_are(image: jax.Array) -> None:
    """Positions read off the picture by eye, in pixels of the crop, to two pixels."""
    assert onet.face(image) > 0.99
    found = np.asarray(onet.landmarks(image)).reshape(2, 5) * 48
    seen = [[13, 30, 21, 12, 29], [12, 13, 22, 27, 28]]
    np.testing.assert_allclose(found, seen, atol=2)


def test_landmark_sensitivities_equal_jacrev(image: jax.Array) -> None:
    found = jm.sensitivity(onet.landmarks, image, inputs="pixel", outputs=onet.LANDMARKS)
    theirs = np.asarray(jax.jit(jax.jacrev(onet.landmarks))(image))
    assert found.shape == (10, 6912)
    size = abs(theirs).max()
    np.testing.assert_allclose(found.matrix, theirs.reshape(10, -1), atol=1e-5 * size)
    np.testing.assert_allclose(found.map("nose y"), theirs[7], atol=1e-5 * size)
    ours = np.asarray(jax.jit(jm.jacobian(onet.landmarks))(image))
    np.testing.assert_allclose(ours, theirs, atol=1e-5 * size)
    # A landmark is moved most from around itself: most of its sensitivity lies nearer than that of a flat map would.
    rows, columns = np.indices((48, 48))
    marks = np.asarray(onet.landmarks(image)).reshape(2, 5) * 48
    for k in range(10):
        weight = found.map(k, absolute=True).sum(-1)
        distance = np.hypot(columns - marks[0, k % 5], rows - marks[1, k % 5])
        assert (weight * distance).sum() / weight.sum() < distance.mean()


def test_noise_for_weights_destroys_the_map(image: jax.Array) -> None:
    found = jm.sensitivity(onet.face, image)
    checked = found.check_randomised(lambda weights, x: onet.onet(weights, x)[0][1], onet.WEIGHTS, draws=2)
    assert checked.passed and abs(checked.signed).max() < 0.1


def test_the_reader_builds_nothing_but_arrays(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return print, ("run",)

    (tmp_path / "evil.pt").write_bytes(pickle.dumps(Evil(), protocol=2))
    with pytest.raises(pickle.UnpicklingError, match="print has no place in a file of weights"):
        onet.read_weights(tmp_path / "evil.pt")
    (tmp_path / "other.pt").write_bytes(b"".join(pickle.dumps(n, protocol=2) for n in (1, 2, {"little_endian": True})))
    with pytest.raises(ValueError, match="not a file of weights"):
        onet.read_weights(tmp_path / "other.pt")
    whole = onet.weights_file().read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[:-100])
    with pytest.raises(ValueError, match="where another size|damaged|buffer"):
        onet.read_weights(tmp_path / "cut.pt")
