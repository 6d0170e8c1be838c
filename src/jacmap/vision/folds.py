"""Where a dense flow folds: cells between four pixels that it turns over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._errors import ArgumentError

NAMED = 5


@dataclass(frozen=True, eq=False)
class Folds:
    """Cells of a flow, each between four pixels, of which a part is flattened or turned over: det ≤ 0.

    `places` (k, 2): the cells' centres (x, y), the worst first; `dets` (k,): the smallest determinant in each.
    `cells`: how many were looked at.
    """

    places: np.ndarray
    dets: np.ndarray
    cells: int

    def __len__(self) -> int:
        return len(self.places)

    @property
    def share(self) -> float:
        """Of the cells that fold."""
        return len(self) / self.cells if self.cells else 0.0

    def __str__(self) -> str:
        if not len(self):
            return f"no folds in {self.cells:,} cells"
        worst = ", ".join(
            f"({x:g}, {y:g}) det {d:.3g}" for (x, y), d in zip(self.places[:NAMED], self.dets[:NAMED], strict=True)
        )
        more = f", and {len(self) - NAMED:,} more" if len(self) > NAMED else ""
        return f"{len(self):,} of {self.cells:,} cells fold: {worst}{more}"


def folds(flow: Any) -> Folds:
    """The cells that the map x + flow(x) folds; `flow` (H, W, 2) holds a displacement (Δx, Δy) per pixel.

    Between four pixels the bilinear map's determinant is linear in x and in y, so its least value is at a corner: four
    one-sided determinants per cell decide it exactly, where differences across two pixels can miss a fold. Cells with
    a displacement that is not finite are left out. Raises `ArgumentError` for another shape.
    """
    flow = np.asarray(flow, float)
    if flow.ndim != 3 or flow.shape[2] != 2:
        raise ArgumentError(f"flow: got shape {list(flow.shape)}, expected (H, W, 2): a displacement per pixel")
    along = np.diff(flow, axis=1) + (1.0, 0.0)  # ∂/∂x of the map, on the edges between neighbours in a row
    down = np.diff(flow, axis=0) + (0.0, 1.0)
    corners = [
        x[..., 0] * y[..., 1] - x[..., 1] * y[..., 0]
        for x in (along[:-1], along[1:])
        for y in (down[:, :-1], down[:, 1:])
    ]
    least = np.min(corners, axis=0)
    rows, columns = np.nonzero(least <= 0)
    worst = np.argsort(least[rows, columns], kind="stable")
    places = np.column_stack([columns, rows])[worst] + 0.5
    return Folds(places, least[rows, columns][worst], int(np.isfinite(least).sum()))
