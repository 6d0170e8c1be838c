"""The point at which a black box is differentiated, and everything that steps away from it must know."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Point:
    """x (n,) and y = f(x) (m,) in double precision.

    `kinds` says which inputs f gets in a narrower type: (dtype, their positions); `eps` (n,) is the relative spacing of
    each input's type and `out_eps` (m,) of each output's. `floor` (m,): the size of the wavering of each output that is
    rounding or noise. `still` (m,): it does not move at all for small steps.
    """

    x: np.ndarray
    y: np.ndarray
    eps: np.ndarray
    kinds: tuple[tuple[np.dtype, np.ndarray], ...]
    out_eps: np.ndarray
    floor: np.ndarray
    still: np.ndarray

    def moved(self, columns: np.ndarray, by: np.ndarray) -> np.ndarray:
        """x with `by` added to the inputs `columns`, as f will see it: rounded to the types of its arguments."""
        point = self.x.copy()
        point[columns] += by
        for dtype, positions in self.kinds:
            point[positions] = point[positions].astype(dtype)
        return point


@dataclass(frozen=True, eq=False)
class Group:
    """Columns of J that share their evaluations: row rows[k] reads only columns[owner[k]] of them."""

    columns: np.ndarray
    rows: np.ndarray
    owner: np.ndarray

    @property
    def places(self) -> np.ndarray:
        """The column of each row (r,)."""
        return self.columns[self.owner]


def single(column: int, size: int) -> Group:
    """One column, all of whose `size` rows may hold something."""
    return Group(np.array([column]), np.arange(size), np.zeros(size, int))
