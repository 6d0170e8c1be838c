"""A flow: an invertible transform and a base distribution. Its density needs nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from scipy import stats

from .._errors import ArgumentError, ConvergenceError
from ._base import draw, event_shape
from ._density import need_key, pieces, probes, with_logdet
from ._inverse import Inverse, accepted, invert
from ._split import Static, determinant, per_static, split

Direction = Literal["data_to_noise", "noise_to_data"]
DIRECTIONS = ("data_to_noise", "noise_to_data")


class LogProb(NamedTuple):
    """An estimated log-density: `error` is its standard error over `probes` probes (0 where nothing is estimated)."""

    value: Any
    error: Any
    probes: int | None

    @property
    def bar(self) -> Any:
        """Half the width of the 95 % interval, by Student's t."""
        return self.error * (0.0 if self.probes is None else float(stats.t.ppf(0.975, self.probes - 1)))


class Flow(eqx.Module):
    """A distribution of data, from any invertible function and a base distribution.

    `direction` says which way `transform` maps: with "data_to_noise", z = transform(x) and

        log p(x) = log p(z) + log|det ∂z/∂x|,

    with "noise_to_data", x = transform(z) and log p(x) = log p(z) − log|det ∂x/∂z|. Either way the determinant is found
    in the graph of `transform`, which maps one point (no batch axis); batches are mapped over.

    `base` has log_prob(z), sample(key, shape) and event_shape: `Normal`, or a distribution of numpyro, distrax or
    flowjax. `inverse` undoes `transform`; without it `transform.inverse` is taken, and where there is none the map is
    undone by numbers (`invert`). `shape` is that of one data point where it differs from the noise's, as for `glow`.
    Points are taken in the precision of the transform's parameters. Raises ArgumentError for an unknown direction, or a
    base that is no distribution.
    """

    transform: Any
    base: Any
    inverse: Callable[..., Any] | None
    direction: Direction = eqx.field(static=True)
    shape: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, transform: Callable[..., Any], base: Any, *, direction: Direction,
                 inverse: Callable[..., Any] | None = None, shape: Sequence[int] | None = None) -> None:  # fmt: skip
        if direction not in DIRECTIONS:
            raise ArgumentError(
                f'direction: got {direction!r}, expected "data_to_noise" (z = transform(x)) or "noise_to_data" '
                "(x = transform(z))"
            )
        for name, value in (("transform", transform), ("inverse", inverse)):
            if not callable(value) and (name, value) != ("inverse", None):
                raise ArgumentError(f"{name}: got {type(value).__name__}, expected a function of one point")
        noise = event_shape(base)
        self.transform, self.base, self.inverse, self.direction = transform, base, inverse, direction
        self.shape = noise if shape is None else tuple(shape)

    # -- densities -------------------------------------------------------------------------------------------------
    def log_prob(self, x: Any, *, key: jax.Array | None = None) -> jax.Array:
        """log p at x (…, *shape) -> (…). `key` seeds the probes of a flow that estimates; others need none.

        Works under jit, vmap and grad. Raises ArgumentError where shapes do not fit, or a key is needed and missing.
        """
        return self.log_prob_estimate(x, key=key).value

    def log_prob_estimate(self, x: Any, *, key: jax.Array | None = None) -> LogProb:
        """As `log_prob`, with the standard error: of Hutchinson's estimate, and 0 where the determinant is exact."""
        count = probes(self.transform)
        if count is not None:
            need_key(key)
        params, static = split(self)
        points, batch = self.points(x)
        keys = None if key is None else jax.random.split(key, len(points))
        program = _log_probs(static)
        if len(points) and not program.probed and _concrete((params, points)):
            self._probe(points[0])
            program.probed = True
        value, variance = program.run(params, points, keys)
        return LogProb(value.reshape(batch), jnp.sqrt(variance).reshape(batch), count)

    def log_prob_of_point(self, x: jax.Array, key: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        """(log p, variance of its estimate) at one point: what `log_prob` maps over a batch."""
        if self.direction == "data_to_noise":
            z, log, variance = with_logdet(self.transform, x, key)
            self._check_noise(z)
            return self.base.log_prob(z) + log, variance
        z = invert(self.transform, x, event_shape(self.base), self.inverse).value
        self._check_noise(z)
        _, log, variance = with_logdet(self.transform, z, key)
        return self.base.log_prob(z) - log, variance

    def plan(self, x: Any) -> list[Any]:
        """The plans of the log-determinant at one point x: one for each run of layers between those that estimate."""
        return self._probe(self.points(x)[0][0])

    def _probe(self, x: jax.Array) -> list[Any]:
        """Every plan, compared with plain AD at one point; raises StructureError where they differ."""
        at: Any = x if self.direction == "data_to_noise" else self._moved("data_to_noise", x[None])[0]
        plans = []
        for piece in pieces(self.transform):
            if not hasattr(piece, "with_logdet"):
                params, static = split(piece)
                plans.append(determinant(static).plan(at, params))
            at = piece(at)
        return plans

    # -- the two maps ----------------------------------------------------------------------------------------------
    def data_to_noise(self, x: Any) -> jax.Array:
        """z (…, *noise shape) of the data x (…, *shape)."""
        return self._moved("data_to_noise", x)

    def noise_to_data(self, z: Any) -> jax.Array:
        """x (…, *shape) of the noise z (…, *noise shape)."""
        return self._moved("noise_to_data", z)

    def sample(self, key: jax.Array, shape: int | Sequence[int] = ()) -> jax.Array:
        """Draws of shape (*shape, *self.shape): noise from the base, mapped to data.

        Raises ConvergenceError where a map that is undone by numbers leaves more than rounding (NaN under jit).
        """
        size = (shape,) if isinstance(shape, int) else tuple(shape)
        return self.noise_to_data(draw(self.base, key, size))

    def invert(self, y: Any) -> Inverse:
        """`transform` undone at y, a batch of points: the values, the residual of each point, and how it was done."""
        params, static = split(self)
        from_shape, to_shape = self._shapes()
        points, batch = self._points(y, params, to_shape, "y")
        program = _inverter(static)
        value, residual = program.run(params, points)
        return Inverse(value.reshape(*batch, *from_shape), residual.reshape(batch), program.method)

    def _moved(self, way: Direction, values: Any) -> jax.Array:
        if way == self.direction:
            params, static = split(self)
            from_shape, to_shape = self._shapes()
            points, batch = self._points(values, params, from_shape, "x" if way == "data_to_noise" else "z")
            return _images(static)(params, points).reshape(*batch, *to_shape)
        found = self.invert(values)
        values = jnp.asarray(values, found.value.dtype)
        good = accepted(values, found.residual, len(self._shapes()[1]))
        if found.method != "given" and _concrete(found.residual) and not bool(jnp.all(good)):
            worst, count = float(jnp.max(found.residual)), int(jnp.sum(~good))
            raise ConvergenceError(
                f"{way}: the transform was undone by {found.method} and misses its target by up to {worst:.2g} at "
                f"{count} of {good.size} points; is it one-to-one, and does it reach these points? flow.invert(...) "
                "gives the residuals; inverse= takes an inverse of your own"
            )
        return jnp.where(good.reshape(*good.shape, *[1] * len(self._shapes()[0])), found.value, jnp.nan)

    def _shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """(from, to) of the transform."""
        noise = event_shape(self.base)
        return (self.shape, noise) if self.direction == "data_to_noise" else (noise, self.shape)

    def points(self, x: Any, name: str = "x") -> tuple[jax.Array, tuple[int, ...]]:
        """(data x (…, *shape) as one batch (k, *shape) in the flow's precision, the shape of the batch it came in)."""
        params, _ = split(self)
        return self._points(x, params, self.shape, name)

    # -- checks ----------------------------------------------------------------------------------------------------
    def _points(self, x: Any, params: Any, shape: tuple[int, ...], name: str) -> tuple[jax.Array, tuple[int, ...]]:
        """(a batch of points, the batch's shape)."""
        own = [leaf.dtype for leaf in jax.tree_util.tree_leaves(params) if jnp.issubdtype(leaf.dtype, jnp.floating)]
        x = jnp.asarray(x)
        floating = jnp.issubdtype(x.dtype, jnp.floating)
        dtype = jnp.result_type(*own) if own else (x.dtype if floating else jnp.result_type(float))
        batch = x.shape[: x.ndim - len(shape)]
        if x.shape[len(batch) :] != shape:
            raise ArgumentError(f"{name}: got shape {x.shape}, expected one point {shape} or a batch (…, *{shape})")
        return x.astype(dtype).reshape(math.prod(batch), *shape), batch

    def _check_noise(self, z: Any) -> None:
        if jnp.shape(z) != event_shape(self.base):
            raise ArgumentError(
                f"base: is a distribution of points of shape {event_shape(self.base)}, but the transform gives noise "
                f"of shape {jnp.shape(z)}; give the data's shape by shape= if it differs from the noise's"
            )

    def initialised(self, batch: Any) -> Flow:
        """With every layer that starts from data (`ActNorm`) set to this batch (k, *shape); ready layers stay."""
        if self.direction != "data_to_noise" or not hasattr(self.transform, "initialised"):
            return self
        points, _ = self.points(batch, "batch")
        return eqx.tree_at(lambda flow: flow.transform, self, self.transform.initialised(points))


def _concrete(tree: Any) -> bool:
    return not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree_util.tree_leaves(tree))


class _Program:
    """A compiled density, and whether its plans have been compared with plain AD."""

    def __init__(self, static: Static) -> None:
        self.probed = False

        def log_probs(params: Any, points: Any, keys: Any) -> Any:
            flow = static.join(params)
            return jax.vmap(flow.log_prob_of_point, (0, None if keys is None else 0))(points, keys)

        self.run = jax.jit(log_probs)


@per_static
def _log_probs(static: Static) -> _Program:
    return _Program(static)


@per_static
def _images(static: Static) -> Any:
    return jax.jit(lambda params, points: jax.vmap(static.join(params).transform)(points))


class _Inverter:
    """A compiled inverse, and how it inverts: known when it has been traced."""

    def __init__(self, static: Static) -> None:
        self.method = ""

        def inverses(params: Any, points: Any) -> Any:
            flow = static.join(params)
            shape = flow._shapes()[0]

            def one(y: Any) -> tuple[Any, Any]:
                value, residual, self.method = invert(flow.transform, y, shape, flow.inverse)
                return value, residual

            return jax.vmap(one)(points)

        self.run = jax.jit(inverses)


@per_static
def _inverter(static: Static) -> _Inverter:
    return _Inverter(static)
