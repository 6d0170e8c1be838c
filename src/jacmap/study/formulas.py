"""A typed expression as SymPy formulas: syntax trees that the whitelist let through, and the functions they name."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from functools import cache, reduce
from types import SimpleNamespace
from typing import Any

import numpy as np

from .._errors import JacmapError

LARGEST_SIMPLIFIED = 200  # operations in a determinant that is simplified
LARGEST_EXACT = 4096  # bits of a power of numbers that is worked out exactly
HIGHEST_SIMPLIFIED = 32  # whole powers beyond this might be multiplied out


@cache
def sympy_or_error() -> Any:
    """The package, or what to install."""
    try:
        import sympy
    except ImportError as error:
        raise JacmapError("formulas need SymPy: pip install 'jacmap[symbolic]'") from error
    return sympy


OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def formula(node: ast.expr, named: dict[str, Any]) -> Any:
    """A syntax tree that `parse` let through, as a SymPy expression; decimal numbers become fractions."""
    sympy = sympy_or_error()
    match node:
        case ast.Constant(value=number):
            return sympy.Rational(repr(number))
        case ast.Name(id=name):
            return named[name] if name in named else {"pi": sympy.pi, "e": sympy.E}[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -formula(operand, named)
        case ast.UnaryOp(operand=operand):
            return formula(operand, named)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _power(formula(left, named), formula(right, named))
        case ast.BinOp(left=left, op=op, right=right):
            return OPERATORS[type(op)](formula(left, named), formula(right, named))
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return _functions()[name](*[formula(argument, named) for argument in arguments])
    raise AssertionError(f"parse let {ast.dump(node)} through")


def _power(base: Any, exponent: Any) -> Any:
    """A power of numbers is exact only while that stays short: 1.0000001**1e9 has ten thousand million digits."""
    sympy = sympy_or_error()
    if base.is_Rational and exponent.is_Rational:
        bits = max(abs(base.p), base.q).bit_length() * max(abs(exponent), 1)
        if bits > LARGEST_EXACT:
            return sympy.Float(float(base) ** float(exponent), 17)
    return base**exponent


def determinant(matrix: Any) -> Any:
    """Expanded along the first row, with nothing multiplied out (as SymPy's own methods do)."""
    n = matrix.rows
    if n == 1:
        return matrix[0]
    return sum((-1) ** j * matrix[0, j] * determinant(matrix.minor_submatrix(0, j)) for j in range(n))


def simplified(formula: Any) -> Any:
    """The formula simplified, or as it is where that might take long."""
    sympy = sympy_or_error()
    powers = [power.exp for power in formula.atoms(sympy.Pow) if power.exp.is_number]
    if formula.count_ops() > LARGEST_SIMPLIFIED or any(abs(power) > HIGHEST_SIMPLIFIED for power in powers):
        return formula
    return sympy.simplify(formula)


@cache
def _own() -> SimpleNamespace:
    """Functions that SymPy does not have, or whose derivative it does not give as JAX does."""
    sympy = sympy_or_error()

    def function(name: str, derivative: Callable[[Any], Any], shown: str = "") -> Any:
        return type(name, (sympy.Function,), {
            "nargs": 1,
            "_sympystr": lambda self, printer: f"{shown or name}({printer._print(self.args[0])})",
            "is_real": True,  # of real arguments, which these all have
            "fdiff": lambda self, argindex=1: derivative(self.args[0]),
        })  # fmt: skip

    own = SimpleNamespace(
        sign=function("sign", lambda x: sympy.Integer(0)),
        floor=function("floor", lambda x: sympy.Integer(0)),
        ceil=function("ceil", lambda x: sympy.Integer(0)),
        step=function("step", lambda x: sympy.Integer(0)),
        abs=function("abs", lambda x: own.abs_slope(x)),
        abs_slope=function("abs_slope", lambda x: sympy.Integer(0), shown="sign"),
        relu=function("relu", lambda x: own.step(x)),
        sigmoid=function("sigmoid", lambda x: own.sigmoid(x) * (1 - own.sigmoid(x))),
        softplus=function("softplus", lambda x: own.sigmoid(x)),
        cbrt=function("cbrt", lambda x: 1 / (3 * own.cbrt(x) ** 2)),
    )
    return own


def numeric() -> dict[str, Callable[..., Any]]:
    """How the functions of `_own` are computed; `step`, `abs_slope` and Heaviside take JAX's values at 0."""
    return {
        "sign": np.sign,
        "floor": np.floor,
        "ceil": np.ceil,
        "step": lambda x: np.heaviside(x, 0.0),
        "abs_slope": lambda x: np.where(x < 0, -1.0, 1.0),
        "abs": np.abs,
        "relu": lambda x: np.maximum(x, 0.0),
        "sigmoid": lambda x: np.exp(-np.logaddexp(0.0, -x)),
        "softplus": lambda x: np.logaddexp(0.0, x),
        "cbrt": np.cbrt,
    }


@cache
def _functions() -> dict[str, Callable[..., Any]]:
    """The functions of the whitelist as SymPy knows them."""
    sympy, own = sympy_or_error(), _own()
    same = "acos acosh asin asinh atan atanh atan2 cos cosh erf exp log sin sinh sqrt tan tanh"
    return {
        **{name: getattr(sympy, name) for name in same.split()},
        **{name: getattr(own, name) for name in "abs cbrt ceil floor relu sigmoid sign softplus".split()},
        "expm1": lambda x: sympy.exp(x) - 1,
        "log1p": lambda x: sympy.log(1 + x),
        "log2": lambda x: sympy.log(x) / sympy.log(2),
        "log10": lambda x: sympy.log(x) / sympy.log(10),
        "max": lambda *values: reduce(sympy.Max, values),
        "min": lambda *values: reduce(sympy.Min, values),
    }
