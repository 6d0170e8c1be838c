"""What a function reads beside its arguments, so far as Python shows it: a plan holds only while that stays the same.

Values (weights) may change from call to call, they are read anew; what must not change unseen is the structure: which
tensor stands where, which branch a flag takes, whether a module is in training mode.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any

import torch

_PLAIN = (bool, int, float, str, type(None))
_FLAGS = {bool, int, float, str}
MOST = 256  # items of a list or dict that are looked at in each call; a longer one counts by its own identity


class Surroundings:
    """The modules, tensors and plain values that f reaches through closures, globals, bound objects and defaults."""

    def __init__(self, f: Callable[..., Any]):
        self._getters = list(_getters(f))

    def state(self) -> Hashable:
        """Equal as long as the same tensors and flags are reached. Ids: whoever keeps it must keep the tensors."""
        return tuple(_identity(get()) for get in self._getters)

    def kept(self) -> list[Any]:
        """The objects whose ids stand in the state."""
        return [part for get in self._getters for part in _objects(get())]


def _identity(value: Any, depth: int = 3) -> Hashable:
    if isinstance(value, torch.nn.Module):
        return tuple(_identity_of(m) for m in value.modules())
    if isinstance(value, (list, tuple, dict)) and depth and len(value) <= MOST:
        return tuple(_identity(item, depth - 1) for item in _items(value))
    return value if isinstance(value, _PLAIN) else id(value)


def _identity_of(module: torch.nn.Module) -> Hashable:
    """Its parameters, buffers and plain tensors by identity, its flags and numbers (`training`, `p`, …) by value."""
    flags = (value for value in module.__dict__.values() if type(value) in _FLAGS)
    return *flags, *map(id, module._parameters.values()), *map(id, _plain_tensors(module))


def _objects(value: Any, depth: int = 3) -> list[Any]:
    if isinstance(value, torch.nn.Module):
        return [t for m in value.modules() for t in (*m._parameters.values(), *_plain_tensors(m))]
    if isinstance(value, (list, tuple, dict)) and depth and len(value) <= MOST:
        return [part for item in _items(value) for part in _objects(item, depth - 1)]
    return [value]


def _items(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def _plain_tensors(module: torch.nn.Module) -> list[torch.Tensor]:
    """A module's own buffers, and tensors kept as plain attributes."""
    own = [t for t in module._buffers.values() if t is not None]
    return own + [t for t in module.__dict__.values() if isinstance(t, torch.Tensor)]


def _getters(f: Callable[..., Any], depth: int = 3) -> Iterator[Callable[[], Any]]:
    if isinstance(f, torch.nn.Module):
        yield lambda: f
        return
    if isinstance(f, functools.partial):
        for value in (f.func, *f.args, *f.keywords.values()):
            yield from _reached(_always(value), depth)
        return
    bound = getattr(f, "__self__", None)
    if bound is not None:
        yield lambda: bound
    inner = getattr(f, "__func__", f)
    code = getattr(inner, "__code__", None)
    if code is None:
        yield lambda: f
        return
    for cell in inner.__closure__ or ():
        yield from _reached(functools.partial(_contents, cell), depth)
    for name in code.co_names:
        if name in inner.__globals__:
            yield from _reached(functools.partial(inner.__globals__.get, name), depth)
    for value in (*(inner.__defaults__ or ()), *(inner.__kwdefaults__ or {}).values()):
        yield from _reached(_always(value), depth)


def _always(value: Any) -> Callable[[], Any]:
    return lambda: value


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None  # a variable that is not assigned yet


def _reached(get: Callable[[], Any], depth: int) -> Iterator[Callable[[], Any]]:
    """The value itself, and what a function of the user's own reads in turn."""
    value = get()
    if isinstance(value, (torch.nn.Module, torch.Tensor, *_PLAIN)):
        yield get
    elif isinstance(value, type) or (callable(value) and str(getattr(value, "__module__", "")).startswith("torch.")):
        return
    elif callable(value) and depth:
        yield get
        yield from _getters(value, depth - 1)
    elif isinstance(value, (list, tuple, dict)):
        yield get
