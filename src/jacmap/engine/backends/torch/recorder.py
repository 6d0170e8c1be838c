"""One run of a function, recorded: an ATen operation becomes a node, views and in-place writes plain values."""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from ...graph import Graph, Node, Value
from ..rule import Rule
from . import functional
from .call import Call, Operation, Ref, tensors_in
from .facts import Facts
from .guard import Belongings, version_of
from .inplace import in_place
from .nodes import name_of, node_of, numbered, sharing_key
from .refused import refuse
from .rules import by_value, lookup
from .source import Scopes, transformed
from .special import HANDLERS, SAMPLES
from .storages import Storages

Watch = dict[int, tuple["weakref.ref[Tensor]", int]]


def differentiable(dtype: torch.dtype) -> bool:
    return dtype.is_floating_point or dtype.is_complex


class Recorder(TorchDispatchMode):
    """Records what runs while it is entered.

    `parent`: the recorder of the run that this one is a part of. With `values` the graph tells how values depend on
    each other instead of derivatives: rounding passes, detached tensors pass.
    """

    def __init__(self, values: bool = False, parent: Recorder | None = None) -> None:
        super().__init__()
        self.by_value, self.parent = values, parent
        self.values: list[Value] = []
        self.dtypes: list[torch.dtype] = []
        self.nodes: list[Node] = []
        self.constants: dict[int, Tensor] = {}
        self.facts = Facts()
        self.fixed: set[int] = set()  # values that are the same in every call, whatever the parameters
        self.storages = Storages(self.outside, self.gathered, self.scattered)
        self.belongings = Belongings()
        self.scopes = Scopes()
        self.watch: Watch = {}
        self.parameters = False  # was a tensor read whose numbers change between calls?
        self.samples = 0
        self.repeatable = True  # would the nodes, run again, do what f does?
        self.steering: set[int] = set()  # values, not depending on x, that Python code branched on
        self.shared: dict[Any, tuple[int, ...]] = {}
        self.inputs: list[int] = []
        self.shadow: set[int] = set()  # values that depend on x, made where AD does not follow
        self.cut_off: dict[int, int] = {}
        self.own: dict[int, Tensor] = {}  # by id: made with AD switched on, and not an alias of anything

    # -- values --------------------------------------------------------------------------------------------------

    def value(self, tensor: Tensor, varying: bool, active: bool) -> int:
        shape = tuple(tensor.shape)
        live = active and (self.by_value or differentiable(tensor.dtype))
        self.values.append(Value(shape, math.prod(shape), varying, live, live and tensor.dtype.is_complex))
        self.dtypes.append(tensor.dtype)
        return len(self.values) - 1

    def moving(self, tensor: Tensor) -> int:
        v = self.value(tensor, True, True)
        self.storages.give(tensor, v)
        self.inputs.append(v)
        return v

    def argument(self, tensor: Tensor) -> int:
        v = self.value(tensor, False, False)
        self.storages.give(tensor, v)
        return v

    def literal(self, tensor: Tensor, known: bool = True) -> int:
        """A constant of the code itself: made anew in each call, the same in each."""
        v = self.value(tensor, False, False)
        kept = tensor.detach()
        self.constants[v] = kept
        if known:
            self.fixed.add(v)
            self.facts.give(v, kept)
        return v

    def outside(self, tensor: Tensor) -> int:
        """The value of a tensor that was not made in the run: a parameter, a buffer, a closed-over constant."""
        inherited = self._from_parent(tensor)
        if inherited is not None:
            return inherited
        storage = self.storages.find(tensor) if tensor.layout == torch.strided else None
        generic = isinstance(tensor, Parameter) or tensor.requires_grad or (storage is not None and storage.generic)
        self.belongings.seen(tensor)
        v = self.value(tensor, False, False)
        if generic:
            self.constants[v] = tensor
            self.parameters = True
            if storage is not None:
                storage.generic = True
        else:
            self.constants[v] = tensor.detach()
            self.fixed.add(v)
            self.facts.give(v, self.constants[v], [v])
            if storage is not None:
                storage.held.append(v)
        self.watch[v] = (weakref.ref(tensor), version_of(tensor))
        return v

    def _from_parent(self, tensor: Tensor) -> int | None:
        """A value of the run around this one: only its known entries matter here."""
        if self.parent is None or not self.parent.storages.knows(tensor):
            return None
        theirs = self.parent.storages.read(tensor)
        known = self.parent.facts.peek(theirs)
        v = self.value(tensor, varying=known is None, active=False)
        self.constants[v] = tensor.detach()
        if known is not None:
            self.facts.give(v, known)
            if self.parent.facts.whole(theirs):
                self.fixed.add(v)
            else:
                self.facts.partial.add(v)
        return v

    def read(self, tensor: Tensor) -> int:
        """The value that a tensor holds now; cut off from AD where the tensor is.

        A tensor without `requires_grad` is cut off if it is another name for the memory (`detach`, `.data`) or was made
        under `no_grad`. Else it was made below autograd (a conjugation carried out), and AD knows nothing of it.
        """
        v = self.storages.read(tensor)
        if v in self.shadow and tensor.requires_grad and not tensor.is_leaf:
            return self.reopened(v, tensor)
        if self.by_value or not self.values[v].active or tensor.requires_grad:
            return v
        return v if id(tensor) in self.own or transformed() else self.detached(v)

    def reopened(self, v: int, tensor: Tensor) -> int:
        """Made hidden from AD, yet AD follows it: an extension or a compiled graph brought its own derivative."""
        operation = Operation(
            "hidden derivative", functional.hidden_derivative, tuple(Ref(k) for k in range(1 + len(self.inputs)))
        )
        (opened,) = self.operation(operation, (v, *self.inputs), [tensor])
        self.storages.reopen(tensor, opened)
        return opened

    def detached(self, v: int) -> int:
        if v not in self.cut_off:
            self.cut_off[v] = self._bookkeeping(Operation("detach", Tensor.detach, (Ref(0),)), (v,), v)
        return self.cut_off[v]

    def gathered(self, whole: int, rows: np.ndarray) -> int:
        index = torch.from_numpy(np.ascontiguousarray(rows))
        return self._bookkeeping(Operation("read", functional.read, (Ref(0), index)), (whole,), whole, rows.shape)

    def scattered(self, whole: int, values: int, rows: np.ndarray, derivative: bool) -> int:
        size = self.values[whole].size
        source = np.arange(size)
        source[rows.ravel()] = size + np.arange(rows.size)
        index = torch.from_numpy(source)
        kind = ("write", functional.write) if derivative else ("unseen write", functional.unseen_write)
        return self._bookkeeping(Operation(*kind, (Ref(0), Ref(1), index)), (whole, values), whole)

    def _bookkeeping(
        self, operation: Operation, inputs: tuple[int, ...], like: int, shape: tuple[int, ...] | None = None
    ) -> int:
        """A node that no operation of f stands for, so whether AD is switched on does not matter to it."""
        shape = self.values[like].shape if shape is None else shape
        made = torch.empty(shape, dtype=self.dtypes[like], device="meta")
        with torch.enable_grad():
            return self.operation(operation, inputs, [made])[0]

    # -- operations ----------------------------------------------------------------------------------------------

    def operation(
        self, operation: Operation, inputs: tuple[int, ...], made: Sequence[Tensor], rule: Rule | None = None
    ) -> tuple[int, ...]:
        """Record a node (or the constants that it comes to); the values of its outputs. `rule`: not the table's."""
        varying = any(self.values[v].varying for v in inputs)
        if not varying and all(v in self.fixed for v in inputs):
            return self._constant(operation, inputs, made)
        followed = self.followed()
        key = sharing_key(operation, inputs, followed)
        if key is not None and key in self.shared:
            return self.shared[key]
        if rule is None:
            rule = by_value(lookup(operation)) if self.by_value else lookup(operation)
        active = followed and any(self.values[v].active for v in inputs) and rule.kind != "none"
        operation.hidden = not followed
        outputs = tuple(self.value(t, varying, active) for t in made)
        call = self.call(operation, inputs, made)
        if not self.by_value or not active:
            dtypes = tuple(t.dtype for t in made)
            self.facts.derive(call, inputs, outputs, dtypes)
        self.nodes.append(node_of(operation, rule, call, inputs, outputs, self.scopes.place()))
        if key is not None:
            self.shared[key] = outputs
        return outputs

    def _constant(self, operation: Operation, inputs: tuple[int, ...], made: Sequence[Tensor]) -> tuple[int, ...]:
        if any(t.device.type == "meta" for t in made):
            with _disable_current_modes(), torch.no_grad():
                made = operation([self.facts.found[v] for v in inputs])
        roots = frozenset().union(*(self.facts.roots.get(v, frozenset()) for v in inputs))
        if not roots:
            outputs = tuple(self.literal(t) for t in made)
        else:  # to be computed again from the outside tensors, whose numbers may change
            rule = lookup(operation)
            outputs = tuple(self.value(t, False, False) for t in made)
            call = self.call(operation, inputs, made)
            self.nodes.append(node_of(operation, rule, call, inputs, outputs, self.scopes.place()))
            for v, tensor in zip(outputs, made, strict=True):
                self.fixed.add(v)
                self.facts.give(v, tensor.detach(), roots)
        for v, tensor in zip(outputs, made, strict=True):
            storage = self.storages.find(tensor) if tensor.layout == torch.strided else None
            if storage is not None:
                storage.held.append(v)
            else:
                self.facts.give(v, self.facts.found[v], roots)  # type: ignore[arg-type]
        return outputs

    def followed(self) -> bool:
        """Does AD see what runs now?"""
        return self.by_value or torch.is_grad_enabled() or transformed()

    def call(self, operation: Operation, inputs: tuple[int, ...], made: Sequence[Tensor]) -> Call:
        facts = self.facts
        return Call(
            operation=operation,
            inputs=tuple(self.values[v].shape for v in inputs),
            outputs=tuple(tuple(t.shape) for t in made),
            active=tuple(self.values[v].active for v in inputs),
            varying=tuple(self.values[v].varying for v in inputs),
            dtypes=tuple(self.dtypes[v] for v in inputs),
            peek=lambda i: facts.peek(inputs[i]),
            values=self.by_value,
        )

    # -- the run -------------------------------------------------------------------------------------------------

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = list(tensors_in((args, kwargs)))
        refuse(self, func, given)
        handler = HANDLERS.get(func)
        if handler is not None:
            return handler(self, func, args, kwargs)
        written = functional.written_arguments(func)
        if written:
            return in_place(self, func, args, kwargs, written)
        inputs = tuple(self.read(t) for t in given)
        out = func(*args, **kwargs)
        made = list(tensors_in(out))
        if self.draws(func, inputs):
            self.made(made, self.sampled(inputs, made))
            return out
        fresh = [t for t in made if not (t.layout == torch.strided and self.storages.knows(t))]
        if not fresh and all(self.storages.has(t) for t in made):
            return out  # a view that is known already: alias, detach, view of the same shape
        outputs = self.operation(Operation(name_of(func), func, *numbered(args, kwargs)), inputs, made)
        if not (self.by_value or torch.is_grad_enabled() and any(t.requires_grad for t in given)):
            self.shadow.update(v for v in outputs if self.values[v].varying and not self.values[v].active)
        self.made(made, outputs)
        return out

    def made(self, made: Sequence[Tensor], outputs: Sequence[int]) -> None:
        """Name what an operation returned: views by their geometry, the rest by its memory."""
        for tensor, v in zip(made, outputs, strict=True):
            if tensor.layout == torch.strided and self.storages.knows(tensor):
                self.storages.view(tensor, v)
            else:
                self.storages.give(tensor, v)
                if torch.is_grad_enabled():
                    self.own[id(tensor)] = tensor
                storage = self.storages.find(tensor) if tensor.layout == torch.strided else None
                if storage is not None and v in self.fixed:
                    storage.held.append(v)

    def draws(self, func: Any, inputs: tuple[int, ...]) -> bool:
        """Is this a random operation through which no derivative passes?"""
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return False
        return name_of(func) in SAMPLES or not any(self.values[v].active for v in inputs)

    def sampled(self, inputs: tuple[int, ...], drawn: Sequence[Tensor]) -> Sequence[int]:
        """A random operation: what it drew stays, and its zeros are chance, not known."""
        self.samples += 1
        frozen = [t.detach().clone() for t in drawn]
        if not any(self.values[v].varying for v in inputs):
            return [self.literal(t, known=False) for t in frozen]
        operation = Operation("sample", functional.Sample(frozen), tuple(Ref(i) for i in range(len(inputs))))
        return self.operation(operation, inputs, frozen)

    def forget(self) -> None:
        """Let go of the run's tensors; what the graph needs it has."""
        self.own.clear()
        self.storages.by_address.clear()
        self.storages.by_object.clear()

    def finish(self, inputs: Sequence[int], others: Sequence[int], outputs: Sequence[int]) -> Graph:
        return Graph.of_what_is_needed(self.values, self.nodes, inputs, outputs, others, self.constants)
