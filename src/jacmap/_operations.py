"""The operations of f at a point as plain data: what each reads and makes, where it stands, and its own derivative.

It is what the engine's graph knows, for those who may not look into the engine: calls are inlined, what is computed
twice is shared, what does not matter is dropped.
"""

from __future__ import annotations

import inspect
import linecache
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np

from ._errors import ArgumentError
from ._jacobian import Jacobian, linearize
from ._labels import leaf_names
from .engine.backends.jax import compat, moves
from .engine.backends.jax.rules import lookup
from .engine.graph import Graph, Node


@dataclass(frozen=True, eq=False)
class Operation:
    """One operation. `inputs`, `outputs`: numbers of values (positions in `Operations.shapes`).

    `name`: JAX's own name of it ("dot_general", "relu"). `rule`: the function whose custom derivative it is, or empty.
    `kind`: the kind of dependence ("elementwise", "gather" for whatever only moves numbers, "contraction", ...).
    `scope`, `line`, `text`: where it stands in the user's code, "net.py:12 (loss)", and what that line says; may be
    empty. `nonzeros`: (output position, input position) → entries of the local Jacobian that can differ from zero.
    """

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    kind: str
    params: Mapping[str, Any]
    nonzeros: Mapping[tuple[int, int], int]
    scope: str
    line: str
    text: str
    rule: str
    equation: Any

    @property
    def moved(self) -> tuple[int, ...]:
        """The positions of the inputs whose numbers the operation only moves, for a reshape, a slice, ...; else ()."""
        return tuple(moves.operands(self.name, len(self.inputs))[0]) if self.name in moves.MOVES else ()

    def __call__(self, *values: Any) -> list[Any]:
        """The outputs at these inputs; differentiable, and of integers where it only moves them."""
        return compat.bind(self.equation, list(values))


@dataclass(frozen=True, eq=False)
class Operations:
    """All operations of f, in the order in which they run.

    `names`: number of a value → its name, for the arguments ("x", "params['w']"). `inputs`: the differentiated leaves;
    `others`: the arguments' other arrays; `constants`: values known beforehand; `outputs`: what f returns.
    `active`: does a derivative flow through value k? `varying`: does it depend on the arguments at all?
    `forward`, `reverse`: the AD modes that all of f supports.
    """

    operations: tuple[Operation, ...]
    shapes: tuple[tuple[int, ...], ...]
    active: tuple[bool, ...]
    varying: tuple[bool, ...]
    names: Mapping[int, str]
    inputs: tuple[int, ...]
    others: tuple[int, ...]
    outputs: tuple[int, ...]
    constants: Mapping[int, Any]
    leaves: tuple[Any, ...]
    other_leaves: tuple[Any, ...]
    jacobian: Jacobian
    forward: bool
    reverse: bool

    def values(self, leaves: Sequence[Any], others: Sequence[Any]) -> dict[int, Any]:
        """Every value by its number, at these leaves; works under `jit`."""
        found = dict(self.constants) | dict(zip(self.inputs, leaves, strict=True))
        found |= dict(zip(self.others, others, strict=True))
        for operation in self.operations:
            made = operation(*(found[v] for v in operation.inputs))
            found.update(zip(operation.outputs, made, strict=True))
        return found

    @property
    def held(self) -> tuple[int, ...]:
        """The constants that are arrays f closes over; the others are numbers that stand in its code."""
        return tuple(v for v, c in self.constants.items() if isinstance(c, jax.Array) or type(c) is np.ndarray)

    @cached_property
    def at_point(self) -> dict[int, np.ndarray]:
        """Every value at the point of f."""
        return {v: np.asarray(a) for v, a in jax.jit(self.values)(self.leaves, self.other_leaves).items()}


def operations(f: Callable[..., Any], *args: Any, argnums: int | Sequence[int] = 0) -> Operations:
    """The operations of f at `args`, with respect to the arguments at `argnums`; errors as `linearize`."""
    J = linearize(f, *args, argnums=argnums)
    if J._traced.closes_over_tracers or any(map(compat.is_tracer, jax.tree_util.tree_leaves(args))):
        raise ArgumentError(f"{J.name}: got traced values, expected numbers; call this outside jit, grad and vmap")
    return _Reading(J).result(J)


class _Reading:
    def __init__(self, J: Jacobian):
        graph = J._traced.graph
        self.active = [value.active for value in graph.values]
        self.files = _files(graph)
        self.found = [self.read(node) for node in graph.nodes]

    def read(self, node: Node) -> Operation:
        place, active = node.place, any(self.active[v] for v in node.inputs)
        rule = compat.name_of_body(node.payload)
        known = rule and compat.rule_of_library(node.payload)
        return Operation(
            name=rule if known else node.op,
            inputs=node.inputs,
            outputs=node.outputs,
            kind=lookup(node.op).kind,
            params=node.payload.params,
            nonzeros={at: pattern.nnz for at, pattern in node.local.items()} if active else {},
            scope=place.scope,
            line=place.line,
            text=self.text(place.line),
            rule=rule,
            equation=node.payload,
        )

    def text(self, line: str) -> str:
        """What "net.py:12 (loss)" says in the user's file."""
        where = line.partition(" (")[0]
        name, _, number = where.rpartition(":")
        return linecache.getline(self.files[name], int(number)).strip() if name in self.files else ""

    def result(self, J: Jacobian) -> Operations:
        graph = J._traced.graph
        leaves, others = J._leaves
        varying = [False] * len(graph.values)
        for v in (*graph.inputs, *graph.others):
            varying[v] = True
        for operation in self.found:
            for v in operation.outputs:
                varying[v] = any(varying[w] for w in operation.inputs)
        moving, kept = _names(J)
        return Operations(
            operations=tuple(self.found),
            shapes=tuple(value.shape for value in graph.values),
            active=tuple(self.active),
            varying=tuple(varying),
            names=dict(zip((*graph.inputs, *graph.others), (*moving, *kept), strict=True)),
            inputs=graph.inputs,
            others=graph.others,
            outputs=graph.outputs,
            constants=graph.constants,
            leaves=tuple(jax.numpy.asarray(leaf) for leaf in leaves),
            other_leaves=tuple(jax.numpy.asarray(leaf) for leaf in others),
            jacobian=J,
            forward=graph.forward,
            reverse=J._traced.reverse,
        )


def _files(graph: Graph) -> dict[str, str]:
    """Name of a source file as `Place.line` tells it → its path; not for a name that two files have."""
    paths: dict[str, set[str]] = {}
    for node in graph.nodes:
        for name, path in compat.user_files(node.payload.source_info):
            paths.setdefault(name, set()).add(path)
    return {name: next(iter(found)) for name, found in paths.items() if len(found) == 1}


def _names(J: Jacobian) -> tuple[list[str], list[str]]:
    """What the differentiated leaves and the others are called, by the names of f's parameters."""
    try:
        known = list(inspect.signature(J.f).parameters.values())
    except (TypeError, ValueError):
        known = []
    plain = [p.name for p in known if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    names = [plain[k] if k < len(plain) else f"argument {k}" for k in range(len(J.args))]
    leaves = [name for k, arg in enumerate(J.args) for name in leaf_names(names[k], arg)]
    signature = J._signature
    return [leaves[p] for p in signature.moving], [leaves[p] for p in signature.others]
