"""The command line: `jacmap explain` and `jacmap report TARGET --at POINT`. Each reads its words, asks, and prints."""

import shlex
import warnings
from pathlib import Path
from typing import Annotated, Any

import jax
import typer
from rich.console import Console

import jacmap as jm

from . import data, point, show, target, written
from .errors import blaming, quiet_streams, reporting

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def jacmap() -> None:
    """The Jacobian of a function: its matrix, its structure, the cheapest way to it, and what it means."""


Function = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        help="file.py:function, package.module:function, or an expression such as 'x**2 - y**2, 2*x*y'",
    ),
]
At = Annotated[
    str,
    typer.Option(
        metavar="POINT",
        help="numbers (1.5,0.5 or x=1.5,y=0.5), an .npy or .npz file, or file.py:function that makes it",
    ),
]
Debug = Annotated[bool, typer.Option("--debug", help="show the traceback of an error")]

# An expression may begin with a minus: what looks like an unknown option is handed on as TARGET.
ANY_TARGET = {"ignore_unknown_options": True}


@app.command(context_settings=ANY_TARGET)
def explain(
    function: Function,
    at: At,
    question: Annotated[
        str | None,
        typer.Option(
            metavar="Q",
            help="what the plan is for: dense, sparse, diagonal or trace",
            show_default="dense; sparse where that is too large",
        ),
    ] = None,
    debug: Debug = False,
) -> None:
    """Print the value, the Jacobian or its picture, its structure, chain and plan, and what it means."""
    with reporting(debug):
        aim, arguments, moving = _loaded(function, at)
        with blaming(aim.function), warnings.catch_warnings():
            for told in (jm.NotFiniteWarning, jm.NotSmoothWarning, jm.BlackBoxWarning):
                warnings.simplefilter("ignore", told)  # what is not finite or not smooth is printed, by name
            J = jm.linearize(aim.function, *arguments, argnums=moving)
            show.explanation(Console(), aim, arguments, moving, J, question)


@app.command(context_settings=ANY_TARGET)
def report(
    function: Function,
    at: At,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT.html", help="the file to write")],
    points: Annotated[
        str | None,
        typer.Option("--data", metavar="FILE", help="points, a row each (.csv or .npy): for sensitivities over all"),
    ] = None,
    debug: Debug = False,
) -> None:
    """Write one HTML page: the function, its Jacobian, what it means, and how it was computed."""
    with reporting(debug):
        aim, arguments, moving = _loaded(function, at)
        rows = None if points is None else data.load(points, aim, arguments)
        given = [] if points is None else ["--data", points]
        words = ["jacmap", "report", function, "--at", at, *given, "-o", str(output)]
        with blaming(aim.function), warnings.catch_warnings(), Console(stderr=True).status("") as status:
            warnings.simplefilter("ignore")  # what is not finite or ill-conditioned is told in the report itself
            written.write(
                aim, arguments, moving, output, shlex.join(words), rows, lambda name: status.update(f"{name} …")
            )
        Console().print(f"written: {output}", markup=False, highlight=False, soft_wrap=True)


def _loaded(function: str, at: str) -> tuple[target.Target, tuple[Any, ...], tuple[int, ...]]:
    """The target, its arguments, and the positions of those that derivatives are taken by."""
    aim = target.load(function)
    if aim.variables is not None:
        # Typed decimals deserve double precision, and no code of the user's is there to be upset by it.
        jax.config.update("jax_enable_x64", True)
    arguments = point.load(at, aim)
    if aim.of_tensors:
        jax.config.update("jax_enable_x64", True)  # studies keep the precision of the tensors
        arguments = point.as_tensors(arguments, aim.function)
    return aim, arguments, point.differentiated(arguments)


def main() -> None:
    """The console script `jacmap`."""
    quiet_streams()
    app(prog_name="jacmap")
