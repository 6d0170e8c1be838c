"""Backpropagation in words and numbers: forward from the inputs, back from the loss, and what each way costs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .result import Backprop, Read, StepDone, Value

WIDTH = 100
SHOWN = 24  # entries of an array that is printed, beyond it shape and norm
MATRIX = 64  # entries of a local Jacobian that is printed, of at most WIDE columns
WIDE = 8
STEPS = 60  # steps that are printed
LARGEST_LISTED = 10_000  # entries of an array in a dictionary


def lines(found: Backprop) -> list[str]:
    """What `print` shows."""
    shown = found.steps[:STEPS]
    told = [*_head(found), "", "Forward: every value, first to last", *_given(found)]
    told += [line for step, heading in _by_line(shown) for line in (*heading, *_forward(step))]
    if len(found.steps) > STEPS:
        told.append(f"  ... and {len(found.steps) - STEPS} more steps")
    told += ["", "Backward: last to first; each step hands back (its local Jacobian)ᵀ times what came to it"]
    told += [line for step in reversed(shown) for line in _backward(step)]
    told += ["", f"The gradient, equal to jax.grad's (difference {found.difference:.1e} of its largest entry)"]
    told += [line for value in found.inputs for line in _arrived(value)]
    told += ["", "Forward and reverse side by side", *_table(found)]
    for sentence in costs(found):
        told += textwrap.wrap(sentence, WIDTH)
    return [line.rstrip() for line in told]


def _head(found: Backprop) -> list[str]:
    head = f"Backpropagation through {found.name}: L = {found.value:.6g}"
    return [head, f"{found.size} input entries, {len(found.steps)} steps. ∂L/∂v is how fast L grows with v."]


def _given(found: Backprop) -> Iterator[str]:
    for what, values in (("differentiated", found.inputs), ("given", found.others), ("held by f", found.constants)):
        for value in values:
            yield from _named(f"  {value.name} = ", value.value, f"   ({what})")


def _by_line(steps: tuple[StepDone, ...]) -> Iterator[tuple[StepDone, list[str]]]:
    """Each step, and the line of code that it is the first step of."""
    before = None
    for step in steps:
        where = step.line, step.text
        heading = [_cut(f"  {step.text}   [{step.line}]" if step.text else f"  [{step.line}]")] if step.line else []
        yield step, heading if where != before else []
        before = where


def _forward(step: StepDone) -> Iterator[str]:
    if len(step.makes) == 1:
        made = step.makes[0]
        yield from _named(f"{step.number:5}. {made.name} = {step.formula} = ", made.value)
        return
    yield _cut(f"{step.number:5}. {step.name} = {step.formula}")
    for made in step.makes:
        yield from _named(f"       {made.name} = ", made.value)


def _backward(step: StepDone) -> Iterator[str]:
    if not step.reads:
        return
    yield _cut(f"{step.number:5}. {step.name} = {step.formula}")
    if all(read.handed is None for read in step.reads):
        yield "       nothing comes back: L does not depend on it here"
        return
    for made in step.makes:
        yield from ("     " + line for line in _arrived(made))
    for read in step.reads:
        yield from _local(step, read)
        if read.handed is not None:
            yield from _named(f"         hands {read.name} ", read.handed)


def _local(step: StepDone, read: Read) -> Iterator[str]:
    m, n = read.shape
    label = f"       ∂{step.makes[0].name}/∂{read.name}, {m}×{n}, {read.kind}"
    if read.jacobian is None:
        yield _cut(label)
    elif read.kind.startswith("diagonal") and m == n and m > 1:
        yield from _named(f"{label}: ", np.diagonal(read.jacobian))
    elif read.jacobian.size <= MATRIX and n <= WIDE or read.jacobian.size == 1:
        yield from _named(f"{label}: ", read.jacobian if m > 1 else read.jacobian[0] if n > 1 else read.jacobian[0, 0])
    else:
        yield _cut(f"{label}: norm {np.linalg.norm(read.jacobian):.4g}")


def _arrived(value: Value) -> Iterator[str]:
    """∂L/∂value, as a sum where several steps read it."""
    if value.cotangent is None:
        return
    if len(value.readers) > 1:
        yield _cut(f"  {value.name} is read {len(value.readers)} times: what comes back adds up")
        for k, (number, back) in enumerate(value.readers):
            yield from _named(f"    {'+' if k else ' '} from step {number}: ", back)
    yield from _named(f"  ∂L/∂{value.name} = ", value.cotangent)


def _table(found: Backprop) -> Iterator[str]:
    yield f"  {'step':<34}{'JVP: along the direction':>26}{'VJP: ∂L/∂':>16}{'multiplications':>20}"
    for step in found.steps[:STEPS]:
        made = step.makes[0]
        named = f"{step.number}. {step.name} = {step.formula}"
        named = named if len(named) <= 33 else f"{named[:32]}…"
        both = f"{step.forward} | {step.reverse}"
        yield f"  {named:<34}{_size(made.tangent):>26}{_size(made.cotangent):>16}{both:>20}"
    counts = found.multiplications
    both = f"{counts['one JVP']} | {counts['one VJP']}"
    yield f"  {'one sweep':<34}{'':>26}{'':>16}{both:>20}"
    yield f"  {'the whole gradient':<34}{'':>26}{'':>16}" + (
        f"{counts['gradient by forward mode']} | {counts['gradient by reverse mode']}".rjust(20)
    )


def _size(array: np.ndarray | None) -> str:
    if array is None:
        return "–"
    return f"{array.item():.4g}" if array.size == 1 else f"norm {np.linalg.norm(array):.4g}"


def costs(found: Backprop) -> list[str]:
    """Why reverse mode wins here, or does not, and how the multiplications were counted."""
    counts, n = found.multiplications, found.size
    forward, reverse = counts["gradient by forward mode"], counts["gradient by reverse mode"]
    kept = sum(made.value.nbytes for step in found.steps for made in step.makes)
    here = "" if found.directional is None else f", here {found.directional:.6g}"
    said = [
        f"A forward sweep pushes one direction through and finds one number{here}; the "
        f"gradient takes {n} such sweeps, one per input entry. A reverse sweep starts from the one number L and finds "
        f"all {n} derivatives at once."
    ]
    if found.directional is None:
        said.append("Here it cannot run at all: an operation with a custom rule knows reverse mode alone.")
    if n == 1:
        said.append("One input entry, one output: both take one sweep, and forward mode keeps nothing on the way.")
    elif reverse:
        said.append(
            f"So reverse mode wins for a scalar loss: {reverse} multiplications instead of {forward}, "
            f"{forward / reverse:.3g} times fewer."
        )
    said.append(
        "It does not win where there are more outputs than inputs (forward takes a sweep per input, reverse one per "
        "output), for a derivative along one direction, or where memory is short: reverse mode needs the values of the "
        f"forward pass, at most {kept} bytes of them here."
    )
    said.append(
        "Counted: one multiplication for each entry of a local Jacobian that can differ from zero (n for an "
        "elementwise function, m·k·n for a product of m×k and k×n), none where all entries are 0, 1 or −1."
    )
    return said


def _named(label: str, array: Any, after: str = "") -> Iterator[str]:
    """An array in full where it is small, on one line where it fits; else its shape and norm."""
    array = np.asarray(array)
    if array.size > SHOWN and not (array.ndim == 2 and array.size <= MATRIX and array.shape[1] <= WIDE):
        shape = "×".join(map(str, array.shape))
        norm = "" if array.dtype == bool else f", norm {np.linalg.norm(array.astype(float)):.4g}"
        yield _cut(f"{label}{shape} numbers{norm}{after}")
        return
    text = np.array2string(array, formatter={"all": _number}, max_line_width=10_000, threshold=10_000)
    one = " ".join(text.split())
    if array.ndim < 2 and len(label) + len(one) + len(after) <= WIDTH:
        yield f"{label}{one}{after}"
        return
    indent = " " * (len(label) - len(label.lstrip()) + 4)
    rows = text.split("\n") if array.ndim > 1 else textwrap.wrap(one, WIDTH - len(indent))
    if array.ndim == 2 and len(array) == 1 and len(label) + len(one) + len(after) <= WIDTH:
        yield f"{label}{one}{after}"
        return
    yield _cut(f"{label.rstrip()}{after}")
    yield from (_cut(f"{indent}{row.strip() if array.ndim < 2 else row}") for row in rows if row.strip())


def _number(entry: Any) -> str:
    return str(entry) if isinstance(entry, (bool, np.bool_)) else f"{entry + 0:.4g}"  # no "-0"


def _cut(line: str) -> str:
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 1]}…"


def plain(found: Backprop) -> dict[str, Any]:
    """Numbers, lists and words alone."""
    return {
        "name": found.name,
        "value": found.value,
        "inputs": [_plain_value(value) for value in found.inputs],
        "others": [_plain_value(value) for value in found.others],
        "constants": [_plain_value(value) for value in found.constants],
        "steps": [_plain_step(step) for step in found.steps],
        "difference": found.difference,
        "directional": found.directional,
        "multiplications": dict(found.multiplications),
        "words": costs(found),
    }


def _plain_value(value: Value) -> dict[str, Any]:
    return {
        "name": value.name,
        "shape": list(value.value.shape),
        "value": _listed(value.value),
        "tangent": _listed(value.tangent),
        "cotangent": _listed(value.cotangent),
        "readers": [{"step": number, "handed": _listed(back)} for number, back in value.readers],
    }


def _plain_step(step: StepDone) -> dict[str, Any]:
    words = {name: getattr(step, name) for name in ("number", "formula", "operation", "scope", "line", "text")}
    reads = [
        {
            "name": read.name,
            "kind": read.kind,
            "shape": list(read.shape),
            "jacobian": _listed(read.jacobian),
            "handed": _listed(read.handed),
            "multiplications": read.multiplications,
        }
        for read in step.reads
    ]
    return {**words, "makes": [_plain_value(value) for value in step.makes], "reads": reads}


def _listed(array: np.ndarray | None) -> Any:
    return None if array is None or array.size > LARGEST_LISTED else array.tolist()
