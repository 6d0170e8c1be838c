"""TARGET of a command: `file.py:function`, `package.module:function`, or an expression, as a function."""

import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, reduce
from pathlib import Path
from types import ModuleType
from typing import Any

from .._arguments import nearest
from .._expression import parse
from .errors import CliError, blame

NAMED = re.compile(r"(?P<where>.+):(?P<name>[^\W\d]\w*(\.[^\W\d]\w*)*)")
MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


@dataclass(frozen=True)
class Target:
    """A function to look at, what to call it, and what its arguments are called.

    `variables` names the entries of the one vector that an expression takes, in order; it is None for a
    function of Python code. `arguments` names the positional arguments that must be given, where known.
    """

    function: Callable[..., Any]
    name: str
    variables: tuple[str, ...] | None = None
    arguments: tuple[str, ...] | None = None

    @property
    def of_tensors(self) -> bool:
        """Is it a function of PyTorch tensors: a module, or of a file that imports torch and not jax?"""
        torch = sys.modules.get("torch")
        if torch is None:
            return False
        around = getattr(inspect.unwrap(self.function), "__globals__", {}).values()
        imported = {found.__name__.partition(".")[0] for found in around if isinstance(found, ModuleType)}
        return isinstance(self.function, torch.nn.Module) or ("torch" in imported and "jax" not in imported)


def load(text: str) -> Target:
    """The function that `text` names or spells. Raises CliError with what to do next."""
    text = text.strip()
    if not text:
        raise CliError("TARGET is empty: give file.py:function, package.module:function, or an expression")
    if is_code(text):
        function = function_at(text)
        return Target(function, text, arguments=_arguments(function))
    if text.endswith(".py"):
        functions = _functions(_from_file(text))
        example = f"{text}:{functions[0] if functions else 'f'}"
        raise CliError(f"{text} is a file: say which function of it, as in {example}{nearest('', functions)}")
    function, variables, _ = parse(text)
    return Target(function, text, variables=variables, arguments=("x",))


def is_code(text: str) -> bool:
    """Whether `text` names a function of a file or a module (rather than spelling an expression)."""
    match = NAMED.fullmatch(text)
    return match is not None and (match["where"].endswith(".py") or bool(MODULE.fullmatch(match["where"])))


def function_at(text: str) -> Callable[..., Any]:
    """The callable that `file.py:name` or `package.module:name` stands for."""
    where, _, name = text.rpartition(":")
    module = _from_file(where) if where.endswith(".py") else _from_package(where)
    try:
        found = reduce(getattr, name.split("."), module)
    except AttributeError:
        raise CliError(f"{where} has no function {name}{nearest(name, _functions(module))}") from None
    if not callable(found):
        raise CliError(f"{name} in {where} is {_a(found)}, not a function{nearest(name, _functions(module))}")
    return found


def _from_file(where: str) -> ModuleType:
    path = Path(where)
    if not path.is_file():
        files = sorted(str(file) for file in path.parent.glob("*.py")) if path.parent.is_dir() else []
        raise CliError(f"there is no file {where}{nearest(str(path), files)}")
    return _import_file(path.resolve())


@cache
def _import_file(path: Path) -> ModuleType:
    # Once per process: the target and its point often share a file, and a file may train a network.
    name = f"_jacmap_target_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise CliError(f"{path} cannot be imported as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    _look_in(path.parent)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise _not_imported(path.name, error, str(path)) from None
    return module


def _from_package(where: str) -> ModuleType:
    _look_in(Path.cwd())
    try:
        return importlib.import_module(where)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{where}.".startswith(f"{error.name}."):
            raise CliError(
                f"there is no module {error.name}: is it installed in this environment, or does it lie in "
                "this folder? A file is named with its ending, as in file.py:function"
            ) from None
        raise _not_imported(where, error) from None
    except (Exception, SystemExit) as error:
        raise _not_imported(where, error) from None


def _look_in(folder: Path) -> None:
    """Let the user's code import its neighbours, as it can when Python runs it."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _not_imported(where: str, error: BaseException, source: str | None = None) -> CliError:
    line = blame(error, source) or f"{type(error).__name__}: {error}"
    return CliError(f"{where} could not be imported: {line}")


def _functions(module: ModuleType) -> list[str]:
    return [
        name
        for name, found in vars(module).items()
        if inspect.isroutine(found) and not name.startswith("_") and found.__module__ == module.__name__
    ]


def _arguments(function: Callable[..., Any]) -> tuple[str, ...] | None:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters):
        return None
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return tuple(
        parameter.name
        for parameter in parameters
        if parameter.kind in positional and parameter.default is inspect.Parameter.empty
    )


def _a(found: object) -> str:
    kind = type(found).__name__
    return f"{'an' if kind[0] in 'aeiouAEIOU' else 'a'} {kind}"
