"""Does the map meet a point twice although its determinant keeps its sign? Which two coordinates share an image?

Two points that are inside, apart, regular and of one image are a proof (up to rounding): by the inverse function
theorem a neighbourhood is then covered twice. That none is found is no proof of the contrary.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial import KDTree

from .._questions import jacobian
from .folds import inside
from .pullback import Pullback

Array = np.ndarray
NEIGHBOURS = 8
CANDIDATES = 512  # pairs of near images and far coordinates that Newton's method starts from
STRAY = 512  # further pairs: any point's image, from any other point
STEPS = 40


@dataclass(frozen=True)
class Cover:
    """Two places inside of the region with the same image."""

    one: Array
    other: Array
    image: Array


def find_cover(g: Pullback, t: Array, x: Array, seed: int) -> Cover | None:
    """Two preimages of one point: pairs of the sample that are suspicious, and stray ones, finished by Newton."""
    low, high = inside(g, t)
    within = np.flatnonzero(np.all((t > low) & (t < high), axis=1))
    t, x = t[within], x[within]
    if len(t) < 4 * NEIGHBOURS:
        return None
    targets, starts = _pairs(g, t, x, seed)
    ends, left = _newton(g, t[starts], x[targets])
    images, _, logdet = g.geometry(ends)
    spread = np.std(x, axis=0) + np.finfo(float).tiny
    residual = np.max(np.abs(images - x[targets]) / spread, axis=1)
    apart = np.max(np.abs(ends - t[targets]) / np.std(t, axis=0), axis=1)
    within_reach = left / np.min(np.std(t, axis=0)) < 1e-3 * apart  # a small residual alone may mean a flat map
    regular = logdet > np.median(logdet) + np.log(1e4 * g.eps)
    inner = np.all((ends > low) & (ends < high), axis=1)
    found = np.flatnonzero((residual < 1e3 * g.eps) & (apart > 1e-3) & within_reach & regular & inner)
    if not len(found):
        return None
    best = found[np.argmin(residual[found] / apart[found])]
    return Cover(t[targets[best]], ends[best], x[targets[best]])


def _pairs(g: Pullback, t: Array, x: Array, seed: int) -> tuple[Array, Array]:
    """(targets, starts): near in the image, far by coordinates, the most suspicious first; then pairs by lot."""
    scaled_x, scaled_t = x / (np.std(x, axis=0) + np.finfo(float).tiny), t / np.std(t, axis=0)
    count = min(NEIGHBOURS + 1, len(t))
    distance, neighbour = KDTree(scaled_x).query(scaled_x, k=count)
    one = np.repeat(np.arange(len(t)), count - 1)
    other, near = neighbour[:, 1:].ravel(), distance[:, 1:].ravel()
    far = np.linalg.norm(scaled_t[one] - scaled_t[other], axis=1)
    ranked = np.argsort(-far / (near + np.finfo(float).tiny))[:CANDIDATES]
    lot = np.random.default_rng(seed).integers(len(t), size=(2, STRAY))
    return np.concatenate([one[ranked], lot[0]]), np.concatenate([other[ranked], lot[1]])


def _newton(g: Pullback, starts: Array, images: Array) -> tuple[Array, Array]:
    """Newton's method for place(t) = image from every start, halved where it does not come nearer, kept inside.

    Returns where it ends and the largest entry of the next step: how far from there a solution is, if regular.
    """
    slopes = jacobian(lambda t: jnp.ravel(g.place(t)))
    spread = jnp.asarray(np.std(images, axis=0) + np.finfo(float).tiny, g.dtype)
    low, high = (jnp.asarray(edge, g.dtype) for edge in (g.lower, g.upper))
    reach = jnp.asarray(np.ptp(starts, axis=0), g.dtype)

    def solve(start: jax.Array, image: jax.Array) -> tuple[jax.Array, jax.Array]:
        def miss(t: jax.Array) -> jax.Array:
            return (jnp.ravel(g.place(t)) - image) / spread

        def newton(t: jax.Array) -> jax.Array:
            return jnp.linalg.solve(slopes(t) / spread[:, None], miss(t))

        def step(_: int, t: jax.Array) -> jax.Array:
            here, move = miss(t), newton(t)
            move = move / jnp.maximum(1, jnp.max(jnp.abs(move) / (0.3 * reach)))
            lengths = jnp.asarray([1.0, 0.5, 0.2, 0.05], g.dtype)
            tried = jnp.clip(t - lengths[:, None] * move, low, high)
            left = jax.vmap(lambda there: jnp.sum(miss(there) ** 2))(tried)
            left = jnp.where(jnp.isfinite(left), left, jnp.inf)
            best = jnp.argmin(left)
            return jnp.where(left[best] < jnp.sum(here**2), tried[best], t)

        end = jax.lax.fori_loop(0, STEPS, step, start)
        return end, jnp.max(jnp.abs(newton(end)))

    ends, left = jax.jit(jax.vmap(solve))(jnp.asarray(starts, g.dtype), jnp.asarray(images, g.dtype))
    return np.asarray(ends), np.asarray(left)
