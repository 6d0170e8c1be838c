"""The workbook, recomputed by LibreOffice: equal to ours, and to JAX's gradient after weights are changed in it."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from backprop_cases import NETS, OFFICE, PARAMS, Net, X, classifier, log_loss, recomputed

import jacmap as jm

openpyxl = pytest.importorskip("openpyxl")
needs_office = pytest.mark.skipif(OFFICE is None, reason="LibreOffice is not installed to recompute the formulas")


def read(book: Any, addresses: list[str]) -> np.ndarray:
    cells = (address.split("!") for address in addresses)
    return np.array([book[sheet][cell].value for sheet, cell in cells], float)


def moved(args: Any) -> Any:
    """Other inputs and weights of the same shapes."""
    return jax.tree.map(lambda leaf: leaf + 0.05 * jnp.cos(jnp.arange(leaf.size)).reshape(leaf.shape), args)


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Any, Any]]:
    """name → (what was written, the workbook recomputed, and recomputed after inputs and weights were changed)."""
    folder = tmp_path_factory.mktemp("workbooks")
    written, paths = [], []
    for k, net in enumerate(NETS):
        found = net.followed
        result = found.save(folder / f"net{k}.xlsx")
        assert not result.frozen and not result.fixed
        book = openpyxl.load_workbook(result.path)
        names = found.operations.names
        leaves = dict(zip(names.values(), _leaves(net, found), strict=True))
        for name, leaf in leaves.items():
            for address, number in zip(result.cells[name], np.ravel(leaf), strict=True):
                sheet, cell = address.split("!")
                book[sheet][cell].value = float(number)
        book.save(folder / f"net{k}-changed.xlsx")
        written.append(result)
        paths += [result.path, folder / f"net{k}-changed.xlsx"]
    again = recomputed(paths, folder)
    return {str(net): (written[k], again[2 * k], again[2 * k + 1]) for k, net in enumerate(NETS)}


def _leaves(net: Net, found: Any) -> list[Any]:
    """The changed leaves, in the order of the names: the differentiated ones first."""
    args = moved(net.args)
    chosen = (net.argnums,) if isinstance(net.argnums, int) else net.argnums
    first = [leaf for k in chosen for leaf in jax.tree.leaves(args[k])]
    return first + [leaf for k, arg in enumerate(args) if k not in chosen for leaf in jax.tree.leaves(arg)]


@needs_office
@pytest.mark.parametrize("net", NETS, ids=str)
def test_recomputed_it_equals_ours(net: Net, books: dict[str, tuple[Any, Any, Any]]) -> None:
    result, book, _ = books[str(net)]
    compared = 0
    for made in (made for step in net.followed.steps for made in step.makes):
        for name, array in ((made.name, made.value), (f"∂L/∂{made.name}", made.cotangent)):
            if name in result.cells:
                numbers, flat = read(book, result.cells[name]), np.ravel(array).astype(float)
                finite = np.isfinite(flat)  # a mask's −inf is the largest negative number there
                np.testing.assert_allclose(numbers[finite], flat[finite], rtol=1e-9, atol=1e-12, err_msg=name)
                compared += 1
    assert compared > len(net.followed.steps) / 2
    _same_gradient(net, result, book, net.args)


@needs_office
@pytest.mark.parametrize("net", NETS, ids=str)
def test_after_a_change_everything_follows(net: Net, books: dict[str, tuple[Any, Any, Any]]) -> None:
    result, before, book = books[str(net)]
    _same_gradient(net, result, book, moved(net.args))
    assert book["Read me"]["C3"].value != before["Read me"]["C3"].value
    assert book["Read me"]["C4"].value == before["Read me"]["C4"].value


def _same_gradient(net: Net, result: Any, book: Any, args: Any) -> None:
    value, gradient = jax.value_and_grad(net.total, argnums=net.argnums)(*args)
    for entry, own in zip(net.followed.inputs, jax.tree.leaves(gradient), strict=True):
        ours = read(book, result.cells[f"∂L/∂{entry.name}"])
        np.testing.assert_allclose(ours, np.ravel(own), rtol=1e-9, atol=1e-12, err_msg=entry.name)
    assert book["Read me"]["C3"].value == pytest.approx(float(value), rel=1e-9)


def test_cells_are_formulas_and_only_inputs_are_numbers(tmp_path: Path) -> None:
    found = NETS[0].followed
    result = found.save(tmp_path / "net.xlsx")
    book = openpyxl.load_workbook(result.path)
    assert book.sheetnames == ["Read me", "Forward", "Backward"]
    given = {value.name for value in (*found.inputs, *found.others, *found.constants)}
    for name, addresses in result.cells.items():
        for address in addresses:
            sheet, cell = address.split("!")
            live = isinstance(text := book[sheet][cell].value, str) and text.startswith("=")
            assert live == (name not in given), (name, text)
    assert "Every number follows" in str(result)
    assert book["Forward"].freeze_panes and book["Backward"].freeze_panes
    labels = [row[0].value for row in book["Backward"].iter_rows(min_row=5, max_col=1) if row[0].value]
    assert labels[0] == "∂L/∂v14" and labels[-1] == "∂L/∂params['w2']"
    assert {row[1].value for row in book["Forward"].iter_rows(min_row=5, max_col=2)} >= {"tanh(v2)", "-v13"}


def test_what_has_no_formula_is_written_as_numbers_and_said(tmp_path: Path) -> None:
    def f(x: jax.Array) -> jax.Array:
        return jnp.sum(jnp.cumsum(x) * x) + x[jnp.argmax(x)]

    result = jm.backprop(f, jnp.array([0.3, 0.1, 0.5])).save(tmp_path / "net.xlsx")
    assert [text.partition(" = ")[2] for text in result.frozen] == ["cumsum(x)", "argmax(x)"]
    assert len(result.fixed) == 1 and "dynamic_slice" in result.fixed[0]
    book = openpyxl.load_workbook(result.path)
    told = [cell.value for row in book["Read me"].iter_rows() for cell in row if isinstance(cell.value, str)]
    assert any("no formula: v1 = cumsum(x)" in text for text in told)
    sheet, cell = result.cells["v1"][2].split("!")
    assert book[sheet][cell].value == pytest.approx(0.9)
    assert any(row[3].value == "no formula: numbers as saved" for row in book["Forward"].iter_rows(max_col=4))


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = jm.backprop(jnp.sum, jnp.ones(2))
    path = tmp_path / "net.xlsx"
    path.write_bytes(b"before")

    def broken(self: Any, file: Any) -> None:
        file.write(b"half")
        raise RuntimeError("disk")

    monkeypatch.setattr(openpyxl.Workbook, "save", broken)
    with pytest.raises(RuntimeError, match="disk"):
        found.save(path)
    assert path.read_bytes() == b"before" and list(tmp_path.iterdir()) == [path]


def test_places_that_cannot_be_written_and_networks_too_large(tmp_path: Path) -> None:
    small = jm.backprop(jnp.sum, jnp.ones(2))
    with pytest.raises(jm.ArgumentError, match="ends in .xlsx"):
        small.save(tmp_path / "net.txt")
    with pytest.raises(jm.ArgumentError, match="cannot be written"):
        small.save(tmp_path / "nowhere" / "net.xlsx")
    with pytest.raises(jm.ArgumentError, match="makes .* numbers, expected at most"):
        jm.backprop(lambda x: jnp.sum(x**2), jnp.ones(30_000)).save(tmp_path / "net.xlsx")
    with pytest.raises(jm.ArgumentError, match="longer than a cell can hold"):
        jm.backprop(lambda x: x @ x, jnp.ones(2_000)).save(tmp_path / "net.xlsx")


def test_without_openpyxl_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(ImportError, match=r"jacmap\[xlsx\]"):
        jm.backprop(jnp.sum, jnp.ones(2)).save(tmp_path / "net.xlsx")


def test_the_section_of_a_report(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jinja2")
    from jacmap.report import sections

    assert "backpropagation" in sections.TABLE
    monkeypatch.setattr(sections, "TABLE", {"backpropagation": sections.TABLE["backpropagation"]})
    section = NETS[0].followed.section()
    assert section.id == "backprop"
    page = jm.report.html(jm.linearize(lambda x: log_loss(classifier(PARAMS, x)), X))
    assert '<h2 id="backprop">' in page
    assert '<h2 id="backprop">' not in jm.report.html(jm.linearize(lambda x: classifier(PARAMS, x), X))
