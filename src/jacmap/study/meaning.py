"""What a Jacobian means, in words: which entries matter, what it does to volumes, what it loses."""

import math
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse

from .._labels import Labels

Matrix: TypeAlias = "np.ndarray | scipy.sparse.csr_array"

NAMED = 5  # entries named in a sentence
ALIKE = 0.999  # lengths that differ by less are not worth ranking
LARGEST_FACTORED = 1024  # min(m, n) up to which singular values are computed


def sentences(matrix: Matrix, inputs: Labels, outputs: Labels) -> list[str]:
    """Plain sentences about an m×n Jacobian, rows named by `outputs` and columns by `inputs`."""
    if 0 in matrix.shape:
        return ["J is empty: there is no output, or no input, to speak of."]
    if (bad := _not_finite(matrix)) is not None:
        count, row, column = bad
        said_of = f"{count} of the {matrix.shape[0] * matrix.shape[1]} entries of J {'is' if count == 1 else 'are'}"
        return [
            f"{said_of} not finite (NaN or infinite), the first at row {outputs[row]}, column {inputs[column]}: "
            "no further figures."
        ]
    said = effects(matrix, inputs, outputs)
    if (smaller := min(matrix.shape)) > LARGEST_FACTORED:
        return [*said, f"Rank and volume: not worked out, min(m, n) = {smaller} is above {LARGEST_FACTORED}."]
    dense = matrix if isinstance(matrix, np.ndarray) else matrix.toarray()
    singular = np.linalg.svd(dense, compute_uv=False)
    rank = int(np.sum(singular > singular[0] * max(dense.shape) * np.finfo(singular.dtype).eps))
    if dense.shape[0] == dense.shape[1]:
        said.append(_volume(dense, rank))
    return [*said, _rank(dense.shape, rank, singular)]


def effects(matrix: Matrix, inputs: Labels, outputs: Labels) -> list[str]:
    """Which inputs move most and which outputs are moved most, by the lengths of columns and rows; J must be finite."""
    return [*_influence(matrix, inputs), *_response(matrix, outputs)]


def _not_finite(matrix: Matrix) -> tuple[int, int, int] | None:
    """(how many, row and column of the first) of the entries that are NaN or infinite."""
    entries: Any = scipy.sparse.coo_array(matrix)
    bad = np.flatnonzero(~np.isfinite(entries.data))
    if not bad.size:
        return None
    return bad.size, int(entries.row[bad[0]]), int(entries.col[bad[0]])


def _influence(matrix: Matrix, inputs: Labels) -> list[str]:
    lengths = _lengths(matrix, axis=0)
    if not lengths.any():
        return ["J is zero here: no input moves any output to first order."]
    return _ranked(lengths, inputs, "Inputs", "by influence (column length)", "move nothing here")


def _response(matrix: Matrix, outputs: Labels) -> list[str]:
    lengths = _lengths(matrix, axis=1)
    if not lengths.any():
        return []
    return _ranked(lengths, outputs, "Outputs", "by sensitivity (row length)", "do not move here")


def _lengths(matrix: Matrix, axis: int) -> np.ndarray:
    return np.sqrt(np.asarray((abs(matrix) ** 2).sum(axis=axis), dtype=float)).ravel()


def _ranked(lengths: np.ndarray, labels: Labels, noun: str, measure: str, still: str) -> list[str]:
    if lengths.min() >= ALIKE * lengths.max():
        return [f"{noun} {measure}: {'all alike, ' if lengths.size > 1 else ''}{lengths.max():.4g}."]
    top = np.argsort(-lengths, kind="stable")[:NAMED]
    named = ", ".join(f"{labels[int(entry)]} {lengths[entry]:.4g}" for entry in top if lengths[entry] > 0)
    said = [f"{noun} {measure}: {named}."]
    zeros = np.flatnonzero(lengths == 0)
    if zeros.size:
        first = ", ".join(labels[int(entry)] for entry in zeros[:NAMED])
        more = ", ..." if zeros.size > NAMED else ""
        said.append(f"{noun} that {still}: {zeros.size} of {lengths.size} ({first}{more}).")
    return said


def _volume(matrix: np.ndarray, rank: int) -> str:
    size = matrix.shape[0]
    if rank < size:
        return f"det J = 0 to working precision: {_volumes(size)} collapse."
    if np.iscomplexobj(matrix):
        return f"det J = {np.linalg.det(matrix):.6g}."
    sign, log = (number.item() for number in np.linalg.slogdet(matrix))
    if abs(log) < 50:
        factor = math.exp(log)
        shown = f"det J = {sign * factor:.6g}"
        if abs(log) < 1e-6:
            growth = f"{_volumes(size)} are kept"
        else:
            growth = f"{_volumes(size)} {'grow by' if log > 0 else 'shrink to'} {factor:.4g}×"
    else:
        shown = f"log|det J| = {log:.6g}"
        growth = f"{_volumes(size)} {'grow' if log > 0 else 'shrink'} by e^{abs(log):.4g}"
    return f"{shown}: {growth}, orientation {'kept' if sign > 0 else 'flipped'}."


def _volumes(size: int) -> str:
    return {1: "lengths", 2: "areas", 3: "volumes"}.get(size, f"{size}-dimensional volumes")


def _rank(shape: tuple[int, ...], rank: int, singular: np.ndarray) -> str:
    outputs, inputs = shape
    said = f"Rank {rank} of at most {min(shape)}: "
    if rank < min(shape):
        lost = inputs - rank
        said += f"{lost} independent direction{'s' if lost > 1 else ''} of input move nothing to first order"
    elif outputs == inputs:
        said += "the function can be undone near this point"
    elif outputs < inputs:
        said += "every small change of the output can be reached"
    else:
        said += "every small change of the input shows in the output"
    said += f". A small step is stretched at most {singular[0]:.4g}×"
    if rank == inputs:
        said += f", at least {singular[-1]:.4g}×"
    return f"{said}."
