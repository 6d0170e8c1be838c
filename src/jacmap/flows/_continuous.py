"""Continuous flows: z is where a vector field carries x. Chen et al. 2018, "Neural ordinary differential equations"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp

from .._errors import ArgumentError
from ._arguments import whole
from ._density import WithLogDet, need_key
from ._split import divergence, split


class Field(eqx.Module):
    """A vector field as a network of the state and the time: (t, x) -> dx/dt, x (n,)."""

    net: eqx.nn.MLP

    def __init__(self, n: int, *, key: jax.Array, width: int = 50, depth: int = 2) -> None:
        self.net = eqx.nn.MLP(whole("n", n) + 1, n, width, depth, activation=jnp.tanh, key=key)

    def __call__(self, t: Any, x: jax.Array) -> jax.Array:
        """dx/dt (n,)."""
        return self.net(jnp.append(x, jnp.asarray(t, x.dtype)))


class Continuous(eqx.Module):
    """x -> z by dx/dt = field(t, x) from t = 0 to `duration`, with diffrax's Tsit5 and adaptive steps.

    Its log-determinant is not read in the solver's loop but integrated beside the state, d log/dt = trace of ∂field/∂x:
    exactly, by the planned diagonal of `jm.trace`, or with ``trace="hutchinson"`` as the mean of vᵀJv over `probes`
    random sign vectors v (Grathwohl et al. 2019, "FFJORD"), which then need a key, and give an error bar.
    Raises ArgumentError for another `trace`, or fewer than two probes.
    """

    field: Callable[[Any, jax.Array], jax.Array]
    duration: float = eqx.field(static=True)
    trace: Literal["exact", "hutchinson"] = eqx.field(static=True)
    probes: int | None = eqx.field(static=True)
    tolerance: float = eqx.field(static=True)
    most_steps: int = eqx.field(static=True)

    def __init__(self, field: Callable[[Any, jax.Array], jax.Array], *, duration: float = 1.0,
                 trace: Literal["exact", "hutchinson"] = "exact", probes: int = 16, tolerance: float = 1e-5,
                 most_steps: int = 4096) -> None:  # fmt: skip
        if trace not in ("exact", "hutchinson"):
            raise ArgumentError(f'trace: got {trace!r}, expected "exact" or "hutchinson"')
        if not callable(field):
            raise ArgumentError(f"field: got {type(field).__name__}, expected a function (t, x) -> dx/dt")
        self.field, self.duration, self.trace = field, float(duration), trace
        self.probes = whole("probes", probes, at_least=2) if trace == "hutchinson" else None
        self.tolerance, self.most_steps = float(tolerance), whole("most_steps", most_steps)

    def __call__(self, x: jax.Array) -> jax.Array:
        """x (n,) -> z (n,)."""
        return self._carried(lambda t, state, _: self.field(t, state), x, 0.0, self.duration)

    def inverse(self, z: jax.Array) -> jax.Array:
        """z (n,) -> x (n,): the same way back, as exact as the solver's tolerance."""
        return self._carried(lambda t, state, _: self.field(t, state), z, self.duration, 0.0)

    def with_logdet(self, x: jax.Array, key: jax.Array | None) -> WithLogDet:
        """z, log|det ∂z/∂x| and the variance of its estimate."""
        if self.trace == "exact":
            params, static = split(self.field)
            trace = divergence(static)

            def beside(t: Any, state: Any, _: Any) -> Any:
                return self.field(t, state[0]), trace(state[0], jnp.asarray(t, state[0].dtype), params)

            z, log = self._carried(beside, (x, jnp.zeros((), x.dtype)), 0.0, self.duration)
            return WithLogDet(z, log, jnp.zeros((), x.dtype))
        assert self.probes is not None
        signs = jax.random.rademacher(need_key(key), (self.probes, *x.shape), x.dtype)

        def estimated(t: Any, state: Any, _: Any) -> Any:
            slope, push = jax.linearize(lambda x: self.field(t, x), state[0])
            return slope, jax.vmap(lambda v: jnp.sum(v * push(v)))(signs)

        z, logs = self._carried(estimated, (x, jnp.zeros(self.probes, x.dtype)), 0.0, self.duration)
        return WithLogDet(z, jnp.mean(logs), jnp.var(logs, ddof=1) / self.probes)

    def _carried(self, slope: Any, start: Any, t0: float, t1: float) -> Any:
        try:
            import diffrax
        except ModuleNotFoundError as error:
            raise ImportError("continuous flows need diffrax: pip install 'jacmap[flows]'") from error
        with jax.numpy_dtype_promotion("standard"):  # the solver mixes numbers of Python and of NumPy with arrays
            solution = diffrax.diffeqsolve(
                diffrax.ODETerm(slope),
                diffrax.Tsit5(),
                t0,
                t1,
                dt0=None,
                y0=start,
                stepsize_controller=diffrax.PIDController(rtol=self.tolerance, atol=self.tolerance),
                max_steps=self.most_steps,
            )
        return jax.tree.map(lambda values: values[-1], solution.ys)


def continuous(n: int, *, key: jax.Array, width: int = 50, depth: int = 2, **options: Any) -> Continuous:
    """A continuous flow along a network's field: a transform of (n,) to (n,). `options` as of `Continuous`."""
    return Continuous(Field(n, key=key, width=width, depth=depth), **options)
