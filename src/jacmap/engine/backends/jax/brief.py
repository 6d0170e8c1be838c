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

# No fused loops, no optimisation by LLVM, no program cut into up to 32 that are compiled side by side.
_OPTIONS = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": 1,
}


def brief(f: Callable[..., Any]) -> Callable[..., Any]:
    """`jax.jit(f)` for a few calls; just that inside a transformation, where it may have no options of its own."""
    plain: Any = jax.jit(f)
    quick: list[Any] = []

    def call(*args: Any, **kwargs: Any) -> Any:
        context, evaluation = compat.trace_state()
        if context.trace is not evaluation:
            return plain(*args, **kwargs)
        if not quick:
            quick.append(jax.jit(f, compiler_options=_options()))
        return quick[0](*args, **kwargs)

    def clear_cache() -> None:
        plain.clear_cache()
        quick.clear()

    call.clear_cache = clear_cache  # type: ignore[attr-defined]
    return call


def entries_made(jaxpr: Any) -> float:
    """The entries of all values that one evaluation makes: how soon it is over. Infinite where there is a loop."""
    if any(eqn.primitive.name in ("scan", "while") for eqn in jaxpr.eqns):
        return math.inf
    total = 0.0
    for eqn in jaxpr.eqns:
        leaves = jax.tree_util.tree_leaves(list(eqn.params.values()), is_leaf=_is_jaxpr)
        inner = [leaf for leaf in leaves if _is_jaxpr(leaf)]
        bodies = (entries_made(compat.sub_jaxpr(sub)[0]) for sub in inner)
        total += sum(bodies) if inner else sum(math.prod(getattr(var.aval, "shape", ())) for var in eqn.outvars)
    return total


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
