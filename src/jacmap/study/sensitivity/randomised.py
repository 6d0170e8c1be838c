"""A sanity check of maps: one that survives the loss of the model's weights tells nothing of the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from ..._errors import ArgumentError
from ..._jacobian import Jacobian, linearize
from .argument import argument, function_of
from .layout import Layout, on_vectors
from .words import plain, wrapped

ALIKE = 0.5  # rank correlation from which on two maps are called alike


@dataclass(frozen=True, eq=False)
class Randomised:
    """How alike a sensitivity map is before and after the weights are replaced by noise.

    `correlations`: Spearman's rank correlation of |map| with that of each randomised model, (draws,), over the inputs
    that the model reads, the mean over the outputs asked for; `signed`: the same with signs; `among`: the same between
    the randomised models, what architecture and input alone bring about (NaN for one draw). `passed`: the mean of
    `correlations` is below 0.5. Adebayo et al. 2018, "Sanity checks for saliency maps", section 3 and its measure; all
    weights are replaced at once.
    """

    correlations: np.ndarray
    signed: np.ndarray
    among: float
    of: str

    @property
    def correlation(self) -> float:
        """The mean of `correlations`."""
        return float(self.correlations.mean())

    @property
    def passed(self) -> bool:
        """Does the map depend on the weights?"""
        return self.correlation < ALIKE

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain lists and numbers."""
        found: dict[str, Any] = plain({
            "of": self.of, "correlations": self.correlations, "signed": self.signed, "among": self.among,
            "correlation": self.correlation, "passed": self.passed,
        })  # fmt: skip
        return found

    def __str__(self) -> str:
        draws = len(self.correlations)
        figures = f"rank correlation {self.correlation:.2f} with signs left out, {self.signed.mean():.2f} with signs"
        said = f"With noise for weights ({draws} draw{'s' * (draws != 1)}), the map of {self.of} is "
        if self.passed:
            said += f"another one: {figures}. It shows what the model has learnt."
        else:
            said += f"much the same: {figures}. It shows the input or the architecture, not what the model has learnt."
        if np.isfinite(self.among):
            said += f" Two models of noise resemble each other by {self.among:.2f}."
        return wrapped(said)


def check(
    f: Callable[[Any, Any], Any], params: Any, jacobian: Jacobian, matrix: np.ndarray, scale: np.ndarray,
    rows: list[int], read: np.ndarray, of: str, draws: int, seed: int,
) -> Randomised:  # fmt: skip
    """`matrix`: J; compared are its `rows`, over the inputs `read`, each column times its `scale`.

    Raises `ArgumentError` where f with these weights is not the function that the Jacobian belongs to.
    """
    if isinstance(draws, bool) or not isinstance(draws, (int, np.integer)) or draws < 1:
        raise ArgumentError(f"draws: got {draws!r}, expected an integer from 1 on")
    if read.size < 3:
        raise ArgumentError(f"f: reads {read.size} inputs, expected at least 3, whose order can be compared")
    x = argument(jacobian)
    layout = Layout(x)
    point = jnp.asarray(layout.flat(x), layout.dtype)

    def model(weights: Any, vector: Any) -> Any:
        return on_vectors(lambda moved: f(weights, moved), layout)(vector)

    mine, theirs = np.asarray(on_vectors(function_of(jacobian), layout)(point)), np.asarray(model(params, point))
    if mine.shape != theirs.shape or not np.allclose(mine, theirs, rtol=1e-3, atol=1e-5 * np.abs(mine).max()):
        raise ArgumentError("f, params: f(params, x) is not the value that this map belongs to; pass the same model")
    generator = np.random.default_rng(seed)
    noisy = linearize(model, _noise(params, generator), point, argnums=1)
    matrices = [matrix]
    for draw in range(draws):
        at = noisy if draw == 0 else noisy.at(_noise(params, generator), point)
        matrices.append(np.asarray(at.dense(), np.float64))
    maps = [(found * scale)[rows][:, read] for found in matrices]
    sizes = [np.abs(found) for found in maps]
    among = [_alike(a, b) for k, a in enumerate(sizes[1:]) for b in sizes[1 : k + 1]]
    return Randomised(
        correlations=np.array([_alike(sizes[0], other) for other in sizes[1:]]),
        signed=np.array([_alike(maps[0], other) for other in maps[1:]]),
        among=float(np.mean(among)) if among else float("nan"),
        of=of,
    )


def _noise(params: Any, generator: np.random.Generator) -> Any:
    """Normal numbers instead of the weights, of the same root mean square leaf by leaf."""

    def like(leaf: Any) -> Any:
        old = jnp.asarray(leaf)
        if not jnp.issubdtype(old.dtype, jnp.floating):
            return old  # a count or a flag is no weight
        size = float(jnp.sqrt(jnp.mean(old**2))) if old.size else 0.0
        return jnp.asarray(size * generator.standard_normal(old.shape), old.dtype)

    return jax.tree_util.tree_map(like, params)


def _alike(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rank correlation, the mean over the rows; a row that is constant in one map only counts as 0."""
    ranks = [stats.rankdata(rows, axis=1) for rows in (a, b)]
    centred = [found - found.mean(axis=1, keepdims=True) for found in ranks]
    lengths = [np.sqrt((found**2).sum(axis=1)) for found in centred]
    still = (lengths[0] == 0) & (lengths[1] == 0)
    scale = np.where(lengths[0] * lengths[1] == 0, 1.0, lengths[0] * lengths[1])
    return float(np.mean(np.where(still, 1.0, (centred[0] * centred[1]).sum(axis=1) / scale)))
