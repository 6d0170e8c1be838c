"""A lineax solver for the matrices I − hγJ of implicit ODE solvers whose J has a known narrow band."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np

Factors = tuple[jax.Array, jax.Array, jax.Array]


class BandedLU(lx.AbstractLinearSolver):
    """LU with partial pivoting of a matrix with `lower` and `upper` diagonals once its lines are in `order` (n,).

    The matrix is read by lower + upper + 1 products, one for each group of columns that share no row, not by n. A work
    of O(n·lower·(lower + upper)) for the factors, kept from `init` to each `compute`.
    """

    lower: int = eqx.field(static=True)
    upper: int = eqx.field(static=True)
    order: np.ndarray

    def init(self, operator: Any, options: dict[str, Any]) -> Any:
        """(diagonals (lower + upper + 1, n), factors): entry [d, i] is A[i, i + d − lower], zero outside."""
        shape = operator.in_structure()
        width, n = self.lower + self.upper + 1, len(self.order)
        k = jnp.arange(n)
        groups = (k % width == jnp.arange(width)[:, None]).astype(shape.dtype)
        seeds = jnp.zeros((width, n), shape.dtype).at[:, self.order].set(groups)
        found = jax.vmap(operator.mv)(seeds)[:, self.order]  # row i of column j is in found[j % width, i]
        column = k + jnp.arange(-self.lower, self.upper + 1)[:, None]
        inside = (column >= 0) & (column < n)
        diagonals = jnp.where(inside, found[column % width, k], 0)
        return diagonals, _factor(diagonals, self.lower)

    def compute(self, state: Any, vector: Any, options: dict[str, Any]) -> Any:
        """A⁻¹ b; infinite or NaN where A is singular, which the ODE solver takes for a failed step."""
        found = _solve(state[1], vector[self.order])
        return jnp.zeros_like(found).at[self.order].set(found), lx.RESULTS.successful, {}

    def transpose(self, state: Any, options: dict[str, Any]) -> Any:
        """Of Aᵀ, factored anew."""
        diagonals, (_, multipliers, _) = state
        (width, n), lower = diagonals.shape, multipliers.shape[1]
        upper = width - 1 - lower
        column = jnp.arange(n) + jnp.arange(-upper, lower + 1)[:, None]
        inside = (column >= 0) & (column < n)
        turned = jnp.where(inside, diagonals[::-1][jnp.arange(width)[:, None], column % n], 0)
        return (turned, _factor(turned, upper)), options

    def conj(self, state: Any, options: dict[str, Any]) -> Any:
        """The same: matrices are real."""
        return state, options

    def assume_full_rank(self) -> bool:
        return True


def _factor(diagonals: jax.Array, lower: int) -> Factors:
    """(U (n, width) from the diagonal on, multipliers (n, lower), pivots (n,)): LAPACK's gbtrf, a row at a time.

    A window of the rows k to k + lower and of the columns from k on moves down the band.
    """
    width, n = diagonals.shape
    rows = diagonals.T
    first = [jnp.pad(rows[i, lower - i :], (0, lower - i)) for i in range(lower + 1)]
    entering = jnp.pad(rows[lower + 1 :], ((0, lower + 1), (0, 0)))

    def step(window: jax.Array, new: jax.Array) -> tuple[jax.Array, Factors]:
        pivot = jnp.argmax(jnp.abs(window[:, 0]))
        top = window[pivot]
        rest = window.at[pivot].set(window[0])[1:]
        multiplier = rest[:, 0] / top[0]
        rest = jnp.pad((rest - multiplier[:, None] * top)[:, 1:], ((0, 0), (0, 1)))
        return jnp.concatenate([rest, new[None]]), (top, multiplier, pivot)

    return jax.lax.scan(step, jnp.stack(first), entering)[1]


def _solve(factors: Factors, b: jax.Array) -> jax.Array:
    upper, multipliers, pivots = factors
    lower, reach = multipliers.shape[1], upper.shape[1] - 1

    def down(window: jax.Array, line: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        multiplier, pivot, new = line
        top = window[pivot]
        rest = window.at[pivot].set(window[0])[1:] - multiplier * top
        return jnp.append(rest, new), top

    def up(known: jax.Array, line: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        row, right = line
        found = (right - row[1:] @ known) / row[0]
        return jnp.append(found, known)[:reach], found

    entering = jnp.pad(b[lower + 1 :], (0, lower + 1))
    half = jax.lax.scan(down, b[: lower + 1], (multipliers, pivots, entering))[1]
    return jax.lax.scan(up, jnp.zeros(reach, b.dtype), (upper, half), reverse=True)[1]
