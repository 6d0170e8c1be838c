"""Programs that run a few times: compiled in an eighth of the time, to code that computes the same more slowly."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax

from ...graph import Graph

# What an optimised program may take, in entries moved (5 ms), to be worth the while unoptimised.
LIGHT = 1e7
LOOPS = {"scan", "while"}

# No fused loops, no optimisation by LLVM, no program cut into up to 32 that are compiled side by side.
_OPTIONS = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": 1,
}


def brief(f: Callable[..., Any]) -> Callable[..., Any]:
    """`jax.jit(f)` for a few calls from outside all transformations."""
    return jax.jit(f, compiler_options=_options())


def is_light(graph: Graph, passes: int = 1, limit: float = LIGHT) -> bool:
    """Is f with so many passes through it over so soon that compiling it is what takes the time?"""
    work = graph.work + passes * graph.pass_work
    return work <= limit and not any(node.op in LOOPS for node in graph.nodes)


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
