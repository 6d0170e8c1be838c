"""Formulas against numbers: SymPy differentiates the text, jacmap the JAX function made of it."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy

import jacmap as jm
from jacmap import ArgumentError
from jacmap._expression import FUNCTIONS, SEVERAL_ARGUMENTS, parse

POINTS = {"acosh": 1.7, "acos": 0.3, "asin": -0.4, "atanh": 0.6, "log": 0.7, "log2": 0.7, "log10": 0.7, "sqrt": 0.7}


def check(text: str, at: list[float]) -> None:
    """The formulas, computed in double precision, against plain jax.jacfwd and against jacmap."""
    told = jm.symbolic(text, at)
    oracle = jax.jacfwd(parse(text).function)(jnp.array(at))
    np.testing.assert_allclose(told.numbers(), oracle, rtol=1e-10, atol=1e-10)
    assert told.difference() < 1e-10


def components(name: str) -> str:
    """Two components that use the function, with arguments in its domain, shifted from x = -0.7."""
    if name in SEVERAL_ARGUMENTS:
        return f"{name}(x*y, x - y), y*{name}(y, x)"
    inside = f"x + {POINTS.get(name, -0.7) + 0.7}"
    return f"{name}({inside}), y*{name}({inside} + 0.1*y)**2"


@pytest.mark.parametrize("part", range(3))
def test_every_function_of_the_whitelist(part: int) -> None:
    check(", ".join(components(name) for name in FUNCTIONS[part::3]), [-0.7, 0.2])


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("abs(x), relu(x), sign(x) + floor(x) + ceil(x), sigmoid(x), softplus(x)", [0.0]),
        ("max(x, y), min(x, y)", [0.5, 0.5]),
        ("floor(x)*y, ceil(x)*y", [2.0, 3.0]),
    ],
)
def test_where_a_derivative_is_a_convention_it_is_that_of_jax(text: str, at: list[float]) -> None:
    check(text, at)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("x**y, y**x, (x/y)**-3, x**0.5", [1.5, 0.5]),
        ("-x + +y - 3, 7, e**x*pi, 0.1*x/3", [0.2, 0.3]),
        ("r*sin(theta)*cos(phi), r*sin(theta)*sin(phi), r*cos(theta)", [2.0, 0.5, 1.0]),
        ("exp(-x1**2) + x2*x10", [0.3, 0.4, 0.5]),
        ("numpy + array*lambdify", [0.3, 0.4, 0.5]),
        ("arctan*sqrt(arctan)", [2.0]),
        ("1.0000001**1e9*x, 2**1000*x, x*(1.0000001**1000)**1000", [1.0]),
        ("(x + y)**1000", [0.5, 0.501]),
        ("+".join(["x"] * 190), [0.3]),
        ("sin(x)**2 + cos(x)**2", [0.3]),
    ],
)
def test_expressions(text: str, at: list[float]) -> None:
    check(text, at)


def test_formulas_are_those_of_a_textbook() -> None:
    told = jm.symbolic("x**2 - y**2, 2*x*y")
    x, y = told.variables
    assert told.matrix == sympy.Matrix([[2 * x, -2 * y], [2 * y, 2 * x]])
    assert sympy.expand(told.determinant - 4 * (x**2 + y**2)) == 0
    assert jm.symbolic("r*cos(t), r*sin(t)").determinant == sympy.Symbol("r", real=True)
    assert jm.symbolic("x*y").determinant is None
    assert "(1 - sigmoid(x))*sigmoid(x)" in str(jm.symbolic("sigmoid(x)"))
    assert str(jm.symbolic("0.1*x").matrix[0]) == "1/10"


def test_a_wrong_number_would_be_seen() -> None:
    told = jm.symbolic("x*y", [2.0, 3.0])
    wrong = type(told)("x*y*y", told.variables, told.value, told.matrix, told.at, None)
    assert wrong.difference() > 0.1


def test_a_determinant_of_high_powers_is_not_multiplied_out() -> None:
    assert jm.symbolic("(x + y)**1000, x*sin(y)").determinant.count_ops() < 50
    assert jm.symbolic(", ".join(f"x{k}**2" for k in range(5))).determinant is None


def test_what_is_printed_and_listed() -> None:
    told = jm.symbolic("x**2 - y**2, 2*x*y", (1.5, 0.5))
    lines = str(told).splitlines()
    assert "  ∂f[0]/∂y  -2*y     -1          -1" in lines
    assert any(line == "both agree to rounding" for line in lines)
    assert max(map(len, lines)) <= 100
    long = str(jm.symbolic("sin(x*y + cos(x*y + exp(x*y)))**2*sqrt(x**2 + sin(y)), " + ", ".join(["x"] * 20)))
    assert max(map(len, long.splitlines())) <= 100
    assert "more entries" in long
    listed = told.to_dict()
    assert listed["matrix"] == [["2*x", "-2*y"], ["2*y", "2*x"]]
    assert listed["numbers"] == listed["jacmap"] == [[3, -1], [1, 3]]
    assert "numbers" not in jm.symbolic("x").to_dict()


def test_outside_the_domain_both_say_so() -> None:
    with pytest.warns(jm.NotFiniteWarning):
        assert jm.symbolic("sqrt(x)", [-1.0]).difference() == 0


@pytest.mark.parametrize(
    ("text", "at", "said"),
    [
        ("x.real", None, "not allowed"),
        (3, None, "text: got int, expected an expression"),
        ("x*y", [1.0], r"at: got shape \(1,\), expected 2 numbers \(x, y\)"),
        ("x", "here", "at: got 'here', expected 1 number"),
    ],
)
def test_bad_input(text: str, at: object, said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        jm.symbolic(text, at)


def test_a_point_is_needed_for_numbers_and_pictures() -> None:
    with pytest.raises(ArgumentError, match="at: got no point"):
        jm.symbolic("x*y").numbers()
    with pytest.raises(ArgumentError, match="at: got no point"):
        jm.symbolic("x*y").plot()
    np.testing.assert_array_equal(jm.symbolic("x*y").numbers([2.0, 3.0]), [[3.0, 2.0]])


def test_without_sympy_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["jacmap.study.formulas"]
    monkeypatch.setitem(sys.modules, "sympy", None)
    module.sympy_or_error.cache_clear()  # type: ignore[attr-defined]
    with pytest.raises(jm.JacmapError, match=r"jacmap\[symbolic\]"):
        jm.symbolic("x")
    monkeypatch.undo()
    module.sympy_or_error.cache_clear()  # type: ignore[attr-defined]
