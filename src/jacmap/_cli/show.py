"""What `jacmap explain` prints: value, matrix or picture, chain, plan, and what it all means."""

import textwrap
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from .._labels import Labels
from ..study import meaning
from . import labels
from .numbers import plain, sparse
from .target import Target

SMALL = 8  # a matrix of at most SMALL×SMALL is printed entry by entry
SEGMENTS = 12  # segments of the chain that are listed
LARGEST_DENSE = 4_000_000  # entries of J that are held in full to say what it means
LARGEST_SPARSE = 20_000_000


def explanation(
    console: Console, target: Target, arguments: tuple[Any, ...], moving: tuple[int, ...], J: Any, question: str | None
) -> None:
    """Print what is known about `J`, the Jacobian of the target by the arguments `moving`, and the question's plan."""
    if question is None:
        question = "dense" if J.shape[0] * J.shape[1] <= LARGEST_DENSE else "sparse"
    plan = J.explain(question)
    inputs, outputs = labels.of_inputs(target, arguments, moving), labels.of_outputs(J.value)
    value, point = plain(J.value), plain(tuple(arguments[k] for k in moving))
    _heading(console, target.name)
    if target.variables is not None:
        _line(console, f"Variables in order: {', '.join(target.variables)}")
    _line(console, f"Value: {_value(value)}")
    for what, tree, names in (("point", point, inputs), ("value", value, outputs)):
        if bad := _not_finite(tree, names):
            _line(console, f"Not finite in the {what}: {bad}")

    _heading(console, f"Jacobian, {J.shape[0]}×{J.shape[1]} (outputs × inputs): {J.structure}")
    if max(J.shape) <= SMALL:
        console.print(_table(np.asarray(plain(J.dense())), inputs, outputs))
    elif picture := str(J).splitlines()[1:-1]:  # between the structure, shown above, and the plan, shown below
        _line(console, "\n".join(picture))
    _chain(console, J.chain)

    title, *body = str(plan).splitlines()
    _heading(console, title)
    _line(console, "\n".join(body))

    _heading(console, "What it means")
    for sentence in _meaning(J, inputs, outputs):
        _line(console, textwrap.fill(f"- {sentence}", console.width, subsequent_indent="  ", break_on_hyphens=False))


def _heading(console: Console, text: str) -> None:
    console.print()
    console.print(text, style="bold", markup=False, highlight=False, soft_wrap=True)


def _line(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _value(value: Any) -> str:
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(value)]
    return "; ".join(_array(leaf) for leaf in leaves)


def _array(array: np.ndarray) -> str:
    if array.size <= 16:
        shown = np.array2string(array, separator=", ", formatter={"float_kind": _six_figures})
        return shown.replace("\n", "")
    shape = "×".join(str(size) for size in array.shape)
    return f"{shape} numbers from {array.min():.6g} to {array.max():.6g}"


def _six_figures(number: Any) -> str:
    return f"{number:.6g}"


def _not_finite(tree: Any, names: Labels) -> str:
    """The first few entries that are NaN or infinite, by name; empty when there are none."""
    flat = np.concatenate([np.empty(0), *(np.ravel(leaf) for leaf in jax.tree.leaves(tree))])
    bad = np.flatnonzero(~np.isfinite(flat))
    shown = [f"{names[int(entry)]} = {flat[entry]:.6g}" for entry in bad[:5]]
    return ", ".join(shown) + (f" and {bad.size - 5} more" if bad.size > 5 else "")


def _table(matrix: np.ndarray, inputs: Labels, outputs: Labels) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    table.add_column("")
    for column in range(matrix.shape[1]):
        table.add_column(f"∂/∂{inputs[column]}", justify="right", no_wrap=True)
    for row, entries in enumerate(matrix):
        table.add_row(outputs[row], *(_six_figures(entry) for entry in entries))
    return table


def _chain(console: Console, chain: Any) -> None:
    segments = list(chain)
    if len(segments) < 2:
        return
    _heading(console, f"Chain: J is the product of {len(segments)} segments, the last one leftmost")
    table = Table(box=None, pad_edge=False, padding=(0, 2), show_header=False)
    for number, segment in enumerate(segments[:SEGMENTS]):
        table.add_row(f"J{number + 1}", f"{segment.shape[0]}×{segment.shape[1]}", str(segment.name))
    console.print(table, markup=False, highlight=False)
    if len(segments) > SEGMENTS:
        _line(console, f"... and {len(segments) - SEGMENTS} more")


def _meaning(J: Any, inputs: Labels, outputs: Labels) -> list[str]:
    rows, columns = J.shape
    if rows * columns <= LARGEST_DENSE:
        return meaning.sentences(np.asarray(plain(J.dense())), inputs, outputs)
    if J.pattern.nnz <= LARGEST_SPARSE:
        return meaning.sentences(sparse(J.sparse()), inputs, outputs)
    return [f"J has {J.pattern.nnz} entries that can differ from zero: too many to rank rows and columns."]
