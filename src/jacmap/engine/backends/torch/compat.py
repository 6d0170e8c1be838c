"""All that depends on PyTorch's version or on names that it does not promise to keep."""

from __future__ import annotations

import functools
import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack


def inside_functorch() -> bool:
    """Is a transformation of `torch.func` under way?"""
    return torch._C._functorch.peek_interpreter_stack() is not None


def outside_functorch() -> AbstractContextManager[Any]:
    """Ordinary tensors inside stay ordinary, whatever transformation of `torch.func` is under way."""
    return temporarily_clear_interpreter_stack() if inside_functorch() else nullcontext()


def unwrapped(function: Any) -> Any:
    """The operation as the dispatcher has it, without the microsecond of Python around it."""
    return getattr(function, "_op", function)


@functools.cache
def load_forward_mode() -> None:
    """Have PyTorch load what forward mode needs, once: it warns of its own use of `torch.jit.script` while it does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with torch.autograd.forward_ad.dual_level():
            torch.autograd.forward_ad.make_dual(torch.ones(1), torch.ones(1))
