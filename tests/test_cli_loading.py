"""TARGET and POINT: what they may name, and the one message for everything that can be wrong with them."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from jacmap import JacmapError
from jacmap._cli import point, target
from jacmap._cli.errors import CliError

PLANE = """
import numpy as np

SIZE = 2

class Holder:
    def inner(self, x):
        return x

holder = Holder()

def square(x):
    return x * x

def polar(r, theta):
    return r + theta

def shifted(x, by=1.0):
    return x + by

def any_number(*xs):
    return xs[0]

def here():
    return np.array([1.5, 0.5])

def two():
    return np.ones(2), np.zeros(3)

def nothing():
    pass

def needy(x):
    return x

def broken():
    return np.ones(2) @ np.ones(3)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to stand in, with plane.py, and Python as it was before when the test is over."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "plane.py").write_text(PLANE)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def write(path: str, text: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


def test_targets_that_load(folder: Path) -> None:
    write("pack/__init__.py", "")
    write("pack/part.py", "from .other import double\ndef f(x):\n    return double(x)")
    write("pack/other.py", "def double(x):\n    return 2 * x")
    assert target.load("plane.py:square").function(3) == 9
    assert target.load(f"{folder}/plane.py:square").function(3) == 9
    assert target.load("plane:square").function(3) == 9
    assert target.load("plane.py:holder.inner").function(3) == 3
    assert target.load("pack.part:f").function(3) == 6
    assert target.load("jax.numpy:sin").function(0.0) == 0
    assert target.load("x*y").variables == ("x", "y")


def test_a_file_sees_its_neighbours_and_is_run_once(folder: Path) -> None:
    write("deep/helper.py", "VALUE = 5")
    code = "import helper\nseen = []\ndef f(x):\n    seen.append(x)\n    return helper.VALUE + len(seen)"
    write("deep/main.py", code)
    assert target.load("deep/main.py:f").function(0) == 6
    assert target.load("deep/main.py:f").function(0) == 7


def test_arguments_are_the_ones_that_must_be_given(folder: Path) -> None:
    assert target.load("plane.py:polar").arguments == ("r", "theta")
    assert target.load("plane.py:shifted").arguments == ("x",)
    assert target.load("plane.py:any_number").arguments is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "TARGET is empty"),
        ("plain.py:square", "there is no file plain.py; nearest: plane.py"),
        ("plane.py:sqare", "plane.py has no function sqare; nearest: square"),
        ("plane.py:SIZE", "SIZE in plane.py is an int, not a function"),
        ("plane.py:holder.outer", "has no function holder.outer"),
        ("plane.py", "plane.py is a file: say which function of it, as in plane.py:square; known: square"),
        ("no_such_module:f", "there is no module no_such_module"),
        ("numpy.no_such:f", "there is no module numpy.no_such"),
        ("missing.py:f", 'missing.py could not be imported: missing.py, line 2, "import no_such_thing"'),
        ("missing:f", 'missing could not be imported: missing.py, line 2, "import no_such_thing"'),
        ("syntax.py:f", 'syntax.py could not be imported: syntax.py, line 1, "def f(x:": SyntaxError: '),
        ("deeper.py:f", 'deeper.py, line 3, "return np.ones(2) @ np.ones(3)": ValueError: matmul'),
        ("leaving.py:f", 'leaving.py, line 2, "sys.exit(3)": SystemExit: 3'),
        ("plane.square", "module:function"),
    ],
)
def test_a_target_that_does_not_load(folder: Path, text: str, said: str) -> None:
    write("missing.py", "# comment\nimport no_such_thing")
    write("syntax.py", "def f(x:")
    write("deeper.py", "import numpy as np\ndef g():\n    return np.ones(2) @ np.ones(3)\ng()")
    write("leaving.py", "import sys\nsys.exit(3)")
    with pytest.raises(JacmapError) as caught:
        target.load(text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("aim", "at", "arguments"),
    [
        ("x*y", "1.5,0.5", [[1.5, 0.5]]),
        ("x*y", " 1e3 , -2 ", [[1000.0, -2.0]]),
        ("y*x", "y=2, x=1", [[1.0, 2.0]]),
        ("theta*r", "r=1,theta=2", [[2.0, 1.0]]),
        ("x*y", "plane.py:here", [[1.5, 0.5]]),
        ("x*y", "plane:here", [[1.5, 0.5]]),
        ("x*y", "whole.npy", [[3.0, 4.0]]),
        ("plane.py:square", "7", [[7.0]]),
        ("plane.py:square", "1,2,3", [[1.0, 2.0, 3.0]]),
        ("plane.py:polar", "1,2", [1.0, 2.0]),
        ("plane.py:polar", "theta=2,r=1", [1.0, 2.0]),
        ("plane.py:polar", "plane.py:two", [[1.0, 1.0], [0.0, 0.0, 0.0]]),
        ("plane.py:polar", "named.npz", [[1.0], [2.0]]),
        ("plane.py:polar", "other.npz", [[4.0], [3.0]]),
        ("plane.py:square", "one.npz", [[5.0]]),
        ("plane.py:square", "whole.npy", [[3, 4]]),
        ("plane.py:any_number", "1,2", [[1.0, 2.0]]),
    ],
)
def test_points_that_load(folder: Path, aim: str, at: str, arguments: list) -> None:
    np.save("whole.npy", np.array([3, 4]))
    np.savez("named.npz", theta=np.array([2.0]), r=np.array([1.0]))
    np.savez("other.npz", p10=np.array([3.0]), p9=np.array([4.0]))
    np.savez("one.npz", np.array([5.0]))
    loaded = point.load(at, target.load(aim))
    assert len(loaded) == len(arguments)
    for got, expected in zip(loaded, arguments, strict=True):
        np.testing.assert_array_equal(got, expected, strict=isinstance(expected, np.ndarray))


