"""Who may import whom: every import in src/jacmap is read from its syntax tree and held against one table."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "jacmap"
FRAMEWORKS = {"jax", "jaxlib", "torch"}

USES = ("flows", "integration", "latent", "kinematics", "vision", "least_squares", "implicit", "robustness")
FACE = ("jacmap", "_face")
ALL_ENGINE = ("engine", "engine.graph", "engine.plan", "engine.backends", "engine.backends.jax",
              "engine.backends.torch", "engine.backends.numpy")  # fmt: skip

# Room -> the rooms that it sees besides itself. "jacmap" is the package's own __init__ (the public names),
# "_face" the private modules beside it (_jacobian.py, _transforms.py, ...) but those named here. The errors and the
# way to write a file are a vocabulary that every room may use.
VOCABULARY = ("_errors", "_files")
SEES: dict[str, tuple[str, ...]] = {
    "_errors": (),
    "_files": (),
    "engine.graph": (),
    "engine.plan": ("engine.graph",),
    "engine.backends": ("engine.graph",),
    "engine.backends.jax": ("engine.graph", "engine.backends"),
    "engine.backends.torch": ("engine.graph", "engine.backends"),
    "engine.backends.numpy": ("engine.graph", "engine.backends"),
    "engine": ALL_ENGINE,
    "_lanczos": (),
    "_linear": ("engine.graph", "_lanczos"),
    "_face": (*ALL_ENGINE, "_lanczos", "_linear"),
    "jacmap": (*ALL_ENGINE, "_face", "study", *USES, "plot", "report"),
    "study": FACE,
    **{use: (*FACE, "_lanczos") for use in USES},
    "implicit": (*FACE, "_lanczos", "least_squares"),
    "plot": (*FACE, "study", *USES),
    "report": (*FACE, "study", *USES, "plot"),
    "_cli": (*FACE, "study", *USES, "plot", "report"),
}

# Room -> the frameworks that it may import; a room that is not named may import any.
FRAMEWORKS_OF: dict[str, set[str]] = {
    "_errors": set(),
    "_files": set(),
    "engine": set(),
    "engine.graph": set(),
    "engine.plan": set(),
    "engine.backends": set(),
    "engine.backends.jax": {"jax", "jaxlib"},
    "engine.backends.torch": {"torch"},
    "engine.backends.numpy": set(),
}


def room(module: str) -> str:
    """The room of a dotted module name: the longest entry of the table that it lies in."""
    inside = module.split(".")[1:]
    if not inside:
        return "jacmap"
    if inside[0] in VOCABULARY:
        return inside[0]
    if inside[0].startswith("_") and inside[0] not in SEES:
        return "_face"
    for length in range(len(inside), 0, -1):
        if ".".join(inside[:length]) in SEES:
            return ".".join(inside[:length])
    raise LookupError(f"{module} lies in no room of the table SEES: say there what it may import")


def modules(source: Path) -> dict[str, Path]:
    names = {}
    for path in sorted(source.rglob("*.py")):
        parts = path.relative_to(source).with_suffix("").parts
        names[".".join(("jacmap", *parts)).removesuffix(".__init__")] = path
    return names


def imports(module: str, path: Path, known: dict[str, Path]) -> Iterator[tuple[int, str]]:
    """(line, dotted module) of every import, wherever in the file it stands, `import_module("...")` too."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - (node.level - 1)]
                base = ".".join([*above, *([base] if base else [])])
            for alias in node.names:
                submodule = f"{base}.{alias.name}"
                yield node.lineno, submodule if submodule in known else base
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            name = node.args[0].value
            if called in ("import_module", "__import__") and isinstance(name, str):
                yield node.lineno, f"{package}{name}" if name.startswith(".") else name


def violations(source: Path) -> list[str]:
    found = []
    known = modules(source)
    for module, path in known.items():
        here = room(module)
        for line, target in imports(module, path, known):
            top = target.split(".")[0]
            where = f"{path.relative_to(source)}:{line}"
            if top == "jacmap":
                there = room(target)
                if there != here and there not in (*SEES[here], *VOCABULARY):
                    found.append(f"{where}: {here} imports {target}, but sees only {SEES[here] or 'itself'}")
            elif top in FRAMEWORKS and top not in FRAMEWORKS_OF.get(here, FRAMEWORKS):
                found.append(f"{where}: {here} imports the framework {top}")
    return found


