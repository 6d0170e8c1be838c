"""Where the integrand is largest, and how much of a sample carries it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .pullback import Pullback
from .sampling import effective_size

Array = np.ndarray
ROUNDS, TRIES = 24, 64
HALVINGS = 40
MARGIN = 6  # half widths from the peak to the edge of its box
NARROW = 64.0  # carrying points of the sample below which adaptive cubature is started at the peak


@dataclass(frozen=True)
class Peak:
    """`at`: in the unit cube; `height`: |g| there; `width`: per axis, as far as |g| stays above half of the height.

    `carriers`: the effective number of the `size` sample points that carry the integral.
    """

    at: Array
    height: float
    width: Array
    carriers: float
    size: int

    @property
    def corners(self) -> list[Array]:
        """Two corners of a box about a narrow peak, none where the peak is not narrow."""
        if self.carriers >= NARROW:
            return []
        return [np.clip(self.at + side * MARGIN * self.width, 1e-9, 1 - 1e-9) for side in (-1, 1)]


def find_peak(g: Pullback, points: Array, values: Array, seed: int) -> Peak:
    """The best of the sample, climbed from by random steps that shrink where they do not lead up."""
    random = np.random.default_rng(seed)
    height = np.max(np.abs(values), axis=1)
    best, top, reach = points[np.argmax(height)], float(np.max(height)), 0.1
    for _ in range(ROUNDS):
        tries = np.clip(best + reach * random.standard_normal((TRIES, g.size)), 1e-9, 1 - 1e-9)
        found = np.max(np.abs(g.values(tries)), axis=1)
        if np.max(found) > top:
            best, top = tries[np.argmax(found)], float(np.max(found))
        else:
            reach /= 2
    return Peak(best, top, _widths(g, best, top), effective_size(height), len(points))


def _widths(g: Pullback, at: Array, height: float) -> Array:
    """Per axis the largest of the distances 2⁻ᵏ to either side at which |g| is still above half."""
    steps = 2.0 ** -np.arange(1, HALVINGS + 1)
    t = np.tile(at, (g.size, 2, HALVINGS, 1))
    for axis in range(g.size):
        t[axis, :, :, axis] = np.clip(at[axis] + np.outer([-1, 1], steps), 0, 1)
    above = np.max(np.abs(g.values(t.reshape(-1, g.size))), axis=1).reshape(g.size, 2, HALVINGS) > height / 2
    return np.max(np.where(above, steps, steps[-1]), axis=(1, 2))
