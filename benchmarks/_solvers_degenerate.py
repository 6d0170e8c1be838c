"""Problems that have no answer, or no single one: the right flag and words, and an end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from _table import Row, Tick, named

import jacmap as jm

# name: (run, success expected or the error's name, a word of the message)
Case = tuple[Callable[[], Any], bool | str, str]
LINE = jnp.linspace(0.0, 1.0, 20)
CASES: dict[str, Case] = {
    "rank-deficient": (
        lambda: jm.least_squares(lambda x: jnp.stack([x[0] + x[1] - 1, x[0] + x[1] - 3]), [1, 3]), True, "not unique"),
    "an unknown that nothing reads": (
        lambda: jm.least_squares(lambda x: x[:2] ** 2 - 1, [2.0, 2.0, 5.0]), True, "not unique"),
    "NaN at the start": (lambda: jm.least_squares(lambda x: jnp.log(x), [-1.0]), False, "not finite at x0"),
    "NaN on the way": (lambda: jm.least_squares(lambda x: jnp.log(x) + 5 * jnp.log(4 - x), [3.9]), True, "converged"),
    "an infinite Jacobian at the start": (
        lambda: jm.least_squares(lambda x: jnp.sqrt(x) - 1, [0.0]), False, "Jacobian is not finite"),
    "no minimum": (lambda: jm.least_squares(lambda x: jnp.exp(-x), [1.0]), False, "no minimum in reach"),
    "inconsistent bounds": (
        lambda: jm.least_squares(lambda x: x, [0.5], bounds=([1.0], [0.0])), "ArgumentError", "inconsistent"),
    "a start outside its bounds": (
        lambda: jm.least_squares(lambda x: x, [5.0], bounds=(0, 1)), "ArgumentError", "infeasible"),
    "zero residual from the start": (
        lambda: jm.least_squares(lambda x: x**2 - 1, [1.0]), True, "gtol"),
    "fewer residuals than unknowns": (
        lambda: jm.least_squares(lambda x: (x[0] * x[1] - 1)[None], [2.0, 2.0]), True, "not unique"),
    "a root that is none": (lambda: jm.root(lambda x: x**2 + 1, [1.0]), False, "no root"),
    "a singular Jacobian at the root": (lambda: jm.root(lambda x: x**2, [1.0]), True, "solved"),
    "evaluations used up": (
        lambda: jm.least_squares(lambda x: jnp.exp(-x[0] * LINE) - LINE**2, [50.0], max_nfev=2), False, "max_nfev"),
}  # fmt: skip


def rows(quick: bool, tick: Tick) -> Iterator[Row]:
    with jax.enable_x64(True):
        wrong = []
        for name, (run, expected, word) in CASES.items():
            tick(name)
            if not told(run, expected, word):
                wrong.append(name)
    yield Row(
        f"degenerate problems told rightly{named(wrong)}", len(CASES) - len(wrong), f"of {len(CASES)}", len(CASES)
    )


def told(run: Callable[[], Any], expected: bool | str, word: str) -> bool:
    """Is the flag the one expected, with this word, and x finite?"""
    try:
        found = run()
    except jm.JacmapError as error:
        return type(error).__name__ == expected and word in str(error)
    return found.success is expected and word in found.message and bool(np.isfinite(found.x).all())
