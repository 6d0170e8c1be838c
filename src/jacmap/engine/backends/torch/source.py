"""Where an operation stands in the user's code: the line, and the path of the module whose forward runs."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch.nn.modules import module as hooks

from ...graph import Place

_HIDDEN = (
    str(Path(torch.__file__).parent) + os.sep,
    str(Path(__file__).parents[3]) + os.sep,
    functools.__file__,
    *(str(Path(spec.origin).parent) + os.sep for spec in [find_spec("jax")] if spec and spec.origin),
    "<",
)


class Scopes:
    """The modules being called, innermost last, by their path from the outermost one."""

    def __init__(self) -> None:
        self.stack: list[tuple[Any, str]] = []

    @contextmanager
    def followed(self) -> Iterator[None]:
        handles = [
            hooks.register_module_forward_pre_hook(self._enter),
            hooks.register_module_forward_hook(self._leave, always_call=True),
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, module: Any, args: Any) -> None:
        self.stack.append((module, self._path(module)))

    def _leave(self, module: Any, args: Any, output: Any) -> None:
        if self.stack and self.stack[-1][0] is module:
            self.stack.pop()

    def _path(self, module: Any) -> str:
        for owner, path in reversed(self.stack):
            for name, child in owner.named_modules():
                if child is module and name:
                    return f"{path}.{name}" if path else name
        return ""

    def place(self) -> Place:
        """The place of what runs now."""
        return Place(self.stack[-1][1] if self.stack else "", user_line())


_TRANSFORMS = (_HIDDEN[0] + "_functorch" + os.sep, _HIDDEN[0] + "_vmap_internals.py")


def transformed() -> bool:
    """Does a transformation of torch.func run? Below it, flags tell about its levels, not about AD from outside."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename.startswith(_TRANSFORMS):
            return True
        frame = frame.f_back
    return False


def user_line() -> str:
    """The innermost frame outside PyTorch and jacmap, as "file.py:12 (function)"; empty when there is none."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        path = frame.f_code.co_filename
        if not path.startswith(_HIDDEN):
            return f"{os.path.basename(path)}:{frame.f_lineno} ({frame.f_code.co_name})"
        frame = frame.f_back
    return ""
