"""The doors by which `jacmap._dispatch` hands a call over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from .._errors import ArgumentError
from .determinant import TorchDeterminant
from .jacobian import TorchJacobian
from .second import OfGradient
from .transforms import TorchTransform


def transform(asked: Any) -> TorchTransform | OfGradient:
    """The same question as a `Transform` of JAX asks, put to a function of tensors."""
    if asked.question.matrix == "Hessian":
        return OfGradient(asked)
    if asked.holomorphic:
        raise ArgumentError("holomorphic: got True, which functions of PyTorch tensors do not have; use real numbers")
    argnums = asked.argnums if asked.many else asked.argnums[0]
    if asked.question.kind == "slogdet":
        return TorchDeterminant(asked.f, argnums, asked.memory, asked.with_value)
    return TorchTransform(asked.f, asked.question, argnums, asked.has_aux, asked.memory, asked.mode)


def jvp(f: Callable[..., Any], primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
    """(f(x), J v), by `torch.func.jvp`."""
    return torch.func.jvp(f, primals, tangents)  # type: ignore[return-value]


def vjp(f: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """(f(x), function u ↦ (uᵀ J by each argument)), by `torch.func.vjp`."""
    return torch.func.vjp(f, *primals)  # type: ignore[return-value]


def linearize(
    f: Callable[..., Any],
    args: tuple[Any, ...],
    argnums: int | Sequence[int],
    memory: str | float | None,
    differences: Any = None,
) -> TorchJacobian:
    """The Jacobian of a function of tensors at a point."""
    if differences is not None:
        raise ArgumentError("differences: got options for a black box, but x is a PyTorch tensor; pass NumPy arrays")
    return TorchJacobian(f, args, argnums, memory)
