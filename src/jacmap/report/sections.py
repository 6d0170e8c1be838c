"""The sections of a report, each made from the subject alone. `TABLE` is their order."""

from __future__ import annotations

import importlib.metadata
import inspect
import platform
import textwrap
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from scipy.sparse import csr_array, issparse

from ..study import Geometry, sensitivity
from . import backprop, data, pictures
from .numbers import array, number
from .parts import Code, Figure, Part, Section, Table, Words
from .subject import Subject

LISTED = 24  # entries of a point or a value listed one by one
CELLS = 10  # a matrix of at most CELLS×CELLS is printed as a table
DRAWN = 64  # a matrix of at most DRAWN×DRAWN is drawn with its numbers, a larger one that is sparse as its pattern
SEGMENTS = 24  # segments of the chain that are listed
FACTORED = 512  # min(m, n) up to which all singular values of a segment are worked out
STRONGEST = 10
NEAR_SINGULAR = 1e8  # condition number from which an inverse in double precision loses half of its figures
LARGEST_SPARSE = 5_000_000  # entries of a large J that are looked at one by one
MAPS = 10  # outputs of an image whose sensitivity is drawn


def function(subject: Subject) -> Section:
    parts: list[Part] = [_text(subject)]
    for what, leaves, flat, labels in subject.ends:
        if flat.size <= LISTED:
            rows = [(labels[k], number(entry)) for k, entry in enumerate(flat)]
            parts.append(Table(f"The {what}", ("", what), rows))
        else:
            parts.append(Words([f"The {what}: {array(flat, leaves)}."]))
    return Section("function", "The function", parts, _not_finite(subject))


def _text(subject: Subject) -> Part:
    if subject.expression:
        return Code("The function", subject.expression)
    try:
        source = textwrap.dedent(inspect.getsource(inspect.unwrap(subject.J.f)))
    except (OSError, TypeError):
        return Words([f"{subject.title}, whose source is not to be had."])
    return Code("The function's source", source.rstrip())


def _not_finite(subject: Subject) -> list[str]:
    told = []
    for what, _, flat, labels in subject.ends:
        bad = np.flatnonzero(~np.isfinite(flat))
        if bad.size:
            named = ", ".join(f"{labels[int(k)]} = {flat[k]}" for k in bad[:3]) + (", …" if bad.size > 3 else "")
            count = f"{bad.size} of {flat.size} numbers of the {what} {'is' if bad.size == 1 else 'are'} not finite"
            told.append(f"{count}: {named}.")
    if subject.small and not told and (bad_entries := int(np.sum(~np.isfinite(subject.matrix)))):
        told.append(f"{bad_entries} entries of J are NaN or infinite: f has no finite derivative here.")
    return told


def formulas(subject: Subject) -> Section | None:
    """The Jacobian of an expression, beside its numbers; left out where SymPy is not installed."""
    if not subject.expression:
        return None
    from ..study import symbolic

    try:
        found = symbolic(subject.expression, np.ravel(np.asarray(subject.J.args[0])))
    except ImportError as error:
        return Section("formulas", "Formulas", [Words([str(error)])])
    return Section("formulas", "Formulas", [Code("The Jacobian in formulas and numbers", str(found))])


def matrix(subject: Subject) -> Section:
    J = subject.J
    m, n = J.shape
    import jacmap as jm

    parts: list[Part] = [Words([
        f"J is {m}×{n} (outputs × inputs): {J.structure}; {J.pattern.nnz} of {m * n} entries can differ from zero."
    ])]  # fmt: skip
    if max(J.shape) <= CELLS:
        head = ("", *(f"∂/∂{subject.inputs[k]}" for k in range(n)))
        rows = [(subject.outputs[i], *map(number, row)) for i, row in enumerate(subject.matrix)]
        parts.append(Table("The Jacobian", head, rows))
    elif subject.small and _mostly_full(subject):
        _add(parts, pictures.figure(
            lambda ax: jm.plot.matrix(subject.matrix, ax=ax),
            f"J, {m}×{n}: the colour of a cell is its partial derivative.",
            f"Picture of the {m} by {n} Jacobian. Largest entry in size {number(abs(subject.matrix).max())}.",
        ))  # fmt: skip
    else:
        _add(parts, pictures.figure(
            lambda ax: jm.plot.pattern(J, ax=ax),
            f"The pattern of J, {m}×{n}: where entries can differ from zero.",
            f"Picture of the pattern of the {m} by {n} Jacobian: {J.structure}.",
        ))  # fmt: skip
    return Section("jacobian", "The Jacobian", parts)


