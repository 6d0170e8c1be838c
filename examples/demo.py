"""`make demo`: four real functions explained, then jacmap measured against jax.jacfwd and jax.jacrev."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import jax
import jax.numpy as jnp
import numpy as np
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent))

import autoencoder
import brusselator
import digits
import plane_map

import jacmap as jm
from jacmap._cli import app

ROUNDS = 15
SAMPLE_SECONDS = 0.02  # calls shorter than this are timed several at a time
COLUMNS = 200  # columns (and rows) timed where the whole dense matrix is out of reach

console = Console()


@dataclass(frozen=True)
class Case:
    name: str
    target: str
    function: Callable[[jax.Array], jax.Array]
    point: jax.Array
    form: str = "dense"


CASES = [
    Case("plane map", "plane_map.py:f", plane_map.f, plane_map.point()),
    Case("digits classifier", "digits.py:logits", digits.logits, digits.point()),
    Case("Brusselator", "brusselator.py:rhs", brusselator.rhs, brusselator.point(), form="sparse"),
    Case("autoencoder", "autoencoder.py:reconstruct", autoencoder.reconstruct, autoencoder.point()),
]


@dataclass(frozen=True)
class Measured:
    shape: tuple[int, int]
    seconds: dict[str, float]
    difference: float  # from JAX's own derivative, relative to its largest entry
    extrapolated: bool

    @property
    def ratio(self) -> float:
        return min(self.seconds["jacfwd"], self.seconds["jacrev"]) / self.seconds["jacmap"]


def measure(case: Case, tick: Callable[[], None]) -> Measured:
    """Seconds of jacmap, jacfwd and jacrev on one case, and how far the answers differ."""
    f, x = case.function, case.point
    shape = (jax.eval_shape(f, x).size, x.size)
    ours = jm.jacobian(f, form=case.form)
    if case.form == "dense":
        forward, reverse = jax.jit(jax.jacfwd(f)), jax.jit(jax.jacrev(f))
        difference = relative(ours(x), forward(x))
        scale = 1.0
    else:
        forward, reverse = part_of_jacfwd(f, shape), part_of_jacrev(f, shape)
        difference = relative(ours(x) @ jnp.eye(shape[1], COLUMNS), forward(x).T)
        scale = shape[0] / COLUMNS
    seconds = medians({"jacmap": ours, "jacfwd": forward, "jacrev": reverse}, x, tick)
    seconds = {name: taken * (1.0 if name == "jacmap" else scale) for name, taken in seconds.items()}
    return Measured(shape, seconds, difference, extrapolated=scale > 1)


def part_of_jacfwd(f: Callable, shape: tuple[int, int]) -> Callable:
    """The first COLUMNS columns, one forward pass each, as jacfwd makes them all."""
    tangents = jnp.eye(COLUMNS, shape[1])
    return jax.jit(lambda x: jax.vmap(lambda tangent: jax.jvp(f, (x,), (tangent,))[1])(tangents))


def part_of_jacrev(f: Callable, shape: tuple[int, int]) -> Callable:
    """The first COLUMNS rows, one reverse pass each, as jacrev makes them all."""
    cotangents = jnp.eye(COLUMNS, shape[0])
    return jax.jit(lambda x: jax.vmap(jax.vjp(f, x)[1])(cotangents))


def medians(functions: dict[str, Callable], x: jax.Array, tick: Callable[[], None]) -> dict[str, float]:
    """The median time of a call of each, taken in turns so that a busy moment hits all alike."""
    calls = {}
    for name, function in functions.items():
        jax.block_until_ready(function(x))
        calls[name] = max(1, int(SAMPLE_SECONDS / timed(function, x, 3)))
    samples: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(ROUNDS):
        for name, function in functions.items():
            samples[name].append(timed(function, x, calls[name]))
        tick()
    return {name: median(taken) for name, taken in samples.items()}


def timed(function: Callable, x: jax.Array, calls: int) -> float:
    start = perf_counter()
    for _ in range(calls):
        jax.block_until_ready(function(x))
    return (perf_counter() - start) / calls


def relative(ours: jax.Array, theirs: jax.Array) -> float:
    return float(np.max(np.abs(ours - theirs)) / np.max(np.abs(theirs)))


def explain(case: Case) -> None:
    words = ["explain", f"examples/{case.target}", "--at", f"examples/{case.target.partition(':')[0]}:point"]
    console.rule(f"[bold]{case.name}")
    console.print(f"$ jacmap {' '.join(words)}", style="dim", highlight=False, soft_wrap=True)
    if app(words, standalone_mode=False):
        sys.exit(1)


def duration(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} µs"


def print_table(results: dict[str, Measured]) -> None:
    table = Table(title="jacmap against the better of jit(jacfwd) and jit(jacrev)", box=box.SIMPLE_HEAD)
    for heading in ("function", "J", "jacfwd", "jacrev", "jacmap", "ratio", "error"):
        table.add_column(heading, justify="left" if heading == "function" else "right", no_wrap=True)
    for name, result in results.items():
        mark = "*" if result.extrapolated else ""
        table.add_row(
            name,
            "{}×{}".format(*result.shape),
            duration(result.seconds["jacfwd"]) + mark,
            duration(result.seconds["jacrev"]) + mark,
            duration(result.seconds["jacmap"]),
            f"{result.ratio:.3g}×{mark}",
            f"{result.difference:.0e}",
        )
    console.print()
    console.print(table)
    device = f"{jax.default_backend()}, {os.cpu_count()} cores"
    console.print(
        f"Medians of {ROUNDS} interleaved rounds, {CASES[0].point.dtype}, {device}. The error is the largest "
        "difference from\nJAX's own derivative, relative to its largest entry."
    )
    console.print(
        f"* Extrapolated: {COLUMNS} columns (rows) were timed and multiplied up; all of them need 1.6 GB.\n"
        "  jacmap's own time is measured: it is that of the whole matrix, in sparse form."
    )


def main() -> None:
    os.chdir(Path(__file__).parents[1])
    for case in CASES:
        explain(case)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    results = {}
    with Progress(*columns, console=console, transient=True) as progress:
        for case in CASES:
            task = progress.add_task(f"measuring the {case.name}", total=ROUNDS)
            results[case.name] = measure(case, lambda task=task: progress.advance(task))
    print_table(results)


if __name__ == "__main__":
    main()
