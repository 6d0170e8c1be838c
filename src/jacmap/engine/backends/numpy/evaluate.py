"""Calls of a black box: counted, kept from harming each other, alone or in worker processes."""

from __future__ import annotations

import multiprocessing
import pickle
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np

from ...._errors import ArgumentError, JacmapError

Flat = Callable[[np.ndarray], np.ndarray]  # x (n,) -> y (m,); complex x for the complex step

# What a function raises outside of its domain (math.log(-1), a singular matrix): there it has no value.
OUTSIDE = (ArithmeticError, ValueError)


class Evaluator:
    """f at many points. `calls` counts them by the phase that `phase` names; `outside` those where f has no value."""

    def __init__(self, f: Flat, workers: int = 1, tick: Callable[[int], None] = lambda calls: None):
        self.f, self.workers, self.tick = f, workers, tick
        self.calls: dict[str, int] = {}
        self.phase = "value"
        self.outside = 0
        self.size = 0  # m, known after the first call
        self._pool: ProcessPoolExecutor | None = None

    @property
    def total(self) -> int:
        """All calls so far."""
        return sum(self.calls.values())

    def value(self, x: np.ndarray) -> np.ndarray:
        """f(x) at the point itself: what it raises is raised, what it warns of is warned of."""
        self._count(1)
        y = self.f(x)
        self.size = y.size
        return y

    def batch(self, points: Sequence[np.ndarray]) -> list[np.ndarray]:
        """f at points near x, NaN where it has no value."""
        if self._pool is None:
            found = []
            for point in points:
                found.append(quietly(self.f, point))
                self._count(1)
        else:
            found = []
            for y in self._pool.map(_in_worker, points):
                found.append(y)
                self._count(1)
        self.outside += sum(y is None for y in found)
        return [np.full(self.size, np.nan) if y is None else y for y in found]

    def complex(self, point: np.ndarray) -> np.ndarray:
        """f at a complex point, here in this process; raises whatever f raises, and when it drops imaginary parts."""
        self._count(1)
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("error", np.exceptions.ComplexWarning)
            return self.f(point)

    def _count(self, calls: int) -> None:
        self.calls[self.phase] = self.calls.get(self.phase, 0) + calls
        self.tick(self.total)

    @contextmanager
    def pool(self) -> Iterator[None]:
        """Worker processes while inside, if any were asked for; none is left whatever happens, Ctrl-C included."""
        if self.workers <= 1:
            yield
            return
        before = {child.pid for child in multiprocessing.active_children()}
        spawn = multiprocessing.get_context("spawn")  # JAX has threads, which a fork would leave locked
        executor = ProcessPoolExecutor(self.workers, spawn, _start_worker, (self._packed(),))
        self._pool = executor
        try:
            yield
            executor.shutdown()
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                if child.pid not in before:
                    child.terminate()
                    child.join()
            raise
        finally:
            self._pool = None

    def _packed(self) -> bytes:
        try:
            return pickle.dumps(self.f)
        except Exception as error:
            raise ArgumentError(
                f"workers: got {self.workers}, but the function cannot be sent to another process ({error}), expected "
                "one that can be pickled: define it with def in a module, not inside a function; or leave workers out"
            ) from error


def quietly(f: Flat, point: np.ndarray) -> np.ndarray | None:
    """f at a point that the user did not choose: no warnings, None outside of its domain."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            return f(point)
        except JacmapError:  # what is wrong with f itself, not with the place
            raise
        except OUTSIDE:
            return None


_worker_function: Any = None


def _start_worker(packed: bytes) -> None:
    global _worker_function
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all: the parent ends the workers
    _worker_function = pickle.loads(packed)


def _in_worker(point: np.ndarray) -> np.ndarray | None:
    return quietly(_worker_function, point)
