"""`jm.sensitivity`: one call for a point and for a data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, overload

import numpy as np

from ..._dispatch import for_tensors_too
from ..._errors import ArgumentError
from ..._jacobian import Jacobian, linearize
from ..._memory import parse_memory
from .data import Columns, Rows
from .layout import Layout
from .point import PointSensitivity, at_point
from .stream import Study, Sums, run
from .summarise import summarise
from .summary import DataSensitivity

Function = Callable[..., Any]


@overload
def sensitivity(
    f: Function | Jacobian, x: Any, *, data: Any = None, spread: Any = None,
    inputs: str | Sequence[str] | None = None, outputs: str | Sequence[str] | None = None,
) -> PointSensitivity: ...  # fmt: skip
@overload
def sensitivity(
    f: Jacobian, *, spread: Any = None,
    inputs: str | Sequence[str] | None = None, outputs: str | Sequence[str] | None = None,
) -> PointSensitivity: ...  # fmt: skip
@overload
def sensitivity(
    f: Function, *, data: Any, spread: Any = None,
    inputs: str | Sequence[str] | None = None, outputs: str | Sequence[str] | None = None,
    distribution: str | None = None, bounds: tuple[Any, Any] | None = None, level: float = 0.95,
    resamples: int = 200, seed: int = 0, batch: int | None = None, memory: str | float | None = None,
    progress: bool = True,
) -> DataSensitivity: ...  # fmt: skip
@for_tensors_too()
def sensitivity(
    f: Function | Jacobian, x: Any = None, *, data: Any = None, spread: Any = None,
    inputs: str | Sequence[str] | None = None, outputs: str | Sequence[str] | None = None,
    distribution: str | None = None, bounds: tuple[Any, Any] | None = None, level: float = 0.95,
    resamples: int = 200, seed: int = 0, batch: int | None = None, memory: str | float | None = None,
    progress: bool = True,
) -> PointSensitivity | DataSensitivity:  # fmt: skip
    """Which inputs move which outputs, and how much: at a point x, or over the rows of a data set.

    ``sensitivity(f, x)`` (or ``sensitivity(J)`` of a `jm.linearize`) reads the Jacobian at x; x is an array or a
    pytree. ``sensitivity(f, data=X)`` sums the Jacobians at all rows of X in one pass of bounded memory, one value and
    one Jacobian of f per row: X is (N, n), or (N, *shape) where f takes that shape, or a pytree of such arrays; NumPy
    memory maps and tables with named columns will do. ``sensitivity(f, x, data=X)`` is at x, with the spread of X.

    `spread`: how much each input varies (standard deviations), one number, n of them, or laid out as x; by default that
    of the data. `inputs`, `outputs`: a name for each entry, or one for the whole.

    For a data set: `distribution`, "uniform" on ``bounds=(lower, upper)`` or "normal" with the spread, bounds total
    Sobol indices where the rows are independent draws of independent inputs. `level`: of confidence intervals.
    `resamples`: bootstrap resamples for the ranking's stability (0: none; fewer are made where `memory`, by default
    1 GiB, does not hold them). `batch`: rows at once. `progress`: a bar on the terminal where it takes more than a
    second. Control-C stops with KeyboardInterrupt and returns nothing.

    Raises `ArgumentError` for NaN in the data, a wrong number of columns or names, empty data, or a function that has
    no finite derivative at any row.
    """
    if not callable(f) and not isinstance(f, Jacobian):
        raise ArgumentError(f"f: got {type(f).__name__}, expected a function of one argument, or a jm.Jacobian")
    if isinstance(f, Jacobian) and x is not None:
        raise ArgumentError("x: got a point, but a Jacobian has its own; pass J.at(x)")
    if isinstance(f, Jacobian) or x is not None:
        said = {"distribution": distribution, "bounds": bounds, "batch": batch}
        if given := [name for name, value in said.items() if value is not None]:
            raise ArgumentError(f"{given[0]}: got {said[given[0]]!r:.40}, but it is for data alone; leave out x")
        if data is not None and spread is not None:
            raise ArgumentError("spread: got a spread and data to take it from; leave one of them out")
        jacobian = f if isinstance(f, Jacobian) else linearize(f, x, memory=memory)
        if data is None:
            return at_point(jacobian, spread, inputs, outputs)
        around = Rows(data)
        named = around.columns if inputs is None else inputs
        return at_point(jacobian, spread, named, outputs, lambda layout: _spread_of(around, layout))
    if data is None:
        raise ArgumentError("x, data: got neither, expected a point x, or rows of points as data=")
    _check_options(level, resamples, batch)
    rows = Rows(data)
    names = rows.names(inputs)
    columns = Columns(rows, names)
    study = Study(f, rows, parse_memory(memory), batch, resamples)
    sums = Sums(study, seed)
    output_names = study.output.names(outputs, "y", "outputs")
    constants = _poincare(distribution, bounds, spread, rows.layout, columns)
    run(study, sums, progress)
    return summarise(study, sums, columns, names, output_names, spread, distribution, constants, level, resamples)


def _spread_of(rows: Rows, layout: Layout) -> np.ndarray:
    if rows.layout.shapes != layout.shapes:
        raise ArgumentError(f"data: got rows of shape {rows.layout.shape}, expected {layout.shape}, laid out as x")
    if rows.count < 2:
        raise ArgumentError("data: got one row, expected at least two to take a spread from")
    return Columns(rows, rows.names(None)).deviation


def _check_options(level: float, resamples: int, batch: int | None) -> None:
    if isinstance(level, bool) or not isinstance(level, (int, float)) or not 0 < level < 1:
        raise ArgumentError(f"level: got {level!r}, expected a probability such as 0.95")
    for name, value, least in (("resamples", resamples, 0), ("batch", batch, 1)):
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
            raise ArgumentError(f"{name}: got {value!r}, expected an integer from {least} on")


def _poincare(
    distribution: str | None, bounds: tuple[Any, Any] | None, spread: Any, layout: Layout, columns: Columns
) -> np.ndarray | None:
    """Poincaré's constant of each input, (n,): E[g²] ≤ C E[g′²] for all g of mean 0 under the input's distribution."""
    if distribution is None and bounds is not None:
        raise ArgumentError('bounds: got bounds without a distribution; pass distribution="uniform"')
    if distribution is None:
        return None
    if distribution == "normal":
        if bounds is not None:
            raise ArgumentError('bounds: got bounds, but a normal distribution has none; leave them out, or "uniform"')
        return (columns.deviation if spread is None else layout.spread(spread)) ** 2
    if distribution != "uniform":
        raise ArgumentError(f'distribution: got {distribution!r}, expected "uniform", "normal" or None')
    if not isinstance(bounds, (tuple, list)) or len(bounds) != 2:
        raise ArgumentError(f"bounds: got {bounds!r:.60}, expected (lower, upper) for the uniform distribution")
    lower, upper = layout.fill(bounds[0], "bounds[0]"), layout.fill(bounds[1], "bounds[1]")
    if not (np.isfinite(lower) & np.isfinite(upper) & (lower < upper)).all():
        raise ArgumentError("bounds: expected finite lower bounds below their upper bounds")
    # Data in single precision may round onto the other side of a bound.
    slack = 1e-6 * (upper - lower)
    if (outside := (columns.least < lower - slack) | (columns.largest > upper + slack)).any():
        raise ArgumentError(f"bounds: the data of {int(outside.sum())} of {lower.size} inputs lie beyond their bounds")
    return ((upper - lower) / np.pi) ** 2
