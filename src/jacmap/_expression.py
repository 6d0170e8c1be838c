"""A typed expression such as `x**2 - y**2, 2*x*y` as a JAX function of one vector.

Nothing is ever evaluated by Python: the text is parsed to a syntax tree, and only the nodes named below
are turned into JAX operations. Everything else is refused by name.
"""

import ast
import math
import operator
import re
from collections.abc import Callable
from functools import partial, reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ._arguments import nearest
from ._errors import ArgumentError

LONGEST = 10_000
DEEPEST = 200
LARGEST_INTEGER_POWER = 1024

CONSTANTS = {"pi": math.pi, "e": math.e}

OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: lambda base, exponent: _power(base, exponent),
}

ONE_ARGUMENT: dict[str, Callable[[Any], Any]] = {
    "abs": jnp.abs, "acos": jnp.arccos, "acosh": jnp.arccosh, "asin": jnp.arcsin, "asinh": jnp.arcsinh,
    "atan": jnp.arctan, "atanh": jnp.arctanh, "cbrt": jnp.cbrt, "ceil": jnp.ceil, "cos": jnp.cos,
    "cosh": jnp.cosh, "erf": jax.scipy.special.erf, "exp": jnp.exp, "expm1": jnp.expm1, "floor": jnp.floor,
    "log": jnp.log, "log10": jnp.log10, "log1p": jnp.log1p, "log2": jnp.log2, "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid, "sign": jnp.sign, "sin": jnp.sin, "sinh": jnp.sinh,
    "softplus": jax.nn.softplus, "sqrt": jnp.sqrt, "tan": jnp.tan, "tanh": jnp.tanh,
}  # fmt: skip
SEVERAL_ARGUMENTS: dict[str, Callable[..., Any]] = {
    "atan2": jnp.arctan2,
    "max": lambda *values: reduce(jnp.maximum, values),
    "min": lambda *values: reduce(jnp.minimum, values),
}
FUNCTIONS = sorted([*ONE_ARGUMENT, *SEVERAL_ARGUMENTS])

Value = Any  # a JAX scalar, or a Python float
Values = dict[str, Value]
Term = float | Callable[[Values], Value]  # a constant, or a function of the variables' values


class Expression(NamedTuple):
    """`function` takes a vector, one entry per name in `variables`, and returns one entry per component.

    `components`: the syntax tree of each component, of nodes of the whitelist only.
    """

    function: Callable[[jax.Array], jax.Array]
    variables: tuple[str, ...]
    components: tuple[ast.expr, ...]


def parse(text: str) -> Expression:
    """The JAX function that a comma-separated list of expressions stands for.

    The order of the variables is x, y, z, or x1, x2, ..., where the names are of that kind, and the order
    of first appearance otherwise. Raises ArgumentError for anything outside the whitelist.
    """
    if len(text) > LONGEST:
        raise ArgumentError(
            f"the expression has {len(text)} characters, at most {LONGEST} are read: put a function that "
            "long in a file and name it as file.py:function"
        )
    body = _syntax_tree(text)
    names: dict[str, None] = {}
    components = tuple(body.elts) if isinstance(body, ast.Tuple) else (body,)
    terms = [_term(node, names, 1) for node in components]
    if not names:
        raise ArgumentError(f'"{_shortened(text)}" has no variable to take a derivative by (pi and e are numbers)')
    variables = _in_order(list(names))

    def f(x: jax.Array) -> jax.Array:
        x = jnp.asarray(x)  # NumPy's numbers warn where JAX's do not
        values = {name: x[position] for position, name in enumerate(variables)}
        return jnp.stack([jnp.asarray(_at(term, values), dtype=x.dtype) for term in terms])

    return Expression(f, variables, components)


def _syntax_tree(text: str) -> ast.expr:
    try:
        body = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        near = f" near position {error.offset}" if error.offset else ""
        raise ArgumentError(
            f'"{_shortened(text)}" cannot be read{near}: {error.msg}. Write products as 2*x, powers as x**2, '
            "and separate the components by commas"
        ) from None
    except (RecursionError, MemoryError):
        raise _too_deep() from None
    except ValueError as error:
        raise ArgumentError(f'"{_shortened(text)}" cannot be read: {error}') from None
    if isinstance(body, ast.Tuple) and not body.elts:
        raise ArgumentError("the expression is empty: give at least one component, such as x**2")
    return body


