"""Operations that write into tensors: recorded as their functional form, then a write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...._errors import TraceError
from . import functional
from .call import Operation, Ref, replaced, tensors_in
from .nodes import name_of, numbered, refs_in

if TYPE_CHECKING:
    from .recorder import Recorder


def in_place(recorder: Recorder, func: Any, args: Any, kwargs: Any, written: list[str]) -> Any:
    """Run it; record its functional form, then the write."""
    given, spec = list(tensors_in((args, kwargs))), numbered(args, kwargs)
    params = Operation(name_of(func), func, *spec).params
    refs = [ref for name in written for ref in refs_in(params[name])]
    targets = [given[ref.index] for ref in refs]
    for target in targets:
        prepare(recorder, target)
    inputs = tuple(recorder.read(t) for t in given)
    random = recorder.draws(func, inputs)
    out = func(*args, **kwargs)
    beside = [t for t in tensors_in(out) if not recorder.storages.knows(t)]
    # What is known of the results must not change with the memory that they are written to.
    results = [*(t.detach().clone() for t in targets), *beside]
    if random:
        overwritten = {ref.index for ref in refs}
        values = recorder.sampled(tuple(v for k, v in enumerate(inputs) if k not in overwritten), results)
    else:
        values = _functional(recorder, func, spec, inputs, refs, results)
    for target, v in zip(targets, values, strict=False):
        write(recorder, target, v)
    recorder.made(beside, values[len(targets) :])
    return out


def _functional(
    recorder: Recorder,
    func: Any,
    spec: tuple[Any, Any],
    inputs: tuple[int, ...],
    refs: list[Ref],
    results: list[Tensor],
) -> Sequence[int]:
    """The operation as one that returns what it writes; `results`: that, then what else it makes."""
    form = functional.functional_form(func)
    if form is None or len(results) > len(refs):
        on_copies = functional.OnCopies(func, tuple(ref.index for ref in refs))
        operands = tuple(Ref(k) for k in range(len(inputs)))
        operation = Operation(name_of(func), on_copies, (operands, *functional.OnCopies.held(spec)))
        return recorder.operation(operation, inputs, results)
    outs = [a.name for a in func._schema.arguments if a.is_out]
    args, kwargs = spec[0], {k: v for k, v in spec[1].items() if k not in outs}
    used = [ref.index for ref in refs_in((args, kwargs))]
    order = {old: new for new, old in enumerate(used)}
    args, kwargs = replaced((args, kwargs), Ref, lambda ref: Ref(order[ref.index]))
    operation = Operation(name_of(form), form, args, kwargs, results[0].dtype)
    return recorder.operation(operation, tuple(inputs[k] for k in used), results)


def prepare(recorder: Recorder, target: Tensor) -> None:
    """Before memory is written: outside memory is kept, to be put back; known numbers in it are copied."""
    if target.layout != torch.strided:
        raise TraceError(
            f"cannot read a write into a tensor of layout {target.layout} at {recorder.scopes.place()}: "
            "only dense tensors are followed through writes; use the operation that returns a new tensor"
        )
    storage = recorder.storages.find(target)
    if storage is None or storage.whole is None:
        recorder.belongings.written(target)
        recorder.storages.open(target)
        storage = recorder.storages.find(target)
    assert storage is not None
    recorder.facts.keep(storage.held)
    for v in storage.held:
        if v in recorder.constants and v not in recorder.watch:  # outside memory is put back afterwards
            recorder.constants[v] = recorder.facts.found[v]  # type: ignore[assignment]
    storage.held.clear()


def write(recorder: Recorder, target: Tensor, v: int) -> None:
    """`target` holds v from now on; AD sees it unless it is switched off or the target hidden from it."""
    storage = recorder.storages.find(target)
    assert storage is not None and storage.whole is not None
    followed = recorder.followed()
    if not followed and recorder.values[v].active:
        v = recorder.detached(v)
    hidden = recorder.values[storage.whole].active and not (followed and target.requires_grad)
    recorder.storages.write(target, v, derivative=recorder.by_value or not hidden)
