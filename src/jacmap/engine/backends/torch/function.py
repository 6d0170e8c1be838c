"""A Python function of pytrees of tensors as a function of flat leaves, and its trace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _pytree as tree

from ...._errors import ArgumentError
from ...graph import Graph
from .run import Parts, Runner, Ways, ravel, split
from .trace import Reading, graph_of

Tensor = torch.Tensor


@dataclass(frozen=True)
class Spec:
    """What is known of a tensor before the call: its shape, dtype and device."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    @staticmethod
    def of(tensor: Tensor) -> Spec:
        return Spec(tuple(tensor.shape), tensor.dtype, tensor.device)

    @property
    def size(self) -> int:
        return torch.Size(self.shape).numel()


@dataclass(frozen=True)
class Signature:
    """Shapes, dtypes, devices and structure of one call: what a plan is made for. Static leaves are part of it."""

    treedef: Any
    in_tree: Any  # of the tuple of differentiated arguments
    moving: tuple[int, ...]  # positions of the differentiated leaves
    others: tuple[int, ...]  # positions of the other tensor leaves
    specs: tuple[Spec, ...]  # of moving, then of others
    static: tuple[tuple[int, Any], ...]


@dataclass(eq=False)
class Traced:
    """A function read at one signature.

    `outputs`, `out_tree`: what it returns; `inputs`, `in_tree`: the differentiated arguments, as a tuple.
    """

    reading: Reading
    out_tree: Any
    outputs: tuple[Spec, ...]
    inputs: tuple[Spec, ...]
    in_tree: Any
    closes_over_tracers: bool = False

    @property
    def graph(self) -> Graph:
        return self.reading.graph

    @property
    def reverse(self) -> bool:
        """Can reverse mode answer?"""
        return self.graph.reverse

    @property
    def constant(self) -> bool:
        """Does nothing but x vary from call to call? Whoever holds a tensor that f reads may change it."""
        return not self.graph.others and not self.reading.externals

    @property
    def eps(self) -> float:
        """The relative rounding of the coarsest dtype that goes in or comes out."""
        return max(float(torch.finfo(spec.dtype).eps) for spec in (*self.inputs, *self.outputs))

    @property
    def dtype(self) -> torch.dtype:
        """J's dtype: the widest of inputs and outputs."""
        found = self.inputs[0].dtype
        for spec in (*self.inputs, *self.outputs):
            found = torch.promote_types(found, spec.dtype)
        return found


def is_array(leaf: Any) -> bool:
    """Is this leaf data, rather than a Python value that the function may branch on (static)?"""
    return isinstance(leaf, Tensor)


def signature(args: tuple[Any, ...], kwargs: dict[str, Any], argnums: Sequence[int]) -> Signature:
    """The signature of a call whose arguments at `argnums` are differentiated."""
    leaves, treedef = tree.tree_flatten((args, kwargs))
    owner = [k for k, arg in enumerate(args) for _ in range(_count(arg))]
    owner += [-1] * (len(leaves) - len(owner))
    moving = [p for p, k in enumerate(owner) if k in argnums]
    moving.sort(key=lambda p: argnums.index(owner[p]))  # in the order of argnums, as the answer is laid out
    others = [p for p, leaf in enumerate(leaves) if is_array(leaf) and owner[p] not in argnums]
    static = tuple((p, leaves[p]) for p in range(len(leaves)) if p not in moving and p not in others)
    in_tree = tree.tree_structure(tuple(args[k] for k in argnums))
    specs = tuple(Spec.of(leaves[p]) for p in (*moving, *others))
    return Signature(treedef, in_tree, tuple(moving), tuple(others), specs, static)


def _count(arg: Any) -> int:
    return 1 if isinstance(arg, Tensor) else len(tree.tree_leaves(arg))


Call = Callable[[Sequence[Any], Sequence[Any]], tuple[list[Any], Any, Any]]


def on_leaves(f: Callable[..., Any], sig: Signature, aux: bool) -> Call:
    """f as a function of (differentiated leaves, other leaves) returning (output leaves, their tree, aux)."""

    def call(moving: Sequence[Any], others: Sequence[Any]) -> tuple[list[Any], Any, Any]:
        leaves: list[Any] = [None] * (len(sig.moving) + len(sig.others) + len(sig.static))
        for p, value in (*zip(sig.moving, moving, strict=True), *zip(sig.others, others, strict=True), *sig.static):
            leaves[p] = value
        args, kwargs = tree.tree_unflatten(leaves, sig.treedef)
        out = f(*args, **kwargs)
        extra = None
        if aux:
            if not (isinstance(out, tuple) and len(out) == 2):
                raise ArgumentError(
                    f"{getattr(f, '__name__', type(f).__name__)}: returned {type(out).__name__}, expected a pair "
                    "(output, aux) because has_aux=True"
                )
            out, extra = out
        out_leaves, out_tree = tree.tree_flatten(out)
        return out_leaves, out_tree, extra

    return call


def trace(call: Call, sig: Signature, moving: Sequence[Tensor], others: Sequence[Tensor]) -> Traced:
    """Read the function at these values; what is known of it holds for others of the same signature."""
    seen: dict[str, Any] = {}

    def flat(moving: Sequence[Any], others: Sequence[Any]) -> Sequence[Any]:
        leaves, seen["tree"], _ = call(moving, others)
        for leaf in leaves:
            if not is_array(leaf):
                raise ArgumentError(
                    f"the function returned {type(leaf).__name__} {str(leaf)[:40]!r}, expected tensors; return what is "
                    "no tensor with has_aux=True"
                )
        return leaves

    reading = graph_of(flat, moving, others)
    outputs = tuple(Spec.of(leaf) for leaf in reading.outputs)
    return Traced(reading, seen["tree"], outputs, sig.specs[: len(sig.moving)], sig.in_tree)


def runner(
    call: Call,
    traced: Traced,
    moving: Sequence[Tensor],
    others: Sequence[Tensor],
    ways: Ways,
    start: Tensor | None = None,
) -> Runner:
    """Passes through the function at the given leaves. `start`: the random state that every evaluation begins with."""
    shapes = [(spec.shape, spec.dtype) for spec in traced.inputs]

    def flat(vector: Tensor) -> Tensor:
        if start is not None:
            torch.set_rng_state(start)
        return ravel(call(split(vector, shapes), others)[0], traced.dtype)

    parts = Parts(traced.graph, moving, others, shapes)
    return Runner(flat, ravel(list(moving)), traced.graph.shape, traced.dtype, parts, ways)
