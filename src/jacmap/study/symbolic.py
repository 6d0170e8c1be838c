"""The Jacobian of a typed expression as formulas, beside the numbers that jacmap computes at a point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax.numpy as jnp
import numpy as np

from .._errors import ArgumentError
from .._expression import parse
from .._jacobian import Jacobian, linearize
from .formulas import determinant, formula, numeric, simplified, sympy_or_error

LARGEST_DETERMINANT = 4  # n up to which det J is worked out as a formula
ROUNDINGS = 1e4  # of eps: a difference that is nothing else
SHOWN = 36  # entries that `print` lists
LONGEST_FORMULA, LONGEST_LINE = 50, 88  # characters of a formula in a table, and alone


@dataclass(frozen=True, eq=False)
class Symbolic:
    """An expression, its Jacobian as formulas, and where a point is given, the numbers. Made by `symbolic`.

    `variables`: SymPy symbols (real), in the order of the inputs. `value`: the components, (m,) as a `sympy.Matrix`;
    `matrix`: their derivatives, m×n. `at`: the point (n,), or None; `J`: the Jacobian that jacmap computes there.
    """

    text: str
    variables: tuple[Any, ...]
    value: Any
    matrix: Any
    at: np.ndarray | None
    J: Jacobian | None

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n): components and variables."""
        return self.matrix.shape

    @cached_property
    def determinant(self) -> Any:
        """det J as a formula, simplified where it is short enough; None where J is not square or n > 4."""
        m, n = self.shape
        return simplified(determinant(self.matrix)) if m == n <= LARGEST_DETERMINANT else None

    def numbers(self, at: Any = None) -> np.ndarray:
        """The formulas' values (m, n) in double precision, at a point (n,) or at the one given before."""
        point = self._point(at)
        sympy = sympy_or_error()
        neutral = {variable: sympy.Dummy() for variable in self.variables}  # a variable may be called "array"
        formulas = self.matrix.xreplace(neutral)
        evaluate = sympy.lambdify(list(neutral.values()), formulas, [numeric(), "scipy", "numpy"])
        with np.errstate(all="ignore"):
            return np.asarray(evaluate(*point), float).reshape(self.shape)

    def difference(self, at: Any = None) -> float:
        """The largest difference between the formulas' numbers and jacmap's, relative where entries exceed 1."""
        point = self._point(at)
        J = self.J if at is None and self.J is not None else _linearized(self.text, point)
        ours, formula = np.asarray(J.dense(), float), self.numbers(point)
        same = (ours == formula) | (np.isnan(ours) & np.isnan(formula))
        with np.errstate(invalid="ignore"):
            off = np.abs(ours - formula) / np.maximum(1.0, np.maximum(np.abs(ours), np.abs(formula)))
        return float(np.where(same, 0.0, np.where(np.isnan(off), np.inf, off)).max(initial=0.0))

    def _point(self, at: Any) -> np.ndarray:
        if at is None:
            if self.at is None:
                raise ArgumentError("at: got no point, expected one, here or in symbolic(text, at=...)")
            return self.at
        return _checked(at, [str(variable) for variable in self.variables])

    def __str__(self) -> str:
        return "\n".join(_lines(self))

    def to_dict(self) -> dict[str, Any]:
        """Formulas as text, numbers as lists."""
        m, n = self.shape
        formulas = [[str(self.matrix[i, j]) for j in range(n)] for i in range(m)]
        told = {
            "text": self.text,
            "variables": [str(variable) for variable in self.variables],
            "value": [str(component) for component in self.value],
            "matrix": formulas,
            "determinant": None if self.determinant is None else str(self.determinant),
        }
        if self.at is None or self.J is None:
            return told
        numbers, ours = self.numbers().tolist(), np.asarray(self.J.dense(), float).tolist()
        return {**told, "at": self.at.tolist(), "numbers": numbers, "jacmap": ours, "difference": self.difference()}

    def plot(self, ax: Any = None) -> Any:
        """The numbers at the point, cell by cell (extra ``plot``)."""
        import jacmap

        if self.J is None:
            raise ArgumentError("at: got no point, expected one in symbolic(text, at=...): a picture shows numbers")
        plot: Any = jacmap.plot
        return plot.matrix(self.J, ax=ax)


