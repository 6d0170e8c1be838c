"""Values and derivatives as cells: a formula for each entry, forward, then back."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from ..._operations import Operation, Operations
from . import formulas
from .cells import BACKWARD, FIRST_ROW, FORWARD, LONGEST, Block, Cell, Entry, Layout, TooLong, plain_of, sum_of, text_of

Local = Callable[[Operation, int], np.ndarray]


class Writer:
    def __init__(
        self,
        found: Operations,
        values: Mapping[int, np.ndarray],
        labels: Mapping[int, tuple[str, str]],
        local: Local,
    ):
        """`labels`: number of a value → (its name, its formula); `local(operation, position)`: a local Jacobian."""
        self.found, self.labels, self.local = found, labels, local
        self.values = values
        self.entries: list[Entry] = []
        self.at: dict[int, np.ndarray] = {}  # number of a value → numbers of its entries
        self.blocks: list[Block] = []
        self.next = {FORWARD: FIRST_ROW, BACKWARD: FIRST_ROW}
        self.named: dict[str, int] = {}
        self.terms: dict[int, list[str]] = {}
        self.frozen: dict[str, None] = {}
        self.fixed: dict[str, None] = {}

    def layout(self) -> Layout:
        for kind, values in (("input", self.found.inputs), ("given", self.found.others)):
            for v in values:
                self.given(v, self.found.names[v], kind)
        for v in self.found.constants:
            if v in self.found.held:
                self.given(v, self.labels[v][0], "held by f")
            else:
                self.at[v] = self.numbered([plain_of(x) for x in np.ravel(self.values[v])], self.found.shapes[v])
        made = [self.forward(operation) for operation in self.found.operations]
        (last,) = self.found.outputs
        result = self.entries[int(self.at[last].ravel()[0])]
        self.terms[int(self.at[last].ravel()[0])] = ["1"]
        for operation, frozen in reversed(list(zip(self.found.operations, made, strict=True))):
            if not (operation.moved or _hands_on(operation)):
                self.backward(operation, frozen)
        for v in self.found.inputs:
            self.cotangents(v, f"∂L/∂{self.found.names[v]}", "the gradient", "", "gradient")
        return Layout(self.blocks, list(self.frozen), list(self.fixed), result)

    # -- cells ---------------------------------------------------------------------------------------------
    def numbered(self, entries: Sequence[Entry], shape: tuple[int, ...]) -> np.ndarray:
        start = len(self.entries)
        self.entries += entries
        return np.arange(start, start + len(entries), dtype=np.int32).reshape(shape)

    def block(
        self, sheet: str, shape: tuple[int, ...], name: str, formula: str, line: str, kind: str, texts: Sequence[Any],
        note: str = "", frozen: bool = False,
    ) -> Block:  # fmt: skip
        count = self.named[name] = self.named.get(name, 0) + 1
        name = name if count == 1 else f"{name} ({count})"
        block = Block(sheet, self.next[sheet], name, formula, line, kind, shape, list(texts), note, frozen)
        self.next[sheet] += block.rows + 1
        self.blocks.append(block)
        if any(isinstance(text, str) and len(text) > LONGEST for text in block.texts):
            raise TooLong(f"{name} = {formula}")
        return block

    def given(self, v: int, name: str, kind: str) -> None:
        numbers = [plain_of(x) for x in np.ravel(self.values[v])]
        block = self.block(FORWARD, self.found.shapes[v], name, kind, "", "input", numbers)
        self.at[v] = self.numbered(block.cells, self.found.shapes[v])

    def text(self, entry: int, sheet: str) -> str:
        return text_of(self.entries[entry], sheet)

    def inputs(self, operation: Operation) -> list[np.ndarray]:
        return [self.at[v] for v in operation.inputs]

    # -- forward -------------------------------------------------------------------------------------------
    def forward(self, operation: Operation) -> bool:
        """Cells for what the operation makes; True: as plain numbers, for it has no formula."""
        if operation.moved:
            return self.move(operation)
        if _hands_on(operation):
            self.at[operation.outputs[0]] = self.at[operation.inputs[0]]
            return False
        texts = self.formulas(operation)
        frozen = texts is None
        for k, v in enumerate(operation.outputs):
            name, formula = self.labels.get(v, (f"({operation.name})", operation.name))
            if texts is None and not operation.inputs:  # numbers that are always the same
                self.at[v] = self.numbered([plain_of(x) for x in np.ravel(self.values[v])], self.found.shapes[v])
                continue
            own: Sequence[Any] = [plain_of(x) for x in np.ravel(self.values[v])] if texts is None else texts
            note = "no formula: numbers as saved" if frozen else ""
            block = self.block(
                FORWARD, self.found.shapes[v], name, formula, _where(operation), "value", own, note, frozen
            )
            self.at[v] = self.numbered(block.cells, self.found.shapes[v])
            if frozen and k == 0:
                self.frozen[f"{name} = {formula}"] = None
        return frozen

    def move(self, operation: Operation) -> bool:
        index = [v for k, v in enumerate(operation.inputs) if k not in operation.moved]
        if any(self.found.varying[v] for v in index):
            name, formula = self.labels.get(operation.outputs[0], ("", operation.name))
            self.fixed[f"{name} = {formula}".removeprefix(" = ")] = None
        given = [
            self.at[v] if k in operation.moved else self.values[v] for k, v in enumerate(operation.inputs)
        ]
        for v, made in zip(operation.outputs, operation(*map(jax.numpy.asarray, given)), strict=True):
            ids = np.asarray(made)
            outside = (ids < 0) | (ids >= len(self.entries))  # a fill: of a gather out of bounds
            if outside.any():
                ids = np.where(outside, self.numbered([math.nan], (1,))[0], ids)
            self.at[v] = ids
        return False

    def formulas(self, operation: Operation) -> list[str] | None:
        """One formula per entry of the only output; None where the operation has none."""
        if len(operation.outputs) != 1:
            return None
        if operation.name == "dot_general":
            return [sum_of(self.products(pairs, FORWARD)) for pairs in self.pairs(operation)]
        if operation.name in formulas.REDUCTIONS:
            groups = self.groups(operation)
            if groups.shape[1] > formulas.ARGUMENTS:
                return None
            template = formulas.REDUCTIONS[operation.name].value
            return [f"={template.format(all=self.together(group))}" for group in groups]
        formula = formulas.of(operation)
        if formula is None:
            return None
        spread = np.broadcast_arrays(*self.inputs(operation))
        each = zip(*(ids.ravel() for ids in spread), strict=True)
        return [f"={formula.value.format(*(self.text(e, FORWARD) for e in row))}" for row in each]

    def together(self, group: np.ndarray) -> str:
        """Entries as the arguments of a function: a range where they stand side by side."""
        cells = [self.entries[e] for e in group]
        first, last = cells[0], cells[-1]
        if len(cells) > 2 and isinstance(first, Cell) and isinstance(last, Cell):
            if cells == [Cell(first.sheet, first.row, first.column + k) for k in range(len(cells))]:
                return f"{first.address}:{last.address}"
        return ",".join(text_of(cell, FORWARD) for cell in cells)

    def groups(self, operation: Operation) -> np.ndarray:
        """(entries of the output, entries that are reduced to each)."""
        axes, ids = operation.params["axes"], self.inputs(operation)[0]
        return np.moveaxis(ids, axes, range(ids.ndim - len(axes), ids.ndim)).reshape(
            math.prod(operation.equation.outvars[0].aval.shape), -1
        )

    def pairs(self, operation: Operation) -> np.ndarray:
        """(entries of the output, terms, 2): which entries of the factors are multiplied."""
        (left, right), (left_batch, right_batch) = operation.params["dimension_numbers"]
        a, b = self.inputs(operation)
        a = _laid_out(a, left_batch, left)
        b = _laid_out(b, right_batch, right)
        shape = (a.shape[0], a.shape[1], b.shape[1], a.shape[2])
        pairs = np.stack([np.broadcast_to(a[:, :, None], shape), np.broadcast_to(b[:, None], shape)], axis=-1)
        return pairs.reshape(-1, a.shape[2], 2)

    def products(self, pairs: np.ndarray, sheet: str) -> list[str]:
        return [
            f"{self.text(a, sheet)}*{self.text(b, sheet)}" for a, b in pairs if not (self.zero(a) or self.zero(b))
        ]

    def zero(self, entry: int) -> bool:
        known = self.entries[entry]
        return not isinstance(known, Cell) and known == 0

    # -- backward ------------------------------------------------------------------------------------------
    def backward(self, operation: Operation, frozen: bool) -> None:
        made = [v for v in operation.outputs if self.found.active[v]]
        live = [k for k, v in enumerate(operation.inputs) if self.found.active[v] and made]
        if not live or not any(int(e) in self.terms for v in made for e in self.at[v].ravel()):
            return
        back = []
        for v in made:
            name, formula = self.labels.get(v, (f"({operation.name})", operation.name))
            back += self.cotangents(v, f"∂L/∂{name}", f"{name} = {formula}", _where(operation), "cotangent")
        for k in live:
            if frozen:
                self.through_numbers(operation, k, back)
            elif operation.name == "dot_general":
                self.through_product(operation, k, back)
            else:
                self.through_formula(operation, k, back)

    def cotangents(self, v: int, name: str, formula: str, line: str, kind: str) -> list[Cell]:
        texts = [sum_of(self.terms.get(int(e), [])) for e in self.at[v].ravel()]
        many = max((len(self.terms.get(int(e), [])) for e in self.at[v].ravel()), default=0)
        note = f"each is a sum of up to {many} terms" if many > 1 else ""
        return self.block(BACKWARD, self.found.shapes[v], name, formula, line, kind, texts, note).cells

    def add(self, entry: int, term: str) -> None:
        if isinstance(self.entries[entry], Cell):
            self.terms.setdefault(int(entry), []).append(term)

    def through_product(self, operation: Operation, k: int, back: Sequence[Cell]) -> None:
        for cell, pairs in zip(back, self.pairs(operation), strict=True):
            for pair in pairs:
                if not self.zero(pair[1 - k]):
                    self.add(pair[k], f"{cell.address}*{self.text(pair[1 - k], BACKWARD)}")

    def through_formula(self, operation: Operation, k: int, back: Sequence[Cell]) -> None:
        (v,) = operation.outputs
        results = self.at[v].ravel()
        if operation.name in formulas.REDUCTIONS:
            template = formulas.REDUCTIONS[operation.name].derivatives[0]
            groups = self.groups(operation)
            reads, texts = groups.ravel(), self.of_groups(template, groups, results)
            shape: tuple[int, ...] = groups.shape
            owners = np.repeat(np.arange(len(groups)), groups.shape[1])
        else:
            formula = formulas.of(operation)
            assert formula is not None
            template = formula.derivatives.get(k, "0")
            spread = [ids.ravel() for ids in np.broadcast_arrays(*self.inputs(operation))]
            reads, shape, owners = spread[k], self.found.shapes[v], np.arange(len(back))
            texts = [
                f"={template.format(*(self.text(e, BACKWARD) for e in row), y=self.text(y, BACKWARD))}"
                for *row, y in zip(*spread, results, strict=True)
            ]
        if template in ("1", "-1"):
            for entry, owner in zip(reads.tolist(), owners.tolist(), strict=True):
                self.add(entry, f"{'-' if template == '-1' else ''}{back[owner].address}")
            return
        if template == "0":
            return
        names = [self.labels.get(w, ("", ""))[0] for w in (v, operation.inputs[k])]
        label = f"∂{names[0]}/∂{names[1]}" if all(names) else f"derivative of {operation.name}"
        local = self.block(BACKWARD, shape, label, "local derivative", _where(operation), "local", texts)
        for entry, owner, cell in zip(reads.tolist(), owners.tolist(), local.cells, strict=True):
            self.add(entry, f"{back[owner].address}*{cell.address}")

    def of_groups(self, template: str, groups: np.ndarray, results: np.ndarray) -> list[str]:
        texts = []
        for group, result in zip(groups, results, strict=True):
            names, y = [self.text(e, BACKWARD) for e in group], self.text(result, BACKWARD)
            ties = "+".join(f"IF({name}={y},1,0)" for name in names) if "{ties}" in template else ""
            for k, name in enumerate(names):
                others = "*".join([*names[:k], *names[k + 1 :]]) or "1"
                texts.append(f"={template.format(name, y=y, ties=ties, others=others)}")
        return texts

    def through_numbers(self, operation: Operation, k: int, back: Sequence[Cell]) -> None:
        """An operation without a formula: its local Jacobian is written as numbers."""
        matrix = self.local(operation, k)
        name = self.labels.get(operation.outputs[0], (operation.name, ""))[0]
        label = f"∂{name}/∂{self.labels.get(operation.inputs[k], ('', ''))[0] or 'input'}"
        note = "no formula: numbers as saved"
        numbers = [plain_of(x) for x in matrix.ravel()]
        cells = self.block(
            BACKWARD, matrix.shape, label, "local Jacobian", _where(operation), "local", numbers, note, True
        ).cells
        for i, cell in enumerate(back):
            for j, entry in enumerate(self.at[operation.inputs[k]].ravel()):
                if matrix[i, j] != 0:
                    self.add(entry, f"{cell.address}*{cells[i * matrix.shape[1] + j].address}")


def _where(operation: Operation) -> str:
    """The line of code and where it stands."""
    return f"{operation.text}   [{operation.line}]" if operation.text else operation.line


def _hands_on(operation: Operation) -> bool:
    """Is each output entry just the input entry? Then it needs no cell of its own."""
    formula = formulas.of(operation) if operation.name in ("copy", "convert_element_type") else None
    return formula is not None and formula.value == "{0}"


def _laid_out(ids: np.ndarray, batch: Sequence[int], contracted: Sequence[int]) -> np.ndarray:
    """(batch, free, contracted), each flattened."""
    free = [axis for axis in range(ids.ndim) if axis not in (*batch, *contracted)]
    sizes = [math.prod(ids.shape[axis] for axis in axes) for axes in (batch, free, contracted)]
    return ids.transpose((*batch, *free, *contracted)).reshape(sizes)
