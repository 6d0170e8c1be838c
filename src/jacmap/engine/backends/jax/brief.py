"""Programs that run a few times: compiled without optimisation, in a fraction of the time, to slower code."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.extend.core as jex

from . import compat

LIGHT = 1e7  # entries that a program may make (5 ms) to be compiled briefly where it runs once or twice
# Brief compilation spares 0.05 s, and 0.4 ms for each equation; a call then loses up to 0.7 ns for each entry that it
# makes (sif2jax's systems, two cores). So many entries are made until both are even, and so many more for an equation:
EVEN, EVEN_EACH = 7e7, 6e5
FEWEST = 20  # calls to come even after: solvers make a few dozen

# No fused loops, no optimisation by LLVM, no program cut into up to 32 that are compiled side by side.
_OPTIONS = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": 1,
}


def brief(f: Callable[..., Any], calls: float = math.inf) -> Callable[..., Any]:
    """`jax.jit(f)` for a few calls: after `calls` of them it is compiled well, at once where they are below `FEWEST`.

    Inside a transformation it is `jax.jit(f)`, for there it may have no options of its own.
    """
    plain: Any = jax.jit(f)
    if calls < FEWEST:
        return plain
    quick: list[Any] = []
    left = calls

    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal left
        context, evaluation = compat.trace_state()
        if left <= 0 or context.trace is not evaluation:
            return plain(*args, **kwargs)
        left -= 1
        if not quick:
            quick.append(jax.jit(f, compiler_options=_options()))
        return quick[0](*args, **kwargs)

    def clear_cache() -> None:
        plain.clear_cache()
        quick.clear()

    call.clear_cache = clear_cache  # type: ignore[attr-defined]
    return call


def calls_until_even(jaxpr: Any, passes: int = 1) -> float:
    """After how many calls of so many passes through `jaxpr` has brief compilation lost what it spared?"""
    made = entries_made(jaxpr) * max(1, passes)
    return (EVEN + EVEN_EACH * _equations(jaxpr)) / made if made else math.inf


def entries_made(jaxpr: Any) -> float:
    """The entries of all values that one evaluation makes: how soon it is over. Infinite where there is a loop."""
    if any(eqn.primitive.name in ("scan", "while") for eqn in jaxpr.eqns):
        return math.inf
    total = 0.0
    for eqn in jaxpr.eqns:
        bodies = _bodies(eqn)
        made = (math.prod(getattr(var.aval, "shape", ())) for var in eqn.outvars)
        total += max(sum(map(entries_made, bodies)), sum(made))  # a scatter's body is that of one entry
    return total


def _equations(jaxpr: Any) -> int:
    return sum(1 + sum(map(_equations, _bodies(eqn))) for eqn in jaxpr.eqns)


def _bodies(eqn: Any) -> list[Any]:
    leaves = jax.tree_util.tree_leaves(list(eqn.params.values()), is_leaf=_is_jaxpr)
    return [compat.sub_jaxpr(leaf)[0] for leaf in leaves if _is_jaxpr(leaf)]


def _is_jaxpr(value: Any) -> bool:
    return isinstance(value, (jex.Jaxpr, jex.ClosedJaxpr))


@functools.cache
def _options() -> dict[str, Any] | None:
    """None where XLA compiles for another device than the CPU, or knows other names."""
    if jax.default_backend() != "cpu":
        return None
    try:
        jax.block_until_ready(jax.jit(lambda: 0.0, compiler_options=_OPTIONS)())
    except jax.errors.JaxRuntimeError:
        return None
    return _OPTIONS
