"""What the arguments of a call on tensors must be; each fault gets one error that says what to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils import _pytree as tree

from .._arguments import check_given
from .._errors import ArgumentError
from ..engine.backends.torch.function import Spec


def name_of(f: Callable[..., Any]) -> str:
    """What messages call the function: its name, or its class's."""
    return getattr(f, "__name__", None) or type(f).__name__


def called_by_name(f: Callable[..., Any]) -> Callable[..., Any]:
    """f itself; a stored ``MyFunction.apply`` of a custom autograd.Function looked up anew in each call."""
    owner = getattr(f, "__self__", None)
    if not (isinstance(owner, type) and issubclass(owner, torch.autograd.Function)):
        return f

    def apply(*args: Any) -> Any:
        return owner.apply(*args)

    apply.__name__ = owner.__name__
    return apply


def check_inputs(args: tuple[Any, ...], argnums: tuple[int, ...]) -> None:
    """The differentiated arguments hold floating-point tensors."""
    check_given(args, argnums)
    total = 0
    for k in argnums:
        for path, leaf in tree.tree_leaves_with_path(args[k]):
            total += _check_leaf(leaf, f"argument {k}{tree.keystr(path)}")
    if total == 0:
        raise ArgumentError(f"argument {argnums[0]}: got no entries to differentiate, expected a non-empty tensor")


def _check_leaf(leaf: Any, where: str) -> int:
    if not isinstance(leaf, torch.Tensor):
        raise ArgumentError(
            f"{where}: got {type(leaf).__name__} {str(leaf)[:40]!r}, expected a tensor of floats, as the other "
            "arguments are; convert it with torch.as_tensor, or leave the argument out of argnums"
        )
    if leaf.layout != torch.strided:
        raise ArgumentError(
            f"{where}: got a tensor of layout {leaf.layout}, expected a dense (strided) one; differentiate with "
            "respect to its values()"
        )
    if leaf.is_complex():
        raise ArgumentError(
            f"{where}: got dtype {leaf.dtype}, expected real numbers; pass real and imaginary part as two inputs "
            "(torch.view_as_real)"
        )
    if not leaf.is_floating_point():
        raise ArgumentError(
            f"{where}: got dtype {leaf.dtype}, expected floating-point numbers; convert with .double(), "
            "or leave the argument out of argnums"
        )
    return leaf.numel()


def check_outputs(outputs: Sequence[Spec], f: Callable[..., Any]) -> None:
    """The function returns tensors of real floats."""
    if not outputs:
        raise ArgumentError(f"{name_of(f)}: returned no tensors, expected a tensor or a pytree of tensors")
    for spec in outputs:
        if spec.dtype.is_complex:
            raise ArgumentError(
                f"{name_of(f)}: returned dtype {spec.dtype}, expected real numbers; return torch.view_as_real(y)"
            )
        if not spec.dtype.is_floating_point:
            raise ArgumentError(
                f"{name_of(f)}: returned dtype {spec.dtype}, expected floating-point numbers; integers and booleans "
                "have no derivative (return them with has_aux=True)"
            )
