"""What depends on the version of JAX, in one place."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.core
import jax.extend.core
from jax.experimental import sparse as jax_sparse

Tracer = jax.core.Tracer

_HIDDEN = (str(Path(jax.__file__).parent) + os.sep, str(Path(__file__).parents[3]) + os.sep)


def is_tracer(value: Any) -> bool:
    return isinstance(value, Tracer)


def batch_size(value: Any) -> int | None:
    """How many a value stands for that `vmap`, and no transformation inside of it, maps over; None for others."""
    if not isinstance(value, Tracer) or not isinstance(axis := getattr(value, "batch_dim", None), int):
        return None
    return int(value.val.shape[axis])


def trace_state() -> tuple[Any, Any]:
    """(context, evaluation): ``context.trace is evaluation`` when no transformation is under way.

    An attribute instead of a function, because it is asked on every call of a planned function; JAX's own public
    question costs as much as a small Jacobian's dispatch.
    """
    from jax._src import core

    return core.trace_ctx, core.eval_trace


def user_line(source_info: Any, within: str = "") -> str:
    """The innermost frame outside JAX and jacmap, as "file.py:12 (function)"; empty when there is none.

    `within` names the jitted function that the equation stands in. JAX keeps the trace of such a function from its
    first call, so a line outside of it may belong to another caller and is not told.
    """
    traceback = getattr(source_info, "traceback", None)
    if traceback is None:
        return ""
    for frame in traceback.frames:
        if not frame.file_name.startswith(_HIDDEN) and not frame.file_name.startswith("<"):
            if within and frame.function_name != within:
                return ""
            return f"{os.path.basename(frame.file_name)}:{frame.line_num} ({frame.function_name})"
    return ""


def user_files(source_info: Any) -> list[tuple[str, str]]:
    """(name, path) of the files of user code that an equation's traceback passes through."""
    frames = getattr(getattr(source_info, "traceback", None), "frames", ())
    paths = {frame.file_name for frame in frames if not frame.file_name.startswith((*_HIDDEN, "<"))}
    return [(os.path.basename(path), path) for path in paths]


def scope(source_info: Any) -> str:
    """The name scope, without the names of JAX's own transformations."""
    names = str(getattr(source_info, "name_stack", ""))
    return names.replace("jvp()", "").replace("vmap()", "").strip("/")


def sub_jaxpr(jaxpr: Any) -> tuple[Any, list[Any]]:
    """(open jaxpr, constants) of a Jaxpr or a ClosedJaxpr parameter."""
    if hasattr(jaxpr, "consts") and hasattr(jaxpr, "jaxpr"):
        return jaxpr.jaxpr, list(jaxpr.consts)
    return jaxpr, []


def without_references(jaxpr: Any, consts: Sequence[Any]) -> tuple[Any, Sequence[Any]]:
    """The same function with reads and writes of mutable arrays (`jax.new_ref`) written as ordinary operations."""
    if not jaxpr.effects:
        return jaxpr, consts
    from jax._src.state.discharge import discharge_state  # no public name yet

    # Lowering would put primal bodies in the place of custom rules.
    pure = discharge_state(jax.extend.core.ClosedJaxpr(jaxpr, list(consts)), lower=False)
    return pure.jaxpr, pure.consts


def sparse_definition(name: str) -> Callable[..., Any] | None:
    """The plain JAX function behind a primitive of `jax.experimental.sparse`, None when it cannot be found."""
    from jax.experimental import sparse

    return getattr(getattr(sparse, name.split("_")[0], None), f"_{name}_impl", None)


def is_reference(aval: Any) -> bool:
    return type(aval).__name__ == "AbstractRef"


def is_literal(atom: Any) -> bool:
    return hasattr(atom, "val")


@contextlib.contextmanager
def as_written(eqn: Any) -> Iterator[None]:
    """Whatever is traced inside stands where the equation stands: its source line, below its scope."""
    from jax._src import source_info_util  # as jax.core.eval_jaxpr does it; no public name

    scope = source_info_util.current_name_stack() + eqn.source_info.name_stack
    with source_info_util.user_context(eqn.source_info.traceback, name_stack=scope):
        yield


def function_name(jaxpr: Any) -> str:
    """The name of the Python function that a jaxpr was traced from; empty when it is not known."""
    text = getattr(getattr(jaxpr, "debug_info", None), "func_src_info", "") or ""
    return text.split(" at ")[0]


def bind(eqn: Any, values: list[Any]) -> list[Any]:
    """Evaluate one equation on JAX values."""
    params = eqn.primitive.get_bind_params(eqn.params)
    if isinstance(params, tuple):  # JAX before 0.10: (subfuns, params)
        out = eqn.primitive.bind(*params[0], *values, **params[1])
    else:
        out = eqn.primitive.bind(*values, **params)
    return list(out) if eqn.primitive.multiple_results else [out]


_LIBRARY = str(Path(jax.__file__).parent) + os.sep


def rule_of_library(eqn: Any) -> bool:
    """Is this a custom derivative of JAX's own (`relu`, `logaddexp`, ...)? Those are the derivatives of their values.

    A rule given by `defjvps` hides behind a function of JAX: of these only `relu` is known.
    """
    rule = getattr(getattr(eqn.params.get("jvp_jaxpr_fun"), "debug_info", None), "func_src_info", "") or ""
    body = getattr(getattr(eqn.params.get("call_jaxpr"), "jaxpr", None), "debug_info", None)
    function = getattr(body, "func_src_info", "") or ""
    places = [text.rpartition(" at ") for text in (function, rule)]
    if not all(place.startswith(_LIBRARY) for _, _, place in places):
        return False
    return "custom_derivatives.py" not in rule or places[0][0] == "relu"


def name_of_body(eqn: Any) -> str:
    """The name of the function that a custom derivative belongs to; empty when it cannot be found."""
    body = getattr(getattr(eqn.params.get("call_jaxpr"), "jaxpr", None), "debug_info", None)
    return (getattr(body, "func_src_info", "") or "").rpartition(" at ")[0]


def sparse_matrix(form: dict[str, Any], data: Any, indices: Any) -> Any:
    """A BCOO of these arrays and of `form`, what else a BCOO is made of (the second part of its `tree_flatten`).

    What `BCOO.tree_unflatten` does, line by line: called as such it takes 15 µs where `data` is still being computed.
    """
    made = object.__new__(jax_sparse.BCOO)
    made.data, made.indices = data, indices
    made.__dict__.update(form)
    return made
