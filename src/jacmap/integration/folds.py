"""Does the map fold: has its determinant both signs inside of the region? Where?"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from .._determinant import slogdet
from .pullback import Pullback

Array = np.ndarray
STARTS = 16  # points of smallest |det| from which a fold that the sample missed is looked for
STEPS = 60


@dataclass(frozen=True)
class Fold:
    """`at`: coordinates where the determinant vanishes between `plus` and `minus`, at which it has either sign."""

    at: Array
    plus: Array
    minus: Array


def find_fold(g: Pullback, t: Array, sign: Array, logdet: Array) -> Fold | None:
    """A fold seen in the sample `t`, or found on the way down from where its determinant is smallest."""
    usual = np.median(logdet)
    clear = logdet > usual + np.log(1e4 * g.eps)  # a smaller determinant has a sign by rounding alone
    plus, minus = np.flatnonzero((sign > 0) & clear), np.flatnonzero((sign < 0) & clear)
    if not (len(plus) and len(minus)):
        beyond = _descend(g, t, sign, logdet, usual)
        if beyond is None:
            return None
        of_one = t[plus if len(plus) else minus]
        near = of_one[np.argmin(np.linalg.norm(of_one - beyond, axis=1))]
        ends = (near, beyond) if len(plus) else (beyond, near)
    else:
        few, many = sorted((plus, minus), key=len)
        start = t[few[np.argmax(logdet[few])]]
        near = t[many[np.argmin(np.linalg.norm(t[many] - start, axis=1))]]
        ends = (start, near) if few is plus else (near, start)
    return Fold(_bisect(g, *ends), *ends)


def _bisect(g: Pullback, plus: Array, minus: Array) -> Array:
    """The place between them where the sign turns."""
    for _ in range(52):
        middle = (plus + minus) / 2
        if g.geometry(middle[None])[1][0] > 0:
            plus = middle
        else:
            minus = middle
    return (plus + minus) / 2


def _descend(g: Pullback, t: Array, sign: Array, logdet: Array, usual: float) -> Array | None:
    """A point of the other sign, by projected gradient descent of det from where the sample has it smallest."""
    side = 1.0 if np.sum(sign) >= 0 else -1.0
    starts = t[np.argsort(logdet)[:STARTS]]
    find = slogdet(g.place)

    def height(point: jax.Array) -> jax.Array:
        found = find(point)
        return side * found.sign * jnp.exp(found.logabsdet - usual)

    scale = jnp.asarray(np.std(t, axis=0), g.dtype)
    low, high = (jnp.asarray(edge, g.dtype) for edge in inside(g, t))

    def walk(point: jax.Array) -> jax.Array:
        def step(_: int, state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            here, length = state
            slope = scale * jax.grad(height)(here)
            size = jnp.linalg.norm(slope)
            direction = jnp.where(size > 0, slope / jnp.where(size > 0, size, 1), 0)
            there = jnp.clip(here - length * scale * direction, low, high)
            better = height(there) < height(here)
            return jnp.where(better, there, here), jnp.where(better, 1.3 * length, length / 2)

        return jax.lax.fori_loop(0, STEPS, step, (point, jnp.asarray(0.1, g.dtype)))[0]

    try:
        ends = np.asarray(jax.jit(jax.vmap(walk))(jnp.asarray(starts, g.dtype)))
    except (TypeError, ValueError, NotImplementedError) as error:  # no gradient of the determinant: the sample alone
        g.notes.append(f"folds were sought in a sample alone: the determinant has no gradient ({type(error).__name__})")
        return None
    _, signs, logs = g.geometry(ends)
    other = np.flatnonzero((signs * side < 0) & (logs > usual + np.log(1e4 * g.eps)))
    return ends[other[np.argmax(logs[other])]] if len(other) else None


def inside(g: Pullback, t: Array) -> tuple[Array, Array]:
    """Limits a little within the coordinates' own, so that what only the boundary shows is not held against a map."""
    margin = 1e-4 * np.ptp(t, axis=0)
    return g.lower + np.where(np.isfinite(g.lower), margin, 0), g.upper - np.where(np.isfinite(g.upper), margin, 0)
