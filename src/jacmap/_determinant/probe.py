"""Check the plan of a determinant against plain AD: the whole matrix where it is small, each factor where it is not."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._errors import StructureError
from ..engine.backends.jax import compat
from ..engine.backends.jax import function as backend
from ..engine.backends.jax.run import evaluate
from ..engine.backends.jax.sweep import sweep
from ..engine.graph import Graph, jacobian_pattern
from ..engine.plan.determinant import Determinant, Entrywise, LowRank, Repeated, Step

# Up to this size the dense determinant costs no more than compiling it.
SMALL = 128


def probe_determinant(
    plan: Determinant, traced: backend.Traced, call: backend.Call, moving: Any, others: Any, answer: Any
) -> float | None:
    """The largest relative difference seen; None if nothing finite was. Raises StructureError."""
    graph = traced.graph
    if not (graph.forward or traced.reverse):
        return float("nan")
    eps = traced.eps
    if graph.shape[0] <= SMALL:
        return _dense(traced, call, moving, others, answer, eps)
    if plan.zero:
        return 0.0  # proved by counting: there is no number to compare
    env = dict(graph.constants) | dict(zip(graph.others, others, strict=True))
    env |= {v: jnp.asarray(leaf) for v, leaf in zip(graph.inputs, moving, strict=True)}
    checks = jax.jit(lambda given: _factors(plan, graph, {**env, **given}))({v: env[v] for v in graph.inputs})
    return _judge(plan, checks, eps)


def _dense(
    traced: backend.Traced, call: backend.Call, moving: Any, others: Any, answer: Any, eps: float
) -> float | None:
    """Against the LU factorisation of the matrix that plain AD gives."""

    def matrix(leaves: Any, rest: Any) -> Any:
        run = backend.runner(call, traced, leaves, rest)
        size = traced.graph.shape[0]
        return run.push(run.identity(size)) if traced.graph.forward else run.pull(run.identity(size))

    true = np.asarray(jax.jit(matrix)([jnp.asarray(leaf) for leaf in moving], others), float)
    if not np.isfinite(true).all():
        return None
    sign, log = np.linalg.slogdet(true)
    ours_sign, ours = float(answer[0]), float(answer[1])
    if np.isnan(ours):
        return None
    if (ours_sign, ours) == (sign, log):
        return 0.0  # also where both are zero, whose logarithms have no difference
    singular = np.linalg.svd(true, compute_uv=False)
    # Rounding moves a singular value by about eps·s_max, hence log|det| by the sum of their relative moves. Where that
    # is not small, the determinant is noise (or zero), and nothing can be told from it.
    loose = 100 * eps * (1 + (singular.max(initial=0) / np.maximum(singular, 1e-300)).sum())
    if loose > 0.1:
        return 0.0
    if not np.isfinite(ours) or abs(ours - log) > loose * max(1.0, abs(log)) or ours_sign != sign:
        _refuse(f"sign {ours_sign:+.0f}, log|det| {ours:.10g}", f"{sign:+.0f}, {log:.10g}", "the whole")
    return float(abs(ours - log) / max(1.0, abs(log)))


def _refuse(ours: str, true: str, where: str) -> float:
    raise StructureError(
        f"the plan of the determinant gives {ours} where plain AD gives {true} ({where}). No result is returned. "
        "Please report this with the function; jnp.linalg.slogdet(jax.jacfwd(f)(x)) answers meanwhile"
    )


def _factors(plan: Determinant, graph: Graph, env: dict[int, Any]) -> list[Any]:
    """Pairs (what should be zero, its scale), two per factor: outside the pattern, and in one of the blocks.

    The truth is a plain JVP through the factor's operations along random directions.
    """
    values = evaluate(graph.nodes, env)
    rng = np.random.default_rng(0)
    checks = []
    for step in plan.steps:
        if isinstance(step, Repeated):
            checks += _of_loop(step, graph, values)
        elif isinstance(step, (Entrywise, LowRank)) and step.factor.graph.forward:
            factor = step.factor
            nodes = [graph.nodes[position] for position in factor.positions]
            direction = np.where(rng.random(factor.size) < 0.5, rng.standard_normal(factor.size), 0.0)
            true = _pushed(step, nodes, values, direction)
            checks.append((jnp.abs(jnp.where(_reached(step, direction), 0, true)).max(), jnp.abs(true).max()))
            if isinstance(step, Entrywise) and step.thinning:
                rows, direction = _one_block(step, rng)
                true = _pushed(step, nodes, values, direction)[rows]
                seeds = {v: t[None] for v, t in _shaped(step, values, direction).items()}
                sweep(list(enumerate(nodes)), dict(values), seeds, 1, step.thinning.dropped, step.thinning.masks)
                ours = jnp.concatenate([jnp.ravel(seeds[v]) for v in factor.after])[rows]
                checks.append((jnp.abs(ours - true).max(), jnp.abs(true).max()))
    return checks


def _pushed(step: Step, nodes: list[Any], values: dict[int, Any], direction: np.ndarray) -> Any:
    """The factor's true product with a direction."""
    factor = step.factor

    def function(*moving: Any) -> list[Any]:
        inner = {**values, **dict(zip(factor.before, moving, strict=True))}
        for node in nodes:
            made = compat.bind(node.payload, [inner[v] for v in node.inputs])
            inner.update((v, m) for v, m in zip(node.outputs, made, strict=True) if v not in factor.before)
        return [inner[v] for v in factor.after]

    tangents = _shaped(step, values, direction)
    primals = tuple(jnp.asarray(values[v]) for v in factor.before)
    along = jax.jvp(function, primals, tuple(tangents[v] for v in factor.before))[1]
    return jnp.concatenate([jnp.ravel(t) for t in along])