def symbolic(text: str, at: Any = None) -> Symbolic:
    """The Jacobian of an expression such as "x**2 - y**2, 2*x*y" as formulas; with a point, beside jacmap's numbers.

    `text` is read by the same whitelist as on the command line, never evaluated by Python. `at`: one number per
    variable, in the order x, y, z, or x1, x2, ..., or of appearance. Derivatives that JAX defines by convention (of
    sign, floor and ceil everywhere, of abs, relu, max and min where they bend) follow the same convention. Needs SymPy
    (``pip install 'jacmap[symbolic]'``). Raises `ArgumentError` for what is not in the whitelist and for a point that
    does not fit.
    """
    if not isinstance(text, str):
        raise ArgumentError(f'text: got {type(text).__name__}, expected an expression such as "x**2 - y**2, 2*x*y"')
    expression = parse(text)
    sympy = sympy_or_error()
    variables = tuple(sympy.Symbol(name, real=True) for name in expression.variables)
    named = dict(zip(expression.variables, variables, strict=True))
    value = sympy.Matrix([formula(node, named) for node in expression.components])
    matrix = value.jacobian(variables)
    point = None if at is None else _checked(at, list(expression.variables))
    return Symbolic(text, variables, value, matrix, point, None if point is None else _linearized(text, point))


def _linearized(text: str, point: np.ndarray) -> Jacobian:
    J = linearize(parse(text).function, jnp.asarray(point, dtype=float))
    J.name = text
    return J


def _checked(at: Any, names: Sequence[str]) -> np.ndarray:
    wanted = f"{len(names)} number{'' if len(names) == 1 else 's'} ({', '.join(names)})"
    try:
        point = np.asarray(at, float)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"at: got {at!r}, expected {wanted}") from error
    if point.shape != (len(names),):
        raise ArgumentError(f"at: got shape {point.shape}, expected {wanted}")
    return point


# -- in words ----------------------------------------------------------------------------------------------
def _lines(told: Symbolic) -> list[str]:
    m, n = told.shape
    names = ", ".join(str(variable) for variable in told.variables)
    lines = [_short(f"f({names}) = ({told.text})" if m > 1 else f"f({names}) = {told.text}", LONGEST_LINE)]
    lines.append(f"Jacobian, {m}×{n} (outputs × inputs), as formulas" + ("" if told.at is None else " and at a point"))
    rows = [("", "formula")]
    rows += [(f"∂f[{i}]/∂{told.variables[j]}", _short(told.matrix[i, j])) for i in range(m) for j in range(n)][:SHOWN]
    if told.at is None or told.J is None:
        lines += _columns(rows)
    else:
        formula, ours = told.numbers().ravel(), np.asarray(told.J.dense(), float).ravel()
        given = [f"{number:.6g}" for number in told.at]
        lines[-1] += f": {', '.join(f'{v} = {x}' for v, x in zip(told.variables, given, strict=True))}"
        pairs = zip(formula + 0.0, ours + 0.0, strict=True)  # no -0
        numbers = [("its number", "jacmap"), *((f"{a:.8g}", f"{b:.8g}") for a, b in pairs)]
        lines += _columns([(*row, *pair) for row, pair in zip(rows, numbers, strict=False)])
        difference, eps = told.difference(), float(jnp.finfo(told.J.args[0].dtype).eps)
        agreed = difference < ROUNDINGS * eps
        lines.append("both agree to rounding" if agreed else f"they differ, by up to {difference:.1e}")
    if m * n > SHOWN:
        lines.append(f"... {m * n - SHOWN} more entries")
    if told.determinant is not None:
        lines.append(f"det J = {_short(told.determinant, LONGEST_LINE)}")
    return lines


def _short(formula: Any, longest: int = LONGEST_FORMULA) -> str:
    text = str(formula)
    return text if len(text) <= longest else f"{text[: longest - 4]} ..."


def _columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
