"""The form of an in-place operation that writes nothing: what a graph of values can hold."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from .call import Ref, replaced, tensors_in


@functools.cache
def written_arguments(function: Any) -> list[str]:
    """The names of the arguments that the operation writes into."""
    return [a.name for a in function._schema.arguments if a.alias_info is not None and a.alias_info.is_write]


@functools.cache
def functional_form(function: Any) -> Any:
    """The overload with the same arguments that writes nothing; None when there is none."""
    namespace, _, name = function._schema.name.partition("::")
    packet = getattr(getattr(torch.ops, namespace), name.removesuffix("_"), None)
    if packet is None:
        return None
    wanted = [(a.name, str(a.type)) for a in function._schema.arguments if not a.is_out]
    for overload in packet.overloads():
        candidate = getattr(packet, overload)
        given = [(a.name, str(a.type)) for a in candidate._schema.arguments]
        if not written_arguments(candidate) and given == wanted:
            return candidate
    return None


class OnCopies:
    """An operation that only exists in place, run on copies: returns what it wrote, then what it returned."""

    def __init__(self, function: Any, written: tuple[int, ...]) -> None:
        self.function, self.written = function, written

    def __call__(self, values: tuple[Tensor, ...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
        copies = [v.clone() if i in self.written else v for i, v in enumerate(values)]
        fill = lambda tree: replaced(tree, _Held, lambda held: copies[held.index])  # noqa: E731
        made = tensors_in(self.function(*fill(args), **fill(kwargs)))
        fresh = [t for t in made if not any(t is c for c in copies)]
        return [*(copies[i] for i in self.written), *fresh]

    @staticmethod
    def held(tree: Any) -> Any:
        return replaced(tree, Ref, lambda ref: _Held(ref.index))


class _Held:
    def __init__(self, index: int) -> None:
        self.index = index


# -- functional forms of our own -------------------------------------------------------------------------------------


def copied(source: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """What `copy_` leaves in a tensor of this shape and dtype."""
    return source.to(dtype).expand(shape)


def read(whole: Tensor, rows: Tensor) -> Tensor:
    """A view gathered from the memory that it lies in."""
    return whole.reshape(-1).index_select(0, rows.reshape(-1).to(whole.device)).reshape(rows.shape)


def write(whole: Tensor, values: Tensor, rows: Tensor) -> Tensor:
    """The memory after a write through a view; `rows`: for each entry its number in (whole, values)."""
    both = torch.cat([whole.reshape(-1), values.reshape(-1)])
    return both.index_select(0, rows.reshape(-1).to(whole.device)).reshape(whole.shape)


def unseen_write(whole: Tensor, values: Tensor, rows: Tensor) -> Tensor:
    """A write that AD does not see: the derivative of what was there stays."""
    after = write(whole, values, rows)
    written = (rows >= whole.numel()).reshape(whole.shape).to(whole.device)
    return torch.where(written, after + (whole - whole.detach()), after)


def running_statistics(x: Tensor, mean: Tensor, var: Tensor, momentum: float) -> tuple[Tensor, Tensor]:
    """What batch norm leaves in its buffers (torch.nn.BatchNorm2d: unbiased variance)."""
    axes = [0, *range(2, x.dim())]
    x = x.detach()
    new_mean, new_var = x.mean(axes), x.var(axes, unbiased=True)
    return mean + momentum * (new_mean - mean), var + momentum * (new_var - var)


def hidden_derivative(value: Tensor, *inputs: Tensor) -> Tensor:
    """A value whose derivative was made outside of what is recorded."""
    return value


class Sample:
    """A random sample, frozen at what it was in the recorded run."""

    def __init__(self, drawn: list[Tensor]) -> None:
        self.drawn = drawn

    def __call__(self, *inputs: Any) -> list[Tensor]:
        return self.drawn
