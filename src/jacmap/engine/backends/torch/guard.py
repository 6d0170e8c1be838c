"""What surrounds a recorded run: operations made plain to read, and everything put back as it was afterwards."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import _disable_current_modes


@contextmanager
def plain() -> Iterator[None]:
    """No kernel that hides what it does; the random state as before afterwards."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices))
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        if torch._C._functorch.peek_interpreter_stack() is not None:
            stack.enter_context(temporarily_clear_interpreter_stack())
        stack.callback(torch._C._set_mkldnn_enabled, torch._C._get_mkldnn_enabled())
        torch._C._set_mkldnn_enabled(False)
        # Their checks of arguments branch on values; f itself, when it is run, still makes them.
        distribution = torch.distributions.Distribution
        stack.callback(setattr, distribution, "_validate_args", distribution._validate_args)
        distribution.set_default_validate_args(False)
        if "torch._dynamo" in sys.modules:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield


class Belongings:
    """Tensors that were not made inside the run: what an operation writes into them is put back."""

    def __init__(self) -> None:
        self.memory: dict[int, tuple[Tensor, Tensor, Tensor, int]] = {}
        self.flags: dict[int, tuple[weakref.ref[Tensor], bool, Tensor | None]] = {}

    def seen(self, tensor: Tensor) -> None:
        """Remember `requires_grad` and `.grad` of a tensor that f reads."""
        if tensor.is_leaf and id(tensor) not in self.flags:
            grad = tensor.grad if tensor.requires_grad else None
            self.flags[id(tensor)] = (weakref.ref(tensor), tensor.requires_grad, grad)

    def written(self, tensor: Tensor) -> None:
        """Keep the memory of a tensor that is about to be written."""
        key = tensor.untyped_storage()._cdata
        if key not in self.memory:
            with _disable_current_modes(), torch.no_grad():
                count = tensor.untyped_storage().nbytes() // max(tensor.element_size(), 1)
                whole = tensor.data.as_strided((count,), (1,), 0)
                self.memory[key] = (tensor, whole, whole.clone(), version_of(tensor))

    def put_back(self) -> None:
        with _disable_current_modes(), torch.no_grad():
            for tensor, whole, before, version in self.memory.values():
                whole.copy_(before)
                if version >= 0:
                    torch._C._autograd._unsafe_set_version_counter((tensor,), (version,))
            for tensor_ref, flag, grad in self.flags.values():
                tensor = tensor_ref()  # type: ignore[assignment]
                if tensor is None or not tensor.is_leaf:
                    continue
                if tensor.requires_grad != flag:
                    tensor.requires_grad_(flag)
                if flag and tensor.grad is not grad:
                    tensor.grad = grad


def version_of(tensor: Tensor) -> int:
    """How often the tensor was written; -1 where PyTorch does not count."""
    return -1 if tensor.is_inference() else tensor._version


def concrete(tensor: Any) -> Tensor:
    """An ordinary tensor behind those that torch.func passes around: one element of a batch."""
    functorch = torch._C._functorch
    while functorch.is_functorch_wrapped_tensor(tensor):
        dim = functorch.maybe_get_bdim(tensor)
        tensor = functorch.get_unwrapped(tensor)
        if dim >= 0:
            tensor = tensor.select(dim, 0)
    return tensor.detach().clone()
