"""Integrals over mapped regions against closed forms; a regression's evidence by importance sampling with a flow."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from _table import Row, Tick
from jax.scipy import stats
from numpyro.distributions import StudentT
from scipy.special import gammaln
from sklearn.datasets import load_diabetes

import jacmap as jm
from jacmap.integration import Ball, Box, Mapped, Simplex, Spherical

INF, PI = math.inf, math.pi

# name -> (f, region, truth)
LOW: dict[str, tuple[Callable[[Any], Any], Any, float]] = {
    "Gaussian over the plane, polar": (lambda x: jnp.exp(-x @ x), Spherical(2, (0, INF)), PI),
    "1/r over the disk, polar": (lambda x: 1 / jnp.sqrt(x @ x), Spherical(2), 2 * PI),
    "second moment of a shell, spherical": (lambda x: x[2] ** 2, Spherical(3, (1, 2)), 4 * PI / 15 * 31),
    "Coulomb energy, spherical": (lambda x: jnp.exp(-jnp.sqrt(x @ x)) / (x @ x), Spherical(3, (0, INF)), 4 * PI),
    "volume of the ball in 5 dimensions, spherical": (lambda x: 1.0, Spherical(5), 8 * PI**2 / 15),
    "Dirichlet integral over a simplex": (
        lambda x: x[0] ** 0.5 * x[1] ** 2 * x[2],
        Simplex(3),
        math.gamma(1.5) * math.gamma(3) * math.gamma(2) / math.gamma(7.5),
    ),
}


def polar(turns: float) -> Mapped:
    return Mapped(lambda u: u[0] * jnp.stack([jnp.cos(u[1]), jnp.sin(u[1])]), Box([0, 0], [1, 2 * PI * turns]))


def squared(z: Any) -> Any:
    return jnp.stack([z[0] ** 2 - z[1] ** 2, 2 * z[0] * z[1]])


BAD = [
    Mapped(lambda u: jnp.stack([u[0] ** 2, u[1]]), Box([-1, 0], 1)),
    Mapped(lambda u: jnp.stack([u[0] ** 3 / 3 - 1e-6 * u[0], u[1]]), Box([-1, 0], 1)),
    Mapped(lambda u: jnp.stack([u[0], u[1] ** 3 - u[0] * u[1]]), Box([-1, -1], 1)),
    Spherical(3, angles=((0, 1.5 * PI), (0, PI))),
    polar(2.0),
    polar(1.01),
    Mapped(squared, Box([-1, -1], 1)),
    Spherical(3, angles=((0, PI), (0, 2.5 * PI))),
    Spherical(5, angles=((0, PI),) * 3 + ((0, 2.2 * PI),)),
]
GOOD = [
    polar(1.0),
    Mapped(squared, Box([0, -1], 1)),
    Mapped(Spherical(4).map, Spherical(4).box),
    Mapped(jnp.tan, Box(-1.5, 1.5)),
    Mapped(lambda u: u**3, Box([-1, -1], 1)),
    Mapped(lambda u: jnp.exp(3 * u), Box([0, 0], 1)),
]


def rows(quick: bool, tick: Tick) -> Iterator[Row]:
    with jax.enable_x64(True):
        yield from closed_forms(tick)
        yield from refusals(tick)
        yield from evidence(quick, tick)


def closed_forms(tick: Tick) -> Iterator[Row]:
    def off(f: Callable[[Any], Any], region: Any, truth: float) -> float:
        found = jm.integrate(f, region)
        return abs(float(found.value) / truth - 1) if found.converged else INF

    worst = 0.0
    for n in range(2, 9):
        tick(f"ball in {n} dimensions")
        worst = max(worst, off(lambda x: 1.0, Ball(n), PI ** (n / 2) / math.gamma(n / 2 + 1)))
    yield Row("volumes of balls in 2 to 8 dimensions", worst, "relative", 1e-8, True)
    worst = 0.0
    for name, (f, region, truth) in LOW.items():
        tick(name)
        worst = max(worst, off(f, region, truth))
    yield Row(f"{len(LOW)} polar, spherical and simplex integrals", worst, "relative", 1e-8, True)


def refusals(tick: Tick) -> Iterator[Row]:
    def refused(region: Any) -> bool:
        tick(repr(region)[:60])
        try:
            jm.integrate(lambda x: 1.0, region, method="quasi", evaluations=1024)
        except jm.RegionError:
            return True
        return False

    yield Row(f"folds and double covers refused, of {len(BAD)}", sum(map(refused, BAD)), "maps", len(BAD))
    yield Row(f"one-to-one maps refused, of {len(GOOD)}", sum(map(refused, GOOD)), "maps", 0, True)


def regression() -> tuple[Callable[[Any], Any], float, Any, Any]:
    """(log of prior times likelihood in (β, σ²), the log evidence in closed form, X, y) for the diabetes data.

    y ~ N(Xβ, σ²), β ~ N(0, σ² I), σ² ~ InverseGamma(2, 1): Bishop, Pattern Recognition, exercise 3.24.
    """
    x, y = load_diabetes(return_X_y=True)
    x, y = (x - x.mean(0)) / x.std(0), (y - y.mean()) / y.std()
    n, p = x.shape
    a, b = 2.0, 1.0
    precision = np.eye(p) + x.T @ x
    fitted = np.linalg.solve(precision, x.T @ y)
    a_n, b_n = a + n / 2, b + (y @ y - fitted @ precision @ fitted) / 2
    truth = (-n / 2 * math.log(2 * PI) - np.linalg.slogdet(precision)[1] / 2
             + a * math.log(b) - a_n * math.log(b_n) + gammaln(a_n) - gammaln(a))  # fmt: skip
    inputs, outputs = jnp.asarray(x), jnp.asarray(y)

    def log_joint(point: Any) -> Any:
        beta, variance = point[:-1], point[-1]
        prior = jnp.sum(stats.norm.logpdf(beta, 0, jnp.sqrt(variance)))
        prior += a * math.log(b) - gammaln(a) - (a + 1) * jnp.log(variance) - b / variance
        return prior + jnp.sum(stats.norm.logpdf(outputs, inputs @ beta, jnp.sqrt(variance)))

    return log_joint, float(truth), inputs, outputs


class Guess(eqx.Module):
    """A Gaussian's triangular factor and mean, to be trained with the couplings before it."""

    factor: jax.Array
    mean: jax.Array

    def __call__(self, z: Any) -> Any:
        return jnp.tril(self.factor) @ z + self.mean

    def inverse(self, x: Any) -> Any:
        return jax.scipy.linalg.solve_triangular(jnp.tril(self.factor), x - self.mean, lower=True)


