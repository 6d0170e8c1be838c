"""One pass over a data set: the Jacobian at every row, summed up batch by batch in bounded memory."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..._arguments import translated
from ..._errors import ArgumentError, JacmapError
from ..._jacobian import Jacobian, linearize
from ..._questions import jacobian
from .argument import unread
from .data import Rows
from .intervals import Moments
from .layout import Layout, on_vectors
from .ranking import Resamples

MEMORY = 2.0**30  # bytes that a study may take where nothing else is said
BATCH_BYTES = 2**24  # of the Jacobians of one batch, in double precision
BATCH_ROWS = 512
COPIES = 8  # arrays as large as the Jacobians of a batch that are alive at once
SUMS = 12  # arrays as large as one Jacobian that are summed up
SHARE = 0.1  # of the memory, for the resamples: to rank them takes several copies
PATIENCE = 1.0  # seconds before a progress bar appears


class Study:
    """f at one row of the data: read, planned, and compiled for batches of one shape."""

    def __init__(self, f: Callable[..., Any], rows: Rows, memory: float | None, batch: int | None, resamples: int):
        self.name = getattr(f, "__name__", "f")
        self.rows = rows
        self.call = on_vectors(f, rows.layout)
        self.output = self._output(f)
        m, n = self.shape = self.output.size, rows.layout.size
        limit = MEMORY if memory is None else memory
        if SUMS * m * n * 8 > limit:
            raise ArgumentError(
                f"memory: {m}×{n} sensitivities take {SUMS * m * n * 8 / 1e6:.0f} MB, more than the {limit / 1e6:.0f} "
                "MB given; pass memory= or choose fewer outputs"
            )
        self.resamples = min(resamples, int(SHARE * limit / (8 * m * n)))
        most = max(1, min(BATCH_ROWS, int(min(BATCH_BYTES, limit / COPIES) / (8 * m * n))))
        batches = math.ceil(rows.count / most)
        self.batch = batch or math.ceil(rows.count / batches)  # batches alike: little is left to fill up in the last
        self.slope = jacobian(self._with_value, has_aux=True, memory=memory)
        self.here: Jacobian = linearize(self.call, self._vector(rows.row(0)), memory=memory)

    def _with_value(self, vector: Any) -> Any:
        value = self.call(vector)
        return value, value

    def _vector(self, values: np.ndarray) -> Any:
        return jnp.asarray(values, self.rows.layout.dtype)

    def _output(self, f: Callable[..., Any]) -> Layout:
        row = self.rows.layout
        try:
            with translated(f):
                output = Layout(jax.eval_shape(f, row.tree))
        except JacmapError:
            raise
        except (TypeError, ValueError, IndexError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ArgumentError(
                f"data: {self.name} cannot be called with a row of shape {row.shape}: {reason}; expected rows laid out "
                "as its argument (wrong number of columns?)"
            ) from error
        if not output.size or any(not jnp.issubdtype(dtype, jnp.floating) for dtype in output.dtypes):
            got = ", ".join(map(str, output.dtypes)) or "nothing"
            raise ArgumentError(f"{self.name}: returned {got}, expected real floating-point numbers")
        return output

    def unread(self) -> tuple[int, ...]:
        """The inputs that f does not read, by its graph."""
        return unread(self.here)


class Sums:
    """What is kept of the rows seen so far."""

    def __init__(self, study: Study, seed: int):
        self.signed = np.zeros(study.shape)  # the sum; of the others moments
        self.absolute, self.square = Moments(study.shape), Moments(study.shape)
        self.value = Moments(study.shape[:1])
        self.resamples = Resamples(study.resamples, study.shape, study.rows.count, seed)
        self.left_out: list[int] = []  # rows at which f or its derivative is not finite
        self.seen = 0

    def add(self, points: np.ndarray, matrices: np.ndarray, values: np.ndarray) -> None:
        """Take in the next rows (rows, n): their Jacobians (rows, m, n) and values (rows, m)."""
        good = np.isfinite(matrices).all(axis=(1, 2)) & np.isfinite(values).all(axis=1)
        self.left_out += (self.seen + np.flatnonzero(~good)).tolist()
        weights = self.resamples.weights(len(good))
        if not good.all():
            points, matrices, values, weights = points[good], matrices[good], values[good], weights[:, good]
        square = matrices**2
        self.signed += matrices.sum(axis=0)
        self.absolute.add(np.abs(matrices))
        self.square.add(square)
        self.value.add(values)
        self.resamples.add(weights, square, values, points)
        self.seen += len(good)


def run(study: Study, sums: Sums, progress: bool) -> None:
    """Every row of the data into the sums: one value and one Jacobian each, the last batch filled up with repetitions.

    Control-C ends it as any other program: the bar is taken away and KeyboardInterrupt goes on; nothing is returned.
    """
    # Where the plan meets its first numbers it is compared with plain automatic differentiation, before it is compiled.
    study.slope(study._vector(study.rows.row(0)))
    step = jax.jit(jax.vmap(study.slope))
    count, size = study.rows.count, study.batch
    with _bar(count, study.name, progress) as advance:
        for start in range(0, count, size):
            rows = study.rows.flat(start, min(start + size, count))
            filled = np.concatenate([rows, np.repeat(rows[-1:], size - len(rows), axis=0)])
            matrices, values = (np.asarray(part, np.float64)[: len(rows)] for part in step(study._vector(filled)))
            sums.add(rows, matrices, values)
            advance(len(rows))


@contextmanager
def _bar(total: int, name: str, wanted: bool) -> Iterator[Callable[[int], None]]:
    """A progress bar on the terminal's error stream, from the second second on."""
    console = Console(file=sys.stderr)
    if not wanted or not console.is_terminal:
        yield lambda rows: None
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    bar = Progress(*columns, console=console, transient=True)
    task = bar.add_task(f"sensitivity of {name}", total=total)
    begun = time.monotonic()

    def advance(rows: int) -> None:
        bar.advance(task, rows)
        if not bar.live.is_started and time.monotonic() - begun > PATIENCE:
            bar.start()

    try:
        yield advance
    finally:
        bar.stop()
