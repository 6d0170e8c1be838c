"""Coordinates in which the parameters of a warp have like sizes, so that float32 is enough to solve for them."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from ..warps import GroupWarp, Warp

Array = jax.Array


@dataclass(frozen=True)
class Frame:
    """Points as (x − centre)/radius (Hartley 1997, In defense of the eight-point algorithm).

    A group warp is conjugated with this map, which every group here is closed under. Other warps keep pixels.
    """

    warp: Warp
    centre: tuple[float, float]
    radius: float

    @classmethod
    def of(cls, warp: Warp, shape: tuple[int, int]) -> Frame:
        """For an image of `shape` (H, W): its centre, and half its diagonal."""
        if not isinstance(warp, GroupWarp):
            return cls(warp, (0.0, 0.0), 1.0)
        height, width = shape
        return cls(warp, ((width - 1) / 2, (height - 1) / 2), float(np.hypot(height, width)) / 2)

    def points(self, pixels: Array) -> Array:
        return (pixels - jnp.asarray(self.centre, pixels.dtype)) / self.radius

    def pixels(self, points: Array) -> Array:
        return points * self.radius + jnp.asarray(self.centre, points.dtype)

    def inward(self, parameters: Array) -> Array:
        """Parameters of the warp in this frame, from those in pixels."""
        return self._conjugated(parameters, self._matrix(inverse=True), self._matrix())

    def outward(self, parameters: Array) -> Array:
        """Parameters in pixels, from those in this frame."""
        return self._conjugated(parameters, self._matrix(), self._matrix(inverse=True))

    def _conjugated(self, parameters: Array, left: np.ndarray, right: np.ndarray) -> Array:
        if not isinstance(self.warp, GroupWarp):
            return parameters
        left_, right_ = (jnp.asarray(m, parameters.dtype) for m in (left, right))
        return self.warp.parameters_of(left_ @ self.warp.matrix(parameters) @ right_)

    def _matrix(self, inverse: bool = False) -> np.ndarray:
        """From this frame to pixels, or back."""
        (x, y), r = self.centre, self.radius
        return np.array(
            [[1 / r, 0, -x / r], [0, 1 / r, -y / r], [0, 0, 1]] if inverse else [[r, 0, x], [0, r, y], [0, 0, 1]]
        )
