"""The Brusselator, a chemical reaction with diffusion, on an N×N periodic grid: 2N² unknowns.

    u' = 1 + u²v - 4.4u + a Δu,    v' = 3.4u - u²v + a Δv,    Δ the five-point Laplacian

Each unknown reads its own cell and four neighbours, so of 20,000² entries of J only 120,000 can be nonzero.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

N = 100
DIFFUSION = 0.1


def make(n: int) -> Callable[[jax.Array], jax.Array]:
    """The right-hand side on an n×n grid, as a function of one vector of 2n² unknowns."""
    a = DIFFUSION * (n - 1) ** 2

    def laplacian(w: jax.Array) -> jax.Array:
        return jnp.roll(w, 1, 0) + jnp.roll(w, -1, 0) + jnp.roll(w, 1, 1) + jnp.roll(w, -1, 1) - 4 * w

    def rhs(state: jax.Array) -> jax.Array:
        u, v = state.reshape(2, n, n)
        du = 1 + u**2 * v - 4.4 * u + a * laplacian(u)
        dv = 3.4 * u - u**2 * v + a * laplacian(v)
        return jnp.stack([du, dv]).ravel()

    return rhs


def start(n: int) -> jax.Array:
    """The usual initial state: u varies along one axis of the grid, v along the other."""
    s = jnp.linspace(0.0, 1.0, n)
    bump = (s * (1 - s)) ** 1.5
    u = jnp.broadcast_to(22 * bump[None, :], (n, n))
    v = jnp.broadcast_to(27 * bump[:, None], (n, n))
    return jnp.stack([u, v]).ravel()


rhs = make(N)


def point() -> jax.Array:
    return start(N)
