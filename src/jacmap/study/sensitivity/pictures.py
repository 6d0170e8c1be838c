"""The way to the plots: a subpackage of its own, loaded when a picture is first asked for."""

from __future__ import annotations

from typing import Any


def plots() -> Any:
    """`jm.plot`."""
    import jacmap

    found: Any = jacmap.plot
    return found
