"""Which inputs move which outputs at one point: absolute, relative, and by what the inputs vary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import jax
import numpy as np

from ..._errors import ArgumentError
from ..._jacobian import Jacobian
from .argument import argument, function_of, unread
from .layout import Layout, Names, in_full, on_vectors, position
from .pictures import plots
from .propagate import Propagation, propagate
from .randomised import Randomised, check
from .words import listed, number, plain, table, wrapped

LARGEST = 2**28  # entries of J (2 GiB) that are held as a matrix
SHOWN = 10  # pairs in the printed table
SPOKEN = 3  # outputs that get a sentence of their own

Kind = Literal["absolute", "relative", "scaled"]


@dataclass(frozen=True, eq=False)
class PointSensitivity:
    """The Jacobian at a point, read as sensitivities. Made by `sensitivity`.

    `matrix`: J, m×n, outputs × inputs: units of the output per unit of the input. `value`: f(x), (m,); `point`: x,
    (n,). `spread`: how much each input varies, in its units, (n,), or None; `unused`: the inputs that f does not read
    at all, by its graph (their columns are zero at every point); `inputs`, `outputs`: names of the entries.
    """

    name: str
    matrix: np.ndarray
    value: np.ndarray
    point: np.ndarray
    spread: np.ndarray | None
    inputs: Names
    outputs: Names
    unused: tuple[int, ...]
    jacobian: Jacobian = field(repr=False)

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n)."""
        m, n = self.matrix.shape
        return m, n

    @property
    def _layout(self) -> Layout:
        return Layout(argument(self.jacobian))

    @property
    def names(self) -> tuple[list[str], list[str]]:
        """(names of the outputs, names of the inputs)."""
        return in_full(self.outputs), in_full(self.inputs)

    @cached_property
    def relative(self) -> np.ndarray:
        """Elasticities x_j/y_i · ∂y_i/∂x_j, m×n: percent of the output per percent of the input.

        NaN where the output is 0: a share of nothing is not defined. Zero where the input is 0.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            shares = self.matrix * self.point / self.value[:, None]
        return np.where(self.value[:, None] == 0, np.nan, shares)

    @property
    def scaled(self) -> np.ndarray:
        """∂y_i/∂x_j · spread_j, m×n: how far the input's own variation moves the output, in units of the output.

        Raises `ArgumentError` where no spread is known.
        """
        if self.spread is None:
            raise ArgumentError("scaled: no spread is known; pass spread= (standard deviations) or data=")
        return self.matrix * self.spread

    def map(self, output: int | str, absolute: bool = False) -> Any:
        """The sensitivities of one output (number or name), laid out as the input: a signed picture of an image.

        ``absolute=True`` leaves the sign out. NumPy arrays in the pytree of the input.
        """
        row = self.matrix[position(self.outputs, output, "output")]
        return self._layout.restore(np.abs(row) if absolute else row)

    def table(self, k: int = SHOWN, by: Kind | None = None) -> str:
        """The k strongest pairs of output and input, strongest first; `by` as a reader wants to compare them.

        The default is "scaled" where a spread is known, else "absolute".
        """
        kinds = self._kinds()
        by = by or ("scaled" if self.spread is not None else "absolute")
        if by not in kinds:
            known = ", ".join(map(repr, kinds))
            raise ArgumentError(f"by: got {by!r}, expected one of {known}; 'scaled' needs a spread")
        size = np.nan_to_num(np.abs(kinds[by]), nan=-1.0).ravel()
        top = [int(at) for at in np.argsort(-size, kind="stable")[:k] if size[at] > 0]
        rows = []
        for at in top:
            i, j = divmod(at, self.shape[1])
            rows.append([self.outputs[i], self.inputs[j], *(number(kinds[kind][i, j]) for kind in kinds)])
        heads = {"absolute": "per unit", "relative": "% per %", "scaled": "per spread"}
        return "\n".join(table(["output", "input", *(heads[kind] for kind in kinds)], rows, left=2))

    def _kinds(self) -> dict[str, np.ndarray]:
        kinds = {"absolute": self.matrix, "relative": self.relative}
        return kinds if self.spread is None else {**kinds, "scaled": self.scaled}

    def propagate(
        self, covariance: Any = None, samples: int = 10_000, seed: int = 0, level: float = 0.95
    ) -> Propagation:
        """What uncertainty of the input does to the output: J Σ Jᵀ, checked by sampling f. See `Propagation`.

        `covariance`: Σ as an n×n matrix, as n variances, or as one variance for all inputs; without it the squares of
        the spread. ``samples=0`` leaves the check out.
        """
        if covariance is None:
            if self.spread is None:
                raise ArgumentError("covariance: got None and no spread is known; pass Σ, variances or one variance")
            covariance = self.spread**2
        f = on_vectors(function_of(self.jacobian), self._layout)
        return propagate(f, self.point, self.value, self.matrix, self.outputs, covariance, samples, seed, level)

    def check_randomised(
        self, f: Callable[[Any, Any], Any], params: Any, output: int | str | None = None, draws: int = 5, seed: int = 0
    ) -> Randomised:
        """Does the map depend on what the model has learnt? Its weights are replaced by noise and the maps compared.

        `f` is the model as a function of its weights and the input, ``f(params, x)``; `params` the weights that this
        map was made with. Where a spread is known the scaled sensitivities are compared: in units of their own the
        inputs would come in much the same order whatever the weights. See `Randomised` (Adebayo et al. 2018, "Sanity
        checks for saliency maps", section 3).
        """
        rows = list(range(self.shape[0])) if output is None else [position(self.outputs, output, "output")]
        read = np.setdiff1d(np.arange(self.shape[1]), self.unused)
        of = self.outputs[rows[0]] if len(rows) == 1 else f"all {len(rows)} outputs"
        scale = np.ones(self.shape[1]) if self.spread is None else self.spread
        return check(f, params, self.jacobian, self.matrix, scale, rows, read, of, draws, seed)

    def plot(self, output: int | str = 0, ax: Any = None) -> Any:
        """One output's sensitivities: a signed picture of an image input, bars of the 20 strongest features else."""
        row = position(self.outputs, output, "output")
        if len(self._layout.shape) in (2, 3):
            return plots().sensitivity_map(self.map(row), ax=ax)
        shown = self.matrix[row] if self.spread is None else self.scaled[row]
        top = np.argsort(-np.abs(shown), kind="stable")[:20]
        return plots().bars(shown[top], [self.inputs[int(j)] for j in top], ax=ax)

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain lists and numbers; None for what is not finite or not known."""
        return plain({
            "name": self.name, "shape": list(self.shape), "outputs": self.names[0], "inputs": self.names[1],
            "value": self.value, "point": self.point, "spread": self.spread, "matrix": self.matrix,
            "relative": self.relative, "scaled": None if self.spread is None else self.scaled,
            "unused": list(self.unused),
        })  # fmt: skip

    def __str__(self) -> str:
        m, n = self.shape
        lines = [f"Sensitivity of {self.name} at a point: {m} output{'s' * (m != 1)}, {n} input{'s' * (n != 1)}"]
        lines += [wrapped(self._sentence(i)) for i in range(min(m, SPOKEN))]
        if np.any(self.matrix):
            lines += [f"The strongest of {m * n} pairs:" if m * n > SHOWN else "All pairs that move, strongest first:"]
            lines += [self.table()]
        return "\n".join([*lines, *map(wrapped, self._remarks())])

    def _sentence(self, i: int) -> str:
        size = np.nan_to_num(np.abs(self.matrix[i] if self.spread is None else self.scaled[i]))
        name, j = self.outputs[i], int(np.argmax(size))
        if not size[j]:
            return f"{name} = {number(self.value[i])}: no input moves it here."
        said = f"{name} = {number(self.value[i])} is moved most by {self.inputs[j]}: {self.matrix[i, j]:+.4g} per unit"
        if np.isfinite(self.relative[i, j]) and self.point[j] != 0:
            said += f", {self.relative[i, j]:+.3g} % per percent"
        if self.spread is not None:
            said += f", {self.scaled[i, j]:+.4g} per spread of {number(self.spread[j])}"
        return said + "."

    def _remarks(self) -> list[str]:
        said = []
        if self.unused:
            said.append(f"Never read by {self.name} (exactly zero everywhere): {self._inputs(self.unused)}.")
        still = set(np.flatnonzero(~self.matrix.any(axis=0)).tolist()) - set(self.unused)
        if still:
            said.append(f"Read, but without effect at this point: {self._inputs(sorted(still))}.")
        if not self.value.all():
            zero = listed(self.outputs[int(i)] for i in np.flatnonzero(self.value == 0))
            said.append(f"No relative sensitivity where the output is 0: {zero}.")
        if self.spread is not None and not self.spread.all():
            constant = np.flatnonzero(self.spread == 0).tolist()
            said.append(f"Spread 0, so scaled sensitivity 0: {self._inputs(constant)}.")
        if bad := int((~np.isfinite(self.matrix)).sum()):
            said.append(f"{bad} of {self.matrix.size} sensitivities are not finite (NaN or infinite).")
        return said

    def _inputs(self, which: Sequence[int]) -> str:
        return listed(self.inputs[int(j)] for j in which)


def at_point(
    jacobian: Jacobian,
    spread: Any,
    inputs: str | Sequence[str] | None,
    outputs: str | Sequence[str] | None,
    measured: Callable[[Layout], np.ndarray] | None = None,
) -> PointSensitivity:
    """Sensitivities of a Jacobian; `measured` gives the spread from data once the layout of the input is known."""
    point = argument(jacobian)
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree_util.tree_leaves(point)):
        raise ArgumentError(
            "x: got a value that is being traced; study it outside jit, vmap and grad, or use jm.jacobian"
        )
    m, n = jacobian.shape
    if m * n > LARGEST:
        raise ArgumentError(
            f"f: its Jacobian has {m}×{n} entries, too many to name and rank one by one; choose some outputs, "
            "or ask jm.linearize(f, x) for its rows, products or sparse form"
        )
    layout, out = Layout(point), Layout(jacobian.value)
    if out.dtype.kind == "c" or layout.dtype.kind == "c":
        raise ArgumentError("f: got complex numbers, expected real ones; study real and imaginary parts one by one")
    spreads = measured(layout) if measured is not None else None if spread is None else layout.spread(spread)
    return PointSensitivity(
        name=jacobian.name,
        matrix=np.asarray(jacobian.dense(), np.float64),
        value=out.flat(jacobian.value),
        point=layout.flat(point),
        spread=spreads,
        inputs=layout.names(inputs, "x", "inputs"),
        outputs=out.names(outputs, "y", "outputs"),
        unused=unread(jacobian),
        jacobian=jacobian,
    )
