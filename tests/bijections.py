"""What the tables of other libraries' bijections hold: a plain transform, and the library's own log|det J| of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True)
class Bijection:
    """`forward(x)` and `log_det(x)`; `inverse(y)` and `inverse_log_det(y)` where there is one in closed form.

    `log_det` may return one number per entry or per event: their sum counts. `no_inverse`: why there is none.
    `wrong`: why the library's own number is not log|det J|, where it is not.
    """

    forward: Callable[[Any], Any]
    log_det: Callable[[Any], Any]
    x: Any
    inverse: Callable[[Any], Any] | None = None
    inverse_log_det: Callable[[Any], Any] | None = None
    no_inverse: str = ""
    wrong: str = ""


def draw(*shape: int, seed: int = 0, low: float = -1.0, high: float = 1.0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).uniform(low, high, shape))
