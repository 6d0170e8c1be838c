"""XML as a tree of elements that know their line, read without ever following an entity."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

from .._errors import ArgumentError


@dataclass(eq=False)
class Element:
    """A tag with its attributes, the elements inside of it, and the line that it starts on."""

    tag: str
    attributes: dict[str, str]
    line: int
    children: list[Element] = field(default_factory=list)

    def all(self, tag: str) -> Iterator[Element]:
        return (child for child in self.children if child.tag == tag)

    def one(self, tag: str, *, needed: bool = False) -> Element | None:
        """The only child of that tag. Raises `ArgumentError` where there are several, or none and it is needed."""
        found = list(self.all(tag))
        if len(found) > 1:
            raise self.error(f"has {len(found)} <{tag}> (the second on line {found[1].line}), expected one")
        if needed and not found:
            raise self.error(f"has no <{tag}>; add one")
        return found[0] if found else None

    def name(self, attribute: str = "name") -> str:
        """An attribute that must be there and not be empty."""
        value = self.attributes.get(attribute, "").strip()
        if not value:
            raise self.error(f'has no {attribute}="..."; give it one')
        return value

    def error(self, what: str) -> ArgumentError:
        called = f' "{self.attributes["name"]}"' if self.attributes.get("name") else ""
        return ArgumentError(f"URDF, line {self.line}: <{self.tag}>{called} {what}")


def parse(text: bytes) -> Element:
    """The root element. Raises `ArgumentError` where the text is no XML, or declares a document type.

    A document type can name files and addresses to be read, and entities that grow without bound (the "billion
    laughs"); a robot needs none, so reading stops at its first word.
    """
    parser = expat.ParserCreate()
    open_elements: list[Element] = []
    roots: list[Element] = []

    def start(tag: str, attributes: dict[str, str]) -> None:
        element = Element(tag, attributes, parser.CurrentLineNumber)
        (open_elements[-1].children if open_elements else roots).append(element)
        open_elements.append(element)

    def refuse(*_: Any) -> None:
        raise ArgumentError(
            f"URDF, line {parser.CurrentLineNumber}: a document type (<!DOCTYPE ...>), expected none: it may name "
            "entities and other files, which are never read; delete it and write out what its entities stand for"
        )

    parser.StartElementHandler = start
    parser.EndElementHandler = lambda tag: open_elements.pop()
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(text, True)
    except expat.ExpatError as error:
        raise ArgumentError(
            f"URDF, line {error.lineno}: not well-formed XML, {expat.ErrorString(error.code)}; expected a URDF text or "
            "the path of a file that holds one"
        ) from error
    except (LookupError, ValueError) as error:
        if isinstance(error, ArgumentError):
            raise
        raise ArgumentError(f"URDF, line 1: its encoding cannot be read, {error}; write it as UTF-8") from error
    return roots[0]
