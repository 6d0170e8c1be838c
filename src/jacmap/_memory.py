"""Memory bounds as people write them."""

from __future__ import annotations

import re

from ._errors import ArgumentError

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def parse_memory(memory: str | float | None) -> float | None:
    """Bytes of "2GB", "512 MiB" or a number; None is no bound. Raises ArgumentError for anything else."""
    if memory is None:
        return None
    if isinstance(memory, (int, float)) and not isinstance(memory, bool) and memory > 0:
        return float(memory)
    match = (
        re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*([A-Za-z]*)\s*", memory, re.ASCII) if isinstance(memory, str) else None
    )
    if match is None or match[2].upper() not in _UNITS or float(match[1]) <= 0:
        raise ArgumentError(f'memory: got {memory!r}, expected a size such as "2GB", "512MiB" or a number of bytes')
    return float(match[1]) * _UNITS[match[2].upper()]
