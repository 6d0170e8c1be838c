"""How noise is added: the probability-flow ODE of a score model, and the density that it ends in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from .._errors import ArgumentError

Array = jax.Array
Score = Callable[[Array, Array], Array]


@dataclass(frozen=True)
class VarianceExploding:
    """x + σ·noise, σ from `least` to `most` (Song et al. 2021, arXiv:2011.13456; Karras et al. 2022).

    The score is called as ``score(x, sigma)``. Integrated in log σ: dx/d log σ = −σ² s(x, σ). At the end x counts as
    Gaussian with the `mean` of the data (a number or an array) and variance `most`². Of data with standard deviation d
    and a mean that is off by μ this misses some d²/2·`most`² and μ/`most` nats per dimension.
    """

    least: float = 1e-3
    most: float = 1e3
    mean: Any = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.least < self.most:
            raise ArgumentError(f"least, most: got {self.least} and {self.most}, expected 0 < least < most")

    @property
    def times(self) -> tuple[float, float]:
        """The range of integration, from data to noise."""
        return float(jnp.log(self.least)), float(jnp.log(self.most))

    def velocity(self, score: Score, time: Array, x: Array) -> Array:
        """dx/dt of the probability flow."""
        sigma = jnp.exp(time)
        return -(sigma**2) * score(x, sigma)

    def log_base(self, x: Array) -> Array:
        """log density of the noise that the flow ends in."""
        return jnp.sum(jax.scipy.stats.norm.logpdf(x, jnp.asarray(self.mean, x.dtype), self.most))


@dataclass(frozen=True)
class VariancePreserving:
    """dx = −½β x dt + √β dW with β from `least` to `most` over t in [start, 1] (Song et al. 2021, arXiv:2011.13456).

    The score is called as ``score(x, t)``. dx/dt = −½β(t) (x + s(x, t)). At the end x counts as a standard normal.
    """

    least: float = 0.1
    most: float = 20.0
    start: float = 1e-5

    def __post_init__(self) -> None:
        if not (0 <= self.least < self.most and 0 <= self.start < 1):
            raise ArgumentError(
                f"least, most, start: got {self.least}, {self.most}, {self.start}, expected 0 ≤ least < most and "
                "0 ≤ start < 1"
            )

    @property
    def times(self) -> tuple[float, float]:
        """The range of integration, from data to noise."""
        return self.start, 1.0

    def velocity(self, score: Score, time: Array, x: Array) -> Array:
        """dx/dt of the probability flow."""
        rate = self.least + time * (self.most - self.least)
        return -0.5 * rate * (x + score(x, time))

    def log_base(self, x: Array) -> Array:
        """log density of the noise that the flow ends in."""
        return jnp.sum(jax.scipy.stats.norm.logpdf(x))
