"""Numbers in words: places, faces and figures with their errors."""

from __future__ import annotations

from typing import Any

import numpy as np


def vector(values: Any) -> str:
    """A short vector: (0.5, 1.571)."""
    flat = np.ravel(np.asarray(values, float))
    shown = [f"{v:.4g}" for v in flat[:6]]
    if len(flat) == 1:
        return shown[0]
    return f"({', '.join(shown)}{', …' if len(flat) > 6 else ''})"


def place(u: Any, x: Any) -> str:
    """Coordinates and the point that they map to; said once where they agree."""
    if np.array_equal(np.ravel(u), np.ravel(x)):
        return f"x = {vector(x)}"
    return f"u = {vector(u)} (x = {vector(x)})"


def measured(value: float, error: float) -> str:
    """A value with as many digits as its error leaves, two beyond: 3.14159 ± 1.2e-04."""
    if not np.isfinite(error) or not np.isfinite(value):
        return f"{value:.6g} ± {error:.2g}"
    size = abs(value) if value else 1.0
    digits = 15 if error <= 0 else int(np.clip(np.log10(size / error) + 2.5, 2, 15))
    return f"{value:.{digits}g} ± {error:.1e}"
