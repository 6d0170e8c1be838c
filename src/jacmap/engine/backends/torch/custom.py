"""torch.autograd.Function: what counts is its backward, never the body of its forward.

A call becomes one node. Its pattern is read from its backward, recorded once (cotangent → gradients, as values depend
on each other, since AD runs the backward as it stands) and transposed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import _disable_current_modes

from ...._errors import TraceError
from ...graph import Pattern, dependence, forward
from ..rule import Local, Rule
from .call import Operation, Ref, replaced
from .inplace import write
from .recorder import Recorder
from .refused import active_recorder, recording


@contextmanager
def intercepted() -> Iterator[None]:
    """Calls of custom functions are recorded as nodes of their own."""
    original = Function.__dict__["apply"]

    def apply(cls: Any, *args: Any, **kwargs: Any) -> Any:
        recorder = active_recorder()
        run = original.__get__(None, cls)
        if recorder is None or torch._C._are_functorch_transforms_active():
            return run(*args, **kwargs)
        return _recorded(recorder, cls, run, args, kwargs)

    Function.apply = classmethod(apply)  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        Function.apply = original  # type: ignore[method-assign]


def _recorded(recorder: Recorder, cls: Any, run: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    given = [a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)]
    # A function among the arguments may close over values of this very run, which it would use again in another one.
    recorder.repeatable &= not any(callable(leaf) for leaf in pytree.tree_leaves((args, kwargs)))
    inputs = tuple(recorder.read(t) for t in given)
    out = run(*args, **kwargs)
    returned = list(out) if isinstance(out, tuple) else [out]
    written = [t for t in returned if any(t is a for a in given)]
    with _disable_current_modes():
        for k, tensor in enumerate(returned):
            shares = isinstance(tensor, Tensor) and any(_same_memory(tensor, a) for a in given)
            if shares and not any(tensor is w for w in written):
                # One memory would stand for two values with different derivatives: the input and this output.
                returned[k] = tensor.clone()
    made = [t for t in returned if isinstance(t, Tensor) and (t.requires_grad or recorder.by_value)]
    if made:
        counter = iter(range(len(given)))
        spec = replaced((args, kwargs), Tensor, lambda t: Ref(next(counter)))
        number = [k for k, t in enumerate(u for u in returned if isinstance(u, Tensor)) if any(t is m for m in made)]
        operation = Operation(cls.__name__, Outputs(cls, number), *spec)
        rule = _rule(cls, *_patterns(recorder, given, made))
        for tensor, v in zip(made, recorder.operation(operation, inputs, made, rule), strict=True):
            if any(tensor is w for w in written):
                write(recorder, tensor, v)
            else:
                recorder.storages.give(tensor, v)
    return tuple(returned) if isinstance(out, tuple) else returned[0]


def _same_memory(a: Tensor, b: Tensor) -> bool:
    strided = a.layout == b.layout == torch.strided
    return strided and a.untyped_storage()._cdata == b.untyped_storage()._cdata


class Outputs:
    """The outputs of a custom function that carry a derivative."""

    def __init__(self, cls: Any, number: list[int]) -> None:
        self.cls, self.number = cls, number

    def __call__(self, *args: Any, **kwargs: Any) -> list[Tensor]:
        out = self.cls.apply(*args, **kwargs)
        tensors = [t for t in (out if isinstance(out, tuple) else [out]) if isinstance(t, Tensor)]
        return [tensors[k] for k in self.number]


def _rule(cls: Any, local: Local, note: str) -> Rule:
    has_forward = cls.jvp is not Function.jvp
    return Rule("custom rule", lambda call: local, modes=lambda call: (has_forward, True), exact=not note, note=note)


def _patterns(recorder: Recorder, given: Sequence[Tensor], made: Sequence[Tensor]) -> tuple[Local, str]:
    """((output, input) → pattern, note) of what AD does to a cotangent."""
    which = [i for i, t in enumerate(given) if t.requires_grad]
    carried = [k for k, t in enumerate(made) if t.requires_grad]
    try:
        return _transposed(recorder, given, made, which, carried), ""
    except (TraceError, RuntimeError, TypeError, ValueError, AttributeError, NotImplementedError, IndexError):
        full = {(k, i): dependence.full(made[k].shape, given[i].shape) for k in carried for i in which}
        return full, "its backward could not be read, every output taken to read every input"


def _transposed(
    recorder: Recorder, given: Sequence[Tensor], made: Sequence[Tensor], which: list[int], carried: list[int]
) -> dict[tuple[int, int], Pattern]:
    nested = Recorder(values=True, parent=recorder)
    outputs = [made[k] for k in carried]
    with _disable_current_modes(), recording(nested):
        cotangents = [torch.rand_like(t) for t in outputs]
        moving = [nested.moving(t) for t in cotangents]
        with nested:
            gradients = torch.autograd.grad(
                outputs, [given[i] for i in which], cotangents, retain_graph=True, allow_unused=True
            )
        reached = [(i, nested.read(g)) for i, g in zip(which, gradients, strict=True) if g is not None]
        graph = nested.finish(moving, [], [v for _, v in reached])
        patterns = forward(graph, keep_all=True)
    local = {}
    offset = 0
    for k, v in zip(carried, moving, strict=True):
        size = graph.values[v].size
        for i, g in reached:
            if g in patterns:
                local[k, i] = patterns[g].columns(offset, offset + size).T
        offset += size
    return local
