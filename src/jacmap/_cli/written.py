"""What `jacmap report` writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jacmap as jm

from .. import report
from . import labels
from .errors import CliError
from .target import Target


def write(
    target: Target,
    arguments: tuple[Any, ...],
    moving: tuple[int, ...],
    output: Path,
    command: str,
    data: Any,
    progress: Callable[[str], None],
) -> None:
    """The report on the target at the arguments, by those at the positions `moving`."""
    argnums = moving[0] if len(moving) == 1 else moving
    J = jm.linearize(target.function, *arguments, argnums=argnums)
    try:
        report.save(
            J,
            output,
            title=target.name,
            command=command,
            expression=target.name if target.variables is not None else "",
            inputs=labels.of_inputs(target, arguments, moving),
            outputs=labels.of_outputs(J.value),
            data=data,
            progress=progress,
        )
    except ImportError as error:
        raise CliError(str(error)) from None
