"""Small networks whose backpropagation is followed, and LibreOffice to recompute their workbooks."""

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jacmap as jm


@dataclass(frozen=True, eq=False)
class Net:
    """A scalar function, with numbers in which it neither saturates nor sits on a kink unless that is the point."""

    name: str
    f: Callable[..., Any]
    args: tuple[Any, ...]
    argnums: int | tuple[int, ...] = 0
    loss: Callable[[Any], Any] | None = None

    def __str__(self) -> str:
        return self.name

    @cached_property
    def followed(self) -> jm.Backprop:
        return jm.backprop(self.f, *self.args, argnums=self.argnums, loss=self.loss)

    @property
    def total(self) -> Callable[..., Any]:
        return self.f if self.loss is None else lambda *args: self.loss(self.f(*args))


def numbers(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


PARAMS = {"w1": numbers(2, 3, seed=1), "b1": numbers(3, seed=2), "w2": numbers(3, 2, seed=3)}
X = jnp.array([1.0, -2.0])
HELD = jnp.array([[1.0, 2.0], [0.5, -1.0]])
SCALE = jnp.array(3.0)


def classifier(params: Any, x: Any) -> Any:
    h = jnp.tanh(x @ params["w1"] + params["b1"])
    return jax.nn.softmax(h @ params["w2"])


def log_loss(p: Any) -> Any:
    return -jnp.log(p[1])


def batch_mean(params: Any, x: Any) -> Any:
    h = jax.nn.relu(x @ params["w1"] + params["b1"])
    return jnp.mean((h @ params["w2"]) ** 2)


def activations(x: Any) -> Any:
    return sum(
        jnp.sum(k * g(x))
        for k, g in enumerate((jnp.tanh, jax.nn.sigmoid, jax.nn.relu, jax.nn.softplus, jax.nn.silu, jnp.abs, jnp.sin,
                               jax.nn.gelu, lambda x: jax.nn.gelu(x, approximate=False), jax.nn.elu, jnp.exp,
                               lambda x: jnp.log(1 + x**2), lambda x: jnp.sqrt(2 + jnp.cos(x)), jnp.expm1,
                               lambda x: jnp.clip(x, -0.5, 0.5), lambda x: (2 + x) ** 1.5, lambda x: 1 / (3 + x),
                               lambda x: jax.lax.rsqrt(4 + x), lambda x: x**3, jnp.log1p), start=1)
    )  # fmt: skip


def attention(q: Any, k: Any, v: Any) -> Any:
    scores = q @ k.T / jnp.sqrt(2.0)
    scores = jnp.where(jnp.tril(jnp.ones((3, 3), bool)), scores, -jnp.inf)
    return jnp.sum((jax.nn.softmax(scores) @ v) ** 2)


def moves(x: Any) -> Any:
    both = jnp.concatenate([x[:2] * x[2:], x[::-1]])
    return jnp.sum(HELD @ both[:2]) * SCALE + both.reshape(3, 2).T[0] @ both[jnp.array([5, 5, 0])] + jnp.max(both)


def layer_norm(x: Any) -> Any:
    centred = x - jnp.mean(x)
    return jnp.sum((centred / jnp.sqrt(jnp.var(x) + 1e-5)) ** 3) + jnp.prod(x) - jnp.min(x)


def shared(x: Any) -> Any:
    return x[0] * x[0] * x[0] + jnp.sum(x * x)


def kinks(x: Any) -> Any:
    """Ties and zeros, where JAX's own conventions decide."""
    return jnp.max(x) + 2 * jnp.min(x) + jnp.sum(jnp.abs(x) + jax.nn.relu(x) + jax.nn.softplus(x) + jnp.maximum(x, 0.5))


def recurrent(w: Any, h: Any, x: Any) -> Any:
    for t in range(3):
        z = jax.nn.sigmoid(w[0] @ h + x[t])
        h = (1 - z) * h + z * jnp.tanh(w[1] @ h + x[t])
    return jnp.sum(h)


def logits(params: Any, x: Any) -> Any:
    return (jnp.tanh(x @ params["w1"] + params["b1"]) @ params["w2"])[1]


NETS = [
    Net("classifier", classifier, (PARAMS, X), loss=log_loss),
    Net("classifier, its input", classifier, (PARAMS, X), argnums=1, loss=log_loss),
    Net("classifier, both", classifier, (PARAMS, X), argnums=(0, 1), loss=log_loss),
    Net("mean over a batch", batch_mean, (PARAMS, numbers(4, 2, seed=5))),
    Net("one logit", logits, (PARAMS, X)),
    Net("activations", activations, (jnp.array([0.3, -0.7, 0.9]),)),
    Net("causal attention", attention, tuple(numbers(3, 2, seed=s) for s in (6, 7, 8)), argnums=(0, 1, 2)),
    Net("moves", moves, (jnp.array([0.3, -0.7, 0.9, 1.4]),)),
    Net("layer norm", layer_norm, (jnp.array([0.3, -0.7, 0.9]),)),
    Net("shared values", shared, (jnp.array([0.3, -0.7]),)),
    Net("kinks", kinks, (jnp.array([0.5, 0.0, 0.5, 0.0]),)),
    Net("recurrent", recurrent, (numbers(2, 2, 2, seed=9), numbers(2, seed=10), numbers(3, 2, seed=11))),
]

OFFICE = shutil.which("soffice") or shutil.which("libreoffice")


def recomputed(paths: list[Path], folder: Path) -> list[Any]:
    """The workbooks as LibreOffice recomputes them, all in one run."""
    import openpyxl

    assert OFFICE is not None
    out = folder / "recomputed"
    command = [OFFICE, f"-env:UserInstallation={(folder / 'profile').as_uri()}", "--headless", "--convert-to", "xlsx",
               "--outdir", str(out), *map(str, paths)]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=180)
    return [openpyxl.load_workbook(out / path.name, data_only=True) for path in paths]
