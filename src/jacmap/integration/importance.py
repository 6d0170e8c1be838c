"""Importance sampling: draws of a proposal, such as a trained flow, weighted by the integrand over its density."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import logsumexp

from .._errors import ArgumentError
from .integral import Outcome
from .pareto import heavy
from .pullback import Pullback
from .sampling import averaged, effective_size, half_width
from .tolerance import Goal

Array = np.ndarray


class Draws:
    """Points of a proposal in the region's coordinates, with their log-densities.

    `proposal.sample(key, (n,))` gives n points, `proposal.log_prob(x)` the log-density at one: the face of `jm.flows`,
    flowjax and numpyro.
    """

    def __init__(self, proposal: Any, g: Pullback, seed: int):
        missing = [name for name in ("log_prob", "sample") if not callable(getattr(proposal, name, None))]
        if missing:
            raise ArgumentError(
                f"proposal: {type(proposal).__name__} has no {' and no '.join(missing)}, expected an object with "
                "log_prob(x) and sample(key, (n,)), such as a flow of jm.flows, flowjax or a numpyro distribution"
            )
        self.proposal, self.g = proposal, g
        self.key = jax.random.key(seed)
        self._log_prob = jax.jit(jax.vmap(lambda t: proposal.log_prob(jnp.reshape(t, g.region.box.lower.shape))))

    def __call__(self, count: int) -> tuple[Array, Array, Array]:
        """(points, their log-densities, whether they lie in the region's box)."""
        self.key, key = jax.random.split(self.key)
        drawn = jnp.asarray(self.proposal.sample(key, (count,)))
        if drawn.shape != (count, *self.g.region.box.lower.shape):
            raise ArgumentError(
                f"proposal: sample(key, ({count},)) has shape {drawn.shape}, expected "
                f"{(count, *self.g.region.box.lower.shape)}: points in the coordinates of the region's box"
            )
        density = np.asarray(self._log_prob(drawn), float)
        if density.shape != (count,) or np.isnan(density).any():
            raise ArgumentError("proposal: log_prob(x) is NaN or not one number for a point, expected its log-density")
        points = np.asarray(drawn, float).reshape(count, -1)
        within = np.all((points >= self.g.lower) & (points <= self.g.upper), axis=1)
        return points, density, within


def importance(g: Pullback, draws: Draws, goal: Goal) -> Outcome:
    """The mean of g/q over draws of q: unbiased where q > 0 wherever g is not 0; not self-normalised."""
    goal.tracker.begin("importance sampling")
    if g.log:
        return _logarithmic(g, draws, goal)

    def weighted(count: int) -> Array:
        t, density, within = draws(count)
        values = np.zeros((count, g.width))
        if within.any():
            values[within] = g.values(t[within]) * np.exp(-density[within])[:, None]
        return values

    return averaged(g, goal, weighted, _how(draws))


def _logarithmic(g: Pullback, draws: Draws, goal: Goal) -> Outcome:
    """All in logarithms. The mean weight is unbiased; its logarithm lies lower by half of its relative variance."""
    logs: Array = np.empty(0)

    def weighted(count: int) -> Array:
        nonlocal logs
        t, density, within = draws(count)
        found = np.full(count, -np.inf)
        if within.any():
            found[within] = g.logs(t[within]) - density[within]
        if np.isnan(found).any() or np.isposinf(found).any():
            raise ArgumentError("f: log f is NaN or infinite at a draw of the proposal, expected a number or −infinity")
        logs = np.concatenate([logs, found])
        return logs

    count, done = 0, False
    while count < goal.evaluations and not (goal.stops and done):
        weighted(min(2**12, goal.evaluations - count))
        count = len(logs)
        goal.tracker.calls(g.evaluations)
        value = float(logsumexp(logs) - np.log(count))
        weights = np.exp(logs - np.max(logs)) if np.isfinite(value) else np.zeros(count)
        relative = np.std(weights, ddof=1) / np.sqrt(count) / np.mean(weights) if weights.any() else np.inf
        error = half_width(np.asarray([relative]), count)
        done = bool(error[0] <= max(goal.atol, goal.rtol))
    tail, warnings = heavy(weights)
    notes = warnings if done or not goal.stops else (*warnings, f"{count:,} draws did not reach the tolerance")
    return Outcome(
        np.asarray([1.0]), error, (done or not goal.stops) and not warnings, _how(draws), notes,
        np.asarray([relative]), effective_size(weights), tail, log_value=value,
    )  # fmt: skip


def _how(draws: Draws) -> str:
    return f"importance sampling from {type(draws.proposal).__name__}"
