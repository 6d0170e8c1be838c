"""`jax.lax.scan` opened step by step, so that a chain of layers inside one loop is seen as a chain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.extend.core
import jax.numpy as jnp

from .engine.backends.jax import compat
from .engine.backends.jax import function as backend

LONGEST = 256  # steps up to which a loop is opened; each adds its operations to the graph
_CALLS = {"jit": "jaxpr", "closed_call": "call_jaxpr", "call": "call_jaxpr", "remat2": "jaxpr"}


def opened(call: backend.Call, signature: backend.Signature) -> backend.Call:
    """The same function of leaves, in which every scan of at most `LONGEST` steps is written out.

    Step k runs in the scope "step k". A function without such a loop comes back as it is.
    """
    seen: dict[str, Any] = {}

    def flat(moving: list[Any], others: list[Any]) -> list[Any]:
        leaves, seen["tree"], _ = call(moving, others)
        return [jnp.asarray(leaf) for leaf in leaves]

    closed = jax.make_jaxpr(flat)(signature.structs(signature.moving), signature.structs(signature.others))
    if not _has_scan(closed.jaxpr):
        return call

    def rewritten(moving: Sequence[Any], others: Sequence[Any]) -> tuple[list[Any], Any, Any]:
        return _evaluate(closed.jaxpr, closed.consts, [*moving, *others]), seen["tree"], None

    return rewritten


def _is_scan(eqn: Any) -> bool:
    return bool(eqn.primitive.name == "scan" and 0 < eqn.params["length"] <= LONGEST)


def _body(eqn: Any) -> tuple[Any, list[Any]] | None:
    """(jaxpr, constants) of a call that only groups operations; None of anything else."""
    parameter = _CALLS.get(eqn.primitive.name)
    return None if parameter is None else compat.sub_jaxpr(eqn.params[parameter])


def _has_scan(jaxpr: Any) -> bool:
    bodies = (_body(eqn) for eqn in jaxpr.eqns)
    return any(_is_scan(eqn) for eqn in jaxpr.eqns) or any(_has_scan(body[0]) for body in bodies if body)


def _evaluate(jaxpr: Any, consts: Sequence[Any], args: Sequence[Any]) -> list[Any]:
    env = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *args), strict=True))

    def read(atom: Any) -> Any:
        return atom.val if compat.is_literal(atom) else env[atom]

    for eqn in jaxpr.eqns:
        values = [read(atom) for atom in eqn.invars]
        body = _body(eqn)
        with compat.as_written(eqn):
            if _is_scan(eqn):
                made = _steps(eqn.params, values)
            elif body is not None and _has_scan(body[0]):
                made = _evaluate(*body, values)
            else:
                made = compat.bind(eqn, values)
        env.update(zip(eqn.outvars, made, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _steps(params: Any, values: list[Any]) -> list[Any]:
    """What the scan returns, by `length` calls of its body."""
    body, length = params["jaxpr"], params["length"]
    first, last = params["num_consts"], params["num_consts"] + params["num_carry"]
    consts, carry, xs = values[:first], values[first:last], values[last:]
    # One traced function for all steps: their operations are the same objects, and so are recognised as alike.
    step = _body_as_function(body)
    collected: list[list[Any]] = []
    for k in reversed(range(length)) if params["reverse"] else range(length):
        with jax.named_scope(f"step {k + 1}"):
            made = step(*consts, *carry, *(jax.lax.index_in_dim(x, k, keepdims=False) for x in xs))
        carry = made[: last - first]
        collected.append(made[last - first :])
    if params["reverse"]:
        collected.reverse()
    return [*carry, *(jnp.stack(list(ys)) for ys in zip(*collected, strict=True))]


def _body_as_function(body: Any) -> Any:
    """The body, a scan within it opened too, under its own name: the engine tells source lines by it."""

    def step(*args: Any) -> list[Any]:
        return _evaluate(body.jaxpr, body.consts, args)

    step.__name__ = compat.function_name(body.jaxpr) or "step"
    return jax.jit(step)
