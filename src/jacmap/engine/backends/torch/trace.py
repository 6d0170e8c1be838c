"""PyTorch function → graph: run it once on real values and record what runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from ...graph import Graph
from .custom import intercepted
from .guard import Belongings, concrete, plain, version_of
from .recorder import Recorder
from .refused import recording

# What surrounds a recorded run is switched for the whole process.
_ONE_AT_A_TIME = threading.RLock()

Call = Callable[[Sequence[Any], Sequence[Any]], Sequence[Any]]


@dataclass(eq=False)
class Reading:
    """A function as it was read.

    `outputs`: the values seen, detached. `externals`: (tensor, value number) of what f read without getting it as an
    argument; `written`: those that it writes into. `constant`: does no parameter stand among them? `fresh()`: False
    once a tensor that the reading relied on was changed or replaced. `steering`: positions of `others` that Python code
    branched on. `samples`: how many random operations were frozen. `repeatable`: does the graph, run again at another
    point, do what f does?
    """

    graph: Graph
    outputs: list[Tensor]
    externals: list[tuple[Tensor, int]]
    constant: bool
    fresh: Callable[[], bool]
    written: list[Tensor]
    steering: tuple[int, ...]
    samples: int
    repeatable: bool

    def unwritten(self) -> AbstractContextManager[None]:
        """Whatever f writes inside into tensors that are not its own (running statistics) is put back afterwards."""
        return self._put_back() if self.written else nullcontext()

    @contextmanager
    def _put_back(self) -> Iterator[None]:
        belongings = Belongings()
        for tensor in self.written:
            belongings.written(tensor)
        try:
            yield
        finally:
            belongings.put_back()


def graph_of(call: Call, moving: Sequence[Tensor], others: Sequence[Tensor]) -> Reading:
    """The graph of ``call(moving, others) -> output leaves`` with respect to `moving`, read at these values.

    Raises TraceError where the code, or a shape, depends on the values of `moving`. Parameters, buffers, `.grad`,
    `requires_grad` and the random state are afterwards as they were, also after an error.
    """
    recorder = Recorder()
    with _ONE_AT_A_TIME, plain(), intercepted(), recording(recorder), recorder.scopes.followed():
        with _disable_current_modes():
            # Neither leaves (which must not be written in place) nor without gradient (kernels would be fused).
            xs = [_followed(concrete(t)) for t in moving]
            rest = [concrete(t) for t in others]
        inputs = [recorder.moving(t) for t in xs]
        given = [recorder.argument(t) for t in rest]
        try:
            with recorder:
                leaves = list(call(xs, rest))
                leaves = [leaf if isinstance(leaf, Tensor) else torch.as_tensor(leaf) for leaf in leaves]
            outputs = [recorder.read(leaf) for leaf in leaves]
            seen = [leaf.detach().clone() for leaf in leaves]
        finally:
            recorder.belongings.put_back()
    graph = recorder.finish(inputs, given, outputs)
    del leaves, xs
    recorder.forget()
    reached = _ancestors(recorder, recorder.steering)
    recorder.facts.relied |= reached & set(recorder.watch)
    steering = tuple(k for k, v in enumerate(given) if v in reached)
    externals = [(constant, v) for v, constant in graph.constants.items() if v in recorder.watch]
    fresh = _fresh(recorder)
    written = [tensor for tensor, *_ in recorder.belongings.memory.values()]
    return Reading(graph, seen, externals, not recorder.parameters, fresh, written, steering, recorder.samples,
                   recorder.repeatable and not recorder.samples)  # fmt: skip


def _followed(tensor: Tensor) -> Tensor:
    differentiable = tensor.dtype.is_floating_point or tensor.dtype.is_complex
    return tensor.requires_grad_().clone() if differentiable else tensor


def _ancestors(recorder: Recorder, values: set[int]) -> set[int]:
    reached = set(values)
    for node in reversed(recorder.nodes):
        if reached.intersection(node.outputs):
            reached.update(node.inputs)
    return reached


def _fresh(recorder: Recorder) -> Callable[[], bool]:
    """Asks whether what the reading relied on is as it was; facts may go on being relied on after the reading."""
    # A tensor that only lived during the call (torch.from_numpy inside f) is a part of f's code.
    watch = {v: entry for v, entry in recorder.watch.items() if entry[0]() is not None}
    facts = recorder.facts

    def fresh() -> bool:
        for v in facts.relied:
            if v in watch:
                tensor, version = watch[v][0](), watch[v][1]
                if tensor is None or version_of(tensor) != version:
                    return False
        return True

    return fresh
