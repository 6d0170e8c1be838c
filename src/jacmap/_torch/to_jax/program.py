"""The graph of a PyTorch function as a JAX function of its leaves: one row of the table per operation."""

from __future__ import annotations

import contextlib
import types
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax import lax
from torch.utils._python_dispatch import _disable_current_modes

from ...engine.backends.torch.call import Operation, Ref, replaced
from ...engine.backends.torch.custom import Outputs
from ...engine.backends.torch.guard import version_of
from ...engine.backends.torch.trace import Reading
from ...engine.graph import Node
from .custom import CustomFunction
from .row import Given, array_of, jax_dtype
from .table import lookup, untranslated

Tensor = torch.Tensor
Dtypes = dict[int, torch.dtype]

# Arguments that say where: as NumPy arrays where they are known, so that they may decide a shape.
_PLACES = ("index", "indices", "mask", "lengths")


class Program:
    """What a reading recorded, computed by JAX: ``program(leaves)`` → output leaves.

    `leaves`: those that were read as moving, then the others. What does not depend on them, weights for one, was
    computed by PyTorch when the program was made. `outputs` are PyTorch's, at the leaves that it was made with.
    """

    def __init__(self, reading: Reading, leaves: Sequence[Tensor]):
        graph = reading.graph
        self.outputs = reading.outputs
        #: The relative rounding of the coarsest floats in it.
        self.eps = 0.0
        self._read = [(tensor, version_of(tensor)) for tensor, _ in reading.externals]
        self._inputs, self._outputs = (*graph.inputs, *graph.others), graph.outputs
        known = dict(graph.constants)
        env = known | dict(zip(self._inputs, leaves, strict=True))
        moving, self._steps = set(self._inputs), []
        with _disable_current_modes(), torch.no_grad(), reading.unwritten():
            for node in graph.nodes:
                held = [None if v in moving else known[v] for v in node.inputs]
                made = [t.detach() for t in node.payload([env[v] for v in node.inputs])]
                env.update(zip(node.outputs, made, strict=True))
                if moving.isdisjoint(node.inputs):
                    known.update(zip(node.outputs, made, strict=True))
                    continue
                moving.update(node.outputs)
                floats = [t.dtype for t in made if t.is_floating_point() or t.is_complex()]
                self.eps = max([self.eps, *(torch.finfo(dtype).eps for dtype in floats)])
                self._steps.append(_Step(node, [env[v] for v in node.inputs], made, held))
        read = {v for step in self._steps for v in step.node.inputs} | set(self._outputs)
        with jax.ensure_compile_time_eval():  # f may be read while JAX traces around it
            self._known = {v: jnp.asarray(array_of(known[v])) for v in read if v in known}

    def fresh(self) -> bool:
        """Are the weights still what they were?"""
        return all(version_of(tensor) == version for tensor, version in self._read)

    def __call__(self, leaves: Sequence[Any]) -> list[Any]:
        env = self._known | dict(zip(self._inputs, leaves, strict=True))
        for step in self._steps:
            env.update(zip(step.node.outputs, step([env[v] for v in step.node.inputs]), strict=True))
        return [jnp.asarray(env[v]) for v in self._outputs]


class _Step:
    """One operation, under the name of the scope and the source line that it stood in."""

    def __init__(self, node: Node, inputs: Sequence[Tensor], outputs: Sequence[Tensor], held: Sequence[Tensor | None]):
        self.node, self.operation = node, node.payload
        custom = isinstance(self.operation.function, Outputs)
        self._compute = CustomFunction(node, inputs, outputs, held) if custom else self._by_table(lookup(node))
        self._dtypes = [jax_dtype(t.dtype) for t in outputs]
        self._at_line = _at_line(node.place.line)

    def __call__(self, values: Sequence[Any]) -> list[Any]:
        scope = self.node.place.scope
        # PyTorch promotes dtypes by rules of its own; what comes out is cast to what they gave.
        with jax.numpy_dtype_promotion("standard"), jax.named_scope(scope) if scope else contextlib.nullcontext():
            return self._at_line(lambda: self._outputs(values))

    def _outputs(self, values: Sequence[Any]) -> list[Any]:
        try:
            made = self._compute(values)
        except NotImplementedError as error:
            raise untranslated(self.node, error) from error
        flat = made if isinstance(made, (list, tuple)) else [made]
        flat = [array_of(x) if isinstance(x, Tensor) else x for x in flat]
        found = [jnp.asarray(x).astype(dtype) for x, dtype in zip(flat, self._dtypes, strict=True)]
        return [lax.stop_gradient(x) for x in found] if self.operation.hidden else found

    def _by_table(self, row: Callable[[Given], Any]) -> Callable[[Sequence[Any]], Any]:
        return lambda values: row(_given(self.operation, values))


def _given(operation: Operation, values: Sequence[Any]) -> Given:
    """The operation's arguments with arrays in them."""

    def filled(name: str, tree: Any) -> Any:
        tree = replaced(tree, Tensor, array_of)
        return replaced(tree, Ref, lambda ref: _place(values[ref.index]) if name in _PLACES else values[ref.index])

    given = Given({name: filled(name, tree) for name, tree in operation.params.items()})
    given.operation = operation
    return given


def _place(value: Any) -> Any:
    return value if isinstance(value, jax.core.Tracer) else np.asarray(value)


def _at_line(line: str) -> Callable[[Callable[[], Any]], Any]:
    """A function that calls another, and stands in a traceback at "file.py:12 (name)": where JAX looks for lines."""
    where, _, name = line.removesuffix(")").partition(" (")
    file, _, number = where.rpartition(":")
    if not file:
        return lambda run: run()

    def at(run: Callable[[], Any]) -> Any:
        return run()

    code = at.__code__.replace(co_filename=file, co_firstlineno=int(number) - 1, co_name=name, co_qualname=name)
    return types.FunctionType(code, {})