def _mostly_full(subject: Subject) -> bool:
    """Is it the numbers of J that a picture should show, and not where they are?"""
    m, n = subject.J.shape
    return (max(m, n) <= DRAWN or 2 * subject.J.pattern.nnz > m * n) and bool(np.isfinite(subject.matrix).all())


def plan(subject: Subject) -> Section:
    found = subject.J.explain("dense" if subject.small else "sparse")
    return Section("plan", "How it is computed", [Words([f"{found.summary}."]), Code("The plan", str(found))])


def meaning(subject: Subject) -> Section:
    """Influence and response, in words; the strongest effects; the map of an image."""
    from ..study import meaning as words

    J = subject.J
    held = subject.matrix if subject.small else _sparse(subject)
    if held is None:
        return Section("sensitivities", "Which inputs move which outputs", [Words([
            f"J has {J.pattern.nnz} entries that can differ from zero: too many to rank."
        ])])  # fmt: skip
    finite = np.isfinite(held.data if issparse(held) else held).all()
    if not finite or 0 in J.shape:
        why = "empty" if finite else "not finite here"
        return Section("sensitivities", "Which inputs move which outputs", [Words([f"J is {why}: nothing to rank."])])
    parts: list[Part] = [Words(words.effects(held, subject.inputs, subject.outputs))]
    if subject.small:
        parts += [*_strongest(subject), *_maps(subject)]
    return Section("sensitivities", "Which inputs move which outputs", parts)


def _sparse(subject: Subject) -> Any:
    if subject.J.pattern.nnz > LARGEST_SPARSE:
        return None
    entries = subject.J.sparse()
    at = np.asarray(entries.indices)
    return csr_array((np.asarray(entries.data), (at[:, 0], at[:, 1])), shape=subject.J.shape)


def _strongest(subject: Subject) -> list[Part]:
    found = sensitivity(subject.J)
    flat = np.abs(found.matrix).ravel()
    top = [int(k) for k in np.argsort(-flat, kind="stable")[:STRONGEST] if flat[k] > 0]
    if len(top) < 2:
        return []
    rows = []
    for i, j in (divmod(k, subject.J.shape[1]) for k in top):
        elasticity = found.relative[i, j]
        percent = number(elasticity) if np.isfinite(elasticity) else "–"
        rows.append((f"{subject.inputs[j]} → {subject.outputs[i]}", number(found.matrix[i, j]), percent))
    caption = f"The {len(rows)} strongest effects of one input on one output"
    return [Table(caption, ("", "∂y/∂x", "% per %"), rows)]


def _maps(subject: Subject) -> list[Part]:
    shape = subject.image_shape
    if shape is None:
        return []
    image = np.asarray(subject.moving[0])
    parts: list[Part] = []
    for i in range(min(MAPS, subject.J.shape[0])):
        values = subject.matrix[i].reshape(shape)
        _add(parts, pictures.figure(
            partial(_map, values, image),
            f"What each pixel does to {subject.outputs[i]}.",
            f"Signed sensitivity of {subject.outputs[i]} to each pixel of the image.",
            size=(4.0, 3.4),
            small=True,
        ))  # fmt: skip
    if subject.J.shape[0] > MAPS:
        parts.append(Words([f"The first {MAPS} of {subject.J.shape[0]} outputs are drawn."]))
    return parts


def _map(values: np.ndarray, image: np.ndarray, ax: Any) -> None:
    import jacmap as jm

    jm.plot.sensitivity_map(values, image=image, ax=ax)


