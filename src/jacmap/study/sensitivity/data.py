"""A data set: rows of points with one more axis in front, read batch by batch, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..._errors import ArgumentError
from .intervals import Moments
from .layout import Layout, Names

CHUNK = 2**22  # entries read at once when the data are only looked at


class Rows:
    """N points: arrays with a leading axis of N. `layout` is that of one row; nothing is copied before it is read."""

    def __init__(self, data: Any):
        if hasattr(data, "columns") and hasattr(data, "to_numpy"):  # a table with named columns (pandas, polars)
            self.columns: tuple[str, ...] | None = tuple(map(str, data.columns))
            data = data.to_numpy()
        else:
            self.columns = None
            if isinstance(data, (list, tuple)) and not any(map(np.ndim, jax.tree_util.tree_leaves(data))):
                data = _array(data, "data")  # nested lists of numbers are a matrix, not a tree
        leaves, treedef = jax.tree_util.tree_flatten(data)
        if not leaves:
            raise ArgumentError("data: got no arrays, expected rows of points, shape (N, n), or a pytree of such")
        self.leaves = [_array(leaf, "data") for leaf in leaves]
        counts = {len(leaf) if leaf.ndim else -1 for leaf in self.leaves}
        if -1 in counts or len(counts) > 1:
            got = ", ".join(str(leaf.shape) for leaf in self.leaves)
            raise ArgumentError(f"data: got shape {got}, expected one row per point along the first axis of each")
        self.count = counts.pop()
        rows = [jax.ShapeDtypeStruct(leaf.shape[1:], _precision(leaf)) for leaf in self.leaves]
        self.layout = Layout(jax.tree_util.tree_unflatten(treedef, rows))
        if not self.count or not self.layout.size:
            got = ", ".join(str(leaf.shape) for leaf in self.leaves)
            raise ArgumentError(f"data: got shape {got}, which is empty; expected at least one row and one column")

    def flat(self, start: int, stop: int) -> np.ndarray:
        """Rows as flat vectors, (stop − start, n), in double precision."""
        parts = [np.asarray(leaf[start:stop], np.float64) for leaf in self.leaves]
        return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)

    def chunks(self) -> Iterator[tuple[int, np.ndarray]]:
        """(first row, rows): all of them, a bounded number at a time."""
        size = max(1, CHUNK // self.layout.size)
        for start in range(0, self.count, size):
            yield start, self.flat(start, min(start + size, self.count))

    def row(self, k: int) -> np.ndarray:
        """Row k, (n,)."""
        return self.flat(k, k + 1)[0]

    def names(self, given: str | Sequence[str] | None) -> Names:
        """What the columns are called: as given, as the table says, or by position."""
        return self.layout.names(self.columns if given is None else given, "x", "inputs")


class Columns:
    """One look at all rows: mean, standard deviation, least and largest of each column. NaN is refused."""

    def __init__(self, rows: Rows, names: Names):
        moments = Moments((rows.layout.size,))
        self.least, self.largest = np.full((2, rows.layout.size), np.nan)
        faults, first = 0, (0, 0)
        for start, values in rows.chunks():
            bad = ~np.isfinite(values)
            if bad.any():
                if not faults:
                    at = np.argwhere(bad)[0]
                    first = start + int(at[0]), int(at[1])
                faults += int(bad.any(axis=1).sum())
                continue
            moments.add(values)
            self.least = np.fmin(self.least, values.min(axis=0))
            self.largest = np.fmax(self.largest, values.max(axis=0))
        if faults:
            raise ArgumentError(
                f"data: {faults} of {rows.count} rows hold NaN or infinity, the first is row {first[0]} at "
                f"{names[first[1]]}; drop or fill such rows before the study"
            )
        self.mean = moments.mean
        self.constant = self.least == self.largest
        self.deviation = np.where(self.constant, 0.0, np.sqrt(moments.variance))

    def correlated(self, rows: Rows) -> tuple[float, int, int] | None:
        """The largest |correlation| of two columns, and which; None where it is chance, or not worked out."""
        moving = np.flatnonzero(~self.constant)
        if not 1 < moving.size <= 512 or rows.count < 8:
            return None
        products = np.zeros((moving.size, moving.size))
        for _, values in rows.chunks():
            scaled = (values[:, moving] - self.mean[moving]) / self.deviation[moving]
            products += scaled.T @ scaled
        size = np.abs(products) / (rows.count - 1)
        np.fill_diagonal(size, 0.0)
        i, j = np.unravel_index(int(np.argmax(size)), size.shape)
        chance = 5 / np.sqrt(rows.count)  # five standard errors of a correlation of 0
        return (float(size[i, j]), int(moving[i]), int(moving[j])) if size[i, j] > chance else None


def _array(values: Any, what: str) -> np.ndarray:
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"{what}: got rows of different lengths, expected as many columns in each") from error
    if not (jnp.issubdtype(array.dtype, jnp.floating) or array.dtype.kind in "iub"):
        raise ArgumentError(f"{what}: got dtype {array.dtype}, expected real numbers; encode words as numbers first")
    return array


def _precision(array: np.ndarray) -> Any:
    """The dtype that f is called with: the data's own, or JAX's default for whole numbers."""
    return jax.dtypes.canonicalize_dtype(array.dtype if jnp.issubdtype(array.dtype, jnp.floating) else np.float64)