def _term(node: ast.expr, names: dict[str, None], depth: int) -> Term:
    """One node of the whitelist; `names` gathers the variables in the order in which they appear."""
    if depth > DEEPEST:
        raise _too_deep()
    inner = partial(_term, names=names, depth=depth + 1)
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return _finite(number, node)
        case ast.Name(id=name) if name in CONSTANTS:
            return CONSTANTS[name]
        case ast.Name(id=name) if name in FUNCTIONS:
            raise ArgumentError(f"{name} is a function: write {name}(...) with what it is taken of in brackets")
        case ast.Name(id=name) if not name.startswith("_"):
            names.setdefault(name)
            return operator.itemgetter(name)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            negated = inner(operand)
            return -negated if isinstance(negated, float) else lambda values: -negated(values)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return inner(operand)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            return _binary(node, OPERATORS[type(op)], inner(left), inner(right))
        case ast.Call(func=ast.Name(id=name), args=given, keywords=[]):
            function = _function(name, given)
            arguments = [inner(argument) for argument in given]
            return lambda values: function(*[_at(argument, values) for argument in arguments])
    raise _refused(node)


def _at(term: Term, values: Values) -> Value:
    return term if isinstance(term, float) else term(values)


def _binary(node: ast.expr, apply: Callable[..., Value], left: Term, right: Term) -> Term:
    if not (isinstance(left, float) and isinstance(right, float)):
        return lambda values: apply(_at(left, values), _at(right, values))
    try:
        return _finite(apply(left, right), node)
    except (OverflowError, ZeroDivisionError):
        return _finite(math.inf, node)


def _power(base: Value, exponent: Value) -> Value:
    # A whole power is a product: it takes negative bases, and its derivatives at 0 are right.
    if isinstance(exponent, float) and exponent.is_integer() and abs(exponent) <= LARGEST_INTEGER_POWER:
        return base ** int(exponent)
    return base**exponent


def _finite(number: complex, node: ast.expr) -> float:
    try:
        if isinstance(number, int | float) and math.isfinite(number):
            return float(number)
    except OverflowError:
        pass
    raise ArgumentError(f"{_shortened(ast.unparse(node))} is not a finite real number")


def _function(name: str, given: list[ast.expr]) -> Callable[..., Value]:
    if name in SEVERAL_ARGUMENTS:
        if len(given) < 2 or (name == "atan2" and len(given) > 2):
            wanted = "two arguments" if name == "atan2" else "two arguments or more"
            raise ArgumentError(f"{name} takes {wanted}, {len(given)} came")
        function = SEVERAL_ARGUMENTS[name]
    elif name in ONE_ARGUMENT:
        if len(given) != 1:
            raise ArgumentError(f"{name} takes one argument, {len(given)} came")
        function = ONE_ARGUMENT[name]
    else:
        raise ArgumentError(f"{_shortened(name)} is not a known function{nearest(name, FUNCTIONS)}")
    return function


def _refused(node: ast.expr) -> ArgumentError:
    shown = _shortened(ast.unparse(node))
    match node:
        case ast.BinOp(op=ast.BitXor()):
            reason = "powers are written **, as in x**2"
        case ast.Attribute() | ast.Call(func=ast.Attribute()):
            reason = "a dot reaches into nothing here; a function of a module is written module:function"
        case ast.Tuple() | ast.List():
            reason = "components stand side by side, separated by commas, without inner brackets"
        case ast.Name():
            reason = "a name must not begin with an underscore"
        case _:
            reason = f"use numbers, names, + - * / **, brackets, pi, e, and {', '.join(FUNCTIONS)}"
    return ArgumentError(f"{shown} is not allowed in an expression: {reason}")


def _too_deep() -> ArgumentError:
    return ArgumentError(
        f"the expression is nested more than {DEEPEST} deep: write long sums in parts, or put the function "
        "in a file and name it as file.py:function"
    )


def _in_order(names: list[str]) -> tuple[str, ...]:
    if set(names) <= set("xyz"):
        return tuple(sorted(names))
    numbered = [re.fullmatch(r"([A-Za-z_]+?)_?([0-9]+)", name) for name in names]
    if all(numbered) and len({match[1] for match in numbered if match}) == 1:
        return tuple(sorted(names, key=lambda name: int(re.findall(r"[0-9]+", name)[-1])))
    return tuple(names)


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else f"{line[:40]}...{line[-15:]}"