def geometry(subject: Subject) -> Section:
    import jacmap as jm

    found, J = subject.geometry, subject.J
    parts: list[Part] = [Words(said, title) for title, said in found.to_dict()["words"].items()]
    x = np.asarray(subject.moving[0])
    vector = np.size(J.argnums) == 1 and x.shape == (J.shape[1],)
    if J.shape == (2, 2) and vector:
        _add(parts, pictures.figure(
            lambda ax: jm.plot.circle_to_ellipse(J.f, x, ax=ax),
            "What becomes of a circle around the point.",
            "A circle around the point, its true image and the ellipse of the linear model.",
            size=(5.0, 4.6),
        ))  # fmt: skip
        _add(parts, pictures.figure(
            lambda ax: jm.plot.grid(J.f, x - 1, x + 1, ax=ax),
            "A grid around the point after f, coloured by |det J|.",
            "The image of a square grid under f, coloured by the local change of area.",
            size=(5.0, 4.6),
        ))  # fmt: skip
    elif J.shape == (3, 3) and vector:
        _add(parts, pictures.figure(
            lambda ax: jm.plot.sphere_to_ellipsoid(J.f, x, ax=ax),
            "What becomes of a sphere around the point.",
            "The image of a sphere around the point and the axes of the ellipsoid of the linear model.",
            size=(5.0, 4.6),
            projection="3d",
        ))  # fmt: skip
    elif found.singular_values.size > 3:
        _add(parts, pictures.figure(
            lambda ax: jm.plot.singular_values(found, ax=ax),
            "Singular values: how much J stretches in each direction.",
            f"Singular values from {number(found.singular_values[0])} to {number(found.singular_values[-1])}.",
        ))  # fmt: skip
    if found.trust is not None and np.isfinite(found.trust.remainders).any():
        _add(parts, pictures.figure(
            lambda ax: jm.plot.trust(found.trust, ax=ax),
            "How far the linear model can be trusted.",
            "Remainder of the linear model against the size of the step.",
        ))  # fmt: skip
    return Section("geometry", "Geometry", parts, _doubts(found))


def _doubts(found: Geometry) -> list[str]:
    """What makes the linear model, or an inverse, untrustworthy here."""
    if found.trust is None:
        return list(found.left_out)
    m, n = found.shape
    told = []
    if found.rank is not None and m == n and found.rank < n:
        told.append(f"J is singular here (rank {found.rank} of {n}): some small changes have no effect to first order.")
    elif m == n and found.condition > NEAR_SINGULAR:
        told.append(
            f"J is nearly singular here: some changes have {found.condition:.1e} times less effect than others, so "
            "undoing f multiplies errors by as much."
        )
    if found.trust.kink is not None:
        told.append(f"{found.trust.kink}.")
    if found.trust.outside is not None:
        told.append(f"f stops being finite at distance {found.trust.outside:.3g} from the point.")
    return told


def chain(subject: Subject) -> Section | None:
    import jacmap as jm

    links = subject.J.chain
    if len(links) < 2:
        return None
    rows = []
    for k, link in enumerate(links[:SEGMENTS]):
        m, n = link.shape
        largest = smallest = "–"
        if min(m, n) <= FACTORED and m * n <= 4_000_000:
            values = np.asarray(link.svd()[1])
            if np.isfinite(values).all() and values.size:
                largest, smallest = number(values[0]), number(values[-1])
        rows.append((f"{k + 1}. {link.name}", f"{m}×{n}", largest, smallest, number(float(link.norm("fro")))))
    caption = f"J is the product of {len(links)} segments, the last one leftmost"
    parts: list[Part] = [Table(caption, ("", "shape", "largest gain", "smallest gain", "Frobenius norm"), rows)]
    if len(links) > SEGMENTS:
        parts.append(Words([f"… and {len(links) - SEGMENTS} more."]))
    else:
        _add(parts, pictures.figure(
            lambda ax: jm.plot.gains(subject.J, ax=ax),
            "The gain of each segment: where a small change grows or fades.",
            "Bars of the largest and smallest singular value of each segment.",
        ))  # fmt: skip
    return Section("chain", "The chain", parts)


def reproduce(subject: Subject) -> Section:
    names = ("jacmap", "jax", "numpy", "scipy")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    dtypes = sorted({str(np.asarray(leaf).dtype) for leaf in jax.tree.leaves(subject.J.value)})
    parts: list[Part] = [Words([
        f"{versions}, Python {platform.python_version()}; {jax.default_backend()}, computed in {', '.join(dtypes)}."
    ])]  # fmt: skip
    if subject.command:
        parts.insert(0, Code("The command that makes this report", subject.command))
    return Section("reproduce", "Make this report yourself", parts)


def version(package: str) -> str:
    return importlib.metadata.version(package)


def _add(parts: list[Part], drawn: Figure | str) -> None:
    parts.append(Words([drawn]) if isinstance(drawn, str) else drawn)


TABLE: dict[str, Callable[[Subject], Section | None]] = {
    "function": function,
    "Jacobian": matrix,
    "formulas": formulas,
    "sensitivities": meaning,
    "data": data.section,
    "geometry": geometry,
    "chain": chain,
    "backpropagation": backprop.section,
    "plan": plan,
    "command": reproduce,
}

__all__ = ["TABLE", "version"]
