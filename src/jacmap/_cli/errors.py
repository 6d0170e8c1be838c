"""What a command-line user is told when something fails: one line on stderr, exit code 1, no traceback."""

import inspect
import linecache
import site
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from .._errors import JacmapError

OURS = str(Path(__file__).parents[1])
LIBRARIES = tuple({sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), *site.getsitepackages(), "<frozen"})


class CliError(JacmapError):
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


@contextmanager
def blaming(function: Callable[..., Any]) -> Iterator[None]:
    """While the user's function runs inside: an error that came through its code is told as its own."""
    try:
        yield
    except JacmapError:
        raise
    except Exception as error:
        line = blame(error, _source(function))
        if line is None:
            raise
        raise CliError(f"the function failed at {line}") from error


def _message(error: Exception) -> str:
    if isinstance(error, JacmapError):
        return str(error)
    said = str(error).partition("\n")[0]
    return (
        f"unexpected {type(error).__name__}: {said}. This is a fault in jacmap, not in what you typed: "
        "please report it with the traceback that --debug shows"
    )


def blame(error: BaseException, source: str | None = None) -> str | None:
    """The user's line that an exception came through, as `file.py, line 3, "code": TypeError: ...`.

    The innermost line that is neither ours nor a library's; failing that, the innermost in the file `source`,
    for a function of an installed package. None when there is no such line: then the fault is ours.
    """
    said = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}".removesuffix(": ")
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        said = f"{type(error).__name__}: {error.msg}"
        return _line(error.filename, error.lineno, (error.text or "").strip(), said)
    frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    theirs = [at for at in frames if not at[0].startswith((OURS, *LIBRARIES)) and Path(at[0]).exists()]
    theirs = theirs or [at for at in frames if at[0] == source]
    if not theirs:
        return None
    filename, number = theirs[-1]
    return _line(filename, number, linecache.getline(filename, number).strip(), said)


def _source(function: Callable[..., Any]) -> str | None:
    """The file of the function's code; of an object's, of the method that calling it runs."""
    code = inspect.unwrap(function)
    if not inspect.isroutine(code):
        code = getattr(type(code), "forward", type(code).__call__)
    try:
        path = inspect.getsourcefile(code)
    except TypeError:
        return None
    return None if path is None or path.startswith(OURS) else path


def _line(filename: str, number: int, code: str, said: str) -> str:
    path = Path(filename)
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return f'{shown}, line {number}, "{code}": {said}'


def quiet_streams() -> None:
    """A terminal that cannot show a character gets a replacement for it, not an error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
