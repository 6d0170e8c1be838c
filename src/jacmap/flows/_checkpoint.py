"""A training run on disk: written whole or not at all, and refused where it belongs to another run."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import equinox as eqx

from .._errors import ArgumentError
from .._files import replacing

FORMAT = "jacmap-flow-fit 1"


def save(path: Path, arrays: Any, record: dict[str, Any], run: dict[str, Any]) -> None:
    """The pytree `arrays`, and what is to be said of it; `run` says which run it belongs to.

    One line of JSON, then equinox's serialisation. The file takes the old one's place when it is complete, so that a
    process killed at any moment leaves the one or the other.
    """
    payload = io.BytesIO()
    eqx.tree_serialise_leaves(payload, arrays)
    body = payload.getvalue()
    head = {"format": FORMAT, "run": run, "record": record, "sha256": hashlib.sha256(body).hexdigest()}
    with replacing(path) as file:
        file.write(json.dumps(head).encode() + b"\n" + body)


def load(path: Path, like: Any, run: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
    """(arrays as `like`, record), or None where there is no file. Clears away what killed processes left half-written.

    Raises ArgumentError where the file is damaged or belongs to another run, and says in what that run differs.
    """
    for partial in path.parent.glob(f".{path.name}.*.partial"):
        partial.unlink(missing_ok=True)
    if not path.exists():
        return None
    line, _, body = path.read_bytes().partition(b"\n")
    try:
        head = json.loads(line)
        intact = head["format"] == FORMAT and hashlib.sha256(body).hexdigest() == head["sha256"]
    except (ValueError, KeyError, TypeError):
        intact = False
    if not intact:
        raise ArgumentError(f"checkpoint: {path} is no checkpoint of fit, or is damaged; delete it to begin anew")
    different = [name for name in run if head["run"].get(name) != run[name]]
    if different:
        raise ArgumentError(
            f"checkpoint: {path} belongs to a run with another {', '.join(different)}; delete it, or give another path"
        )
    return eqx.tree_deserialise_leaves(io.BytesIO(body), like), head["record"]
