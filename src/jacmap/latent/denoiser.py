"""A denoiser's Jacobian: is it symmetric, and what does the posterior vary along?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from .._errors import ArgumentError
from .._flat import Flat, square
from .directions import by_lanczos, is_small, leading_basis

Array = jax.Array

PROBES = 8
SYMMETRIC = 1e-3


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Posterior:
    """What a denoiser's Jacobian says of x given y = x + σ·noise.

    `mean`: D(y). `variances` (k,): the largest eigenvalues of σ² J, the posterior's variance along each principal
    component. `components` (k, *shape): these, of length one. `asymmetry`: ‖J − Jᵀ‖ / ‖J + Jᵀ‖ in the Frobenius norm,
    by random probes; 0 for the best denoiser. `residual` (k,): of the eigenpairs, relative to the largest.
    """

    mean: Array
    variances: Array
    components: Array
    asymmetry: Array
    residual: Array

    @property
    def is_symmetric(self) -> bool:
        """Is J symmetric to a thousandth? Else D is no posterior mean, and the components are of ½(J + Jᵀ)."""
        return bool(self.asymmetry < SYMMETRIC)


def posterior(denoiser: Callable[[Any], Any], y: Any, sigma: float, k: int = 5, *, seed: int = 0) -> Posterior:
    """The principal components of p(x | y) for y = x + sigma · noise, from the Jacobian of a denoiser at y.

    Cov[x | y] = σ² ∂D/∂y for D(y) = E[x | y] (second-order Tweedie; Manor, Michaeli 2024, arXiv:2309.13598), whose
    eigenvectors are had by products alone: no n×n matrix for n of more than some forty. Of a trained denoiser, whose
    Jacobian is not quite symmetric, those of ½(J + Jᵀ), with the asymmetry told. By Lanczos or LOBPCG, as in
    `directions`. Raises `ArgumentError` where the denoiser changes the size, sigma is not positive or k not between 1
    and n.
    """
    flat = Flat.at(denoiser, y, "y")
    square(flat, "a denoiser returns what it is given, cleaned")
    if not sigma > 0:
        raise ArgumentError(f"sigma: got {sigma}, expected the positive standard deviation of the noise in y")
    if not 1 <= k <= flat.n:
        raise ArgumentError(f"k: got {k}, expected 1 to {flat.n}, the size of y")

    def half(x: Array) -> Callable[[Array], Array]:
        at = Flat(denoiser, x, flat.out_shape)
        return lambda v: (at.push(v) + at.pull(v)) / 2

    def found(x: Array, basis: Array | None) -> Posterior:
        at, symmetric = Flat(denoiser, x, flat.out_shape), half(x)

        def skew(v: Array) -> Array:
            return (at.push(v) - at.pull(v)) / 2

        if basis is None:
            basis = leading_basis(symmetric, flat.n, k, x.dtype, seed)
        image = jax.lax.map(symmetric, basis.T).T
        values, turn = jnp.linalg.eigh(basis.T @ image)
        vectors, image = (basis @ turn)[:, ::-1][:, :k], (image @ turn)[:, ::-1][:, :k]
        values = values[::-1][:k]
        largest = jnp.maximum(jnp.max(jnp.abs(values)), jnp.finfo(x.dtype).tiny)
        residual = jnp.linalg.norm(image - values * vectors, axis=0) / largest
        probes = jax.random.normal(jax.random.key(seed + 1), (PROBES, flat.n), x.dtype)
        sizes = [jnp.sqrt(jnp.sum(jax.lax.map(part, probes) ** 2)) for part in (skew, symmetric)]
        mean = jnp.asarray(at.vector(x.ravel())).reshape(x.shape)
        asymmetry = sizes[0] / jnp.maximum(sizes[1], jnp.finfo(x.dtype).tiny)
        return Posterior(mean, sigma**2 * values, vectors.T.reshape(k, *x.shape), asymmetry, residual)

    if isinstance(flat.x, jax.core.Tracer) or is_small(flat.n, k):
        return jax.jit(found)(flat.x, None)

    def leading(shift: float) -> Posterior:
        def shifted(x: Array, v: Array) -> Array:
            return half(x)(v) + shift * v

        return jax.jit(found)(flat.x, by_lanczos(shifted, shifted, flat.x, (flat.n, flat.n), k)[0])

    first = leading(0.0)
    least = float(jnp.min(first.variances)) / sigma**2
    # The k largest in size, some of them negative, as no posterior's are: shifted, they are the largest.
    return first if least >= 0 else leading(-least)
