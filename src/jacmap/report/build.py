"""A report as text and as a file: the sections in order, put into the page's template."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .. import _arguments
from .._dispatch import for_tensors_too
from .._errors import ArgumentError
from .._files import replacing
from .._jacobian import Jacobian
from .._labels import Labels
from . import sections
from .parts import Figure, Part, Section
from .subject import Subject

EXTRA = "a report needs Jinja2 and matplotlib: pip install 'jacmap[report]'"


@for_tensors_too()
def html(
    J: Jacobian,
    *,
    title: str = "",
    command: str = "",
    expression: str = "",
    inputs: Labels | None = None,
    outputs: Labels | None = None,
    data: Any = None,
    progress: Callable[[str], None] = lambda section: None,
) -> str:
    """The report on J = ∂f/∂x at its point, as one HTML page that loads nothing from elsewhere.

    `title` defaults to the function's name. `command`: the line that makes the report anew, shown at its end.
    `expression`: f as text such as "x**2 - y**2, 2*x*y", for its formulas (needs the extra ``jacmap[symbolic]``).
    `inputs`, `outputs`: the names of the entries. `data`: points, (N, *x.shape), for the sensitivities over a data set.
    `progress` is told the name of each section before it is made. Raises ImportError naming the extra that is missing,
    ArgumentError for bad `data`.
    """
    try:
        import jinja2
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(EXTRA) from error
    if not isinstance(J, Jacobian):
        raise ArgumentError(f"J: got {type(J).__name__}, expected a Jacobian: jm.linearize(f, x)")
    subject = Subject(
        J=J,
        title=title or J.name,
        command=command,
        expression=expression,
        inputs=inputs or Labels.of(_names(J), [J.args[k] for k in _arguments.positions(J.argnums)[0]]),
        outputs=outputs or Labels.of(["y"], [J.value]),
        data=data,
    )
    made = list(_made(subject, progress))
    loader = jinja2.PackageLoader("jacmap.report", ".")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["in_runs"] = _in_runs
    template = environment.get_template("template.html.j2")
    m, n = J.shape
    return template.render(
        title=subject.title,
        lead=f"What a small change does: {_count(n, 'input')}, {_count(m, 'output')}, Jacobian {J.structure}.",
        version=sections.version("jacmap"),
        sections=made,
        warnings=list(dict.fromkeys(itertools.chain.from_iterable(section.warnings for section in made))),
    )


def save(J: Jacobian, path: str | Path, **options: Any) -> Path:
    """Write the report to `path`; options as `html`. The file is replaced only when the whole report is made.

    Raises ArgumentError where the file cannot be written, before any work is done.
    """
    path = Path(path)
    if path.is_dir():
        raise ArgumentError(f"path: {path} is a folder, expected a file to write, such as {path / 'out.html'}")
    if not path.parent.is_dir():
        raise ArgumentError(f"path: there is no folder {path.parent} to write {path.name} in; make it first")
    if not os.access(path.parent, os.W_OK):
        raise ArgumentError(f"path: the folder {path.parent} cannot be written to; name another place")
    text = html(J, **options)
    try:
        with replacing(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise ArgumentError(f"path: {path} cannot be written ({error.strerror}); name another place") from error
    return path


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _made(subject: Subject, progress: Callable[[str], None]) -> Iterator[Section]:
    for name, make in sections.TABLE.items():
        progress(name)
        section = make(subject)
        if section is not None:
            yield section


def _names(J: Jacobian) -> list[str]:
    chosen = _arguments.positions(J.argnums)[0]
    return ["x"] if len(chosen) == 1 else [f"x{k}" for k in chosen]


def _in_runs(parts: Sequence[Part]) -> Iterable[tuple[bool, list[Part]]]:
    """Small figures stand side by side where the page is wide enough."""
    for together, run in itertools.groupby(parts, key=lambda part: isinstance(part, Figure) and part.small):
        yield together, list(run)
