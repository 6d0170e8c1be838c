"""`jacmap explain` as a user meets it: what it prints, and that no mistake ends in a traceback of ours."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import jacmap as jm
from jacmap._cli import app

NETWORK = """
import jax.numpy as jnp
import numpy as np

def tall(x):
    return jnp.concatenate([x, x**2, jnp.sin(x)])

def pair(u, v):
    return {"sum": u + v, "product": u * v}

def squeezed(x):
    return jnp.full(40, 2.0) * jnp.tanh(jnp.ones((1, 40)) @ x)[0]

def mismatched(x):
    return x @ jnp.ones(7)

def raising(x):
    raise ValueError("the weights are not loaded")

def point():
    return jnp.arange(1.0, 31.0)

def wide():
    return jnp.linspace(-1.0, 1.0, 40)

def two():
    return jnp.array([1.0, 2.0]), jnp.array([3.0, 4.0])

def words():
    return np.array(["a", "b"])

def whole():
    return np.array([1, 2])

def chosen(table, row):
    return table[row]

def table_and_row():
    return jnp.array([[1.0, 2.0], [3.0, 4.0]]), 1
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "network.py").write_text(NETWORK)
    return tmp_path


def explain(*words: str) -> str:
    result = CliRunner().invoke(app, ["explain", *words])
    assert result.exit_code == 0, result.output
    return result.output


def refused(*words: str) -> str:
    """The one line that a mistake is answered with."""
    result = CliRunner().invoke(app, ["explain", *words])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return result.stderr.strip()


def test_an_expression() -> None:
    output = explain("x**2 - y**2, 2*x*y", "--at", "1.5,0.5")
    assert "Value: [2, 1.5]" in output
    assert [line.split() for line in output.splitlines() if line.startswith(("y[0]", "y[1]"))] == [
        ["y[0]", "3", "-1"],
        ["y[1]", "1", "3"],
    ]
    assert "det J = 10: areas grow by 10×, orientation kept." in output
    assert "Rank 2 of at most 2" in output


def test_an_expression_may_begin_with_a_minus() -> None:
    assert "Value: [-2.25]" in explain("-x**2", "--at", "-1.5")


def test_the_parts_stand_in_order() -> None:
    output = explain("x*y, x", "--at", "x=2,y=3")
    parts = ["Variables in order: x, y", "Value:", "Jacobian, 2×2", "plan for 'dense'", "What it means"]
    at = [output.index(part) for part in parts]
    assert at == sorted(at)


def test_a_function_of_a_file_too_large_for_a_matrix() -> None:
    output = explain("network.py:tall", "--at", "network.py:point")
    assert "Jacobian, 90×30" in output
    assert "x[29] 60" in output
    assert "every small change of the input shows in the output" in output


def test_a_numpy_file_as_the_point() -> None:
    np.save("at.npy", np.array([1.0, 2.0]))
    assert "Jacobian, 6×2" in explain("network.py:tall", "--at", "at.npy")


def test_several_arguments_and_a_tree_of_outputs_are_named() -> None:
    output = explain("network.py:pair", "--at", "network.py:two")
    assert "Jacobian, 4×4" in output
    assert "∂/∂u[0]" in output
    assert "y['product'][1]" in output


def test_an_argument_of_whole_numbers_is_not_differentiated() -> None:
    output = explain("network.py:chosen", "--at", "network.py:table_and_row")
    assert "Jacobian, 2×4" in output
    assert "∂/∂table[1, 1]" in output


def test_a_bottleneck_shows_in_the_rank() -> None:
    assert "Rank 1 of at most 40: 39 independent directions" in explain(
        "network.py:squeezed", "--at", "network.py:wide"
    ).replace("\n", " ")


@pytest.mark.parametrize("question", ["dense", "sparse", "diagonal", "trace"])
def test_the_plan_is_the_one_of_the_question(question: str) -> None:
    output = explain("x**2, y**3", "--at", "1,2", "--question", question)
    plan = str(jm.linearize(lambda x: x ** np.array([2.0, 3.0]), np.array([1.0, 2.0])).explain(question))
    assert plan.splitlines()[0] in output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("sine(x)", "--at", "1"), "sine is not a known function; nearest: sin"),
        (("x + y", "--at", "1"), "the expression has 2 variables (x, y), POINT gives 1 number"),
        (("x", "--at", "no.npy"), "there is no file no.npy"),
        (("nowhere.py:f", "--at", "1"), "there is no file nowhere.py"),
        (("network.py:mismatched", "--at", "1,2"), 'line 15, "return x @ jnp.ones(7)": TypeError'),
        (("jax.numpy:linalg.inv", "--at", "1,2,3"), "the function failed at"),
        (("network.py:raising", "--at", "1,2"), "ValueError: the weights are not loaded"),
        (("network.py:tall", "--at", "network.py:words"), "POINT holds <U1, expected floats"),
        (("network.py:tall", "--at", "network.py:whole"), "POINT holds int64, expected floats"),
        (("x", "--at", "1", "--question", "dens"), "dens"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_1(words: tuple[str, ...], said: str) -> None:
    answer = refused(*words)
    assert said in answer
    assert answer.startswith("jacmap: ")


def test_nan_is_told_with_where() -> None:
    result = CliRunner().invoke(app, ["explain", "x + y", "--at", "1,nan"])
    assert result.exit_code == 0
    assert "Not finite in the point: y = nan" in result.output
    assert "Not finite in the value: y[0] = nan" in result.output
    assert "Warning" not in result.output


def test_a_fault_of_ours_is_one_line_that_asks_for_a_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jm, "linearize", None)
    answer = refused("x", "--at", "1")
    assert "unexpected TypeError: 'NoneType' object is not callable. This is a fault in jacmap" in answer
    assert len(answer.splitlines()) == 1


def test_debug_shows_the_traceback() -> None:
    result = CliRunner().invoke(app, ["explain", "sine(x)", "--at", "1", "--debug"])
    assert result.exit_code == 1
    assert "Traceback" in result.stderr


def test_a_missing_point_is_a_usage_error() -> None:
    result = CliRunner().invoke(app, ["explain", "x"])
    assert result.exit_code == 2
    assert "--at" in result.stderr
