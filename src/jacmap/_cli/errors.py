"""What a command-line user is told when something fails: one line on stderr, exit code 1, no traceback."""

import linecache
import site
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

import typer

import jacmap as jm

OURS = str(Path(__file__).parents[1])
LIBRARIES = tuple(
    {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), *site.getsitepackages(), "<frozen"}
)


class CliError(Exception):
    """A mistake in what was typed, or in the user's own file. The message is all that is shown."""


@contextmanager
def reporting(debug: bool) -> Iterator[None]:
    """Turn whatever goes wrong inside into one message on stderr and exit code 1."""
    try:
        yield
    except typer.Exit:
        raise
    except Exception as error:
        if debug:
            traceback.print_exc()
        typer.echo(f"jacmap: {_message(error)}", err=True)
        raise typer.Exit(1) from None


def _message(error: Exception) -> str:
    if isinstance(error, CliError | jm.JacmapError):
        return str(error)
    line = blame(error)
    if line is not None:
        return f"the function failed at {line}"
    said = str(error).partition("\n")[0]
    return (
        f"unexpected {type(error).__name__}: {said}. This is a fault in jacmap, not in what you typed: "
        "please report it with the traceback that --debug shows"
    )


def blame(error: BaseException, source: str | None = None) -> str | None:
    """The user's line that an exception came through, as `file.py, line 3, "code": TypeError: ...`.

    `source` is the file to look for first (it may lie among installed packages); otherwise the innermost
    line that is neither ours nor a library's. None when there is no such line: then the fault is ours.
    """
    said = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}".removesuffix(": ")
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        said = f"{type(error).__name__}: {error.msg}"
        return _line(error.filename, error.lineno, (error.text or "").strip(), said)
    frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    theirs = [at for at in frames if at[0] == source] or [
        at for at in frames if not at[0].startswith((OURS, *LIBRARIES)) and Path(at[0]).exists()
    ]
    if not theirs:
        return None
    filename, number = theirs[-1]
    return _line(filename, number, linecache.getline(filename, number).strip(), said)


def _line(filename: str, number: int, code: str, said: str) -> str:
    path = Path(filename)
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return f'{shown}, line {number}, "{code}": {said}'


def nearest(name: str, known: list[str]) -> str:
    """`; nearest: a, b` for an error message, or the first known names where none is near, or nothing."""
    if near := get_close_matches(name, known, n=3):
        return f"; nearest: {', '.join(near)}"
    return f"; known: {', '.join(known[:12])}{', ...' if len(known) > 12 else ''}" if known else ""


def quiet_streams() -> None:
    """A terminal that cannot show a character gets a replacement for it, not an error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
