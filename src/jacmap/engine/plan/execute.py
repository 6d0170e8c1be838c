"""Follow a recipe. Array work goes through the backend's array namespace, so one text serves every framework."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from .bracket import Tree
from .question import Question
from .readout import Readout
from .recipe import Bracketed, Coloured, Part, Plain, Recipe, Scaled


class Runner(Protocol):
    """What a backend offers at one point x: batches of passes through the function or through a part of it.

    Seeds are columns for `push` (width × p → width × p) and rows for `pull` (p × width → p × width). `between` names a
    part by its cuts' value ids; None is the whole function. `pick` reads `height` entries from each (row, column) down,
    one after the other.
    """

    shape: tuple[int, int]

    def push(self, seeds: Any, chunk: int = 0, between: Any = None, dropped: Any = frozenset()) -> Any: ...
    def pull(self, seeds: Any, chunk: int = 0, between: Any = None, dropped: Any = frozenset()) -> Any: ...
    def identity(self, size: int) -> Any: ...
    def one_hot(self, labels: np.ndarray, count: int) -> Any: ...
    def pick(self, matrix: Any, rows: np.ndarray, cols: np.ndarray, height: int = 1) -> Any: ...
    def take(self, flat: Any, index: np.ndarray) -> Any: ...
    def spread(self, flat: Any, index: np.ndarray, size: int) -> Any: ...
    def sums(self, flat: Any, index: np.ndarray, groups: np.ndarray, count: int) -> Any: ...
    def concatenate(self, parts: list[Any]) -> Any: ...
    def permute(self, array: Any, axes: tuple[int, ...]) -> Any: ...


def execute(recipe: Recipe, question: Question, read: Readout | None, run: Runner) -> Any:
    """The answer's numbers: m×n for dense, one number per wanted entry (row-major) for all the other kinds."""
    if isinstance(recipe, Plain):
        matrix = _plain(recipe, run)
        return matrix if question.kind == "dense" else _pick(matrix, read, run)
    if isinstance(recipe, Scaled):
        return _scaled(recipe, run)
    if isinstance(recipe, Bracketed):
        return _tree(recipe.tree, recipe, run)
    if isinstance(recipe, Coloured):
        assert read is not None
        data = _coloured(recipe, read, run)
        return _densified(recipe, read, data, run) if question.kind == "dense" else data
    raise TypeError(f"no way to run a {type(recipe).__name__}")


def _plain(recipe: Plain, run: Runner) -> Any:
    m, n = run.shape
    if recipe.mode == "forward":
        return run.push(run.identity(n), recipe.chunk)
    return run.pull(run.identity(m), recipe.chunk)


def _scaled(recipe: Scaled, run: Runner) -> Any:
    start, head, tail, end = recipe.cuts
    middle = head, tail
    if recipe.mode == "forward":
        matrix = run.push(run.identity(head.width), recipe.chunk, middle)
    else:
        matrix = run.pull(run.identity(tail.width), recipe.chunk, middle)
    for before, after in ((start, head), (tail, end)):
        if before is not after:
            # The diagonal: one pass with a seed of ones.
            diagonal = run.push(run.one_hot(np.zeros(before.width, np.int32), 1), between=(before, after))
            matrix = matrix * (diagonal.T if after is head else diagonal)
    return matrix


def _pick(matrix: Any, read: Readout | None, run: Runner) -> Any:
    assert read is not None
    return run.take(matrix.reshape(-1), read.flat)


def _coloured(recipe: Coloured, read: Readout, run: Runner) -> Any:
    colouring = recipe.colouring
    parts = []
    if colouring.forward:
        seeds = run.one_hot(colouring.column_colours, colouring.forward)
        # Pass after pass: each is as contiguous as f itself, which is faster than entries of all passes side by side.
        pushed, start = [], 0
        for part in recipe.parts or (Part(colouring.forward, recipe.dropped, recipe.chunk),):
            pushed.append(run.push(seeds[:, start : start + part.count], part.chunk, dropped=part.still).T)
            start += part.count
        parts.append(run.concatenate(pushed))
    if colouring.reverse:
        seeds = run.one_hot(colouring.row_colours, colouring.reverse).T
        parts.append(run.pull(seeds, recipe.chunk, dropped=recipe.dropped))
    if not parts:
        return run.take(run.identity(1).reshape(-1), np.zeros(0, np.int32))
    if read.symmetric is not None:
        return read.symmetric.numbers(parts[0], run)
    if read.layout is not None:
        shape, axes = read.layout
        return run.permute(parts[0].reshape(shape), axes).reshape(-1)
    if len(parts) == 1:
        # Passes in turn are whole in memory when they are read: the fewer places to look up, the better.
        return run.pick(parts[0], *(read.source_runs if recipe.chunk else read.source_pairs))
    return run.take(run.concatenate([part.reshape(-1) for part in parts]), read.source)


def _densified(recipe: Coloured, read: Readout, data: Any, run: Runner) -> Any:
    m, n = read.shape
    return run.spread(data, read.flat, m * n).reshape(m, n)


def _tree(tree: Tree, recipe: Bracketed, run: Runner) -> Any:
    cuts = recipe.cuts
    if tree.kind == "forward":
        return run.push(run.identity(cuts[tree.start].width), recipe.chunk, (cuts[tree.start], cuts[tree.stop]))
    if tree.kind == "reverse":
        return run.pull(run.identity(cuts[tree.stop].width), recipe.chunk, (cuts[tree.start], cuts[tree.stop]))
    if tree.kind == "push":
        return run.push(_tree(tree.first, recipe, run), recipe.chunk, (cuts[tree.split], cuts[tree.stop]))
    if tree.kind == "pull":
        return run.pull(_tree(tree.last, recipe, run), recipe.chunk, (cuts[tree.start], cuts[tree.split]))
    return _tree(tree.last, recipe, run) @ _tree(tree.first, recipe, run)
