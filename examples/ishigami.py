"""Ishigami's function, the usual test of sensitivity analysis: its derivative-based measures are known exactly.

f(x) = sin x₁ + a sin² x₂ + b x₃⁴ sin x₁ with independent x uniform on [−π, π]³, a = 7, b = 0.1 (Ishigami & Homma 1990).
"""

from math import pi

import jax
import jax.numpy as jnp
import numpy as np

A, B = 7.0, 0.1
BOUNDS = -pi, pi

# ν_j = E[(∂f/∂x_j)²], with E[x⁴] = π⁴/5, E[x⁶] = π⁶/7, E[x⁸] = π⁸/9 and E[sin²] = E[cos²] = ½:
MEAN_SQUARES = np.array([
    (1 + 2 * B * pi**4 / 5 + B**2 * pi**8 / 9) / 2,  # (cos x₁ (1 + b x₃⁴))²
    A**2 / 2,  # (a sin 2x₂)²
    8 * B**2 * pi**6 / 7,  # (4 b x₃³ sin x₁)²
])  # fmt: skip

# Var f, and the total Sobol indices: the variance that x_j takes part in, as a share of it.
FIRST, SECOND, TOGETHER = (1 + B * pi**4 / 5) ** 2 / 2, A**2 / 8, 8 * B**2 * pi**8 / 225
VARIANCE = FIRST + SECOND + TOGETHER
TOTAL = np.array([FIRST + TOGETHER, SECOND, TOGETHER]) / VARIANCE


def f(x: jax.Array) -> jax.Array:
    return jnp.sin(x[0]) + A * jnp.sin(x[1]) ** 2 + B * x[2] ** 4 * jnp.sin(x[0])


def sample(rows: int, seed: int = 0) -> np.ndarray:
    """Independent draws, (rows, 3)."""
    return np.random.default_rng(seed).uniform(*BOUNDS, (rows, 3))


def point() -> jax.Array:
    return jnp.array([1.0, 2.0, 3.0])
