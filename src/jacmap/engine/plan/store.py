"""Patterns and colourings on disk: what planning found, kept for the next run of the same function."""

from __future__ import annotations

import hashlib
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from ..._errors import PlanFileError
from ..._files import replacing
from ..graph import Graph, Pattern
from .colouring import Colouring
from .recipe import Coloured, Constant, Recipe

FORMAT = 1


def fingerprint(graph: Graph) -> str:
    """A digest of everything that the pattern can depend on: operations, wiring, shapes, parameters, constants."""
    digest = hashlib.sha256()

    def add(text: str) -> None:
        digest.update(text.encode())

    for value in graph.values:
        add(f"{value.shape}{value.varying}{value.active};")
    for node in graph.nodes:
        # Functions among the parameters print their address, which is another one in every process.
        params = re.sub(r"0x[0-9a-f]+", "", str(getattr(node.payload, "params", "")))
        add(f"{node.op}{node.inputs}{node.outputs}{params};")
    add(f"{graph.inputs}{graph.outputs}{graph.others}")
    for v in sorted(graph.constants):
        try:
            digest.update(np.ascontiguousarray(graph.constants[v]).tobytes())
        except Exception:  # a constant that is no plain array (a key, a tracer): its shape has been counted above
            add("opaque")
    return digest.hexdigest()


def save(path: str | Path, graph: Graph, question: str, pattern: Pattern, chosen: Recipe) -> Path:
    """Write pattern and colouring to an `.npz`; an interrupted write leaves the old file as it was."""
    path = Path(path)
    csr = pattern.tocsr()
    recipe = chosen.inner if isinstance(chosen, Constant) else chosen
    fields: dict[str, Any] = {
        "format": FORMAT,
        "fingerprint": fingerprint(graph),
        "question": question,
        "shape": np.array(csr.shape),
        "indptr": csr.indptr,
        "indices": csr.indices,
    }
    if isinstance(recipe, Coloured) and not recipe.dropped:
        c = recipe.colouring
        fields |= {
            "column_colours": c.column_colours,
            "row_colours": c.row_colours,
            "counts": np.array([c.forward, c.reverse, c.lower_bound]),
            "order": c.order,
            "first": c.first,
        }
    with replacing(path) as file:
        np.savez_compressed(file, **fields)
    return path


def load(path: str | Path, graph: Graph, question: str) -> tuple[Pattern, Colouring | None]:
    """The pattern and colouring of a file, checked against the graph. Raises PlanFileError with the reason."""
    try:
        with np.load(path, allow_pickle=False) as file:
            fields = {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise PlanFileError(f"{path}: not a plan file ({error})") from error
    missing = {"format", "fingerprint", "question", "shape", "indptr", "indices"} - set(fields)
    if missing or int(fields["format"]) != FORMAT:
        raise PlanFileError(
            f"{path}: not a plan file of this version (missing {', '.join(sorted(missing)) or 'nothing'})"
        )
    shape = tuple(int(k) for k in fields["shape"])
    if shape != graph.shape:
        raise PlanFileError(
            f"{path}: made for a {shape[0]}×{shape[1]} Jacobian, this function's is {graph.shape[0]}×{graph.shape[1]}"
        )
    if str(fields["question"]) != question:
        raise PlanFileError(f"{path}: made for the question {str(fields['question'])!r}, asked for {question!r}")
    if str(fields["fingerprint"]) != fingerprint(graph):
        raise PlanFileError(f"{path}: made for another function of the same shape (its operations or constants differ)")
    csr = csr_array((np.ones(fields["indices"].size, bool), fields["indices"], fields["indptr"]), shape=shape)
    return Pattern.from_csr(csr), _colouring(path, fields, shape)


def _colouring(path: str | Path, fields: dict[str, Any], shape: tuple[int, int]) -> Colouring | None:
    if "counts" not in fields:
        return None
    columns, rows, counts = fields["column_colours"], fields["row_colours"], fields["counts"]
    if columns.shape != (shape[1],) or rows.shape != (shape[0],):
        raise PlanFileError(
            f"{path}: its colouring has {columns.size} columns and {rows.size} rows, expected {shape[1]} and {shape[0]}"
        )
    forward, reverse, bound = (int(k) for k in counts)
    return Colouring(shape, columns, rows, forward, reverse, bound, str(fields["order"]), str(fields["first"]))  # type: ignore[arg-type]
