"""POINT of a command, as the arguments of the target: numbers, an .npy or .npz file, or a function."""

import inspect
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._arguments import nearest
from .errors import CliError, blame
from .numbers import plain
from .target import Target, function_at, is_code

FORMS = "numbers (1.5,0.5 or x=1.5,y=0.5), an .npy or .npz file, or a function (file.py:point)"


def load(text: str, target: Target) -> tuple[Any, ...]:
    """The arguments to call `target.function` with. Raises CliError where they cannot be read or do not fit.

    Numbers become one vector; for a function of several arguments, one scalar each. An .npz file with
    several arrays holds several arguments: by name where the names are the function's own, else in the
    natural order of the names. A function returns one argument, or a tuple of them.
    """
    text = text.strip()
    if not text:
        raise CliError(f"POINT is empty: give {FORMS}")
    if is_code(text):
        arguments = _from_function(text)
    elif text.endswith((".npy", ".npz")):
        arguments = _from_file(Path(text), target)
    else:
        arguments = _from_numbers(text, target)
    return _fitting(arguments, target)


def as_tensors(arguments: tuple[Any, ...], function: Any) -> tuple[Any, ...]:
    """NumPy's arrays as PyTorch's tensors; what else there is as it is.

    Those of floats get the dtype of the module's parameters, PyTorch's default dtype where there are none.
    """
    torch: Any = sys.modules["torch"]
    parameters = function.parameters() if isinstance(function, torch.nn.Module) else ()
    dtype = next((p.dtype for p in parameters if p.is_floating_point()), torch.get_default_dtype())

    def tensor(leaf: Any) -> Any:
        if not isinstance(leaf, (np.ndarray, np.generic)):
            return leaf
        made = torch.as_tensor(np.asarray(leaf))
        return made.to(dtype) if made.is_floating_point() else made

    return tuple(jax.tree.map(tensor, arguments))


def differentiated(arguments: tuple[Any, ...]) -> tuple[int, ...]:
    """The positions of the arguments that hold nothing but floats: derivatives are taken by all of them."""
    leaves = [[np.asarray(plain(leaf)).dtype for leaf in jax.tree.leaves(argument)] for argument in arguments]
    chosen = tuple(k for k, found in enumerate(leaves) if found and all(_is_float(dtype) for dtype in found))
    if not chosen:
        came = ", ".join(sorted({str(dtype) for found in leaves for dtype in found})) or "nothing"
        raise CliError(f"POINT holds {came}, expected floats: convert it with .astype(float)")
    return chosen


def _is_float(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, jnp.inexact)


def _from_numbers(text: str, target: Target) -> tuple[Any, ...]:
    parts = [part.strip() for part in text.split(",")]
    named = ["=" in part for part in parts]
    if all(named):
        values = _by_name(dict(_assignments(parts)), target)
    elif any(named):
        raise CliError(f'POINT "{text}" mixes numbers with and without names: name all of them or none')
    else:
        values = [_number(part) for part in parts]
    several = target.variables is None and target.arguments is not None and len(target.arguments) > 1
    return tuple(np.float64(value) for value in values) if several else (np.array(values),)


def _assignments(parts: list[str]) -> list[tuple[str, float]]:
    halves = [part.partition("=") for part in parts]
    pairs = [(name.strip(), _number(value.strip())) for name, _, value in halves]
    names = [name for name, _ in pairs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise CliError(f"POINT gives {', '.join(twice)} more than once")
    return pairs


def _by_name(given: dict[str, float], target: Target) -> list[float]:
    names = target.variables or target.arguments or ()
    if target.variables is None and len(names) < 2:
        raise CliError(
            f"{target.name} takes one array, so its entries have no names: give POINT as numbers in order, "
            "as in 1.5,0.5"
        )
    for name in given:
        if name not in names:
            near = nearest(name, list(names))
            raise CliError(f"POINT names {name}, which is no variable of {target.name}{near}")
    if missing := [name for name in names if name not in given]:
        raise CliError(f"POINT gives no value for {', '.join(missing)}")
    return [given[name] for name in names]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise CliError(f'"{text}" in POINT is not a number: POINT is {FORMS}') from None


def _from_file(path: Path, target: Target) -> tuple[Any, ...]:
    if not path.is_file():
        files = [str(file) for ending in ("npy", "npz") for file in sorted(path.parent.glob(f"*.{ending}"))]
        raise CliError(f"there is no file {path}{nearest(str(path), files)}")
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return (_numeric(loaded, str(path)),)
        with loaded:
            arrays = {name: _numeric(loaded[name], f"{name} in {path}") for name in loaded.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        if str(error).startswith("Object arrays"):
            raise CliError(
                f"{path} holds Python objects, which are not loaded because they can run code: save an array "
                "of numbers with numpy.save"
            ) from None
        raise CliError(f"{path} cannot be read as a NumPy file: save the array with numpy.save") from None
    if not arrays:
        raise CliError(f"{path} holds no array: save one with numpy.savez(path, x)")
    if target.arguments is not None and set(arrays) == set(target.arguments):
        return tuple(arrays[name] for name in target.arguments)
    return tuple(arrays[name] for name in sorted(arrays, key=_natural))


def _numeric(array: np.ndarray, where: str) -> np.ndarray:
    if array.dtype.kind not in "biufc":
        raise CliError(f"{where} has dtype {array.dtype}, numbers were expected: save an array of floats")
    return array


def _natural(name: str) -> list[tuple[int, str]]:
    """arr_2 before arr_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name) if part]


def _from_function(text: str) -> tuple[Any, ...]:
    make = function_at(text)
    try:
        inspect.signature(make).bind()
    except TypeError as error:
        raise CliError(f"{text} must make the point without being given anything: {error}") from None
    except ValueError:
        pass  # a built-in that does not say what it takes: calling it will tell
    try:
        made = make()
    except Exception as error:
        line = blame(error) or f"{type(error).__name__}: {error}"
        raise CliError(f"POINT's function {text} failed at {line}") from None
    if made is None:
        raise CliError(f"{text} returned nothing: it must return an array, or a tuple of the arguments")
    return made if type(made) is tuple else (made,)


def _fitting(arguments: tuple[Any, ...], target: Target) -> tuple[Any, ...]:
    if target.variables is not None:
        return (_vector(arguments, target.variables),)
    try:
        inspect.signature(target.function).bind(*arguments)
    except TypeError:
        wanted = ", ".join(target.arguments or ()) or "none"
        raise CliError(
            f"POINT gives {_count(len(arguments), 'argument')}, {target.name} takes "
            f"{len(target.arguments or ())} ({wanted})"
        ) from None
    except ValueError:
        pass  # as above
    return arguments


def _vector(arguments: tuple[Any, ...], variables: tuple[str, ...]) -> np.ndarray:
    wanted = f"{_count(len(variables), 'variable')} ({', '.join(variables)})"
    if len(arguments) != 1:
        raise CliError(f"POINT gives {len(arguments)} arrays, the expression takes one vector: {wanted}")
    vector = np.asarray(arguments[0])
    if vector.shape != (len(variables),):
        came = _count(vector.size, "number") if vector.ndim == 1 else f"an array of shape {vector.shape}"
        raise CliError(f"the expression has {wanted}, POINT gives {came}")
    _numeric(vector, "POINT")
    return vector.astype(float) if vector.dtype.kind in "biu" else vector


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
