"""`jm.gradient_flow`: checks, the plan, the passes, the figures."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ..._dispatch import arrays, for_tensors_too
from ..._errors import ArgumentError
from ..._memory import parse_memory
from . import estimate, exact
from .diagnosis import diagnose
from .figures import Spectrum
from .flow import GradientFlow, Row
from .lens import lens_of
from .network import Network, Programs
from .plan import FlowPlan, plan_for
from .sweep import Draw, Sweep, sweep
from .trials import Bench, log_root_mean_square
from .units import bounded, saturated

PATIENCE = 1.0  # seconds before anything is shown


@for_tensors_too()
def gradient_flow(
    f: Callable[..., Any], x: Any, *rest: Any, batch: bool | Sequence[int] = False,
    loss: Callable[..., Any] | None = None, target: Any = None, argnums: int | Sequence[int] = 0,
    method: str = "auto", memory: str | float | None = None, progress: bool = True, seed: int = 0,
) -> GradientFlow:  # fmt: skip
    """How changes travel forward, and gradients back, through f: one row per segment of its chain, and a diagnosis.

    f is the function of one example, `f(x, *rest)`. `batch`: False, x is one point; True, the differentiated arguments
    (`argnums`) hold one example per row and the others are shared; or the positions of all arguments that hold one
    example per row, counted from 0. `loss`: a number from what f returns for one example, ``loss(y)``, or with `target`
    (one per example where there is a batch) ``loss(y, target)``. Without a loss an f of one number is its own, and else
    a random direction at the output is followed back.

    A segment holds at least one operation that mixes entries, and is named by its `jax.named_scope` or source line;
    `jax.lax.scan` is opened step by step. `method`: "exact", "estimate" (Lanczos steps and random directions, with
    error bars; needs the extra ``linalg``), or "auto": exact where singular values take about a second. `memory` bounds
    what is held, 1 GiB where it is not given. `progress` shows the plan and a bar on a terminal when it takes longer
    than a second. Raises `ArgumentError`, `ModeError` where forward or reverse mode is impossible.
    """
    _check(f, method, loss, target)
    args = (x, *rest)
    limit = parse_memory(memory)
    programs: list[Programs] = []

    def run(*args: Any) -> GradientFlow:
        network = Network(f, args, argnums, batch, programs[0] if programs else None)
        if not programs:
            programs.append(network.programs)
        _check_finite(network)
        plan = plan_for(network, method, limit)
        with _shown(network, plan, progress) as tick:
            return _flow(network, plan, loss, target, seed, tick, again)

    def again(*args: Any) -> GradientFlow:
        args = arrays(args)
        if _shapes(args) != _shapes(first):
            raise ArgumentError("at: got arguments of other shapes or dtypes than the first; call gradient_flow anew")
        return run(*args)

    first = args
    return run(*args)


def _shapes(args: Any) -> Any:
    return jax.tree_util.tree_map(lambda leaf: (np.shape(leaf), str(jax.numpy.result_type(leaf))), args)


def _check(f: Any, method: str, loss: Any, target: Any) -> None:
    if not callable(f):
        raise ArgumentError(f"f: got {type(f).__name__}, expected a function of one example")
    if method not in ("auto", "exact", "estimate"):
        raise ArgumentError(f"method: got {method!r}, expected 'auto', 'exact' or 'estimate'")
    if loss is not None and not callable(loss):
        raise ArgumentError(f"loss: got {type(loss).__name__}, expected a function of what f returns for one example")
    if target is not None and loss is None:
        raise ArgumentError("target: got one without a loss, expected loss=, a function of (output, target)")


def _check_finite(network: Network) -> None:
    finite = np.isfinite(np.asarray(network.input))
    if not finite.all():
        at = tuple(int(k) for k in np.argwhere(~finite)[0])
        raise ArgumentError(f"x: got {network.input[at]} in example {at[0]}, entry {at[1]}, expected finite numbers")


def _flow(
    network: Network, plan: FlowPlan, loss: Any, target: Any, seed: int, tick: Callable[[str], None],
    again: Callable[..., GradientFlow],
) -> GradientFlow:  # fmt: skip
    measured = sweep(network, loss, target, seed, tick=tick)
    _check_values(network, measured)
    own, so_far, onward = _spectra(network, plan, measured, seed, tick)
    known = loss is not None or network.chain[len(network.chain) - 1].shape[0] == 1
    gradient = [log_root_mean_square(logs) if known else None for logs in measured.gradient]
    rows = []
    for k, segment in enumerate(network.chain):
        m, n = segment.shape
        log = gradient[k + 1]
        tick(f"units of segment {k + 1}")
        rows.append(
            Row(
                number=k + 1,
                name=segment.name,
                place=segment.place,
                shape=(m, n),
                own=own[k],
                so_far=so_far[k],
                onward=onward[k],
                kept=own[k].gain.value * math.sqrt(n / min(m, n)),
                dead=float(measured.dead[k].mean()),
                unread=float(measured.unread[k].mean()),
                saturated=saturated(network, k, measured.states[k]) if bounded(segment) else None,
                gradient=None if log is None else math.exp(min(log, 700.0)),
                log_gradient=log,
                alike=float(measured.alike[k]),
            )
        )
    start = gradient[0]
    return GradientFlow(
        name=network.name,
        examples=network.size,
        rows=tuple(rows),
        diagnosis=diagnose(rows, Bench(network, loss, target, seed, measured)),
        plan=plan,
        input_gradient=None if start is None else math.exp(min(start, 700.0)),
        _again=again,
        _lens=partial(lens_of, network, measured.states),
    )


def _check_values(network: Network, measured: Sweep) -> None:
    for k, (values, _) in enumerate(measured.states[1:]):
        if not np.isfinite(np.asarray(values)).all():
            segment = network.chain[k]
            raise ArgumentError(
                f"{network.name}: its values are not finite (NaN or infinite) from segment {k + 1} ({segment.name}) "
                "on; look at smaller inputs, or in double precision"
            )


def _spectra(
    network: Network, plan: FlowPlan, measured: Sweep, seed: int, tick: Callable[[str], None]
) -> tuple[list[Spectrum], list[Spectrum], list[Spectrum]]:
    """Of each segment, of the products up to it, of those from it on."""
    count = len(network.chain)
    examples = np.unique(np.linspace(0, network.size - 1, plan.spectra).round().astype(int))
    if plan.method == "exact":
        matrices = []
        for k in range(count):
            tick(f"matrix of segment {k + 1} of {count}")
            matrices.append(network.matrices(k, measured.states[k], examples))
        whole = len(examples) == network.size
        eps = float(np.finfo(network.input.dtype).eps)
        tick("singular values")
        return (
            exact.of_matrices(matrices, whole, eps),
            exact.of_products(matrices, whole, eps),
            exact.of_products_on(matrices, whole, eps),
        )
    draw, own = Draw(network, seed), []
    for k in range(count):
        tick(f"Lanczos on segment {k + 1} of {count}")
        own.append(estimate.spectrum(network, k, measured.states[k], draw, examples, measured.gain[k]))
    last = network.chain[count - 1].shape[0]
    ahead = zip(measured.ahead[1:], measured.ahead_top[1:], strict=True)
    behind = zip(measured.behind[:-1], measured.behind_top[:-1], network.chain, strict=True)
    return (
        own,
        [estimate.of_directions(squares, top) for squares, top in ahead],
        [estimate.of_directions(squares, top, last / link.shape[1]) for squares, top, link in behind],
    )


@contextmanager
def _shown(network: Network, plan: FlowPlan, wanted: bool) -> Iterator[Callable[[str], None]]:
    """The plan and a bar on the terminal's error stream, from the second second on."""
    console = Console(file=sys.stderr)
    if not wanted or not console.is_terminal:
        yield lambda what: None
        return
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    bar = Progress(*columns, console=console, transient=True)
    task = bar.add_task(f"gradient flow of {network.name}", total=4 * len(network.chain) + 1)
    begun = time.monotonic()

    def advance(what: str) -> None:
        bar.update(task, description=what, advance=1)
        if not bar.live.is_started and time.monotonic() - begun > PATIENCE:
            console.print(f"gradient flow of {network.name}: {plan}")
            bar.start()

    try:
        yield advance
    finally:
        bar.stop()
