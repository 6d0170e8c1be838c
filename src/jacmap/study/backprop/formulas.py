"""Operations as formulas of a spreadsheet, with their derivatives: the table. {0}, {1}: the inputs; {y}: the output.

Only functions that Excel, LibreOffice and their kin have in common. Each derivative is that of JAX, ties included.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..._operations import Operation


@dataclass(frozen=True)
class Formula:
    """Entry by entry. `derivatives`: input position → template; "1" and "-1" need no cell of their own."""

    value: str
    derivatives: Mapping[int, str] = field(default_factory=dict)


def _power(operation: Operation) -> Formula:
    n = operation.params["y"]
    return Formula(f"POWER({{0}},{n})", {0: "0" if n == 0 else "1" if n == 1 else f"{n}*POWER({{0}},{n - 1})"})


def _converted(operation: Operation) -> Formula | None:
    before, after = operation.equation.invars[0].aval.dtype.kind, operation.equation.outvars[0].aval.dtype.kind
    if before == "b":
        return Formula("IF({0},1,0)")
    if after == "b":
        return Formula("{0}<>0")
    return Formula("TRUNC({0})") if before == "f" and after in "iu" else Formula("{0}", {0: "1"})


def _selected(operation: Operation) -> Formula | None:
    if operation.equation.invars[0].aval.dtype.kind == "b":
        return Formula("IF({0},{2},{1})", {1: "IF({0},0,1)", 2: "IF({0},1,0)"})
    count = len(operation.inputs) - 1
    cases = ",".join(f"{{{k + 1}}}" for k in range(count))
    return Formula(f"CHOOSE({{0}}+1,{cases})", {k + 1: f"IF({{0}}={k},1,0)" for k in range(count)})


FORMULAS: dict[str, Formula | Callable[[Operation], Formula | None]] = {
    "abs": Formula("ABS({0})", {0: "IF({0}>=0,1,-1)"}),
    "acos": Formula("ACOS({0})", {0: "-1/SQRT(1-{0}*{0})"}),
    "add": Formula("{0}+{1}", {0: "1", 1: "1"}),
    "add_any": Formula("{0}+{1}", {0: "1", 1: "1"}),
    "and": Formula("AND({0},{1})"),
    "asin": Formula("ASIN({0})", {0: "1/SQRT(1-{0}*{0})"}),
    "atan": Formula("ATAN({0})", {0: "1/(1+{0}*{0})"}),
    "clamp": Formula("MIN(MAX({1},{0}),{2})", {1: "IF(AND({1}>{0},{1}<{2}),1,0)"}),
    "convert_element_type": _converted,
    "copy": Formula("{0}", {0: "1"}),
    "cos": Formula("COS({0})", {0: "-SIN({0})"}),
    "cosh": Formula("COSH({0})", {0: "SINH({0})"}),
    "div": Formula("{0}/{1}", {0: "1/{1}", 1: "-{y}/{1}"}),
    "eq": Formula("{0}={1}"),
    "erf": Formula("ERF({0})", {0: "2/SQRT(PI())*EXP(-({0}*{0}))"}),
    "erfc": Formula("(1-ERF({0}))", {0: "-2/SQRT(PI())*EXP(-({0}*{0}))"}),
    "exp": Formula("EXP({0})", {0: "{y}"}),
    "exp2": Formula("POWER(2,{0})", {0: "{y}*LN(2)"}),
    "expm1": Formula("EXP({0})-1", {0: "{y}+1"}),
    "ge": Formula("{0}>={1}"),
    "gt": Formula("{0}>{1}"),
    "integer_pow": _power,
    "is_finite": Formula("ISNUMBER({0})"),
    "le": Formula("{0}<={1}"),
    "log": Formula("LN({0})", {0: "1/{0}"}),
    "log1p": Formula("LN(1+{0})", {0: "1/(1+{0})"}),
    "logaddexp": Formula(
        "MAX({0},{1})+LN(1+EXP(-ABS({0}-({1}))))", {0: "1/(1+EXP({1}-({0})))", 1: "1/(1+EXP({0}-({1})))"}
    ),
    "logistic": Formula("1/(1+EXP(-({0})))", {0: "{y}*(1-{y})"}),
    "lt": Formula("{0}<{1}"),
    "max": Formula("MAX({0},{1})", {0: "IF({0}>{1},1,IF({0}={1},0.5,0))", 1: "IF({1}>{0},1,IF({0}={1},0.5,0))"}),
    "min": Formula("MIN({0},{1})", {0: "IF({0}<{1},1,IF({0}={1},0.5,0))", 1: "IF({1}<{0},1,IF({0}={1},0.5,0))"}),
    "mul": Formula("{0}*{1}", {0: "{1}", 1: "{0}"}),
    "ne": Formula("{0}<>{1}"),
    "neg": Formula("-({0})", {0: "-1"}),
    "not": Formula("NOT({0})"),
    "or": Formula("OR({0},{1})"),
    "pow": Formula("POWER({0},{1})", {0: "{1}*POWER({0},{1}-1)", 1: "LN({0})*{y}"}),
    "relu": Formula("MAX({0},0)", {0: "IF({0}>0,1,0)"}),
    "rsqrt": Formula("1/SQRT({0})", {0: "-0.5*{y}/{0}"}),
    "select_n": _selected,
    "sign": Formula("SIGN({0})"),
    "sin": Formula("SIN({0})", {0: "COS({0})"}),
    "sinh": Formula("SINH({0})", {0: "COSH({0})"}),
    "sqrt": Formula("SQRT({0})", {0: "0.5/{y}"}),
    "square": Formula("{0}*{0}", {0: "2*{0}"}),
    "stop_gradient": Formula("{0}"),
    "sub": Formula("{0}-({1})", {0: "1", 1: "-1"}),
    "tan": Formula("TAN({0})", {0: "1+{y}*{y}"}),
    "tanh": Formula("TANH({0})", {0: "1-{y}*{y}"}),
}

# Over entries: the function of all entries, and the derivative for one of them, {0}; {all}: the entries, {ties}: how
# many of them equal the result; {others}: the product of the others.
REDUCTIONS: dict[str, Formula] = {
    "reduce_max": Formula("MAX({all})", {0: "IF({0}={y},1/({ties}),0)"}),
    "reduce_min": Formula("MIN({all})", {0: "IF({0}={y},1/({ties}),0)"}),
    "reduce_prod": Formula("PRODUCT({all})", {0: "{others}"}),
    "reduce_sum": Formula("SUM({all})", {0: "1"}),
}
ARGUMENTS = 250  # of one function, at most


def of(operation: Operation) -> Formula | None:
    """The operation's formula, None where it has none."""
    entry: Any = FORMULAS.get(operation.name)
    if entry is None or isinstance(entry, Formula):
        return entry
    found: Formula | None = entry(operation)
    return found
