"""Every sif2jax function through jacmap and asdex, in processes that can be stopped when a function takes too long.

As a script it is the worker: ``_cutest_runs.py SHARE OF START`` prints one JSON line when it begins with a function and
one when it is done.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from time import perf_counter, process_time
from typing import Any

ASDEX_SECONDS = 20.0  # each is given this long to plan a function
KILL_SECONDS = 1800.0  # a worker that is silent for longer is stopped, and the function counts as failed
WORKERS = 2
TOLERANCE = 1e-10
SMALL = 10_000  # entries of a Jacobian that is compared dense, too
CHUNK = 64
LONG = 0.3  # seconds; what takes less is timed several times


@dataclass
class Result:
    """`error`, `wrong`: why no Jacobian, or how it differs. `difference`: largest, relative to its row's largest entry.

    `seconds`, `colours`, `entries` are None where `missing` says why.
    """

    name: str
    shape: tuple[int, int]
    error: str = ""
    difference: float | None = None
    checked_at: str = ""
    ours_seconds: float | None = None
    ours_colours: int | None = None
    ours_entries: int | None = None
    ours_missing: str = ""
    asdex_seconds: float | None = None
    asdex_colours: int | None = None
    asdex_entries: int | None = None
    asdex_missing: str = ""
    total_seconds: float = 0.0

    @property
    def right(self) -> bool:
        return not self.error and self.difference is not None and self.difference <= TOLERANCE


# -- parent ------------------------------------------------------------------------------------------------


def results(every: int = 1, workers: int = WORKERS) -> Iterator[Result]:
    """The result of each function, as it comes; of one problem in `every`."""
    lines: queue.Queue[tuple[int, str | None]] = queue.Queue()
    shares = [_Share(k * every, workers * every, lines) for k in range(workers)]
    live = set(range(workers))
    for k in live:
        shares[k].start_from(0)
    while live:
        try:
            share, line = lines.get(timeout=1.0)
        except queue.Empty:
            share, line = -1, None
        for k in sorted(live):
            if shares[k].overdue():
                yield shares[k].given_up(f"took more than {KILL_SECONDS:.0f} s")
        if share < 0:
            continue
        owner = next(s for s in shares if s.share == share)
        if line is None:
            if owner.finished:
                live.discard(shares.index(owner))
            elif not owner.alive():
                yield owner.given_up(f"the process ended with status {owner.process.returncode}")
            continue
        found = owner.take(json.loads(line))
        if found is not None:
            yield found


class _Share:
    """One worker process and where it stands."""

    def __init__(self, share: int, of: int, lines: queue.Queue[tuple[int, str | None]]):
        self.share, self.of, self.lines = share, of, lines
        self.finished, self.since = False, perf_counter()
        self.current: dict[str, Any] = {"name": "start", "number": -1, "shape": (0, 0)}

    def start_from(self, number: int) -> None:
        self.since = perf_counter()
        command = [sys.executable, __file__, str(self.share), str(self.of), str(number)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self._pump, args=(self.process,), daemon=True).start()

    def _pump(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.lines.put((self.share, line))
        process.wait()
        self.lines.put((self.share, None))

    def alive(self) -> bool:
        return self.process.poll() is None

    def overdue(self) -> bool:
        return not self.finished and perf_counter() - self.since > KILL_SECONDS

    def given_up(self, why: str) -> Result:
        self.process.kill()
        self.process.wait()
        name, shape = self.current["name"], tuple(self.current["shape"])
        lost = Result(name, shape, error=why, asdex_missing=why, ours_missing=why)
        # The other function of the same problem, if any, is lost with it rather than done twice.
        self.start_from(self.current["number"] + 1)
        return lost

    def take(self, message: dict[str, Any]) -> Result | None:
        self.since = perf_counter()
        kind = message.pop("kind")
        if kind == "end":
            self.finished = True
        elif kind == "begin":
            self.current = message
        else:
            return Result(**message)
        return None


# -- worker ------------------------------------------------------------------------------------------------


def main() -> None:
    share, of, start = map(int, sys.argv[1:4])
    os.environ["JAX_PLATFORMS"], os.environ["JAX_ENABLE_X64"] = "cpu", "1"
    import warnings

    warnings.simplefilter("ignore")
    import _cutest
    import _planning

    _planning.warm_up()
    _say("begin", name="start", number=start - 1, shape=(0, 0))
    for number, function in _cutest.functions(share, of, start):
        _say("begin", name=function.name, number=number, shape=function.shape)
        begun = perf_counter()
        result = Result(function.name, function.shape)
        plan_both(function.call, function.x, result)
        compare(function.call, function.x, result)
        result.total_seconds = perf_counter() - begun
        _say("result", **asdict(result))
    _say("end")


def _say(kind: str, **fields: Any) -> None:
    print(json.dumps({"kind": kind, **fields}), flush=True)


def plan_both(f: Callable[[Any], Any], x: Any, result: Result) -> None:
    """Times and colours of both, in turn; the first run of each is a warm-up unless it is long.

    Processor time of this process: hundreds of single measurements are summed, while a second worker is at work.
    """
    import _planning
    import jax

    jax.make_jaxpr(_planning.fresh(f))(x)  # jitted helpers inside f are traced once for both
    times: dict[str, list[float]] = {"ours": [], "asdex": []}
    for _ in range(4):
        for who, run in (("ours", _planning.ours), ("asdex", _planning.theirs)):
            if getattr(result, f"{who}_missing"):
                continue
            try:
                with _limit(ASDEX_SECONDS):
                    start = process_time()
                    found = run(f, x)
                    times[who].append(process_time() - start)
            except Exception as error:
                setattr(result, f"{who}_missing", f"{type(error).__name__}: {str(error)[:120]}")
                continue
            setattr(result, f"{who}_colours", found.colours)
            setattr(result, f"{who}_entries", found.entries)
        if max(times["asdex"] + times["ours"], default=0.0) > LONG:
            break
    for who, found in times.items():
        if found and not getattr(result, f"{who}_missing"):
            setattr(result, f"{who}_seconds", statistics.median(found[1:] or found))


class _TooLong(Exception):
    pass


@contextmanager
def _limit(seconds: float) -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise _TooLong(f"more than {seconds:.0f} s of processor time")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds, 1.0)  # again: an exception in a callback of C code is lost
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def compare(f: Callable[[Any], Any], x: Any, result: Result) -> None:
    """The Jacobian, sparse and if small dense, against the columns that jax.jacfwd stacks, CHUNK at a time.

    At a point near the starting point, where entries are not zero by chance, if all is finite there.
    """
    import jax
    import jax.numpy as jnp
    import numpy as np

    import jacmap as jm

    random = np.random.default_rng(0)
    near = x + jnp.asarray(random.uniform(0.01, 0.1, x.shape)) * (1 + jnp.abs(x))

    @jax.jit
    def columns(at: Any, tangents: Any) -> tuple[Any, Any]:
        return jax.vmap(lambda t: jax.jvp(f, (at,), (t,)), out_axes=(None, 0))(tangents)

    try:
        with _limit(KILL_SECONDS / 2):
            point, result.checked_at = near, "near the starting point"
            if not all(bool(jnp.isfinite(part).all()) for part in columns(near, jnp.ones((CHUNK, x.size)))):
                point, result.checked_at = x, "the starting point"
            sparse = _csc(jm.jacobian(f, form="sparse")(point))
            worst = 0.0
            dense = np.asarray(jm.jacobian(f)(point)) if sparse.shape[0] * sparse.shape[1] <= SMALL else None
            largest = np.zeros(result.shape[0])
            gaps = np.zeros(result.shape[0])
            for start in range(0, x.size, CHUNK):
                stop = min(start + CHUNK, x.size)
                seeds = np.zeros((CHUNK, x.size))
                seeds[np.arange(stop - start), np.arange(start, stop)] = 1
                true = np.asarray(columns(point, seeds)[1])[: stop - start].T
                gap = _gap(sparse[:, start:stop].toarray(), true)
                if dense is not None:
                    gap = np.maximum(gap, _gap(dense[:, start:stop], true))
                largest = np.maximum(largest, np.abs(np.nan_to_num(true, posinf=0, neginf=0)).max(axis=1, initial=0.0))
                gaps = np.maximum(gaps, gap.max(axis=1, initial=0.0))
            rows = np.divide(gaps, largest, out=np.where(gaps > 0, np.inf, 0.0), where=largest > 0)
            worst = float(rows.max(initial=0.0))
            result.difference = worst if np.isfinite(worst) else 1e300
    except Exception as error:
        result.error = f"{type(error).__name__}: {str(error)[:200]}"


def _gap(ours: Any, true: Any) -> Any:
    """|ours − true|; where one is not finite, infinite unless both are the same."""
    import numpy as np

    same = (ours == true) | (np.isnan(ours) & np.isnan(true))
    with np.errstate(invalid="ignore"):
        gap = np.abs(ours - true)
    return np.where(same, 0.0, np.where(np.isfinite(gap), gap, np.inf))


def _csc(matrix: Any) -> Any:
    import numpy as np
    from scipy.sparse import coo_array

    rows, columns = np.asarray(matrix.indices).T
    return coo_array((np.asarray(matrix.data), (rows, columns)), shape=matrix.shape).tocsc()


if __name__ == "__main__":
    main()
