"""Square functions whose log-determinant is asked: the flows of examples/, and small ones that are easy to get wrong.

The oracle is `numpy.linalg.slogdet` of `jax.jacfwd`, and NumPy's tr(J⁻¹ dJ) for its derivative: nothing of jacmap's.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

import flows  # noqa: E402
import image_flows  # noqa: E402

# The tests compile much and run little.
QUICK = {"xla_backend_optimization_level": 0}


@dataclass(frozen=True, eq=False)
class FlowScenario:
    """`function(x, *rest)` at `point`, (x, *rest). `passes`: tangents that a factor needs at most; None: any number."""

    name: str
    function: Callable[..., Any]
    point: tuple[Any, ...]
    passes: int | None = None

    @property
    def smooth_arguments(self) -> tuple[int, ...]:
        """Positions of the arguments that can be differentiated by: x, parameters, not switches."""
        kinds = ({jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(arg)} for arg in self.point)
        return tuple(k for k, kind in enumerate(kinds) if kind == {True})

    @functools.cached_property
    def direction(self) -> tuple[Any, ...]:
        """A random direction for every such argument."""
        random = np.random.default_rng(30)
        arguments = tuple(self.point[k] for k in self.smooth_arguments)
        return jax.tree.map(lambda leaf: random.standard_normal(leaf.shape), arguments)

    def dense(self, *point: Any) -> jax.Array:
        """J, n×n, by plain forward mode."""
        x, back = ravel_pytree(point[0])
        return jax.jacfwd(lambda flat: ravel_pytree(self.function(back(flat), *point[1:]))[0])(x)

    @functools.cached_property
    def _jets(self) -> Callable[..., Any]:
        def jet(*point: Any) -> Any:
            def matrix(*moving: Any) -> jax.Array:
                filled = dict(zip(self.smooth_arguments, moving, strict=True))
                return self.dense(*(filled.get(k, arg) for k, arg in enumerate(point)))

            moved = jax.jvp(matrix, tuple(point[k] for k in self.smooth_arguments), self.direction)
            return self.function(*point), *moved

        return jax.jit(jet, compiler_options=QUICK)

    def oracle(self, *point: Any) -> Oracle:
        """At `point`, or at the scenario's own."""
        value, matrix, moved = self._jets(*(point or self.point))
        matrix, moved = np.asarray(matrix, float), np.asarray(moved, float)
        sign, log = np.linalg.slogdet(matrix)
        slope = np.trace(np.linalg.solve(matrix, moved)) if sign else np.nan
        return Oracle(value, float(sign), float(log), float(slope), float(np.linalg.cond(matrix)))


class Oracle(NamedTuple):
    """f(x), the sign and logarithm of det J, the latter's derivative along `direction`: tr(J⁻¹ dJ), J's condition."""

    value: Any
    sign: float
    log: float
    slope: float
    condition: float


def along(slopes: Any, direction: Any) -> float:
    """The inner product of a gradient and a direction, both pytrees."""
    pairs = zip(jax.tree.leaves(slopes), jax.tree.leaves(direction), strict=True)
    return float(sum(np.sum(np.asarray(a) * np.asarray(b)) for a, b in pairs))


def flow(name: str, made: flows.Flow, *shape: int, passes: int | None = 1, scale: float = 1.0) -> FlowScenario:
    function, params = made
    return FlowScenario(name, function, (draw(5, *shape, scale=scale), params), passes)


def draw(seed: int, *shape: int, scale: float = 1.0) -> jax.Array:
    return jnp.asarray(scale * np.random.default_rng(seed).standard_normal(shape))


FLOWS = [
    flow("RealNVP", flows.real_nvp(6, 3, 8), 6),
    flow("RealNVP, halves of unequal size", flows.real_nvp(7, 2, 8), 7),
    flow("RealNVP, masks", flows.masked_real_nvp(6, 3, 8), 6),
    flow("RealNVP, scan", flows.scanned_real_nvp(6, 3, 8), 6),
    flow("spline coupling", flows.spline_coupling(6, 2, 8, 4), 6, scale=4.0),  # some entries outside the splines
    flow("MADE stack", flows.maf(5, 2, 12), 5),
    flow("MADE stack, scan", flows.scanned_maf(5, 2, 12), 5),
    flow("IAF", flows.iaf(5, 2, 12), 5),
    flow("MADE, sampling", flows.maf_sampling(4, 10), 4, passes=None),
    flow("hidden order", flows.hidden_order(7), 7),
    flow("hidden order, odd", flows.hidden_order(7, seed=3), 7),
    flow("block autoregressive", flows.block_autoregressive(4, 3), 4),
    flow("triangular linear", flows.triangular_linear(5, 2), 5, scale=0.5),
    flow("elementwise", flows.elementwise(6), 6),
    flow("planar", flows.planar(5, 2), 5, passes=None),
    flow("Sylvester", flows.sylvester(6, 2, 2), 6, passes=None),
    flow("narrow residual", flows.residual(6, 2, 2), 6, passes=None),
    flow("wide residual", flows.residual(4, 6, 2), 4, passes=None),
    flow("Glow", image_flows.glow(4, 2, 6), 2, 3, 4, passes=4),
    flow("checkerboard convolutions", image_flows.checkerboard(4, 4, 2, 2, 4), 4, 4, 2),
]

