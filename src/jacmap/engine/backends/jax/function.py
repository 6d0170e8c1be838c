"""A Python function of pytrees as a function of flat leaves, and its trace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...._errors import ArgumentError
from ...graph import Graph
from . import compat
from .brief import entries_made
from .folding import folded
from .run import Parts, Runner, ravel, split
from .trace import graph_of

tree = jax.tree_util


@dataclass(frozen=True)
class Signature:
    """Shapes, dtypes and structure of one call: what a plan is made for. Static leaves are part of it."""

    treedef: Any
    in_tree: Any  # of the tuple of differentiated arguments
    moving: tuple[int, ...]  # positions of the differentiated leaves
    others: tuple[int, ...]  # positions of the other array leaves
    avals: tuple[tuple[tuple[int, ...], Any, bool], ...]
    static: tuple[tuple[int, Any], ...]

    def structs(self, positions: Sequence[int]) -> list[jax.ShapeDtypeStruct]:
        where = {p: k for k, p in enumerate(sorted((*self.moving, *self.others)))}
        return [
            jax.ShapeDtypeStruct(self.avals[where[p]][0], self.avals[where[p]][1], weak_type=self.avals[where[p]][2])
            for p in positions
        ]


@dataclass(eq=False)
class Traced:
    """A function read at one signature.

    `outputs`, `out_tree`: what it returns; `inputs`, `in_tree`: the differentiated arguments, as a tuple.
    `entries_made`: on the way, infinitely many in a loop.
    """

    graph: Graph
    out_tree: Any
    outputs: tuple[Any, ...]
    inputs: tuple[Any, ...]
    in_tree: Any
    closes_over_tracers: bool
    entries_made: float

    @property
    def reverse(self) -> bool:
        """Can reverse mode answer? Complex outputs of real inputs have rows that no VJP gives."""
        real = not any(np.issubdtype(a.dtype, np.complexfloating) for a in self.inputs)
        return self.graph.reverse and not (
            real and any(np.issubdtype(a.dtype, np.complexfloating) for a in self.outputs)
        )

    @property
    def eps(self) -> float:
        """The relative rounding of the coarsest dtype that derivatives pass through."""
        avals = [*self.inputs, *self.outputs]
        avals += [var.aval for node in self.graph.active_nodes for var in node.payload.outvars]
        return max(float(jnp.finfo(a.dtype).eps) for a in avals if jnp.issubdtype(a.dtype, jnp.inexact))

    @property
    def one_dtype(self) -> bool:
        """Have all values that derivatives pass through the dtype of the inputs?"""
        avals = [*self.inputs, *self.outputs]
        avals += [var.aval for node in self.graph.active_nodes for var in node.payload.outvars]
        return len({a.dtype for a in avals if jnp.issubdtype(a.dtype, jnp.inexact)}) == 1

    @property
    def uniform(self) -> bool:
        """Have all inputs one dtype, and all outputs? Else JAX's own transforms would have to promote."""
        return all(len({a.dtype for a in avals}) == 1 for avals in (self.inputs, self.outputs))

    @property
    def constant(self) -> bool:
        """Does nothing but x vary from call to call?"""
        return not self.graph.others and not self.closes_over_tracers


def signature(args: tuple[Any, ...], kwargs: dict[str, Any], argnums: Sequence[int]) -> Signature:
    """The signature of a call whose arguments at `argnums` are differentiated."""
    leaves, treedef = tree.tree_flatten((args, kwargs))
    owner = [k for k, arg in enumerate(args) for _ in tree.tree_leaves(arg)]
    flags = [k in argnums for k in owner] + [False] * (len(leaves) - len(owner))
    moving: list[int] = []
    others: list[int] = []
    static: list[tuple[int, Any]] = []
    avals: list[tuple[tuple[int, ...], Any, bool]] = []
    for p, (leaf, flag) in enumerate(zip(leaves, flags, strict=True)):
        if flag or is_array(leaf):
            (moving if flag else others).append(p)
            avals.append(_aval(leaf))
        else:
            static.append((p, leaf))
    in_tree = tree.tree_structure(tuple(args[k] for k in argnums))
    moving.sort(key=lambda p: argnums.index(owner[p]))  # in the order of argnums, as the answer is laid out
    return Signature(treedef, in_tree, tuple(moving), tuple(others), tuple(avals), tuple(static))


