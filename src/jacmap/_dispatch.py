"""Who answers a call: JAX's face, or that of another kind of function. One table, asked only off the fast path.

A face is a private package beside this file with ``transform(asked)``, an object with `call` and `plan` for the
question of a JAX `Transform`, and ``linearize(f, args, argnums, memory, differences)``. A face that is decided by the
arguments alone takes the call before JAX reads f; the others step in when JAX could not.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar, cast
from weakref import WeakSet

import jax
import numpy as np

from ._arguments import user_line
from ._errors import BlackBoxWarning, JacmapError, TraceError
from ._tell import warn

Leaves = list[Any]
Front = TypeVar("Front", bound=Callable[..., Any])
READS = (jax.errors.ConcretizationTypeError, jax.errors.NonConcreteBooleanIndexError)


@dataclass(frozen=True)
class Face:
    """`takes`: are these leaves of arguments its own? `after`: given JAX's error, its reason to step in, None for none.

    A face without `after` steps in before JAX. A reason that is not empty is told in a warning.
    """

    package: str
    takes: Callable[[Leaves], bool]
    after: Callable[[Exception, Callable[[], Any]], str | None] | None = None

    @property
    def module(self) -> Any:
        """The package, imported when first needed."""
        return import_module(f".{self.package}", __package__)


def _of_torch(leaves: Leaves) -> bool:
    """Is there a tensor among the arguments? Without PyTorch loaded there can be none."""
    torch = sys.modules.get("torch")
    return torch is not None and any(isinstance(leaf, torch.Tensor) for leaf in leaves)


def _of_numpy(leaves: Leaves) -> bool:
    """Nothing among the arguments but NumPy arrays, Python's numbers, and values that are no arrays at all."""
    return not any(isinstance(leaf, jax.Array) or hasattr(leaf, "__jax_array__") for leaf in leaves)


def _unreadable(error: Exception, call: Callable[[], Any]) -> str | None:
    """Could JAX not read f because of NumPy or of values in it? `call` runs f itself."""
    if isinstance(error, TraceError):
        if isinstance(error.__cause__, jax.errors.TracerArrayConversionError):
            return ""  # NumPy's functions were given tracers: what else could be meant
        if isinstance(error.__cause__, READS):
            return f"its Python code needs the value of an input{user_line(error.__cause__)}"
        return None  # side effects, which differences would not mend
    if isinstance(error, JacmapError) or not isinstance(error, (TypeError, AttributeError, ValueError, IndexError)):
        return None
    try:  # in-place assignments, methods that only NumPy has, dtypes: f is fine where NumPy runs it
        call()
    except Exception:
        return None
    return f"{type(error).__name__}: {str(error).splitlines()[0]}"


# In the order in which they are asked.
FACES = (Face("_torch", _of_torch), Face("_differences", _of_numpy, _unreadable))

_told: WeakSet[Any] = WeakSet()


def before(tree: Any) -> Face | None:
    """The face that these arguments belong to by themselves, if it is not JAX's."""
    leaves = jax.tree_util.tree_leaves(tree)
    return next((face for face in FACES if face.after is None and face.takes(leaves)), None)


def instead(error: Exception, f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Face | None:
    """The face that answers where JAX could not; warns once per function where that may surprise."""
    leaves = jax.tree_util.tree_leaves((args, kwargs))
    for face in FACES:
        if face.after is None or not face.takes(leaves):
            continue
        reason = face.after(error, lambda: f(*_copied(args), **_copied(kwargs)))
        if reason is not None:
            if reason:
                _tell(f, reason)
            return face
    return None


def _tell(f: Callable[..., Any], reason: str) -> None:
    try:
        if f in _told:
            return
        _told.add(f)
    except TypeError:
        pass  # cannot be remembered: told each time
    name = getattr(f, "__name__", type(f).__name__)
    warn(f"{name}: taken as a black box, its Jacobian is found by differences, for JAX cannot read it: {reason}",
         BlackBoxWarning)  # fmt: skip


def _copied(tree: Any) -> Any:
    return jax.tree_util.tree_map(lambda leaf: np.array(leaf) if isinstance(leaf, np.ndarray) else leaf, tree)


def _of_the_torch_face(leaves: Leaves) -> bool:
    """Is there a tensor, a module, or a Jacobian of such a function?"""
    torch, face = sys.modules.get("torch"), sys.modules.get(f"{__package__}._torch")
    if torch is None:
        return False
    kinds = (torch.Tensor, torch.nn.Module, *([face.TorchJacobian] if face else []))
    return any(isinstance(leaf, kinds) for leaf in leaves)


def _all_given(*args: Any, data: Any = None, **options: Any) -> tuple[Any, ...]:
    return args or (data,)


def for_tensors_too(
    point: Callable[..., tuple[Any, ...]] = _all_given, tensors: bool = False
) -> Callable[[Front], Front]:
    """A front that answers in JAX, for functions of PyTorch tensors as well: they are translated first.

    The function or Jacobian stands first. It is a function of tensors where it is a module or a tensor stands among the
    arguments. `point`: the arguments of the function, by those of the front that come after it. `tensors`: is the
    answer given in tensors again?
    """

    def decorated(front: Front) -> Front:
        @functools.wraps(front)
        def routed(*args: Any, **kwargs: Any) -> Any:
            if not args or not _of_the_torch_face(jax.tree_util.tree_leaves((args, kwargs))):
                return front(*args, **kwargs)
            return FACES[0].module.studied(front, point, args, kwargs, tensors)

        return cast(Front, routed)

    return decorated


def arrays(tree: Any) -> Any:
    """The tree with JAX arrays in place of PyTorch's tensors."""
    return FACES[0].module.arrays_in(tree) if _of_torch(jax.tree_util.tree_leaves(tree)) else tree


class Routed:
    """A JAX transform off its fast path: each call goes to the face that can answer it."""

    def __init__(self, transform: Any):
        self.asked = transform
        self._others: dict[Face, Any] = {}
        self._unread: Face | None = None  # who answered where JAX could not, for calls of the same kind

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """The answer at these arguments."""
        return self._answer("call", args, kwargs)

    def plan(self, *args: Any, **kwargs: Any) -> Any:
        """The plan at these arguments."""
        return self._answer("plan", args, kwargs)

    def _answer(self, what: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        given = (args, kwargs)
        face = before(given)
        if face is None and self._unread is not None and self._unread.takes(jax.tree_util.tree_leaves(given)):
            face = self._unread
        if face is None:
            try:
                return getattr(self.asked, what)(*args, **kwargs)
            except Exception as error:
                face = None if self.asked.holomorphic else instead(error, self.asked.f, args, kwargs)
                if face is None:
                    raise
                self._unread = face
        if face not in self._others:
            self._others[face] = face.module.transform(self.asked)
        return getattr(self._others[face], what)(*args, **kwargs)
