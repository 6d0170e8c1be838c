"""Pattern and colouring, by jacmap and by asdex: what is timed and counted, in one place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import asdex
import jax

from jacmap.engine.backends.jax.trace import graph_of
from jacmap.engine.graph import jacobian_pattern
from jacmap.engine.plan.planner import Limits, make_plan
from jacmap.engine.plan.question import Question
from jacmap.engine.plan.recipe import Coloured


@dataclass(frozen=True)
class Found:
    """Entries of the pattern, and the colours (passes) of the best colouring of it."""

    entries: int
    colours: int


def graph(f: Callable[..., Any], x: Any) -> Any:
    closed = jax.make_jaxpr(fresh(f))(x)
    return graph_of(closed.jaxpr, closed.consts, [True])


def pattern(f: Callable[..., Any], x: Any) -> Any:
    """Trace, graph, pattern as a matrix: what asdex.jacobian_sparsity does."""
    return jacobian_pattern(graph(f, x)).tocsr()


def ours(f: Callable[..., Any], x: Any) -> Found:
    """All that planning a sparse Jacobian takes: trace, graph, pattern, every colouring, the choice."""
    planned = make_plan(graph(f, x), Question("sparse"), Limits(apart=True), constant=True)
    coloured = [recipe for recipe in planned.candidates if isinstance(recipe, Coloured)]
    return Found(planned.pattern.nnz, min(recipe.forward + recipe.reverse for recipe in coloured))


def theirs(f: Callable[..., Any], x: Any) -> Found:
    coloured = asdex.jacobian_coloring(fresh(f), x)
    return Found(coloured.sparsity.nnz, coloured.num_colors)


def fresh(f: Callable[..., Any]) -> Callable[..., Any]:
    """f as a function that JAX has not traced yet: what it remembers of the last time helps nobody."""
    return lambda *args: f(*args)


def warm_up() -> None:
    """asdex compiles its colourings on first use, once for each way."""
    for mode in ("fwd", "rev", None):
        for f in (lambda x: x[1:] * x[:-1], lambda x: x * x.sum()):
            asdex.jacobian_coloring(f, jax.numpy.ones(12), mode=mode)
