"""Operations that the recorder does not take as they come: what they write, draw or alias is not what they return."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from . import functional
from .call import Operation, Ref, tensors_in
from .inplace import prepare, write

if TYPE_CHECKING:
    from .recorder import Recorder

aten = torch.ops.aten


def _literal(recorder: Recorder, func: Any, args: Any, kwargs: Any) -> Any:
    """The numbers in the result depend on no tensor: zeros, ones, data of the code."""
    out = func(*args, **kwargs)
    if not recorder.storages.knows(out):
        recorder.made([out], [recorder.literal(out)])
    return out


def _as_strided(recorder: Recorder, func: Any, args: Any, kwargs: Any) -> Any:
    """A view told by its geometry alone."""
    recorder.read(args[0])
    out = func(*args, **kwargs)
    recorder.read(out)
    return out


def _filled(recorder: Recorder, func: Any, args: Any, kwargs: Any) -> Any:
    """`zero_`, `fill_` with a number."""
    prepare(recorder, args[0])
    out = func(*args, **kwargs)
    write(recorder, args[0], recorder.literal(args[0].detach().clone()))
    return out


def _copy(recorder: Recorder, func: Any, args: Any, kwargs: Any) -> Any:
    """`copy_`, `fill_` with a tensor: what was there does not matter."""
    target, source = args[0], args[1]
    prepare(recorder, target)
    v = recorder.read(source)
    out = func(*args, **kwargs)
    if source.shape != target.shape or source.dtype != target.dtype:
        operation = Operation("copy", functional.copied, (Ref(0), tuple(target.shape), target.dtype))
        v = recorder.operation(operation, (v,), [target.detach().clone()])[0]
    write(recorder, target, v)
    return out


def _batch_norm(recorder: Recorder, func: Any, args: Any, kwargs: Any) -> Any:
    """Batch norm while training: the batch's own statistics; the buffers are written without saying so."""
    params = Operation("", func, tuple(args), kwargs).params
    x, mean, var = params["input"], params["running_mean"], params["running_var"]
    if not params.get("training", params.get("train", True)):
        operands = [x, params["weight"], params["bias"], mean, var]
        out = func(*args, **kwargs)
        made = list(tensors_in(out))
        _normalised(recorder, operands, made, False, params["eps"])
        return out
    old = []
    for buffer in (mean, var):
        if buffer is not None:
            prepare(recorder, buffer)
            old.append(recorder.read(buffer))
    operands = [x, params["weight"], params["bias"], None, None]
    inputs = recorder.read(x)
    out = func(*args, **kwargs)
    _normalised(recorder, operands, list(tensors_in(out)), True, params["eps"])
    if old:
        operation = Operation(
            "running_statistics", functional.running_statistics, (Ref(0), Ref(1), Ref(2), params["momentum"])
        )
        updated = recorder.operation(operation, (inputs, *old), [mean.detach().clone(), var.detach().clone()])
        for buffer, v in zip((mean, var), updated, strict=True):
            write(recorder, buffer, v)
    return out


def _normalised(recorder: Recorder, operands: list[Any], made: list[Tensor], training: bool, eps: float) -> None:
    given = [t for t in operands if t is not None]
    inputs = tuple(recorder.read(t) for t in given)
    place = iter(range(len(given)))
    refs = tuple(None if t is None else Ref(next(place)) for t in operands)
    operation = Operation("native_batch_norm", aten.native_batch_norm.default, (*refs, training, 0.0, eps))
    recorder.made(made[:3], recorder.operation(operation, inputs, made[:3]))
    for tensor in made[3:]:
        recorder.made([tensor], [recorder.literal(tensor, known=False)])


def _dropout(recorder: Recorder, func: Any, args: Any, kwargs: Any) -> Any:
    """Dropout's mask is a sample; the rest is a product with it."""
    x, p = args[0], args[1]
    v = recorder.read(x)
    out, mask = func(*args, **kwargs)
    with _disable_current_modes():
        scale = torch.where(mask, 1 / (1 - p) if p < 1 else 0.0, 0.0).to(x.dtype)
    factor = recorder.sampled((), [scale])[0]
    recorder.made([mask], recorder.sampled((), [mask]))
    operation = Operation("mul", aten.mul.Tensor, (Ref(0), Ref(1)))
    recorder.made([out], recorder.operation(operation, (v, factor), [out]))
    return out, mask


def _pack(recorder: Recorder, func: Any, args: Any, kwargs: Any) -> Any:
    """The batch sizes of a packed sequence follow from the lengths alone."""
    inputs = tuple(recorder.read(t) for t in args[:2])
    data, sizes = func(*args, **kwargs)
    operation = Operation("_pack_padded_sequence", func, (Ref(0), Ref(1), *args[2:]), kwargs)
    recorder.made([data], recorder.operation(operation, inputs, [data, sizes])[:1])
    recorder.made([sizes], [recorder.literal(sizes)] if inputs[1] in recorder.fixed else [recorder.outside(sizes)])
    return data, sizes


# Random operations that autograd takes as independent of their arguments; others (rrelu, gamma variables) are not.
SAMPLES = set(
    """
    bernoulli bernoulli_ multinomial poisson binomial normal normal_ uniform_ random_ exponential_ geometric_ cauchy_
    log_normal_
    """.split()
)

HANDLERS: dict[Any, Callable[[Any, Any, Any, Any], Any]] = {
    aten.lift_fresh.default: _literal,
    **{
        getattr(packet, overload): _literal
        for packet in (
            aten.zeros_like,
            aten.ones_like,
            aten.full_like,
            aten.empty_like,
            aten.new_zeros,
            aten.new_ones,
            aten.new_full,
            aten.new_empty,
            aten.new_empty_strided,
        )
        for overload in packet.overloads()
        if not overload.endswith("out")
    },
    aten.as_strided.default: _as_strided,
    aten.zero_.default: _filled,
    aten.fill_.Scalar: _filled,
    aten.fill_.Tensor: _copy,
    aten.copy_.default: _copy,
    aten.native_batch_norm.default: _batch_norm,
    aten._native_batch_norm_legit.default: _batch_norm,
    aten._native_batch_norm_legit.no_stats: _batch_norm,
    aten._batch_norm_with_update.default: _batch_norm,
    aten.cudnn_batch_norm.default: _batch_norm,
    aten.native_dropout.default: _dropout,
    aten._pack_padded_sequence.default: _pack,
}
