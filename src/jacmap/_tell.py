"""Warnings that point at the user's line, however deep in the package they arise."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import warnings
from pathlib import Path

_OURS = (str(Path(__file__).parent) + os.sep, functools.__file__, contextlib.__file__)


def warn(message: str, category: type[Warning]) -> None:
    """Warn at the innermost line outside of this package and its helpers."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_OURS):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
