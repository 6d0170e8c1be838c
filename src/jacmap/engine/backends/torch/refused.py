"""Operations whose result a Python program, or a shape, would depend on: refused where that result depends on x."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...._errors import TraceError
from .source import user_line

if TYPE_CHECKING:
    from .recorder import Recorder

_SCALAR = "a Python number is read from"
_SHAPE = "a shape would depend on the values of"
_ADVICE = {
    _SCALAR: "keep it a tensor: torch.where instead of if, torch.clamp instead of min and max",
    _SHAPE: "use torch.where(mask, a, b), or a mask that does not depend on the input",
}

_REFUSED = {
    **{name: _SCALAR for name in ("_local_scalar_dense", "item", "equal", "is_nonzero")},
    **{
        name: _SHAPE
        for name in """
        nonzero nonzero_numpy argwhere masked_select _unique _unique2 unique_dim unique_consecutive
        unique_dim_consecutive bincount repeat_interleave masked_scatter
        """.split()
    },
}


def refuse(recorder: Recorder, func: Any, given: Sequence[Tensor]) -> None:
    """Raise TraceError for a data-dependent operation on values that depend on x; remember what it relied on else."""
    name = func._schema.name.removeprefix("aten::")
    why = _REFUSED.get(name)
    if why is None and name in ("index", "index_put", "index_put_", "_index_put_impl_"):
        why = _SHAPE
        given = [t for t in given[1:] if t.dtype in (torch.bool, torch.uint8)] if not _fills(name, given) else []
    if name in ("masked_select", "masked_scatter"):
        given = given[1:2]
    if why is not None:
        for tensor in given:
            check(recorder, tensor, func._schema.name.replace("::", "."), why)


def _fills(name: str, given: Sequence[Tensor]) -> bool:
    """x[mask] = one number: a where, whatever the mask."""
    return name != "index" and given[-1].numel() == 1 and len(given) == 3


def check(recorder: Recorder, tensor: Tensor, name: str, why: str = _SCALAR) -> None:
    v = recorder.storages.read(tensor)
    if recorder.values[v].varying:
        line = user_line()
        raise TraceError(
            f"cannot read {name!r}{f' at {line}' if line else ''}: {why} a tensor that depends on the differentiated "
            f"input, so another input may take another way; {_ADVICE[why]}"
        )
    recorder.steering.add(v)


_ACTIVE = threading.local()


def active_recorder() -> Recorder | None:
    """The recorder of this thread, if a run is being recorded."""
    return getattr(_ACTIVE, "recorder", None)


@contextmanager
def recording(recorder: Recorder) -> Iterator[None]:
    """Make the recorder known to what is no ATen operation: `.numpy()`, `.tolist()`, custom functions."""
    before = active_recorder()
    _ACTIVE.recorder = recorder
    patched = {name: getattr(Tensor, name) for name in ("numpy", "tolist")}
    own = {name: name in Tensor.__dict__ for name in patched}

    def checked(name: str) -> Any:
        def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
            current = active_recorder()
            if current is not None and not torch._C._functorch.is_functorch_wrapped_tensor(self):
                check(current, self, f"Tensor.{name}")
            return patched[name](self, *args, **kwargs)

        return method

    try:
        if before is None:
            for name in patched:
                setattr(Tensor, name, checked(name))
        yield
    finally:
        _ACTIVE.recorder = before
        if before is None:
            for name, method in patched.items():
                if own[name]:
                    setattr(Tensor, name, method)
                else:
                    delattr(Tensor, name)
