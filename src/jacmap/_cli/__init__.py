"""The command line, `jacmap explain TARGET --at POINT`. Each command reads its words, asks, and prints."""

import warnings
from typing import Annotated

import jax
import typer
from rich.console import Console

import jacmap as jm

from . import point, show, target
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


# An expression may begin with a minus: what looks like an unknown option is handed on as TARGET.
@app.command(context_settings={"ignore_unknown_options": True})
def explain(
    function: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="file.py:function, package.module:function, or an expression such as 'x**2 - y**2, 2*x*y'",
        ),
    ],
    at: Annotated[
        str,
        typer.Option(
            metavar="POINT",
            help="numbers (1.5,0.5 or x=1.5,y=0.5), an .npy or .npz file, or file.py:function that makes it",
        ),
    ],
    question: Annotated[
        str | None,
        typer.Option(
            metavar="Q",
            help="what the plan is for: dense, sparse, diagonal or trace",
            show_default="dense; sparse where that is too large",
        ),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="show the traceback of an error")] = False,
) -> None:
    """Print the value, the Jacobian or its picture, its structure, chain and plan, and what it means."""
    with reporting(debug):
        aim = target.load(function)
        if aim.variables is not None:
            # Typed decimals deserve double precision, and no code of the user's is there to be upset by it.
            jax.config.update("jax_enable_x64", True)
        arguments = point.load(at, aim)
        moving = point.differentiated(arguments)
        with blaming(aim.function), warnings.catch_warnings():
            warnings.simplefilter("ignore", jm.NotFiniteWarning)  # what is not finite is printed, by name
            J = jm.linearize(aim.function, *arguments, argnums=moving)
            show.explanation(Console(), aim, arguments, moving, J, question)


def main() -> None:
    """The console script `jacmap`."""
    quiet_streams()
    app(prog_name="jacmap")
