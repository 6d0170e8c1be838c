"""--data of a command: a table of points, one a row, from a .csv or .npy file."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from .._arguments import nearest
from .errors import CliError
from .target import Target

FORMS = "a .csv file (a line per point, a first line of names if you like) or an .npy file"


def load(text: str, target: Target, arguments: tuple[Any, ...]) -> np.ndarray:
    """The points, (N, *x.shape), of a function of one array. CliError names the line and column of a bad entry."""
    path = Path(text)
    if not path.is_file():
        files = [str(file) for ending in ("csv", "npy") for file in sorted(path.parent.glob(f"*.{ending}"))]
        raise CliError(f"there is no file {path}{nearest(str(path), files)}")
    if len(arguments) != 1 or not hasattr(arguments[0], "shape"):
        raise CliError(f"--data needs a function of one array, {target.name} takes {len(arguments)} arguments")
    shape = np.shape(arguments[0])
    if path.suffix == ".npy":
        rows, names = _from_npy(path), None
    elif path.suffix == ".csv":
        rows, names = _from_csv(path)
    else:
        raise CliError(f"--data {path}: expected {FORMS}")
    size = int(np.prod(shape, dtype=int))
    if names is not None and target.variables is not None and set(names) == set(target.variables):
        rows = rows[:, [names.index(variable) for variable in target.variables]]
    if rows.ndim < 2 or not (rows.shape[1:] == shape or rows.shape[1:] == (size,)):
        came = "×".join(map(str, rows.shape))
        raise CliError(f"--data {path} holds {came} numbers, expected {size} a row, as {target.name} takes")
    if not len(rows):
        raise CliError(f"--data {path} holds no points")
    return rows.reshape(len(rows), *shape)


def _from_npy(path: Path) -> np.ndarray:
    try:
        rows = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError):
        raise CliError(f"{path} cannot be read as a NumPy file of numbers: save the array with numpy.save") from None
    if not isinstance(rows, np.ndarray) or rows.dtype.kind not in "biuf":
        raise CliError(f"{path} holds no array of real numbers: save one with numpy.save")
    rows = rows.astype(float) if rows.dtype.kind in "biu" else rows
    bad = np.argwhere(~np.isfinite(rows))
    if bad.size:
        raise CliError(f"{path}: {len(bad)} entries are not finite, the first in row {bad[0][0]}; drop those rows")
    return rows


def _from_csv(path: Path) -> tuple[np.ndarray, list[str] | None]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        try:
            lines = [(number, line) for number, line in enumerate(csv.reader(file), 1) if any(map(str.strip, line))]
        except (UnicodeDecodeError, csv.Error) as error:
            raise CliError(f"{path} cannot be read as a .csv file of UTF-8 text: {error}") from None
    if not lines:
        raise CliError(f"{path} is empty")
    names = None
    if not any(map(_is_number, lines[0][1])):
        names = [name.strip() for name in lines.pop(0)[1]]
    width = len(names) if names is not None else len(lines[0][1]) if lines else 0
    rows = np.empty((len(lines), width))
    for row, (number, line) in zip(rows, lines, strict=True):
        if len(line) != width:
            raise CliError(f"{path}, line {number}: {len(line)} columns, expected {width} as in the first line")
        for k, entry in enumerate(line):
            if not _is_number(entry) or not np.isfinite(float(entry)):
                said = entry.strip() or "nothing"
                raise CliError(f"{path}, line {number}, column {k + 1}: got {said}, expected a finite number")
            row[k] = float(entry)
    return rows, names


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
