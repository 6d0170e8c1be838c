"""The section on a data set: which inputs matter over all of it, how sure that is, and what is constant."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import pictures
from .numbers import number
from .parts import Code, Part, Section, Table, Words
from .subject import Subject

SHOWN = 20  # inputs listed


def section(subject: Subject) -> Section | None:
    """Sensitivities over the points of `subject.data`, summed over outputs; None without data."""
    if subject.data is None:
        return None
    import jacmap as jm

    J = subject.J
    (k,) = np.atleast_1d(J.argnums)
    rest = J.args

    def f(x: Any) -> Any:
        return J.f(*rest[:k], x, *rest[k + 1 :])

    inputs, outputs = list(subject.inputs), list(subject.outputs)
    found = jm.sensitivity(f, data=subject.data, inputs=inputs, outputs=outputs, progress=False)
    strength = np.sqrt(np.asarray(found.mean_square).sum(axis=0))
    order = np.argsort(-strength, kind="stable")[:SHOWN]
    absolute = np.asarray(found.mean_absolute).sum(axis=0)
    rows = [(subject.inputs[int(j)], number(absolute[j]), number(strength[j])) for j in order]
    several = " (all outputs together)" if J.shape[0] > 1 else ""
    parts: list[Part] = [
        Code("Sensitivities over the data set", str(found)),
        Table(f"The inputs that matter most over the data set{several}", ("", "mean |∂y/∂x|", "r.m.s."), rows),
    ]
    drawn = pictures.figure(
        lambda ax: jm.plot.bars(strength[order], [subject.inputs[int(j)] for j in order], ax=ax),
        f"Root mean square sensitivity over the data set{several}.",
        f"Bars: the strongest input is {subject.inputs[int(order[0])]}.",
    )
    parts.append(Words([drawn]) if isinstance(drawn, str) else drawn)
    return Section("data", "Over the data set", parts)
