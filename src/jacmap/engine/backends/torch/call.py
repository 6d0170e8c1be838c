"""One operation: as it is run again, and as the rule table sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from ...graph.pattern import relation

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Ref:
    """Stands among an operation's arguments for its input number `index`."""

    index: int


def tensors_in(tree: Any) -> Iterator[Tensor]:
    """The tensors in nested lists, tuples and dicts, in order."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, (list, tuple)):
        for part in tree:
            yield from tensors_in(part)
    elif isinstance(tree, dict):
        for part in tree.values():
            yield from tensors_in(part)


def replaced(tree: Any, kind: type, function: Callable[[Any], Any]) -> Any:
    """The tree with `function` applied to each leaf of that kind."""
    if isinstance(tree, kind):
        return function(tree)
    if isinstance(tree, (list, tuple)) and not hasattr(tree, "_fields"):
        return type(tree)(replaced(part, kind, function) for part in tree)
    if isinstance(tree, dict):
        return {key: replaced(part, kind, function) for key, part in tree.items()}
    return tree


@dataclass(eq=False)
class Operation:
    """What a node does: `function` on `args` and `kwargs`, in which `Ref(i)` stands for the node's input i.

    `dtype`: what the result is cast to, where an in-place operation kept the dtype of what it wrote into. `hidden`: it
    ran where AD was switched off.
    """

    name: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    dtype: torch.dtype | None = None
    hidden: bool = False

    def __call__(self, values: Sequence[Any]) -> list[Tensor]:
        """The outputs, tensors alone, flat."""
        args = replaced(self.args, Ref, lambda ref: values[ref.index])
        kwargs = replaced(dict(self.kwargs), Ref, lambda ref: values[ref.index])
        outputs = list(tensors_in(self.function(*args, **kwargs)))
        if self.dtype is not None and outputs[0].dtype != self.dtype:
            outputs[0] = outputs[0].to(self.dtype)
        return [t.detach() for t in outputs] if self.hidden else outputs

    @cached_property
    def params(self) -> dict[str, Any]:
        """The arguments by the names that the operation's schema gives them, defaults filled in."""
        schema = getattr(self.function, "_schema", None)
        if schema is None:
            return {str(k): value for k, value in enumerate(self.args)} | dict(self.kwargs)
        found = {}
        for position, argument in enumerate(schema.arguments):
            if argument.name in self.kwargs:
                found[argument.name] = self.kwargs[argument.name]
            elif position < len(self.args) and not argument.kwarg_only:
                found[argument.name] = self.args[position]
            else:
                found[argument.name] = argument.default_value if argument.has_default_value() else None
        return found


@dataclass(eq=False, slots=True)
class Call:
    """An operation at one call site.

    `active[i]`: a derivative reaches input i. `varying[i]`: its value depends on x. `peek(i)`: what is known of
    input i when the graph is read: its value (NaN where an entry is not known), or None. `values`: it is asked how
    values depend on each other, not derivatives (inside a custom rule).
    """

    operation: Operation
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    active: tuple[bool, ...]
    varying: tuple[bool, ...]
    dtypes: tuple[torch.dtype, ...]  # of the inputs
    peek: Callable[[int], Tensor | None]
    values: bool = False

    @property
    def name(self) -> str:
        return self.operation.name

    @property
    def params(self) -> dict[str, Any]:
        return self.operation.params

    @property
    def out(self) -> Shape:
        return self.outputs[0]

    def inexact(self, i: int) -> bool:
        """Can input i carry a derivative, by its type?"""
        return self.dtypes[i].is_floating_point or self.dtypes[i].is_complex

    def at(self, name: str) -> int | None:
        """The number of the input that the schema calls so; None where it is no tensor or not given."""
        value = self.params.get(name)
        return value.index if isinstance(value, Ref) else None

    def known(self, i: int) -> Tensor | None:
        """Input i's value when it is known in full, else None."""
        value = None if self.varying[i] else self.peek(i)
        unknown = value is not None and value.dtype.is_floating_point and bool(value.isnan().any())
        return None if unknown else value

    def nonzero(self, i: int) -> np.ndarray | None:
        """False where input i is known to be zero; None when nothing is known."""
        value = self.peek(i)
        if value is None:
            return None
        mask = (value.to_dense() if value.layout != torch.strided else value) != 0
        return None if bool(mask.all()) else mask.cpu().numpy()

    def sparse(self, i: int) -> csr_array | None:
        """Where a known sparse matrix has entries; None for any other input."""
        value = None if self.varying[i] else self.peek(i)
        if value is None or value.layout == torch.strided or value.dim() != 2:
            return None
        with _disable_current_modes(), torch._C._DisableFuncTorch():
            rows, cols = value.to_sparse_coo().coalesce().indices().cpu().numpy()
        return relation(rows, cols, (value.shape[0], value.shape[1]))

    def factor(self, name: str) -> np.ndarray | None:
        """The same for the argument that the schema calls so, which may be a plain number."""
        value = self.params.get(name)
        if isinstance(value, Ref):
            return self.nonzero(value.index)
        return np.zeros((), bool) if isinstance(value, (int, float, complex)) and value == 0 else None

    def run(self, values: Mapping[int, Any], **changed: Any) -> list[np.ndarray]:
        """The operation on other inputs (real ones, not traced), with some arguments changed."""
        function = self.operation.function
        params = self.params | changed
        schema = function._schema  # type: ignore[attr-defined]
        args = [params[a.name] for a in schema.arguments if not a.kwarg_only]
        kwargs = {a.name: params[a.name] for a in schema.arguments if a.kwarg_only and params[a.name] is not None}
        with _disable_current_modes(), torch._C._DisableFuncTorch(), torch.no_grad():
            fill = lambda tree: replaced(tree, Ref, lambda ref: values[ref.index])  # noqa: E731
            return [t.cpu().numpy() for t in tensors_in(function(*fill(args), **fill(kwargs)))]
