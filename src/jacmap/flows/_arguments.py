"""Checks of the arguments that many constructors share."""

from __future__ import annotations

from typing import Any

from .._errors import ArgumentError


def whole(name: str, value: Any, at_least: int = 1) -> int:
    """`value` as a whole number; raises ArgumentError where it is none, or too small."""
    if isinstance(value, bool) or int(value) != value or value < at_least:
        raise ArgumentError(f"{name}: got {value!r}, expected a whole number, at least {at_least}")
    return int(value)