# -- small functions -----------------------------------------------------------------------------------------------


def repeated_slice(x):
    """Two equal slices: one cut, which reading them as different values hides."""
    return jnp.concatenate([x[:3], x[3:] * jnp.exp(jnp.tanh(x[:3])) + x[:3] ** 2])


def used_late(x):
    """The first half is used again long after it was last changed."""
    a, b = jnp.split(x, 2)
    b = b * jnp.exp(jnp.sin(a)) + a
    a = a * jnp.exp(jnp.cos(b))
    b = jnp.tanh(b) + 0.5 * b
    return jnp.concatenate([b, a])


def turned(x, angle):
    c, s = jnp.cos(angle), jnp.sin(angle)
    return jnp.stack([c * x[0] - s * x[1], s * x[0] + c * x[1]]) * jnp.array([2.0, -3.0])


def polar(x):
    """(r, θ) to the plane: det = r, which vanishes at the origin."""
    return jnp.stack([x[0] * jnp.cos(x[1]), x[0] * jnp.sin(x[1])])


def spherical(x):
    """(r, θ, φ) to space: det = r² sin θ."""
    r, theta, phi = x
    plane = r * jnp.sin(theta)
    return jnp.stack([plane * jnp.cos(phi), plane * jnp.sin(phi), r * jnp.cos(theta)])


def pixels(x, weight):
    """An invertible 1×1 convolution: one block for all pixels."""
    return jnp.einsum("hwc,cd->hwd", jnp.tanh(x) + x, weight)


def pairs(x):
    """A rotation of each pair by an angle that depends on the pair: blocks of 2×2."""
    a, b = x[:, 0], x[:, 1]
    angle = a**2 + b**2
    return jnp.stack([a * jnp.cos(angle) - 2 * b, a + b * jnp.sin(angle)], axis=1)


def triples(x):
    """Blocks of 3×3 that depend on x, interleaved."""
    z = x.reshape(3, 4)
    return (z + jnp.roll(z, 1, 0) ** 2 * 0.3 + 0.2 * jnp.tanh(z[::-1])).ravel()


def steps(x):
    """`fori_loop` of a coupling that swaps its halves."""

    def one(_, x):
        a, b = x[:3], x[3:]
        return jnp.concatenate([b * jnp.exp(0.3 * jnp.tanh(a)) + a, a])

    return lax.fori_loop(0, 3, one, x)


def branches(x, up):
    return lax.cond(up, lambda x: jnp.sinh(x) + x[0], lambda x: x * jnp.arange(1.0, 5.0), x)


@jax.custom_jvp
def clipped(x):
    return jnp.clip(x, -0.5, 0.5)


@clipped.defjvp
def _(primals, tangents):
    return clipped(*primals), 2.0 * tangents[0]  # on purpose not the derivative of the primal


def tree(x):
    """A dictionary in, a tuple out: the flattened order of both decides the sign."""
    return x["a"] * jnp.exp(jnp.mean(x["b"])), jnp.flip(x["b"], 0) * 2.0


W = np.random.default_rng(20).standard_normal((6, 6))
LOWER = jnp.asarray(np.tril(W[:5, :5]))


def integrated(x):
    """Two steps of leapfrog: every step moves one half by the other, so det = 1."""
    q, p = jnp.split(x, 2)
    for _ in range(2):
        p = p - 0.05 * jnp.sin(q) * jnp.sum(q**2)
        q = q + 0.1 * p
        p = p - 0.05 * jnp.sin(q) * jnp.sum(q**2)
    return jnp.concatenate([q, p])


def simple(name: str, function: Callable[..., Any], *point: Any, **known: Any) -> FlowScenario:
    return FlowScenario(name, function, point, **known)


