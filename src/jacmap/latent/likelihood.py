"""The likelihood of a score model by its probability-flow ODE, with the error bar of a stochastic divergence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._errors import ArgumentError
from .._questions import trace
from .divergence import signs, standard_error
from .schedules import VarianceExploding, VariancePreserving

Array = jax.Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Likelihood:
    """`log_density`: in nats, of x at the start of the schedule. `error`: its standard error, from the probes of the
    divergence; 0 where that is exact. `bits`: per dimension, `bits_error` their standard error. `noise`: where the flow
    ends. `evaluations`: of the velocity. Over a batch all have its axis in front.
    """

    log_density: Array
    error: Array
    bits: Array
    bits_error: Array
    noise: Array
    evaluations: Array


def likelihood(
    score: Callable[[Array, Array], Array],
    x: Any,
    schedule: VarianceExploding | VariancePreserving,
    *,
    probes: int | None = None,
    key: Any = 0,
    step: float = 1.0,
    batch: bool = False,
    rtol: float = 1e-6,
    atol: float = 1e-6,
    most: int = 10_000,
) -> Likelihood:
    """log p(x) by dx/dt along the probability flow of a score: log p(x) = log base(x_T) + ∫ div(dx/dt) dt.

    `score(x, t)`: ∇ log p_t at one point (see the schedule for what t is); ``(denoiser(x, sigma) - x) / sigma**2`` of
    a denoiser. Without `probes` the divergence is exact, by the plan of `jacmap.trace`; with `probes` Hutchinson's,
    with vectors of random signs kept along the path, each followed by itself, so that the error bar is theirs (Song
    et al. 2021, arXiv:2011.13456, appendix D.2). The bar does not hold what the solver (`rtol`, `atol`) or the base
    leaves out. `step`: the size of a quantisation step in the units of x (2/255 for 8-bit pixels scaled to −1 … 1), for
    bits per dimension of the integers; 1: bits of the density itself. `batch`: points along the first axis of x.

    Needs diffrax: ``pip install 'jacmap[latent]'``. Works under `jit` and `vmap`. Raises `ArgumentError` for a score
    of another shape than x's; diffrax raises where `most` steps do not do.
    """
    try:
        import diffrax
    except ModuleNotFoundError as error:
        raise ImportError("jacmap.latent.likelihood needs diffrax: pip install 'jacmap[latent]'") from error
    x = jnp.asarray(x)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ArgumentError(f"x: got {x.dtype}, expected real floating-point numbers")
    if not step > 0:
        raise ArgumentError(f"step: got {step}, expected a positive size of a quantisation step")
    shape = x.shape[1:] if batch else x.shape
    size = int(np.prod(shape, dtype=int))
    start, stop = schedule.times
    told = jax.eval_shape(score, jax.ShapeDtypeStruct(shape, x.dtype), jax.ShapeDtypeStruct((), x.dtype))
    if getattr(told, "shape", None) != shape:
        raise ArgumentError(f"score: returned {told}, expected an array of the shape of one x, {list(shape)}")
    vectors = None if probes is None else signs(key, probes, size, x.dtype)

    def velocity(time: Array, flat: Array) -> Array:
        return schedule.velocity(score, time, flat.reshape(shape)).ravel()

    def rates(time: Any, state: tuple[Array, Array], _: Any) -> tuple[Array, Array]:
        flat = state[0]
        time = jnp.asarray(time, x.dtype)
        if vectors is None:
            return velocity(time, flat), trace(lambda y: velocity(time, y))(flat)[None]
        moved, along = jax.linearize(lambda y: velocity(time, y), flat)
        return moved, jax.vmap(lambda v: v @ along(v))(vectors)

    def one(point: Array) -> Likelihood:
        count = 1 if vectors is None else vectors.shape[0]
        solved = diffrax.diffeqsolve(
            diffrax.ODETerm(rates), diffrax.Dopri5(), start, stop, None, (point.ravel(), jnp.zeros(count, x.dtype)),
            stepsize_controller=diffrax.PIDController(rtol=rtol, atol=atol), max_steps=most,
        )  # fmt: skip
        noise, grown = solved.ys[0][0], solved.ys[1][0]
        log_density = schedule.log_base(noise) + jnp.mean(grown)
        error = jnp.zeros_like(log_density) if vectors is None else standard_error(grown)
        to_bits = 1 / (size * jnp.log(2.0))
        bits = -(log_density + size * jnp.log(step)) * to_bits
        evaluations = 6 * solved.stats["num_steps"] + 1
        return Likelihood(log_density, error, bits, error * to_bits, noise.reshape(shape), evaluations)

    return jax.jit(jax.vmap(one) if batch else one)(x)
