"""How far off the solution and its derivative are, to first order, from the solver's residual and the conditioning.

Let r = F(x, θ) be what the solver left, J = ∂F/∂x, and W(x) = −J(x)⁻¹ ∂F/∂θ(x), which is the derivative dx/dθ where
r = 0. One more Newton step δ = −J⁻¹r leads to x⁺, and a second one, δ⁺ = −J(x⁺)⁻¹F(x⁺), says how much is left then:

    Θ = ‖δ⁺‖ / ‖δ‖      ‖x* − x‖ ≤ ‖δ‖ / (1 − Θ)      ‖W* − W‖_F ≲ ‖W(x⁺) − W(x)‖_F (1 + Θ) / (1 − Θ)

The first bound holds wherever Newton's steps go on to shrink at least by Θ (Deuflhard 2004, Newton Methods for
Nonlinear Problems, ch. 2: near a regular solution they shrink quadratically; by ½ at a double root). For Θ > ½
nothing is claimed: infinity; but where ‖δ‖ < √eps ‖x‖, both steps are taken for rounding, and ten times them for a
bound. The second bound assumes that W changes over x* − x⁺ at most twice as fast as over δ. To first order the
difference is the directional derivative of W along δ; a difference sees kinks, too, that change between x and x⁺.

Rounding: with z random, ε = ‖J⁻¹(J z) − z‖ / ‖z‖ is what the factors lose, machine precision times the condition
number as it bites. x is then uncertain by ν = 10 (ε‖x‖ + eps ‖W‖_F ‖θ‖), which is added to ‖x* − x‖ and, as a random
direction, to δ; W by 10 ε ‖W‖_F. All norms are Euclidean over all numbers of x and of θ. ‖·‖_F of a derivative by
more than `probes` numbers is estimated from that many random tangents, and multiplied by the factor that makes it an
upper bound in 99 of 100 cases in the worst case, a derivative of rank one (of normal tangents, χ² with as many degrees
of freedom; these are uniform, whose sums have no heavier lower tail).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import chi2

from ._problem import Array, Data, Problem
from ._system import system

# Newton's steps must shrink by this factor, or nothing is claimed.
SHRINK = 0.5
# Multiple of what rounding was seen to do in one random direction.
MARGIN = 10.0
# Share of cases in which an estimated norm, raised by its factor, is an upper bound.
COVERED = 0.99


class Bound(NamedTuple):
    """All are single numbers. `lost`: ε, the relative error that rounding makes in J⁻¹."""

    residual: Array
    error: Array
    gradient_error: Array
    gradient_size: Array
    lost: Array


def bound(problem: Problem, x: Array, data: Data) -> Bound:
    """The errors of x and of dx/dθ at x."""
    theta = data[0]
    tangents, count, factor = _tangents(theta, problem.probes)
    z = _uniform((x.size, 1), len(theta), x.dtype)

    def columns(x: Array) -> Array:
        """F_θ t for each tangent t (n, count)."""
        push = jax.linearize(lambda theta: problem.residual(x, (theta, data[1])), theta)[1]
        return jax.vmap(push, out_axes=1)(tangents) if count else jnp.zeros((x.size, 0), x.dtype)

    value, push = jax.linearize(lambda x: problem.residual(x, data), x)
    right = [value[:, None], push(z[:, 0])[:, None], columns(x)]
    newton, known, derivative = jnp.split(system(problem, x, data)(jnp.concatenate(right, axis=1)), [1, 2], axis=1)
    eps = float(jnp.finfo(x.dtype).eps)
    lost = jnp.maximum(_norm(known - z) / _norm(z), eps)
    size = factor * _norm(derivative)
    noise = MARGIN * (lost * _norm(x) + eps * size * _norms(theta, x))

    after = x - newton[:, 0] + noise * z[:, 0] / _norm(z)
    right = [problem.residual(after, data)[:, None], columns(after)]
    second, moved = jnp.split(system(problem, after, data)(jnp.concatenate(right, axis=1)), [1], axis=1)
    step = _norm(newton)
    ratio = jnp.maximum(_norm(second) - 2 * noise, 0) / jnp.maximum(step, jnp.finfo(x.dtype).tiny)
    rounded = jnp.where(step <= eps**0.5 * _norm(x), MARGIN, jnp.inf)
    stretch = jnp.where(ratio <= SHRINK, 1 / (1 - jnp.minimum(ratio, SHRINK)), rounded)
    error = step * stretch + noise
    gradient_error = factor * _norm(moved - derivative) * stretch * (1 + jnp.minimum(ratio, 1)) + MARGIN * lost * size
    return Bound(jnp.max(jnp.abs(value)), *map(_known, (error, gradient_error, size, lost)))


def relative(found: Bound, x: Array, data: Data) -> Array:
    """The gradient's error by its size; a derivative that is nearly zero is held against √eps ‖x‖ / ‖θ‖."""
    scale = _norms(data[0], x)
    least = float(jnp.finfo(x.dtype).eps) ** 0.5 * _norm(x) / jnp.maximum(scale, jnp.finfo(x.dtype).tiny)
    against = found.gradient_size + jnp.where(scale > 0, least, 0)
    tiny = jnp.finfo(x.dtype).tiny
    return _known(jnp.where(found.gradient_error > 0, found.gradient_error / jnp.maximum(against, tiny), 0))


def _tangents(theta: list[Array], probes: int) -> tuple[list[Array], int, float]:
    """(leaves with the tangents along their first axis, how many, factor from their norm to that of the whole)."""
    sizes = [leaf.size for leaf in theta]
    total = sum(sizes)
    if total <= probes:
        parts = jnp.split(jnp.eye(total), np.cumsum(sizes)[:-1], axis=1) if sizes else []
        return [p.reshape(-1, *leaf.shape).astype(leaf.dtype) for p, leaf in zip(parts, theta, strict=True)], total, 1.0
    drawn = [_uniform((probes, *leaf.shape), k, leaf.dtype) for k, leaf in enumerate(theta)]
    return drawn, probes, float(1 / np.sqrt(chi2.ppf(1 - COVERED, probes)))


def _uniform(shape: tuple[int, ...], seed: int, dtype: Any) -> Array:
    """Of variance one, by murmur3's finaliser of a counter: jax.random would cost more than all the rest."""
    # The barrier keeps XLA from working the numbers out while it compiles, at a thousandth of the speed.
    start = jax.lax.optimization_barrier(jnp.uint32((seed * 0x9E3779B9 + 1) % 2**32))
    k = jax.lax.iota(jnp.uint32, int(np.prod(shape))) + start
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        k = (k ^ (k >> shift)) * jnp.uint32(factor)
    k = k ^ (k >> 16)
    return ((k.astype(dtype) / 2**31 - 1) * 3**0.5).reshape(shape)


def _norm(a: Array) -> Array:
    return jnp.sqrt(jnp.sum(jnp.square(a)))


def _norms(leaves: list[Array], x: Array) -> Array:
    """Of all numbers of the leaves together, in x's dtype."""
    return jnp.sqrt(sum((_norm(leaf).astype(x.dtype) ** 2 for leaf in leaves), jnp.zeros((), x.dtype)))


def _known(a: Array) -> Array:
    """NaN as infinity: of that nothing is known."""
    return jnp.where(jnp.isnan(a), jnp.inf, a)
