"""The fastest of several plain ways, by the clock: for small functions no estimate can tell them apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._clock import times, times_after_pauses
from .engine.backends.jax import compat
from .engine.plan.plan import Plan
from .engine.plan.recipe import Plain, Recipe, Scaled

# Plain modes estimated below this cost (a quarter of a millisecond), and within this factor of each other, are timed.
TIMED = 500e3
COMPARABLE = 3.0
# Under vmap they are timed over a batch of as many as are estimated at this cost (two milliseconds), within bounds: the
# way in and out of compiled code, 0.1 ms while a transformation is under way, must not hide the difference.
MAPPED, FEWEST, MOST = 4e6, 64, 4096
# The clock must disagree with the estimate by this much to overrule it.
CLEARLY_FASTER = 1.05

Ways = Sequence[tuple[Plain | Scaled, Callable[..., Any]]]  # each with its answer as a function of all leaves


def comparable(plan: Plan) -> list[Plain | Scaled]:
    """The ways, plain or nearly so, that the estimate cannot tell apart; none where there is only one."""
    found = [c for c in plan.planned.candidates if isinstance(c, (Plain, Scaled)) and c.cost < TIMED and not c.chunk]
    found = [c for c in found if c.cost <= COMPARABLE * found[0].cost]
    return found if len(found) > 1 and plan.chosen.name in [c.name for c in found] else []


def fastest(ways: Ways, leaves: list[Any]) -> Recipe:
    """Of calls in a row and of calls after a pause alike (their geometric mean).

    At this size neither counted work nor passes tell which of the two modes is faster: the shape of one product does,
    and whether it wakes other threads.
    """
    contenders, runs = [recipe for recipe, _ in ways], [jax.jit(answer) for _, answer in ways]
    found = np.sqrt(np.multiply(times(runs, leaves), times_after_pauses(runs, leaves)))
    best = int(np.argmin(found))
    if found[0] <= found[best] * CLEARLY_FASTER:
        best = 0
    against = " and ".join(c.name for c in contenders if c is not contenders[best])
    note = f"timed against {against} when the plan was made"
    kept = contenders[best].note
    return replace(contenders[best], note=f"{kept}; {note}" if kept else note)


def fastest_mapped(ways: Ways, leaves: list[Any]) -> Recipe:
    """Over a batch, at values made up.

    Under `vmap` small products become loops over the batch, and which of the modes has the better loops has little to
    do with which is faster alone: for the two outputs and eight parameters of a homography reverse mode is, and takes
    twenty times as long over a batch.
    """
    draw, most = np.random.default_rng(0), int(min(MOST, max(FEWEST, MAPPED / ways[0][0].cost)))
    values, axes = [], []
    with jax.ensure_compile_time_eval():
        for leaf in leaves:
            size = compat.batch_size(leaf)
            shape = leaf.shape if size is None else (min(size, most), *leaf.shape)
            values.append(jnp.asarray(draw.uniform(0.1, 0.9, shape)).astype(leaf.dtype))
            axes.append(None if size is None else 0)
        found = times([jax.jit(jax.vmap(answer, tuple(axes))) for _, answer in ways], values)
    return ways[int(np.argmin(found))][0]
