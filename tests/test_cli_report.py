"""`jacmap report`: the page it writes, and what a user with bad data or a bad path is told."""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import jacmap as jm
from jacmap._cli import app

FUNCTIONS = """
import jax.numpy as jnp

def quadratic(x):
    return jnp.stack([x[0] * x[1], x[2] ** 2])

def raising(x):
    raise ValueError("the weights are not loaded")

def point():
    return jnp.array([1.0, 2.0, 3.0])
"""

GOOD = "a,b,c\n1,2,3\n2,1,0.5\n0.1,0.2,0.3\n"
VOID = {"area", "base", "br", "col", "hr", "img", "input", "link", "meta"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    (tmp_path / "good.csv").write_text(GOOD)
    return tmp_path


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["report", *words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


class Outline(HTMLParser):
    """Open elements, ids and addresses; raises where an element is closed that is not the open one."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.feed(page)
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "src", "xlink:href"):
                self.links.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()


def test_the_page_of_an_expression(folder: Path) -> None:
    assert run("x**2 - y**2, 2*x*y", "--at", "1.5,0.5", "-o", "out.html")[0] == 0
    page = (folder / "out.html").read_text()
    outline = Outline(page)
    assert len(outline.ids) == len(set(outline.ids)), "an id stands twice"
    assert set(outline.links) <= {"data:,", *(f"#{name}" for name in outline.ids)} | {
        link for link in outline.links if link.startswith("data:image/png;base64,")
    }
    assert outline.tags.count("svg") >= 2
    assert "script" not in outline.tags
    text = re.sub(r"<[^>]+>", " ", page)
    for said in ("x**2 - y**2, 2*x*y", "conformal", "det", "10", "-1", "jacmap report", "plain forward"):
        assert said in text, said


def test_the_page_is_the_same_when_made_again(folder: Path) -> None:
    for name in ("a.html", "b.html"):
        run("x**2 - y**2, 2*x*y", "--at", "1.5,0.5", "-o", name)
    a, b = ((folder / name).read_text().replace(name, "") for name in ("a.html", "b.html"))
    number = re.compile(r"\bf\d+-")  # pictures are numbered through the process
    assert number.sub("", a) == number.sub("", b)


def test_a_data_set(folder: Path) -> None:
    assert run("functions.py:quadratic", "--at", "functions.py:point", "--data", "good.csv", "-o", "out.html")[0] == 0
    page = (folder / "out.html").read_text()
    rows = np.array([[1, 2, 3], [2, 1, 0.5], [0.1, 0.2, 0.3]])
    mean = np.abs(2 * rows[:, 2]).mean()
    assert f"{mean:.6g}" in page
    np.save(folder / "good.npy", rows)
    assert run("functions.py:quadratic", "--at", "functions.py:point", "--data", "good.npy", "-o", "b.html")[0] == 0
    assert f"{mean:.6g}" in (folder / "b.html").read_text()


def test_columns_named_as_the_variables_are_put_in_their_order(folder: Path) -> None:
    (folder / "named.csv").write_text("y,x\n3,1\n5,2\n")
    assert run("x*y", "--at", "1,1", "--data", "named.csv", "-o", "out.html")[0] == 0
    page = (folder / "out.html").read_text()
    assert re.search(r'<th scope="row">x</th><td>4</td>', page), "mean |∂(xy)/∂x| = mean y = 4"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("nan.csv", "1,2,3\n1,nan,3\n", "line 2, column 2: got nan, expected a finite number"),
        ("word.csv", "1,2,3\n1,two,3\n", "line 2, column 2: got two"),
        ("blank.csv", "1,2,3\n1,,3\n", "line 2, column 2: got nothing"),
        ("ragged.csv", "1,2,3\n1,2\n", "line 2: 2 columns, expected 3"),
        ("narrow.csv", "1,2\n3,4\n", "holds 2×2 numbers, expected 3 a row"),
        ("empty.csv", "", "is empty"),
        ("names.csv", "a,b,c\n", "holds no points"),
        ("data.txt", "1,2,3\n", "expected a .csv file"),
        ("latin.csv", b"a,b,c\n1,2,\xff\n", "cannot be read as a .csv file of UTF-8 text"),
        ("broken.npy", "not numpy", "cannot be read as a NumPy file"),
    ],
)
def test_a_bad_data_set(folder: Path, name: str, content: str | bytes, said: str) -> None:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    (folder / "out.html").write_text("the old report")
    code, output = run("functions.py:quadratic", "--at", "functions.py:point", "--data", name, "-o", "out.html")
    assert code == 1
    assert said in output and "Traceback" not in output
    assert (folder / "out.html").read_text() == "the old report"
    assert sorted(path.name for path in folder.glob(".*")) == []


def test_nan_in_an_npy_file(folder: Path) -> None:
    rows = np.ones((4, 3))
    rows[2, 1] = np.nan
    np.save(folder / "rows.npy", rows)
    code, output = run("functions.py:quadratic", "--at", "functions.py:point", "--data", "rows.npy", "-o", "out.html")
    assert code == 1 and "1 entries are not finite, the first in row 2" in output
    assert not (folder / "out.html").exists()


def test_a_constant_feature_is_told(folder: Path) -> None:
    (folder / "constant.csv").write_text("1,2,3\n1,3,4\n1,4,4\n")
    assert (
        run("functions.py:quadratic", "--at", "functions.py:point", "--data", "constant.csv", "-o", "out.html")[0] == 0
    )
    assert "constant" in (folder / "out.html").read_text()


@pytest.mark.parametrize(
    ("output", "said"), [("missing/out.html", "there is no folder missing"), (".", "is a folder, expected a file")]
)
def test_a_place_that_cannot_be_written_to(output: str, said: str) -> None:
    code, printed = run("x*y", "--at", "1,1", "-o", output)
    assert code == 1 and said in printed and "Traceback" not in printed


def test_a_failing_function_leaves_the_old_report(folder: Path) -> None:
    (folder / "out.html").write_text("the old report")
    code, printed = run("functions.py:raising", "--at", "functions.py:point", "-o", "out.html")
    assert code == 1 and "the weights are not loaded" in printed
    assert (folder / "out.html").read_text() == "the old report"


def test_a_full_disk_leaves_the_old_report(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    (folder / "out.html").write_text("the old report")
    monkeypatch.setattr("jacmap._files.os.replace", full)
    code, printed = run("x*y", "--at", "1,1", "-o", "out.html")
    assert code == 1 and "No space left on device" in printed
    assert (folder / "out.html").read_text() == "the old report"
    assert sorted(path.name for path in folder.glob(".*")) == []


def test_what_is_wrong_at_the_point_is_told_at_the_top(folder: Path) -> None:
    assert run("abs(x) + y, log(x)", "--at", "0,1", "-o", "out.html")[0] == 0
    page = (folder / "out.html").read_text()
    top = page[page.index("Watch out") : page.index("</section>")]
    assert "not finite" in top or "infinite" in top


@pytest.mark.parametrize("library", ["jinja2", "matplotlib"])
def test_a_missing_library_is_named_with_its_extra(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    code, printed = run("x*y", "--at", "1,1", "-o", "out.html")
    assert code == 1 and "pip install 'jacmap[report]'" in printed and "Traceback" not in printed


def test_from_python(folder: Path) -> None:
    J = jm.linearize(lambda x: x**2, np.array([1.0, 2.0]))
    path = jm.report.save(J, folder / "out.html", title="squares")
    assert "<h1>squares</h1>" in path.read_text()
    with pytest.raises(jm.ArgumentError, match="J: got function, expected a Jacobian"):
        jm.report.save(lambda x: x, folder / "b.html")
