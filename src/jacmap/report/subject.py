"""What a report is about: the Jacobian, what its entries are called, and figures that several sections need."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .._jacobian import Jacobian
from .._labels import Labels
from ..study import Geometry, geometry

LARGEST_DENSE = 4_000_000  # entries of J that are held in full


@dataclass(frozen=True, eq=False)
class Subject:
    J: Jacobian
    title: str
    command: str
    expression: str
    inputs: Labels
    outputs: Labels
    data: Any

    @property
    def small(self) -> bool:
        """Is J small enough to be held as a matrix?"""
        return self.J.shape[0] * self.J.shape[1] <= LARGEST_DENSE

    @cached_property
    def matrix(self) -> np.ndarray:
        """J, (m, n); only where `small`."""
        return np.asarray(self.J.dense())

    @cached_property
    def geometry(self) -> Geometry:
        return geometry(self.J)

    @property
    def image_shape(self) -> tuple[int, ...] | None:
        """x's shape where it is one array that looks like an image: (height, width) or (height, width, channels)."""
        moving = [self.J.args[k] for k in np.atleast_1d(self.J.argnums)]
        shape: tuple[int, ...] = np.shape(moving[0]) if len(moving) == 1 else ()
        flat = len(shape) == 2 or (len(shape) == 3 and shape[-1] in (1, 3, 4))
        return shape if flat and min(shape[:2]) >= 6 else None
