"""Batches of JVPs and VJPs at a point, through the whole function or between two of its cuts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ...graph import Graph
from ...graph.cuts import Cut, nodes_between
from . import compat
from .passes import PULLS, PUSHES, Flat, in_turn
from .replay import evaluate

Tensor = torch.Tensor
Dropped = Collection[tuple[int, int]]
LARGEST_KEPT = 2**22  # entries of seeds that are kept from call to call

Shapes = Sequence[tuple[tuple[int, ...], torch.dtype]]


@dataclass
class Ways:
    """What a plan remembers from call to call: the ways of batching that failed, and its index arrays as tensors.

    Those are made outside of inference mode, wherever the call is: another call may be differentiated.
    """

    failed: dict[str, str] = field(default_factory=dict)  # the name of a way -> why
    indices: dict[Any, tuple[Any, Any]] = field(default_factory=dict)

    @torch.inference_mode(False)
    def index(self, array: np.ndarray, device: torch.device) -> Tensor:
        """The array as a tensor of integers on that device, made once."""
        key = id(array), device
        if key not in self.indices:
            # The array is kept beside its tensor: an id is unique only as long as its object lives.
            self.indices[key] = array, torch.as_tensor(np.array(array, np.int64), device=device)
        return self.indices[key][1]

    @torch.inference_mode(False)
    def pair(self, rows: Tensor, cols: Tensor) -> Tensor:
        """The two index tensors, made by `index`, as one, (2, k)."""
        key = id(rows), id(cols)
        if key not in self.indices:
            self.indices[key] = (rows, cols), torch.stack([rows, cols])
        return self.indices[key][1]

    @torch.inference_mode(False)
    def one_hot(self, labels: np.ndarray, count: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        """(labels, count): entry j is one in seed labels[j] (−1: in none)."""
        key = id(labels), count, dtype, device
        if key in self.indices:
            return self.indices[key][1]
        at = torch.as_tensor(np.where(labels < 0, count, labels).astype(np.int64), device=device)
        seeds = torch.zeros((count + 1, labels.size), dtype=dtype, device=device).scatter_(0, at[None], 1)[:count].T
        if seeds.numel() <= LARGEST_KEPT:
            self.indices[key] = labels, seeds
        return seeds


class Runner:
    """Passes through `flat` (vector → vector) at `x`; see `plan.execute.Runner` for the contract.

    `parts` serves what is run from the graph: parts of the function, and dropped edges. `differentiable`: may the
    answer itself be differentiated (`create_graph`)?
    """

    def __init__(
        self, flat: Flat, x: Tensor, shape: tuple[int, int], dtype: torch.dtype, parts: Parts, ways: Ways
    ):
        self.flat, self.x, self.shape, self.dtype, self.parts, self.ways = flat, x, shape, dtype, parts, ways
        self.differentiable = False

    def push(self, seeds: Tensor, chunk: int = 0, between: Any = None, dropped: Dropped = frozenset()) -> Tensor:
        function, x = self._function(between, dropped)
        rows = seeds.T.contiguous().to(x.dtype)
        return in_turn(PUSHES, self.ways.failed, function, x, rows, chunk, self.differentiable).T.to(self.dtype)

    def pull(self, seeds: Tensor, chunk: int = 0, between: Any = None, dropped: Dropped = frozenset()) -> Tensor:
        function, x = self._function(between, dropped)
        rows = seeds.contiguous()
        return in_turn(PULLS, self.ways.failed, function, x, rows, chunk, self.differentiable).to(self.dtype)

    def _function(self, between: tuple[Cut, Cut] | None, dropped: Dropped) -> tuple[Flat, Tensor]:
        if between is not None:
            return self.parts.segment(*between)
        return (self.parts.without(dropped), self.x) if dropped else (self.flat, self.x)

    def identity(self, size: int) -> Tensor:
        return torch.eye(size, dtype=self.dtype, device=self.x.device)

    def one_hot(self, labels: np.ndarray, count: int) -> Tensor:
        return self.ways.one_hot(labels, count, self.dtype, self.x.device)

    def pick(self, matrix: Tensor, rows: np.ndarray, cols: np.ndarray, height: int = 1) -> Tensor:
        runs = matrix.unfold(0, height, 1) if height > 1 else matrix
        return runs[self.ways.index(rows, matrix.device), self.ways.index(cols, matrix.device)].reshape(-1)

    def take(self, flat: Tensor, index: np.ndarray) -> Tensor:
        return flat[self.ways.index(index, flat.device)]

    def spread(self, flat: Tensor, index: np.ndarray, size: int) -> Tensor:
        zeros, at = torch.zeros(size, dtype=flat.dtype, device=flat.device), self.ways.index(index, flat.device)
        # In place it needs half the memory, but a batch of `torch.func.vmap` does not fit into what is no batch.
        return zeros.scatter(0, at, flat) if compat.inside_functorch() else zeros.scatter_(0, at, flat)

    def sums(self, flat: Tensor, index: np.ndarray, groups: np.ndarray, count: int) -> Tensor:
        zeros = torch.zeros(count, dtype=flat.dtype, device=flat.device)
        return zeros.index_add(0, self.ways.index(groups, flat.device), self.take(flat, index))

    def concatenate(self, parts: list[Tensor]) -> Tensor:
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def permute(self, array: Tensor, axes: Sequence[int]) -> Tensor:
        return array.permute(*axes)


class Parts:
    """The graph at a point, run operation by operation: for segments between cuts and for dropped edges."""

    def __init__(self, graph: Graph, inputs: Sequence[Tensor], others: Sequence[Tensor], shapes: Shapes):
        self.graph, self.shapes = graph, shapes
        self.fixed = dict(graph.constants) | dict(zip(graph.others, others, strict=True))
        self.inputs = list(inputs)
        self._primal: dict[int, Tensor] | None = None

    @property
    def primal(self) -> dict[int, Tensor]:
        """Every value at x, computed once and shared by all segments."""
        if self._primal is None:
            env = dict(self.fixed) | dict(zip(self.graph.inputs, self.inputs, strict=True))
            self._primal = evaluate(self.graph.nodes, env)
        return self._primal

    def value(self) -> list[Tensor]:
        """What the graph makes of x."""
        return [self.primal[v] for v in self.graph.outputs]

    def without(self, dropped: Dropped) -> Flat:
        """The function from x to the outputs through which no derivative flows along the dropped edges."""
        cut = set(dropped)

        def function(x: Tensor) -> Tensor:
            env = dict(self.fixed) | dict(zip(self.graph.inputs, split(x, self.shapes), strict=True))
            for position, node in enumerate(self.graph.nodes):
                given = [
                    env[v].detach() if (position, i) in cut else env[v] for i, v in enumerate(node.inputs)
                ]
                env.update(zip(node.outputs, node.payload(given), strict=True))
            return ravel([env[v] for v in self.graph.outputs])

        return function

    def segment(self, before: Cut, after: Cut) -> tuple[Flat, Tensor]:
        """The function from the values of one cut to those of a later one, and its point."""
        nodes = nodes_between(self.graph, before, after)
        points = [self.primal[v] for v in before.values]
        shapes = [(tuple(a.shape), a.dtype) for a in points]

        def function(x: Tensor) -> Tensor:
            env = dict(self.primal) | dict(zip(before.values, split(x, shapes), strict=True))
            made = evaluate(nodes, env)
            return ravel([made[v] for v in after.values], x.dtype)

        return function, ravel(points)


def ravel(leaves: Sequence[Tensor], dtype: torch.dtype | None = None) -> Tensor:
    """The leaves as one vector, in their common dtype (or `dtype` where that is wider)."""
    if not leaves:
        return torch.zeros(0, dtype=dtype)
    common = dtype or leaves[0].dtype
    for leaf in leaves:
        common = torch.promote_types(common, leaf.dtype)
    flat = [leaf.reshape(-1).to(common) for leaf in leaves]
    return flat[0] if len(flat) == 1 else torch.cat(flat)


def split(x: Tensor, shapes: Shapes) -> list[Tensor]:
    """The vector cut back into leaves of the given shapes and dtypes."""
    if len(shapes) == 1:
        return [x.reshape(shapes[0][0]).to(shapes[0][1])]
    sizes = [torch.Size(shape).numel() for shape, _ in shapes]
    parts = zip(torch.split(x, sizes), shapes, strict=True)
    return [part.reshape(shape).to(dtype) for part, (shape, dtype) in parts]