SMALL = [
    simple("identity", lambda x: x, draw(1, 4)),
    simple("one entry", lambda x: -jnp.sinh(x), draw(1, 1), passes=1),
    simple("a number", lambda x: x**3 - 5 * x, draw(1)),
    simple("reversal", lambda x: x[::-1], draw(1, 6)),
    simple("transpose", lambda x: x.T, draw(1, 2, 3)),
    simple("odd permutation of scaled entries", lambda x: (x * jnp.arange(1.0, 5.0))[jnp.array([1, 0, 2, 3])],
           draw(1, 4), passes=1),
    simple("negative slopes", lambda x: -jnp.exp(x), draw(1, 5), passes=1),
    simple("matrix", lambda x: jnp.asarray(W) @ x, draw(1, 6)),
    simple("matrix argument", lambda x, w: w @ x, draw(1, 6), jnp.asarray(W)),
    simple("lower triangular, closed over", lambda x: LOWER @ jnp.sinh(x), draw(1, 5), passes=1),
    simple("triangular solve", lambda x: jax.scipy.linalg.solve_triangular(LOWER, x, lower=True), draw(1, 5)),
    simple("dense residual", lambda x: x + jnp.tanh(jnp.asarray(W) @ x), draw(1, 6)),
    simple("deep dense", lambda x: jnp.tanh(jnp.asarray(W) @ jnp.tanh(jnp.asarray(W.T) @ x)), draw(1, 6, scale=0.3)),
    simple("sum added", lambda x: x + jnp.sum(x), draw(1, 6)),
    simple("mean removed, scaled", lambda x: 3 * x - jnp.mean(x) * jnp.sin(x), draw(1, 6)),
    simple("cumulative sum", lambda x: jnp.cumsum(jnp.exp(x)), draw(1, 6)),
    simple("ordered", lambda x: x[0] + jnp.concatenate([jnp.zeros(1), jnp.cumsum(jnp.exp(x[1:]))]), draw(1, 5)),
    simple("cumulative product", lambda x: jnp.cumprod(1 + jnp.exp(x)), draw(1, 4)),
    simple("repeated slice", repeated_slice, draw(1, 6), passes=1),
    simple("used late", used_late, draw(1, 6), passes=1),
    simple("rotation", turned, draw(1, 2), jnp.asarray(0.7)),
    simple("polar", polar, draw(1, 2)),
    simple("spherical", spherical, jnp.array([1.3, 0.8, -2.0])),
    simple("1×1 convolution", pixels, draw(1, 2, 3, 3), draw(2, 3, 3)),
    simple("pairs", pairs, draw(1, 4, 2)),
    simple("triples", triples, draw(1, 12)),
    simple("fori_loop", steps, draw(1, 6), passes=1),
    simple("cond", branches, draw(1, 4), jnp.asarray(True)),
    simple("where", lambda x: jnp.where(x > 0, jnp.expm1(x), 0.1 * x), draw(1, 6), passes=1),
    simple("sort", lambda x: jnp.sort(x) * jnp.arange(1.0, 6.0), draw(1, 5)),
    simple("custom JVP, not the primal's", lambda x: clipped(x)[::-1] + x[::-1], draw(1, 5), passes=1),
    simple("two arguments", lambda x, y: x * jnp.exp(y) + jnp.flip(y), draw(1, 4), draw(2, 4), passes=1),
    simple("tree", tree, {"a": draw(1, 3), "b": draw(2, 2, 2)}, passes=1),
    simple("solve with x in the matrix", lambda x: jnp.linalg.solve(jnp.diag(jnp.exp(x)) + jnp.asarray(W[:4, :4]),
           jnp.ones(4)), draw(1, 4)),
    simple("Fourier, real and imaginary", lambda x: jnp.concatenate([jnp.fft.rfft(x).real, jnp.fft.rfft(x).imag[1:3]]),
           draw(1, 5)),
    simple("leapfrog", integrated, draw(1, 6)),
    simple("tridiagonal", lambda x: 3 * x + jnp.sin(jnp.roll(x, 1)) * jnp.array([0.0, *[1.0] * 5]) + x**3, draw(1, 6)),
]  # fmt: skip

SINGULAR = [
    simple("an output that reads nothing", lambda x: x * jnp.array([1.0, 0.0, 2.0]), draw(1, 3)),
    simple("an input that is not read", lambda x: jnp.stack([x[0], x[0] * x[1], x[1]]), draw(1, 3)),
    simple("through a narrow cut", lambda x: jnp.outer(jnp.arange(1.0, 3.0), x[:2] + x[2:]).ravel(), draw(1, 4)),
    simple("a constant", lambda x: jnp.ones(3), draw(1, 3)),
    simple("zero slope at this point", lambda x: x**2, jnp.array([1.0, 0.0, -2.0])),
    simple("polar at the origin", polar, jnp.array([0.0, 0.4])),
    simple("matrix argument, zero", lambda x, w: w @ x, draw(1, 3), jnp.zeros((3, 3))),
    simple("rounded", lambda x: jnp.round(x), draw(1, 3)),
]  # fmt: skip

SCENARIOS = [*FLOWS, *SMALL, *SINGULAR]
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
