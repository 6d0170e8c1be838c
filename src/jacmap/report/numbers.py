"""Numbers as a report writes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def number(value: Any) -> str:
    """Six figures."""
    return f"{value:.6g}"


def array(flat: np.ndarray, leaves: Sequence[Any]) -> str:
    """Too many numbers to list, in words."""
    shapes = ", ".join("×".join(map(str, np.shape(leaf))) or "scalar" for leaf in leaves)
    finite = flat[np.isfinite(flat)]
    span = f" from {number(finite.min())} to {number(finite.max())}" if finite.size else ""
    return f"{flat.size} numbers ({shapes}){span}"