def is_array(leaf: Any) -> bool:
    """Is this leaf data (traced), rather than a Python value that the function may branch on (static)?"""
    return isinstance(leaf, (jax.Array, np.ndarray, np.generic, float, complex)) and not isinstance(leaf, (bool, int))


def _aval(leaf: Any) -> tuple[tuple[int, ...], Any, bool]:
    kind = jax.typeof(leaf)
    return kind.shape, kind.dtype, bool(kind.weak_type)


Call = Callable[[Sequence[Any], Sequence[Any]], tuple[list[Any], Any, Any]]


def on_leaves(f: Callable[..., Any], sig: Signature, aux: bool) -> Call:
    """f as a function of (differentiated leaves, other leaves) returning (output leaves, their tree, aux)."""

    def call(moving: Sequence[Any], others: Sequence[Any]) -> tuple[list[Any], Any, Any]:
        leaves: list[Any] = [None] * (len(sig.moving) + len(sig.others) + len(sig.static))
        for p, value in (*zip(sig.moving, moving, strict=True), *zip(sig.others, others, strict=True), *sig.static):
            leaves[p] = value
        args, kwargs = tree.tree_unflatten(sig.treedef, leaves)
        out = f(*args, **kwargs)
        extra = None
        if aux:
            if not (isinstance(out, tuple) and len(out) == 2):
                raise ArgumentError(
                    f"{getattr(f, '__name__', f)}: returned {type(out).__name__}, expected a pair (output, aux) "
                    "because has_aux=True"
                )
            out, extra = out
        out_leaves, out_tree = tree.tree_flatten(out)
        return out_leaves, out_tree, extra

    return call


def trace(call: Call, sig: Signature) -> Traced:
    """Read the function at the signature."""
    seen: dict[str, Any] = {}

    def flat(moving: list[Any], others: list[Any]) -> list[Any]:
        leaves, seen["tree"], _ = call(moving, others)
        seen["leaves"] = leaves
        return [jnp.asarray(leaf) for leaf in leaves]

    moving, others = sig.structs(sig.moving), sig.structs(sig.others)
    closed = jax.make_jaxpr(flat)(moving, others)
    active = [True] * len(moving) + [False] * len(others)
    graph = graph_of(closed.jaxpr, closed.consts, active)
    tracers = any(isinstance(c, compat.Tracer) for c in graph.constants.values())
    made = entries_made(closed.jaxpr)
    return Traced(graph, seen["tree"], tuple(closed.out_avals), tuple(moving), sig.in_tree, tracers, made)


def runner(call: Call, traced: Traced, moving: Sequence[Any], others: Sequence[Any]) -> Runner:
    """Passes through the function at the given leaves."""
    moving = [jnp.asarray(leaf) for leaf in moving]
    shapes = [(a.shape, a.dtype) for a in moving]
    x = ravel(moving)

    def flat(vector: Any) -> Any:
        return ravel([jnp.asarray(leaf) for leaf in call(split(vector, shapes), others)[0]])

    return Runner(flat, x, traced.graph.shape, Parts(traced.graph, moving, others))


def plain_blocks(
    call: Call, traced: Traced, mode: str, holomorphic: bool, moving: Sequence[Any], others: Sequence[Any]
) -> list[list[Any]]:
    """JAX's own jacfwd or jacrev, blocks[output leaf][input leaf]: without structure nothing is put around it."""
    transform = jax.jacfwd if mode == "forward" else jax.jacrev

    def blocks(moving: list[Any], others: list[Any]) -> list[list[Any]]:
        return transform(lambda leaves: call(leaves, others)[0], holomorphic=holomorphic)(moving)

    return folded(blocks, list(moving), list(others))
