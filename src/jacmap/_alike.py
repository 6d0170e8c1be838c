"""When do two stretches of operations do the same to other numbers? Then one compiled program serves both."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from .engine.backends.jax import compat
from .engine.graph import Node


def wiring(nodes: Sequence[Node], given: Sequence[int], made: Sequence[int]) -> Hashable:
    """Equal for stretches whose operations, and the way from the values `given` to those `made`, are alike."""
    number = {v: k for k, v in enumerate(given)}
    for node in nodes:
        for v in node.outputs:
            number.setdefault(v, len(number))
    steps = tuple(
        (_operation(node), tuple(number[v] for v in node.inputs), tuple(number[v] for v in node.outputs))
        for node in nodes
    )
    return steps, tuple(number[v] for v in made)


def _operation(node: Node) -> Hashable:
    """What tells an operation from another: the primitive, its parameters, and the types it works on."""
    eqn = node.payload
    kinds = tuple(str(atom.aval) for atom in (*eqn.invars, *eqn.outvars))
    body = eqn.params.get("call_jaxpr")
    if node.op == "custom_jvp_call" and not body.consts and compat.rule_of_library(eqn):
        # `jax.nn.relu` and its kin are traced anew at every call; what they do follows from their values.
        return (eqn.primitive, str(body), kinds)
    try:
        key = (eqn.primitive, tuple(eqn.params.items()), kinds)
        hash(key)
    except TypeError:
        return id(eqn)
    return key