def trained(log_target: Callable[[Any], Any], start: Any, spread: Any, steps: int, tick: Tick) -> jm.flows.Flow:
    """A proposal by the evidence lower bound, from a Gaussian guess on.

    Over Student's t: its tails are wider than the posterior's, so that the weights have a variance.
    """
    couplings = jm.flows.real_nvp(len(start), key=jax.random.key(0), layers=4, width=32)
    base = StudentT(12.0).expand((len(start),)).to_event(1)
    flow = jm.flows.Flow(jm.flows.Chain(couplings, Guess(spread, start)), base, direction="noise_to_data")
    moving, fixed = eqx.partition(flow.transform, eqx.is_inexact_array)
    rule = optax.adam(optax.cosine_decay_schedule(2e-3, steps))
    state = rule.init(moving)

    def loss(moving: Any, key: Any) -> Any:
        z = base.sample(key, (128,))
        x, (_, log) = jax.vmap(jm.value_and_slogdet(eqx.combine(moving, fixed)))(z)
        return jnp.mean(base.log_prob(z) - log - jax.vmap(log_target)(x))

    @jax.jit
    def step(moving: Any, state: Any, key: Any) -> Any:
        slopes = jax.grad(loss)(moving, key)
        change, state = rule.update(slopes, state, moving)
        return optax.apply_updates(moving, change), state

    for k in range(steps):
        if k % 100 == 0:
            tick(f"training the proposal, step {k} of {steps}")
        moving, state = step(moving, state, jax.random.key(k + 1))
    return jm.flows.Flow(eqx.combine(moving, fixed), base, direction="noise_to_data")


def evidence(quick: bool, tick: Tick) -> Iterator[Row]:
    log_joint, truth, inputs, outputs = regression()
    size = inputs.shape[1]
    region = Mapped(lambda u: jnp.append(u[:-1], jnp.exp(u[-1])), Box([-INF] * (size + 1), INF))

    def log_target(u: Any) -> Any:
        return log_joint(region.map(u)) + jm.slogdet(region.map)(u).logabsdet

    covariance = np.linalg.inv(np.eye(size) + inputs.T @ inputs) / 2
    start = jnp.append(jnp.linalg.lstsq(inputs, outputs)[0], jnp.log(0.5))
    spread = jnp.asarray(np.linalg.cholesky(np.block([
        [covariance, np.zeros((size, 1))], [np.zeros((1, size)), np.full((1, 1), 2 / len(outputs))],
    ])))  # fmt: skip
    proposal = trained(log_target, start, spread, 500 if quick else 1000, tick)
    seeds = 20 if quick else 100
    found = []
    for seed in range(seeds):
        tick(f"evidence, seed {seed} of {seeds}")
        found.append(jm.integrate(log_joint, region, log=True, proposal=proposal, evaluations=4096, seed=seed,
                                  overlaps="refuse" if seed == 0 else "trust"))  # fmt: skip
    name = "log evidence of the diabetes regression by flow importance sampling (4,096 draws): the worst seed"
    yield Row(name, max(abs(each.value - truth) for each in found), "nats off", 0.05, True)
    inside = sum(abs(each.value - truth) <= each.error for each in found)
    yield Row(f"the same: truth inside the 95 % interval, of {seeds} seeds", inside, "seeds", 0.9 * seeds)
    yield Row("the same: half width of the interval", float(np.median([each.error for each in found])), "nats")
    yield Row("the same: effective draws", float(np.median([each.effective_size for each in found])), "of 4,096")
    yield Row("the same: Pareto k, the worst seed", max(each.pareto_k for each in found), "k", 0.5, True)
