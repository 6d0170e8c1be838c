"""The documents are run: every Python block, every `$ jacmap ...`, what they print, and the links.

`python tests/test_docs.py` writes what the code prints today into the documents; read the difference before keeping it.
It compiles as a user's JAX does; the tests compile cheaply (see conftest.py), so no digit shown may depend on which.
"""

import ast
import contextlib
import functools
import io
import json
import multiprocessing
import os
import re
import shlex
import sys
import tempfile
import warnings
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import one_context
import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """`code` of a Python block, or the words of a `$ jacmap` line; `shown`: the output printed below it."""

    document: Path
    line: int
    code: str
    words: tuple[str, ...] | None = None
    shown: str | None = None
    span: tuple[int, int] = (0, 0)  # where in the document `shown` stands

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"


def blocks(document: Path) -> list[Block]:
    text = document.read_text(encoding="utf-8")
    fences = list(FENCE.finditer(text))
    found = []
    for fence, following in zip_longest(fences, fences[1:]):
        language, body = fence.groups()
        line = text.count("\n", 0, fence.start()) + 1
        if language == "python":
            shown, span = None, (0, 0)
            if following and following[1] == "text" and not text[fence.end() : following.start()].strip():
                shown, span = following[2], following.span(2)
            found.append(Block(document, line, body, None, shown, span))
        elif language == "console":
            for command in re.finditer(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", body, re.MULTILINE):
                words = tuple(shlex.split(command[1]))
                if words[0] == "jacmap":
                    start = fence.start(2)
                    span = (start + command.start(2), start + command.end(2))
                    found.append(Block(document, line, command[1], words[1:], command[2], span))
    return found


BLOCKS = [block for document in DOCUMENTS for block in blocks(document)]


# Importing takes longer than most documents: it is done once, in a server that every document's process is forked from.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["jacmap._cli", "matplotlib.pyplot", "typer.testing"])
LIMIT = 240  # seconds for one document
CHEAP = __name__ != "__main__" and not os.environ.get("JACMAP_OPTIMISED")  # with conftest's flags for XLA, inherited


@functools.cache
def outputs(document: Path) -> list[str]:
    """What the document's blocks print, in a process of their own: JAX as a user finds it, cheaply compiled."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        for name in ("JAX_ENABLE_X64", "JAX_NUMPY_DTYPE_PROMOTION", *(() if CHEAP else ("XLA_FLAGS",))):
            patch.delenv(name, raising=False)
        patch.setenv("JAX_PLATFORMS", "cpu")
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", str(int(CHEAP)))
        printed, complaints = Path(folder, "printed"), Path(folder, "complaints")
        process = PROCESSES.Process(target=write_outputs, args=(document, printed, complaints))
        process.start()
        process.join(LIMIT)
        if process.exitcode is None:
            process.kill()
            process.join()
        said = complaints.read_text(encoding="utf-8") if complaints.exists() else ""
        assert process.exitcode == 0, f"exit code {process.exitcode} within {LIMIT} s\n{said}"
        assert not said.strip(), said
        return json.loads(printed.read_text(encoding="utf-8"))


def write_outputs(document: Path, printed: Path, complaints: Path) -> None:
    with complaints.open("w") as file:
        os.dup2(file.fileno(), 2)  # what XLA itself writes, too
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False)
    os.environ["COLUMNS"] = "80"
    os.chdir(ROOT)
    warnings.simplefilter("error", UserWarning)
    if CHEAP:
        one_context.share()
    printed.write_text(json.dumps(run_document(document)), encoding="utf-8")


def run_document(document: Path) -> list[str]:
    namespace: dict[str, object] = {"__name__": "__main__"}
    return [run_words(b.words) if b.words is not None else run_code(b, namespace) for b in blocks(document)]


def run_code(block: Block, namespace: dict[str, object]) -> str:
    padding = "\n" * block.line  # so that a traceback names the document's own line
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(padding + block.code, str(block.document), "exec"), namespace)  # noqa: S102
    return printed.getvalue()


def run_words(words: tuple[str, ...]) -> str:
    import jax
    from typer.testing import CliRunner

    from jacmap._cli import app

    before = jax.config.read("jax_enable_x64")  # an expression switches double precision on, for its own process
    result = CliRunner().invoke(app, list(words))
    jax.config.update("jax_enable_x64", before)
    return result.output


def normalised(text: str) -> list[str]:
    """Without what differs from run to run: digits of probes and of error estimates, times, spaces at line ends."""
    text = re.sub(r"relative difference \S+", "relative difference ...", text)
    text = re.sub(r"(estimated error:?) .*", r"\1 ...", text)
    text = re.sub(r"\b[\d.]+(e[+-]?\d+)? +(s|ms|µs)\b", "... ms", text)
    return [line.rstrip() for line in text.strip("\n").splitlines()]


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_what_a_block_prints(block: Block) -> None:
    printed = outputs(block.document)[blocks(block.document).index(block)]
    if block.shown is None:
        assert not printed, "this block prints; show what, in a text block right below it"
    else:
        assert normalised(printed) == normalised(block.shown), "renew with: python tests/test_docs.py"


def test_the_documents_hold_something_to_run() -> None:
    assert len(BLOCKS) > 10
    assert any(block.words for block in BLOCKS)
    for block in BLOCKS:
        if block.words is None:
            ast.parse(block.code)


def anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", document.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for link in LINK.findall(FENCE.sub("", document.read_text(encoding="utf-8"))):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), f"{link}: no such file"
        assert not anchor or anchor in anchors(target), f"{link}: no such heading"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_paths_and_targets_that_are_named_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    if document.name == "CHANGELOG.md":
        return  # it speaks of what was, too
    for path in re.findall(r"`((?:src|tests|examples|benchmarks|docs|engine)/[\w/.]*\w)`", text):
        made = path.startswith("benchmarks/out/")  # by `make bench`, in no clone
        assert made or any((root / path).exists() for root in (ROOT, ROOT / "src/jacmap")), f"{path} does not exist"
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`make ([\w-]+)`", text):
        known = re.search(rf"^{target}:", makefile, re.MULTILINE)
        area = target.removeprefix("bench-")  # its file ends in _ where the name would hide a library
        assert known or any((ROOT / f"benchmarks/{area}{end}.py").exists() for end in ("", "_")), f"no target {target}"


def renew(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for block, printed in reversed(list(zip(blocks(document), outputs(document), strict=True))):
        if block.shown is not None and normalised(block.shown) != normalised(printed):
            lines = [line.rstrip() for line in printed.strip("\n").splitlines()]
            start, stop = block.span
            text = f"{text[:start]}{chr(10).join(lines)}\n{text[stop:]}"
    document.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    for path in DOCUMENTS:
        renew(path)
