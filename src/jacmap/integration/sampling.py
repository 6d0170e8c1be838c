"""Monte Carlo and randomised quasi Monte Carlo over the unit cube."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .integral import Outcome
from .pareto import heavy
from .pullback import Pullback
from .tolerance import Goal

Array = np.ndarray
REPLICATES = 16
BATCH = 2**12


def half_width(standard_error: Array, repetitions: int) -> Array:
    """Half of the 95 % confidence interval by Student's t."""
    from scipy.stats import t

    return np.asarray(t.ppf(0.975, repetitions - 1) * standard_error)


def quasi(g: Pullback, goal: Goal, _: object = None) -> Outcome:
    """Sixteen independently scrambled Sobol sequences; their spread is the error (Owen, J. Complexity 14 (1998)).

    Raises `ArgumentError` from SciPy's limit on dimensions as it is: 21201.
    """
    from scipy.stats import qmc

    goal.tracker.begin("quasi Monte Carlo")
    seeds = np.random.SeedSequence(goal.seed).spawn(REPLICATES)
    engines = [qmc.Sobol(g.size, rng=np.random.default_rng(seed)) for seed in seeds]
    sums: list[Array | float] = [0.0] * REPLICATES
    count, batch = 0, 64
    while True:
        for k, engine in enumerate(engines):
            for part in np.array_split(engine.random(batch), max(1, batch // BATCH)):
                sums[k] = sums[k] + g.values(part).sum(axis=0)
                goal.tracker.calls(g.evaluations)
        count += batch
        means = np.array(sums) / count
        value, spread = means.mean(axis=0), means.std(axis=0, ddof=1) / np.sqrt(REPLICATES)
        error = half_width(spread, REPLICATES)
        batch = count  # whole powers of two keep the sequences balanced
        done = goal.met(value, error)
        if (goal.stops and done) or 2 * count * REPLICATES > goal.evaluations:
            how = f"quasi Monte Carlo, {REPLICATES} scrambled Sobol sequences of {count}"
            return Outcome(value, error, done or not goal.stops, how, _short(goal, done), spread)


def monte_carlo(g: Pullback, goal: Goal, _: object = None) -> Outcome:
    """Uniform points; the standard error is that of the mean."""
    goal.tracker.begin("Monte Carlo")
    random = np.random.default_rng(goal.seed)
    return averaged(g, goal, lambda size: g.values(random.random((size, g.size))), "Monte Carlo")


def averaged(g: Pullback, goal: Goal, draw: Callable[[int], Array], how: str) -> Outcome:
    """The mean of independent draws, whose tail is looked at."""
    parts: list[Array] = []
    count = 0
    while True:
        parts.append(draw(min(BATCH, goal.evaluations - count)))
        count += len(parts[-1])
        goal.tracker.calls(g.evaluations)
        if count < goal.evaluations and not goal.stops:
            continue
        values = np.concatenate(parts)
        value, spread = values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(count)
        error = half_width(spread, count)
        done = goal.met(value, error)
        if done and goal.stops or count >= goal.evaluations:
            weights = np.max(np.abs(values), axis=1)
            tail, warnings = heavy(weights)
            converged = (done or not goal.stops) and not warnings
            notes = (*_short(goal, done), *warnings)
            return Outcome(value, error, converged, how, notes, spread, effective_size(weights), tail)


def effective_size(weights: Array) -> float:
    """Kish's: the number of equal weights whose mean varies as much."""
    largest = np.max(weights)
    scaled = weights / largest if largest > 0 else weights
    square = float(np.sum(scaled**2))
    return float(np.sum(scaled)) ** 2 / square if square else 0.0


def _short(goal: Goal, done: bool) -> tuple[str, ...]:
    if done or not goal.stops:
        return ()
    return (f"{goal.evaluations:,} evaluations did not reach the tolerance: give more (evaluations=)",)