def test_every_import_in_the_package_keeps_to_the_table() -> None:
    assert not violations(SOURCE), "\n".join(violations(SOURCE))


@pytest.mark.parametrize(
    ("path", "text", "said"),
    [
        ("engine/graph/a.py", "import jax.numpy as jnp", "framework jax"),
        ("engine/graph/a.py", "from ..plan import planner", "imports jacmap.engine.plan.planner"),
        ("engine/graph/a.py", "import jacmap", "engine.graph imports jacmap"),
        ("_errors.py", "from . import _transforms", "_errors imports jacmap._transforms"),
        ("engine/plan/a.py", "def f():\n    import torch", "a.py:2: engine.plan imports the framework torch"),
        ("engine/plan/a.py", "from jacmap.engine.backends import protocol", "imports jacmap.engine.backends"),
        ("engine/backends/jax/a.py", "from ...plan.planner import x", "imports jacmap.engine.plan"),
        ("engine/backends/jax/a.py", "from ..torch import run", "imports jacmap.engine.backends.torch"),
        ("engine/backends/jax/a.py", "import torch", "framework torch"),
        ("_jacobian.py", "from . import flows", "_face imports jacmap.flows"),
        ("flows/a.py", "from jacmap.engine.graph import a", "flows imports jacmap.engine.graph"),
        ("flows/a.py", "from ..latent import z", "flows imports jacmap.latent"),
        ("least_squares/a.py", "import jacmap.implicit", "least_squares imports jacmap.implicit"),
        ("study/a.py", "import importlib\nimportlib.import_module('jacmap.engine')", "study imports"),
        ("study/a.py", "from importlib import import_module as i\nfrom .. import engine", "study imports"),
        ("plot/a.py", "from jacmap import _cli", "plot imports jacmap._cli"),
        ("_cli/a.py", "from ..engine.graph import pattern", "_cli imports jacmap.engine.graph"),
    ],
)
def test_a_planted_violation_is_found(tmp_path: Path, path: str, text: str, said: str) -> None:
    tree = plant(tmp_path, {path: text})
    assert [said in message for message in violations(tree)] == [True]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("engine/graph/a.py", "import numpy, scipy.sparse\nfrom .pattern import P\nfrom ..._errors import E"),
        ("engine/plan/a.py", "from ..graph import pattern"),
        ("engine/backends/jax/a.py", "import jax\nfrom ..protocol import B\nfrom ...graph import pattern"),
        ("_jacobian.py", "import jax\nfrom .engine.plan import planner\nfrom ._transforms import jacobian"),
        ("implicit/a.py", "import jax\nimport jacmap\nfrom jacmap.least_squares import solve"),
        ("flows/a.py", "import jacmap as jm\nfrom .._jacobian import Jacobian\nfrom . import b"),
        ("_cli/a.py", "import jacmap\nfrom ..study import sensitivity\nfrom .target import load"),
    ],
)
def test_what_the_design_allows_is_allowed(tmp_path: Path, path: str, text: str) -> None:
    assert violations(plant(tmp_path, {path: text})) == []


def test_a_new_room_must_be_given_a_place(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="jacmap.magic lies in no room"):
        violations(plant(tmp_path, {"magic.py": ""}))


def plant(tmp_path: Path, files: dict[str, str]) -> Path:
    """A small tree with a file in the rooms that the cases above name, and the files given."""
    stock = ["__init__.py", "_transforms.py", "_cli/__init__.py", "flows/__init__.py", "engine/__init__.py"]
    stock += [f"engine/{part}/__init__.py" for part in ("graph", "plan", "backends", "backends/torch")]
    stock += ["engine/graph/pattern.py", "engine/plan/planner.py", "engine/backends/protocol.py"]
    for path, text in {**dict.fromkeys(stock, ""), **files}.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path
