"""Shortest paths in the pullback metric: the discrete energy's minimum, by SciPy with the planned sparse Jacobian."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import least_squares
from scipy.sparse import csr_matrix

from .._errors import ArgumentError
from .._flat import Flat
from .._questions import jacobian

Array = jax.Array

# Nodes and weights of the quadrature of each piece's length.
NODES, WEIGHTS = np.polynomial.legendre.leggauss(5)


@dataclass(frozen=True, eq=False)
class Geodesic:
    """A path of shortest length between two latent points.

    `path` (points, *shape of z): its corners, at equal steps of arc length once converged. `length`: of its image.
    `straight`: the length of the image of the straight latent line. `energy`: Σ |f(z_{i+1}) − f(z_i)|² · pieces.
    `converged`, `message`: what the solver said; `evaluations`: of the path.
    """

    path: np.ndarray
    length: float
    straight: float
    energy: float
    converged: bool
    message: str
    evaluations: int

    def __str__(self) -> str:
        share = self.length / self.straight if self.straight else 1.0
        state = "" if self.converged else f"; not converged: {self.message}"
        return f"geodesic of length {self.length:.6g}, {share:.3g} of the straight line's{state}"


def geodesic(
    f: Callable[[Any], Any], start: Any, end: Any, points: int = 33, *, tolerance: float = 1e-10, most: int = 500
) -> Geodesic:
    """The path from `start` to `end` whose image under f is shortest, nearby the straight line.

    The corners between minimise the discrete energy Σ |f(z_{i+1}) − f(z_i)|² (Shao, Kumar, Fletcher 2018,
    arXiv:1711.08014), a sparse nonlinear least-squares problem: SciPy's trust region with the Jacobian that
    `jacmap.jacobian` plans, as many passes as two corners have numbers. The length is that of the image of the latent
    polyline, by Gauss quadrature of |J dz|. A local minimum: where several paths are possible, the one found depends
    on the straight line.

    Raises `ArgumentError` for ends of different shapes or fewer than three points.
    """
    flat = Flat.at(f, start, "start")
    stop = jnp.asarray(end, flat.x.dtype)
    if stop.shape != flat.x.shape:
        raise ArgumentError(f"end: got shape {list(stop.shape)}, expected {list(flat.x.shape)}, the shape of start")
    if points < 3:
        raise ArgumentError(f"points: got {points}, expected at least 3: two ends and a corner between them")
    a, b = flat.x.ravel(), stop.ravel()
    steps = jnp.linspace(0, 1, points, dtype=a.dtype)[:, None]
    line = a + steps * (b - a)
    scale = float(np.sqrt(points - 1))

    def whole(inner: Array) -> Array:
        return jnp.concatenate([a[None], inner.reshape(points - 2, a.size), b[None]])

    def pieces(inner: Array) -> Array:
        images = jax.vmap(flat.vector)(whole(inner))
        return scale * jnp.diff(images, axis=0).ravel()

    compiled, sparse = jax.jit(pieces), jacobian(pieces, form="sparse")

    def derivative(inner: np.ndarray) -> csr_matrix:
        found = sparse(jnp.asarray(inner, a.dtype))
        rows, cols = np.asarray(found.indices).T
        return csr_matrix((np.asarray(found.data, float), (rows, cols)), shape=found.shape)

    solved = least_squares(
        lambda inner: np.asarray(compiled(jnp.asarray(inner, a.dtype)), float),
        np.asarray(line[1:-1].ravel(), float),
        derivative,
        ftol=tolerance, xtol=tolerance, gtol=tolerance, max_nfev=most, method="trf", tr_solver="lsmr",
    )  # fmt: skip
    path = whole(jnp.asarray(solved.x, a.dtype))
    return Geodesic(
        np.asarray(path).reshape(points, *flat.x.shape),
        _length(flat, path),
        _length(flat, line),
        float(2 * solved.cost),
        bool(solved.status > 0),
        str(solved.message),
        int(solved.nfev),
    )


def distance(f: Callable[[Any], Any], start: Any, end: Any, points: int = 33) -> float:
    """The length of the geodesic between two latent points; see `geodesic`."""
    return geodesic(f, start, end, points).length


def _length(flat: Flat, corners: Array) -> float:
    """∫ |J dz| along the polyline."""

    def speed(x: Array, along: Array) -> Array:
        return jnp.linalg.norm(Flat(flat.f, x.reshape(flat.x.shape), flat.out_shape).push(along))

    def piece(x: Array, along: Array) -> Array:
        at = x + (jnp.asarray(NODES, x.dtype)[:, None] + 1) / 2 * along
        return jnp.asarray(WEIGHTS / 2, x.dtype) @ jax.vmap(speed, (0, None))(at, along)

    return float(jnp.sum(jax.jit(jax.vmap(piece))(corners[:-1], jnp.diff(corners, axis=0))))
