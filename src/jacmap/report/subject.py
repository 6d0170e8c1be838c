"""What a report is about: the Jacobian, what its entries are called, and figures that several sections need."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
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
    def moving(self) -> list[Any]:
        """The arguments that are differentiated."""
        return [self.J.args[k] for k in np.atleast_1d(self.J.argnums)]

    @cached_property
    def ends(self) -> tuple[tuple[str, list[Any], np.ndarray, Labels], ...]:
        """Of the point and of the value: what it is, its leaves, all entries end to end, their names."""
        found = []
        for what, tree, labels in (("point", self.moving, self.inputs), ("value", self.J.value, self.outputs)):
            leaves = jax.tree.leaves(tree)
            found.append((what, leaves, np.concatenate([np.zeros(0), *map(np.ravel, leaves)]), labels))
        return tuple(found)

    @property
    def image_shape(self) -> tuple[int, ...] | None:
        """x's shape where it is one array that looks like an image: (height, width) or (height, width, channels)."""
        shape: tuple[int, ...] = np.shape(self.moving[0]) if len(self.moving) == 1 else ()
        flat = len(shape) == 2 or (len(shape) == 3 and shape[-1] in (1, 3, 4))
        return shape if flat and min(shape[:2]) >= 6 else None
