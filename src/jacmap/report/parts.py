"""What a report is made of, as data: sections of words, tables, figures and code. The template knows nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Words:
    """A paragraph, or a list of sentences (those that begin with two spaces belong to the one before)."""

    sentences: Sequence[str]
    title: str = ""
    kind: str = "words"


@dataclass(frozen=True)
class Code:
    """Text whose columns matter. `label` says what it is to those who cannot see where it stands."""

    label: str
    text: str
    kind: str = "code"


@dataclass(frozen=True)
class Table:
    """The first column of `rows` heads its row; the others are numbers and stand to the right."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    kind: str = "table"


@dataclass(frozen=True)
class Figure:
    """An inline SVG. `caption` is shown; `description` is read out in place of the picture. `small`: one of several."""

    svg: str
    caption: str
    description: str
    small: bool = False
    kind: str = "figure"


Part = Words | Code | Table | Figure


@dataclass(frozen=True)
class Section:
    """A heading, the parts under it, and what it warns of, which is also told at the top of the page."""

    id: str
    title: str
    parts: Sequence[Part]
    warnings: Sequence[str] = field(default=())
