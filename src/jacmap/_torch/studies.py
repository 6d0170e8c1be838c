"""Fronts that compute in JAX, asked of functions of tensors: what comes in is translated, answers are given back."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import jax
import torch

from .._jacobian import Jacobian
from .._second.taylor import Remainder, Taylor
from .jacobian import TorchJacobian
from .second import NATIVE, device_of
from .to_jax import arrays_in, in_jax, tensors_in


def studied(
    front: Callable[..., Any], point: Callable[..., tuple[Any, ...]], args: tuple[Any, ...], kwargs: dict[str, Any],
    tensors: bool,
) -> Any:  # fmt: skip
    """What `front` says of the function or Jacobian that stands first; the rest: see `_dispatch.for_tensors_too`."""
    native = NATIVE.get(front.__name__)
    if native is not None:
        with contextlib.suppress(RuntimeError):  # an operation that PyTorch cannot differentiate twice
            return native(*args, **kwargs)
    device = device_of((args, kwargs))
    f, *rest = args
    loss = kwargs.get("loss")
    argnums = kwargs.get("argnums", 0)
    if callable(f) and not isinstance(f, (TorchJacobian, Jacobian)):
        f = in_jax(f, point(*rest, **kwargs), argnums)[0]
    kwargs = {name: _translated(value) for name, value in kwargs.items()}
    if loss is not None and callable(loss):
        kwargs["loss"] = in_jax(loss)[0]
    answer = front(_translated(f), *_translated(tuple(rest)), **kwargs)
    if isinstance(answer, Taylor):
        return TorchTaylor(answer, device)
    return tensors_in(answer, device) if tensors else answer


def _translated(tree: Any) -> Any:
    return arrays_in(jax.tree_util.tree_map(lambda x: _in_jax(x) if isinstance(x, TorchJacobian) else x, tree))


def _in_jax(J: TorchJacobian) -> Jacobian:
    g, args = in_jax(J.f, J.args, J.argnums)
    return Jacobian(g, args, J.argnums, J.memory, J.name)


class TorchTaylor:
    """A Taylor model (see `jacmap.taylor`) of a function of tensors: directions and answers are tensors, detached."""

    def __init__(self, model: Taylor, device: torch.device | None):
        self._model, self._device = model, device
        self.order = model.order

    @property
    def value(self) -> Any:
        """f(x)."""
        return tensors_in(self._model.value, self._device)

    def __call__(self, dx: Any) -> Any:
        """The model at x + dx, laid out as f(x). `dx` is laid out as x."""
        return tensors_in(self._model(arrays_in(dx)), self._device)

    def remainder(self, dx: Any, halvings: int = 8) -> Remainder:
        """What the model leaves out at x + dx; see `Taylor.remainder`."""
        return self._model.remainder(arrays_in(dx), halvings)

    def __repr__(self) -> str:
        return repr(self._model)
