"""The public transforms for black boxes: the same call, answered by differences."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
from scipy.sparse import csr_array

from .._arguments import positions
from .._determinant import SlogDet
from .._errors import ArgumentError
from .._transforms import PlannedFunction
from .answer import Answer
from .flat import Flat, name_of
from .measure import Measurement
from .options import Differences
from .plan import DifferencesPlan


class BlackBox:
    """A question about a black box. A pattern that was probed is kept for later points of the same shapes."""

    def __init__(
        self,
        f: Callable[..., Any],
        question: str,
        argnums: int | Sequence[int] = 0,
        has_aux: bool = False,
        options: Differences | None = None,
        patterns: dict[Any, csr_array | None] | None = None,
    ):
        self.f, self.question, self.has_aux = f, question, has_aux
        self.argnums, self.many = positions(argnums)
        self.options = options or Differences()
        self.patterns = {} if patterns is None else patterns

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """The answer at these arguments."""
        return self.shaped(self.measured(args, kwargs))

    def plan(self, *args: Any, **kwargs: Any) -> DifferencesPlan:
        """What it takes at these arguments and how good the answer is; measured to be told."""
        return DifferencesPlan(self.question, self.measured(args, kwargs), self.call)

    def function(self) -> PlannedFunction:
        """The transform as a plain function with a `plan` attribute."""

        @functools.wraps(self.f, updated=())
        def differences(*args: Any, **kwargs: Any) -> Any:
            return self.call(*args, **kwargs)

        differences.plan = self.plan  # type: ignore[attr-defined]
        return cast(PlannedFunction, differences)

    def measured(self, args: tuple[Any, ...], kwargs: dict[str, Any], columns: Sequence[int] | None = None) -> Answer:
        """J's numbers at these arguments, or those of a few of its columns."""
        flat = Flat(self.f, args, kwargs, self.argnums, self.has_aux)
        work = Measurement(flat, self.options, self.patterns.get(flat.key))
        answer = work.run(columns)
        if answer.found == "probed":
            self.patterns[flat.key] = work.found_pattern
        return answer

    def shaped(self, answer: Answer) -> Any:
        """The answer in the form that was asked for."""
        out = SHAPES[self.question](self, answer)
        return (out, answer.extra) if self.has_aux else out

    def square(self, answer: Answer) -> np.ndarray:
        """J where it has a determinant."""
        m, n = answer.shape
        if m != n:
            raise ArgumentError(
                f"{name_of(self.f)}: has {m} outputs and {n} differentiated inputs, expected as many "
                "of each: only a square Jacobian has a determinant (J.svd() or J.norm() may be what you want)"
            )
        return answer.dense


def _slogdet(box: BlackBox, answer: Answer) -> Any:
    sign, log = np.linalg.slogdet(box.square(answer))
    return SlogDet(sign, log)


def _diagonal(answer: Answer) -> np.ndarray:
    found = np.zeros(min(answer.shape))
    on = answer.rows == answer.columns
    found[answer.rows[on]] = answer.values[on]
    return found.astype(answer.layout.dtype)


# Question -> the answer in its form.
SHAPES: dict[str, Callable[[BlackBox, Answer], Any]] = {
    "dense": lambda box, answer: answer.layout.tree(answer.dense, box.many),
    "sparse": lambda box, answer: answer.csr,
    "diagonal": lambda box, answer: _diagonal(answer),
    "trace": lambda box, answer: _diagonal(answer).sum(),
    "slogdet": _slogdet,
    "value_and_slogdet": lambda box, answer: (answer.value, _slogdet(box, answer)),
}