def test_typed_numbers_are_floats(folder: Path) -> None:
    assert point.load("1,2", target.load("x*y"))[0].dtype == np.float64
    assert point.load("1,2", target.load("plane.py:square"))[0].dtype == np.float64


@pytest.mark.parametrize(
    ("aim", "at", "said"),
    [
        ("x*y", "", "POINT is empty"),
        ("x*y", "1", "the expression has 2 variables (x, y), POINT gives 1 number"),
        ("x*y", "1,2,3", "POINT gives 3 numbers"),
        ("x*y", "1,,2", '"" in POINT is not a number'),
        ("x*y", "1,two", '"two" in POINT is not a number'),
        ("x*y", "x=1,2", "mixes numbers with and without names"),
        ("x*y", "x=1,x=2", "gives x more than once"),
        ("x*y", "x=1", "gives no value for y"),
        ("theta*r", "tehta=1,r=2", "names tehta, which is no variable of theta*r; nearest: theta"),
        ("x*y", "matrix.npy", "POINT gives an array of shape (2, 2)"),
        ("x*y", "plane.py:two", "POINT gives 2 arrays, the expression takes one vector: 2 variables (x, y)"),
        ("x*y", "no.npy", "there is no file no.npy"),
        ("x*y", "matrx.npy", "nearest: matrix.npy"),
        ("x*y", "objects.npy", "holds Python objects, which are not loaded because they can run code"),
        ("x*y", "objects.npz", "holds Python objects"),
        ("x*y", "words.npy", "words.npy has dtype <U1, numbers were expected"),
        ("x*y", "words.npz", "second in words.npz has dtype <U1"),
        ("x*y", "empty.npz", "empty.npz holds no array"),
        ("x*y", "text.npy", "text.npy cannot be read as a NumPy file"),
        ("x*y", "text.npz", "text.npz cannot be read as a NumPy file"),
        ("x*y", "nil.npy", "nil.npy cannot be read as a NumPy file"),
        ("x*y", "plane.py:nothing", "plane.py:nothing returned nothing"),
        ("x*y", "plane.py:needy", "must make the point without being given anything: missing a"),
        ("x*y", "plane.py:broken", 'failed at plane.py, line 37, "return np.ones(2) @ np.ones(3)"'),
        ("x*y", "plane.py:her", "nearest: here"),
        ("plane.py:polar", "1,2,3", "POINT gives 3 arguments, plane.py:polar takes 2 (r, theta)"),
        ("plane.py:polar", "plane.py:here", "POINT gives 1 argument, plane.py:polar takes 2 (r, theta)"),
        ("plane.py:square", "x=1", "plane.py:square takes one array, so its entries have no names"),
        ("plane.py:square", "plane.py:two", "POINT gives 2 arguments, plane.py:square takes 1 (x)"),
    ],
)  # fmt: skip
def test_a_point_that_does_not_load(folder: Path, aim: str, at: str, said: str) -> None:
    np.save("matrix.npy", np.ones((2, 2)))
    np.save("objects.npy", np.array([{}, None], dtype=object))
    np.savez("objects.npz", np.array([{}, None], dtype=object))
    np.save("words.npy", np.array(["a", "b"]))
    np.savez("words.npz", first=np.ones(2), second=np.array(["a"]))
    np.savez("empty.npz")
    write("text.npy", "these are no numbers")
    write("text.npz", "nor these")
    write("nil.npy", "")
    with pytest.raises(CliError) as caught:
        point.load(at, target.load(aim))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
