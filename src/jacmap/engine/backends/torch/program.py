"""A stretch of the graph as one Python function, written by `torch.fx`: a call costs what its operations cost.

Walking the nodes would look up every argument anew in every call, which takes longer than a small operation does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import fx

from .call import Operation, Ref, replaced

Step = tuple[Operation, Sequence[Hashable], Sequence[Hashable]]  # (operation, names of inputs, names of outputs)

_PLAIN = (int, float, bool, complex, str, torch.dtype, torch.device, torch.layout, torch.memory_format, type(None))


class Program:
    """A function of the values `given` (by position) that returns the list of the values asked for.

    Steps that none of those needs are left out, and so are values that nobody reads; values are freed after their last
    use. `wanted` may name given values.
    """

    def __init__(self, steps: Sequence[Step], given: Collection[Hashable], wanted: Sequence[Hashable]):
        kept = _needed(steps, given, wanted)
        read = {*wanted, *(name for _, inputs, _ in kept for name in inputs)}
        self.given = tuple(name for name in given if name in read)
        self.wanted: tuple[Any, ...] = tuple(wanted)
        graph = fx.Graph()
        env: dict[Hashable, Any] = {name: graph.placeholder(f"x{k}") for k, name in enumerate(self.given)}
        for operation, inputs, outputs in kept:
            values = [env[name] for name in inputs]
            if _returns_one(operation) and _is_plain((operation.args, dict(operation.kwargs))):
                args, kwargs = _filled(operation.args, values), _filled(dict(operation.kwargs), values)
                env[outputs[0]] = graph.call_function(operation.function, args, kwargs)
            else:
                made = graph.call_function(operation.__call__, (values,))
                env |= {name: graph.call_function(_item, (made, k)) for k, name in enumerate(outputs)}
        graph.output([env[name] for name in wanted])
        self.run: Callable[..., list[Any]] = fx.GraphModule(torch.nn.Module(), graph).forward

    def __call__(self, env: Mapping[Any, Any]) -> list[Any]:
        """The wanted values, from a table of the given ones."""
        return self.run(*(env[name] for name in self.given))


def _filled(tree: Any, values: Sequence[Any]) -> Any:
    return replaced(tree, Ref, lambda ref: values[ref.index])


def _item(values: Sequence[Any], k: int) -> Any:
    return values[k]


def _needed(steps: Sequence[Step], given: Collection[Hashable], wanted: Sequence[Hashable]) -> list[Step]:
    given = set(given)
    needed, kept = set(wanted) - given, []
    for step in reversed(steps):
        if needed.intersection(step[2]):
            kept.append(step)
            needed.update(name for name in step[1] if name not in given)
    return kept[::-1]


def _returns_one(operation: Operation) -> bool:
    """Does it give one tensor and no more, as it is?"""
    schema = getattr(operation.function, "_schema", None)
    if operation.dtype is not None or schema is None or len(schema.returns) != 1:
        return False
    return str(schema.returns[0].type) == "Tensor"


def _is_plain(tree: Any) -> bool:
    """Can the arguments stand in the text of a program?"""
    if isinstance(tree, (list, tuple)):
        return all(map(_is_plain, tree))
    if isinstance(tree, dict):
        return all(map(_is_plain, tree.values()))
    return isinstance(tree, (Ref, *_PLAIN))
