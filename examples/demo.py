"""`make demo`: four real functions explained, measured against jax.jacfwd and jax.jacrev, and a report on each."""

import gc
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import jax
import jax.numpy as jnp
import numpy as np
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import jacmap as jm
from jacmap._cli import app, point, target

ROUNDS = 41
SAMPLE_SECONDS = 0.01  # calls shorter than this are timed several at a time
COLUMNS = 200  # columns (and rows) timed where the whole dense matrix is out of reach

OUT = Path("examples/out")

console = Console(highlight=False)


@dataclass(frozen=True)
class Case:
    name: str
    file: str
    function: str
    form: str = "dense"

    @property
    def words(self) -> list[str]:
        """What is typed after `jacmap`."""
        return ["explain", f"examples/{self.file}:{self.function}", "--at", f"examples/{self.file}:point"]


CASES = [
    Case("plane map", "plane_map.py", "f"),
    Case("digits classifier", "digits.py", "logits"),
    Case("Brusselator", "brusselator.py", "rhs", form="sparse"),
    Case("autoencoder", "autoencoder.py", "reconstruct"),
]


@dataclass(frozen=True)
class Measured:
    shape: tuple[int, int]
    rounds: dict[str, np.ndarray]  # seconds per call, round by round
    difference: float  # from JAX's own derivative, relative to its largest entry
    extrapolated: bool

    @property
    def seconds(self) -> dict[str, float]:
        return {name: float(np.median(taken)) for name, taken in self.rounds.items()}

    @property
    def ratio(self) -> float:
        """Neighbours in time are compared, so that a busy moment does not count against one side."""
        better = min(("jacfwd", "jacrev"), key=lambda name: self.seconds[name])
        return float(np.median(self.rounds[better] / self.rounds["jacmap"]))


def main() -> None:
    os.chdir(Path(__file__).parents[1])
    console.print("Four functions, explained, measured and reported on. This takes about a minute.")
    for number, case in enumerate(CASES, 1):
        explain(case, f"{number} of {len(CASES)}: {case.name}")
    console.print()
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    results = {}
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=ROUNDS * len(CASES))
        for case in CASES:
            progress.update(task, description=f"measuring the {case.name}")
            results[case.name] = measure(case, lambda: progress.advance(task))
    print_table(results)
    console.rule("[bold]a report on each, to open in a browser")
    OUT.mkdir(exist_ok=True)
    for case in CASES:
        report_on(case, OUT)


def report_on(case: Case, folder: Path) -> Path:
    """Write the page that the command `jacmap report` makes of the case, and name the file."""
    path = folder / f"{Path(case.file).stem}.html"
    if app(["report", *case.words[1:], "-o", str(path)], standalone_mode=False):
        sys.exit(1)
    return path


def explain(case: Case, title: str) -> None:
    console.print()
    console.rule(f"[bold]{title}")
    console.print(f"$ jacmap {' '.join(case.words)}", style="dim", soft_wrap=True)
    if app(case.words, standalone_mode=False):
        sys.exit(1)


def measure(case: Case, tick: Callable[[], None]) -> Measured:
    """Seconds of jacmap, jacfwd and jacrev on one case, and how far the answers differ."""
    aim = target.load(case.words[1])  # the same import as the explanation's: the classifier is trained once
    f, x = aim.function, point.load(case.words[3], aim)[0]
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
    rounds = in_turns({"jacmap": ours, "jacfwd": forward, "jacrev": reverse}, x, tick)
    rounds = {name: taken * (1.0 if name == "jacmap" else scale) for name, taken in rounds.items()}
    return Measured(shape, rounds, difference, extrapolated=scale > 1)


def part_of_jacfwd(f: Callable, shape: tuple[int, int]) -> Callable:
    """The first COLUMNS columns, one forward pass each, as jacfwd makes them all."""
    tangents = jnp.eye(COLUMNS, shape[1])
    return jax.jit(lambda x: jax.vmap(lambda tangent: jax.jvp(f, (x,), (tangent,))[1])(tangents))


def part_of_jacrev(f: Callable, shape: tuple[int, int]) -> Callable:
    """The first COLUMNS rows, one reverse pass each, as jacrev makes them all."""
    cotangents = jnp.eye(COLUMNS, shape[0])
    return jax.jit(lambda x: jax.vmap(jax.vjp(f, x)[1])(cotangents))


def in_turns(functions: dict[str, Callable], x: jax.Array, tick: Callable[[], None]) -> dict[str, np.ndarray]:
    """Seconds per call of each, round by round; the order turns, so nobody always follows the same neighbour."""
    calls = {}
    for name, function in functions.items():
        jax.block_until_ready(function(x))
        calls[name] = max(1, int(SAMPLE_SECONDS / timed(function, x, 3)))
    samples: dict[str, list[float]] = {name: [] for name in functions}
    names = list(functions)
    gc.collect()
    gc.disable()
    for k in range(ROUNDS):
        for name in names[k % len(names) :] + names[: k % len(names)]:
            samples[name].append(timed(functions[name], x, calls[name]))
        tick()
    gc.enable()
    return {name: np.array(taken) for name, taken in samples.items()}


def timed(function: Callable, x: jax.Array, calls: int) -> float:
    start = perf_counter()
    for _ in range(calls):
        jax.block_until_ready(function(x))
    return (perf_counter() - start) / calls


def relative(ours: jax.Array, theirs: jax.Array) -> float:
    return float(np.max(np.abs(ours - theirs)) / np.max(np.abs(theirs)))


def print_table(results: dict[str, Measured]) -> None:
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("function", "J", "jacfwd", "jacrev", "jacmap", "ratio"):
        table.add_column(heading, justify="left" if heading == "function" else "right", no_wrap=True)
    for name, result in results.items():
        seconds = result.seconds
        mark = "*" if result.extrapolated else ""
        table.add_row(
            name,
            "{}×{}".format(*result.shape),
            duration(seconds["jacfwd"]) + mark,
            duration(seconds["jacrev"]) + mark,
            duration(seconds["jacmap"]),
            f"{significant(result.ratio)}×{mark}",
        )
    console.rule("[bold]measured: time per Jacobian")
    console.print(table)
    worst = max(result.difference for result in results.values())
    console.print(
        "ratio: jacmap against the better of jit(jacfwd) and jit(jacrev), round by round.\n"
        f"Medians of {ROUNDS} rounds, taken in turns; {jax.default_backend()}, {os.cpu_count()} cores, float32.\n"
        f"Every answer equals JAX's to {worst:.0e} of its largest entry.\n"
        "The plane map is all dispatch and the classifier has nothing to gain: near 1 is\n"
        "what they should show.\n"
        f"* From {COLUMNS} columns (rows), multiplied up: the dense matrix takes 1.6 GB.\n"
        "  jacmap's time is measured: the whole matrix, in sparse form."
    )


def duration(seconds: float) -> str:
    unit, size = next(((u, s) for u, s in (("s", 1.0), ("ms", 1e-3)) if seconds >= s), ("µs", 1e-6))
    return f"{significant(seconds / size)} {unit}"


def significant(number: float) -> str:
    """Three figures, without an exponent."""
    return f"{number:.0f}" if number >= 100 else f"{number:.1f}" if number >= 10 else f"{number:.2f}"


if __name__ == "__main__":
    main()
