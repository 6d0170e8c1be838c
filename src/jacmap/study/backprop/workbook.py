"""A workbook of live formulas: the values, the way back, and a page that says how to read them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._errors import ArgumentError
from ..._files import replacing
from ..._operations import Operation
from .cells import BACKWARD, FIRST_COLUMN, FORWARD, Block, Cell, Layout, TooLong
from .steps import steps_of
from .writer import Writer

if TYPE_CHECKING:
    from .result import Backprop

EXTRA = "a workbook needs openpyxl: pip install 'jacmap[xlsx]'"
MOST_CELLS = 20_000
README = "Read me"

FILLS = {"input": "FFF2CC", "value": "E8F1FA", "local": "F3F0F7", "cotangent": "E6F4EA", "gradient": "C9E7D1"}
FROZEN = "E7E6E6"
INK, SOFT, CHANGE, HEADER = "1C2024", "6B7480", "1F4FA3", "2F4B66"
NUMBER = "0.000000;-0.000000;0"


@dataclass(frozen=True)
class Workbook:
    """What was written. `cells`: name of a value, "∂L/∂name" or "∂a/∂b" → addresses such as "Forward!E5", row by row.

    `frozen`: operations without a formula, whose numbers stay as saved when an input is changed; `fixed`: selections
    (a gather) that go on reading the entries that they read when saved. Where both are empty everything follows.
    """

    path: Path
    cells: dict[str, list[str]]
    frozen: tuple[str, ...]
    fixed: tuple[str, ...]

    def __str__(self) -> str:
        count = sum(map(len, self.cells.values()))
        return "\n".join([f"{self.path}: {count} cells on the sheets {FORWARD} and {BACKWARD}", *self._said])

    @property
    def _said(self) -> list[str]:
        if not (self.frozen or self.fixed):
            return ["Every number follows when an input or a weight is changed."]
        said = [f"Stays as saved, for it has no formula: {text}" for text in self.frozen]
        return [*said, *(f"Goes on reading the entries it read when saved: {text}" for text in self.fixed)]


def save(found: Backprop, path: str | Path) -> Workbook:
    """See `Backprop.save`."""
    path = Path(path)
    if path.suffix.lower() != ".xlsx":
        raise ArgumentError(f"path: got {path.name!r}, expected a name that ends in .xlsx, such as 'net.xlsx'")
    if not path.parent.is_dir() or path.is_dir() or not os.access(path.parent, os.W_OK):
        raise ArgumentError(f"path: {path} cannot be written; name a file in a folder that exists and is yours")
    try:
        import openpyxl
    except ImportError as error:
        raise ImportError(EXTRA) from error
    entries = sum(array.size for array in found.everything.values())
    if entries > MOST_CELLS:
        raise ArgumentError(
            f"save: {found.name} makes {entries} numbers, expected at most {MOST_CELLS} for a workbook that can be "
            "read; take a smaller network, or fewer rows of data"
        )
    try:
        layout = Writer(found.operations, found.everything, _labels(found), _local(found)).layout()
    except TooLong as error:
        raise ArgumentError(
            f"save: the formula of {error} is longer than a cell can hold; take a narrower network"
        ) from error
    result = Workbook(path, _addresses(layout), tuple(layout.frozen), tuple(layout.fixed))
    book = openpyxl.Workbook()
    _read_me(book.active, found, layout, result)
    for name, title in ((FORWARD, "Values, first to last"), (BACKWARD, "Derivatives of L, last to first")):
        _sheet(book.create_sheet(name), title, [block for block in layout.blocks if block.sheet == name])
    book.calculation.fullCalcOnLoad = True
    with replacing(path) as file:
        book.save(file)
    return result


def _labels(found: Backprop) -> dict[int, tuple[str, str]]:
    """Number of a value → (its name, the formula that makes it). A moved value is called as what was moved."""
    labels = {v: (name, "") for v, name in found.names.items()}
    for step, done in zip(steps_of(found.operations), found.steps, strict=True):
        labels |= {v: (found.names[v], done.formula) for v in step.makes}
        for v, path in zip(step.reads, step.paths, strict=True):
            labels |= {move.outputs[0]: labels[v] for move in path if v in labels}
    return labels


def _local(found: Backprop) -> Any:
    """The local Jacobian of one operation at the point, (outputs, inputs)."""
    import jax

    values = found.everything

    def jacobian(operation: Operation, position: int) -> np.ndarray:
        inputs = [jax.numpy.asarray(values[v]) for v in operation.inputs]

        def alone(x: Any) -> Any:
            made = operation(*inputs[:position], x, *inputs[position + 1 :])
            kept = [y.ravel() for v, y in zip(operation.outputs, made, strict=True) if found.operations.active[v]]
            return jax.numpy.concatenate(kept)

        return np.asarray(jax.jacrev(alone)(inputs[position])).reshape(-1, inputs[position].size)

    return jacobian


def _font(**options: Any) -> Any:
    from openpyxl.styles import Font

    return Font(**{"name": "Calibri", "color": INK, **options})


def _addresses(layout: Layout) -> dict[str, list[str]]:
    return {block.name: [f"{block.sheet}!{cell.address}" for cell in block.cells] for block in layout.blocks}


def _sheet(sheet: Any, title: str, blocks: list[Block]) -> None:
    from openpyxl.styles import Alignment, Border, PatternFill, Side
    from openpyxl.utils import get_column_letter

    sheet["A1"] = title
    sheet["A1"].font = _font(bold=True, size=14, color=INK)
    for column, head in enumerate(("value", "made by", "line of code", "", "numbers"), start=1):
        cell = sheet.cell(3, column, head)
        cell.font = _font(bold=True, color="FFFFFF")
    widest = max((block.shape[-1] if block.shape else 1 for block in blocks), default=1)
    for column in range(1, FIRST_COLUMN + widest):
        sheet.cell(3, column).fill = PatternFill("solid", fgColor=HEADER)
    line = Side(style="hair", color="A8B2BC")
    for block in blocks:
        name = sheet.cell(block.row, 1, block.name)
        name.font = _font(bold=True, color=INK)
        for column, text in ((2, block.formula), (3, block.line), (4, block.note)):
            cell = sheet.cell(block.row, column, text)
            cell.font = _font(color=SOFT, italic=column == 4)
            cell.alignment = Alignment(vertical="top")
            cell.data_type = "s"  # "-v3" is what the step is called, not a formula
        fill = PatternFill("solid", fgColor=FROZEN if block.frozen else FILLS[block.kind])
        for place, content in zip(block.cells, block.texts, strict=True):
            cell = sheet.cell(place.row, place.column, content)
            cell.number_format = NUMBER
            cell.fill = fill
            cell.border = Border(left=line, right=line, top=line, bottom=line)
            cell.font = _font(color=CHANGE if block.kind == "input" else INK, bold=block.kind in ("input", "gradient"))
    for letter, width in (("A", 24), ("B", 34), ("C", 44), ("D", 26)):
        sheet.column_dimensions[letter].width = width
    for column in range(FIRST_COLUMN, FIRST_COLUMN + widest):
        sheet.column_dimensions[get_column_letter(column)].width = 12
    sheet.freeze_panes = sheet.cell(4, 2)
    sheet.sheet_view.showGridLines = False


def _read_me(sheet: Any, found: Backprop, layout: Layout, result: Workbook) -> None:
    from openpyxl.styles import Alignment, PatternFill

    sheet.title = README
    sheet.sheet_view.showGridLines = False
    sheet.column_dimensions["A"].width = 4
    sheet.column_dimensions["B"].width = 34
    sheet.column_dimensions["C"].width = 90
    sheet["B1"] = f"Backpropagation through {found.name}"
    sheet["B1"].font = _font(bold=True, size=16, color=INK)
    last = layout.result
    rows: list[tuple[str, Any]] = [
        ("L now", f"={last.seen_from(README)}" if isinstance(last, Cell) else last),
        ("L when this was saved", found.value),
        ("", ""),
        ("Try it", f"On the sheet {FORWARD} change a blue number on yellow: an input or a weight. Every other number "
                   "is a formula of cells and follows."),
        (FORWARD, "Each value that the function makes, first to last, from the values above it."),
        (BACKWARD, "From L back to the inputs. ∂L/∂v tells how fast L grows with v. Each step multiplies what came to "
                   "it by its local derivative. A value that is read in several places gets the sum of what they hand "
                   "back. The gradient stands at the end."),
        ("Moves of numbers", "Reshape, transpose, slice, broadcast and concatenate make no cells: what reads them "
                             "refers to the cells that they move."),
        ("Matrix products", "Their local derivatives are the entries of the other factor, so they need no cells."),
        ("", ""),
        ("One sweep back", f"{found.multiplications['one VJP']} multiplications find all {found.size} derivatives."),
        ("Forward mode", f"would need {found.multiplications['gradient by forward mode']}, one sweep per input entry."),
    ]  # fmt: skip
    rows += [("Does it all follow?", said) for said in result._said]
    for number, (heading, content) in enumerate(rows, start=3):
        sheet.cell(number, 2, heading).font = _font(bold=True, color=INK)
        cell = sheet.cell(number, 3, content)
        cell.font = _font()
        cell.alignment = Alignment(wrap_text=True, vertical="top", horizontal="left")
        sheet.cell(number, 2).alignment = Alignment(vertical="top")
        sheet.row_dimensions[number].height = 16 * max(1, -(-len(str(content)) // 80))
    for row in (3, 4):
        sheet.cell(row, 3).number_format = "0.000000000"
    sheet.cell(3, 3).fill = PatternFill("solid", fgColor=FILLS["gradient"])
    for number, (kind, said) in enumerate(
        (("input", "an input or a weight: change it"), ("value", "a value"), ("cotangent", "∂L/∂value"),
         ("local", "a local derivative"), ("gradient", "the gradient")), start=len(rows) + 4,
    ):  # fmt: skip
        sheet.cell(number, 2).fill = PatternFill("solid", fgColor=FILLS[kind])
        sheet.cell(number, 3, said).font = _font()
