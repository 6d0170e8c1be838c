"""O-Net, the last stage of the MTCNN face detector, pretrained: 48×48 pixels to face, box and five landmarks.

The weights (Zhang et al. 2016, "Joint face detection and alignment using multitask cascaded convolutional networks";
MIT licence) ship in the package facenet-pytorch, whose code needs PyTorch. Only the data file is read here, by a reader
that can build nothing but arrays of numbers: ``pip install --no-deps facenet-pytorch``.
"""

import importlib.util
import io
import pickle
from collections import OrderedDict
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

SIDE = 48
BOX = 70, 170, 120  # top, left and side of the square around the face in the picture, in pixels
LANDMARKS = [f"{part} {axis}" for axis in "xy" for part in
             ("left eye", "right eye", "nose", "left mouth corner", "right mouth corner")]  # fmt: skip


class Storage:
    """Stands for `torch.FloatStorage`: numbers that come after the pickles."""


class TensorReader(pickle.Unpickler):
    """Reads a pickled state dict of float tensors and nothing else: any other name in the file is an error."""

    def __init__(self, file: io.BufferedIOBase) -> None:
        super().__init__(file)
        self.wanted: dict[str, int] = {}  # key of a storage -> how many numbers it holds

    def find_class(self, module: str, name: str) -> object:
        known = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch", "FloatStorage"): Storage,
            ("torch._utils", "_rebuild_tensor_v2"): View,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"{module}.{name} has no place in a file of weights")
        return known[module, name]

    def persistent_load(self, key: tuple) -> str:
        kind, storage, name, _, count, view = key
        if kind != "storage" or storage is not Storage or view is not None:
            raise pickle.UnpicklingError(f"{key!r} is no storage of floats")
        self.wanted[name] = int(count)
        return name


class View:
    """A tensor: shape and strides on a storage, in numbers."""

    def __init__(self, storage: str, offset: int, shape: tuple, strides: tuple, *_: object) -> None:
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides

    def of(self, numbers: np.ndarray) -> np.ndarray:
        last = self.offset + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        if self.offset < 0 or min(self.strides, default=0) < 0 or last >= numbers.size:
            raise ValueError("a tensor reaches beyond its storage: the file is damaged")
        steps = [4 * stride for stride in self.strides]
        return np.lib.stride_tricks.as_strided(numbers[self.offset :], self.shape, steps).copy()


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file that `torch.save` wrote before version 1.6.

    Five pickles (a magic number, a version, the byte order, the tensors, the order of the storages), then each storage
    as the count of its numbers in eight bytes and the numbers in four each.
    """
    with path.open("rb") as file:
        magic, _, system = (TensorReader(file).load() for _ in range(3))
        if magic != 0x1950A86A20F9469CFC6C or not system["little_endian"]:
            raise ValueError(f"{path}: not a file of weights in the old format of PyTorch")
        reader = TensorReader(file)
        views = reader.load()
        numbers = {}
        for key in TensorReader(file).load():
            count = int.from_bytes(file.read(8), "little")
            if count != reader.wanted.get(key):
                raise ValueError(f"{path}: a storage of {count} numbers where another size was announced")
            numbers[key] = np.frombuffer(file.read(4 * count), "<f4")
    return {name: view.of(numbers[view.storage]) for name, view in views.items()}


def weights_file() -> Path:
    """data/onet.pt of facenet-pytorch; the package itself is not imported."""
    found = importlib.util.find_spec("facenet_pytorch")
    if found is None or found.origin is None:
        raise FileNotFoundError("O-Net's weights are missing: pip install --no-deps facenet-pytorch")
    return Path(found.origin).parent / "data" / "onet.pt"


def onet(weights: dict, image: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Probabilities (no face, face); four corrections of the box; x of the five landmarks, then y, as shares of 1.

    `image`: (48, 48, 3), rows × columns × red, green, blue, each (value − 127.5)/128.
    """
    x = image.transpose(2, 0, 1)[None]
    for k, window in ((1, 3), (2, 3), (3, 2), (4, None)):
        x = lax.conv(x, weights[f"conv{k}.weight"], (1, 1), "VALID") + weights[f"conv{k}.bias"][:, None, None]
        x = prelu(x, weights[f"prelu{k}.weight"][:, None, None])
        x = x if window is None else largest(x, window)
    x = x[0].transpose(2, 1, 0).ravel()  # columns × rows × channels, as the weights were trained
    x = prelu(weights["dense5.weight"] @ x + weights["dense5.bias"], weights["prelu5.weight"])
    face, box, marks = (weights[f"dense6_{k}.weight"] @ x + weights[f"dense6_{k}.bias"] for k in (1, 2, 3))
    return jax.nn.softmax(face), box, marks


def prelu(x: jax.Array, slope: jax.Array) -> jax.Array:
    return jnp.where(x > 0, x, slope * x)


def largest(x: jax.Array, window: int) -> jax.Array:
    """The largest of each window, every second one; the last one may hang over the edge (PyTorch's ceil_mode)."""
    over = [(0, max(0, 2 * -(-(size - window) // 2) + window - size)) for size in x.shape[2:]]
    return lax.reduce_window(x, -np.inf, lax.max, (1, 1, window, window), (1, 1, 2, 2), [(0, 0), (0, 0), *over])


WEIGHTS = {name: jnp.asarray(array) for name, array in read_weights(weights_file()).items()}


def landmarks(image: jax.Array) -> jax.Array:
    """x of left eye, right eye, nose, left and right mouth corner, then their y: shares of the image's side, (10,)."""
    return onet(WEIGHTS, image)[2]


def face(image: jax.Array) -> jax.Array:
    """The probability that the image shows a face."""
    return onet(WEIGHTS, image)[0][1]


def crop() -> np.ndarray:
    """The astronaut's face, (48, 48, 3), values from 0 to 255."""
    from skimage import data, transform

    top, left, side = BOX
    square = data.astronaut()[top : top + side, left : left + side]
    return transform.resize(square, (SIDE, SIDE), anti_aliasing=True, preserve_range=True)


def point() -> jax.Array:
    """The face as the network reads it."""
    return jnp.asarray((crop() - 127.5) / 128, jnp.float32)  # as the weights
