"""What a row of the table is: an operation of PyTorch, written with JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import torch

from ...engine.backends.torch.call import Operation


class Given(dict[str, Any]):
    """An operation's arguments by the names of its schema, also as attributes; arrays in place of tensors.

    `operation`: the operation itself, for rows that run it while they are traced.
    """

    operation: Operation

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


Row = Callable[[Given], Any]  # gives an array, or a list or tuple of the operation's outputs


def jax_dtype(dtype: torch.dtype) -> np.dtype[Any]:
    """The dtype by which JAX stands for PyTorch's; 64 bits become 32 where JAX is told to compute in these."""
    return np.dtype(jax.dtypes.canonicalize_dtype(np.dtype(_NAMES.get(dtype, str(dtype).removeprefix("torch.")))))


_NAMES: dict[torch.dtype, Any] = {torch.bfloat16: jax.numpy.bfloat16}


def array_of(tensor: torch.Tensor) -> np.ndarray:
    """The numbers of a tensor, in the dtype that JAX computes in; sparse ones written out."""
    plain = tensor.detach()
    plain = (plain.to_dense() if plain.layout != torch.strided else plain).cpu().resolve_conj().resolve_neg()
    wide = plain.float() if plain.dtype == torch.bfloat16 else plain
    return np.array(wide.numpy(), jax_dtype(tensor.dtype))


def tensor_of(array: Any, device: torch.device | None = None) -> torch.Tensor:
    """The numbers of an array, detached."""
    numbers = np.array(array)
    if numbers.dtype == jax.numpy.bfloat16:
        return torch.from_numpy(numbers.astype(np.float32)).to(device=device, dtype=torch.bfloat16)
    return torch.from_numpy(numbers).to(device=device)