def _shaped(step: Step, values: dict[int, Any], direction: np.ndarray) -> dict[int, Any]:
    """The direction cut into the values that the factor starts from."""
    found, start = {}, 0
    for v in step.factor.before:
        shape = jnp.shape(values[v])
        size = int(np.prod(shape, dtype=int))
        found[v] = jnp.asarray(direction[start : start + size].reshape(shape), jnp.result_type(values[v]))
        start += size
    return found


def _reached(step: Step, direction: np.ndarray) -> np.ndarray:
    """The rows that the pattern says the direction can reach."""
    pattern = jacobian_pattern(step.factor.graph).tocsr()
    return (pattern.astype(np.int32) @ (direction != 0).astype(np.int32)) > 0


def _one_block(step: Entrywise, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The rows of one of the blocks, and a direction along its columns."""
    chosen = rng.choice(np.flatnonzero(step.times > 0))
    at = slice(step.blocks.starts[chosen], step.blocks.starts[chosen + 1])
    direction = np.zeros(step.factor.size)
    direction[step.blocks.columns[at]] = rng.standard_normal(int(step.blocks.sizes[chosen]))
    return step.blocks.rows[at], direction


def _of_loop(step: Repeated, graph: Graph, values: dict[int, Any]) -> list[Any]:
    """The body's factors at the first step of the loop."""
    node = graph.nodes[step.factor.positions[0]]
    p = node.payload.params
    given = [values[v] for v in node.inputs]
    first = p["length"] - 1 if p["reverse"] else 0
    split = p["num_consts"] + p["num_carry"]
    inputs = [*given[:split], *(x[first] for x in given[split:])]
    active = {p["num_consts"] + k for k in step.loop.carry}
    body = step.loop.graph
    moving, still, env = list(body.inputs), list(body.others), dict(body.constants)
    for i, value in enumerate(inputs):
        env[(moving if i in active else still).pop(0)] = value
    return _factors(step.body, body, env)


def _judge(plan: Determinant, checks: list[Any], eps: float) -> float | None:
    worst = 0.0
    for outside, scale in checks:
        outside, scale = float(outside), float(scale)
        if not np.isfinite(outside) or not np.isfinite(scale):
            continue
        if outside > 100 * eps * max(scale, 1e-30):
            _refuse(f"entries off by {outside:.3g}", f"entries up to {scale:.3g}", "in one of the factors")
        worst = max(worst, outside / max(scale, 1e-30))
    return worst
