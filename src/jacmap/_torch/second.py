"""Second order of functions of tensors: Hessian and Laplacian as questions about the Jacobian of the gradient."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import torch
from torch.utils import _pytree as tree

from .._arguments import positions
from .._errors import ArgumentError, ModeError, TraceError
from .._second.gradient import checked_pair
from ..engine.backends.torch import compat
from ..engine.plan.plan import Plan
from .arguments import called_by_name
from .to_jax import arrays_in, in_jax, tensors_in
from .transforms import TorchTransform

Tensor = torch.Tensor


def device_of(tree: Any) -> torch.device | None:
    """Where the first tensor lies."""
    leaves = jax.tree_util.tree_leaves(tree)
    return next((leaf.device for leaf in leaves if isinstance(leaf, torch.Tensor)), None)


class NotOneNumber(ArgumentError):
    """The function returns anything but one real number."""


def gradient(f: Callable[..., Any], argnums: int | Sequence[int], has_aux: bool = False) -> Callable[..., Any]:
    """∇f by one reverse pass that can be differentiated again; laid out as `torch.func.grad` does."""
    chosen, many = positions(argnums)
    name = getattr(f, "__name__", type(f).__name__)
    f = called_by_name(f)

    @functools.wraps(f, updated=())
    def derivative(*args: Any, **kwargs: Any) -> Any:
        if compat.inside_functorch():
            value = lambda *given: _number(f(*given, **kwargs), name, has_aux)  # noqa: E731
            return torch.func.grad(value, chosen if many else chosen[0], has_aux=has_aux)(*args)
        with torch.enable_grad():
            args = tuple(_tracked(arg) if k in chosen else arg for k, arg in enumerate(args))
            out = _number(f(*args, **kwargs), name, has_aux)
            value, aux = out if has_aux else (out, None)
            leaves, layout = tree.tree_flatten([args[k] for k in chosen])
            if value.requires_grad:
                found = torch.autograd.grad(value, leaves, create_graph=True, materialize_grads=True)
            else:
                found = tuple(torch.zeros_like(leaf) for leaf in leaves)
        parts = tree.tree_unflatten(list(found), layout)
        answer = tuple(parts) if many else parts[0]
        return (answer, aux) if has_aux else answer

    return derivative


def _tracked(arg: Any) -> Any:
    """The argument with its tensors on the tape; those that are not get one of their own."""
    return tree.tree_map(
        lambda leaf: leaf if not isinstance(leaf, Tensor) or leaf.requires_grad else leaf.detach().requires_grad_(), arg
    )


def _number(out: Any, name: str, has_aux: bool) -> Any:
    """What f returned, if that is one real number (and with `has_aux` a pair with one)."""
    value, aux = checked_pair(out, name) if has_aux else (out, None)
    leaves = tree.tree_leaves(value)
    if len(leaves) != 1 or not isinstance(leaves[0], Tensor) or leaves[0].shape or not leaves[0].is_floating_point():
        came = ", ".join(
            f"{str(leaf.dtype).removeprefix('torch.')}{list(leaf.shape)}" if isinstance(leaf, Tensor) else repr(leaf)
            for leaf in leaves[:4]
        )
        raise NotOneNumber(
            f"{name}: returned {came or 'nothing'}, expected one real number (shape ()); sum or pick an entry, or ask "
            "for the Jacobian of its gradient with jacmap.jacobian(torch.func.grad(...))"
        )
    return (leaves[0], aux) if has_aux else leaves[0]


def hvp(f: Callable[..., Any], primals: Any, v: Any) -> Any:
    """H v by a reverse pass over the gradient, on the tape of `primals`; see `jacmap.hvp`."""
    many = isinstance(primals, (tuple, list))
    args, directions = (tuple(primals), tuple(v)) if many and isinstance(v, (tuple, list)) else ((primals,), (v,))
    leaves, layout = tree.tree_flatten(args)
    along, came = tree.tree_flatten(directions)
    if came != layout:
        raise ArgumentError(f"v: got {came}, expected the layout of primals, {layout}")
    for k, (x, t) in enumerate(zip(leaves, along, strict=True)):
        if not isinstance(t, Tensor) or t.shape != x.shape:
            shape = list(t.shape) if isinstance(t, Tensor) else type(t).__name__
            raise ArgumentError(f"v: leaf {k}: got {shape}, expected a tensor {list(x.shape)}, the shape of primals")
    with torch.enable_grad():
        leaves = tree.tree_leaves(_tracked(args))
        slope = gradient(f, tuple(range(len(args))))(*tree.tree_unflatten(leaves, layout))
        along = [t.to(x) for x, t in zip(leaves, along, strict=True)]
        kept = [(part, t) for part, t in zip(tree.tree_leaves(slope), along, strict=True) if part.requires_grad]
        found = [torch.zeros_like(x) for x in leaves]
        if kept:
            parts, weights = zip(*kept, strict=True)
            found = list(torch.autograd.grad(parts, leaves, weights, create_graph=True, materialize_grads=True))
    if not any(isinstance(x, Tensor) and x.requires_grad for x in tree.tree_leaves(primals)):
        found = [part.detach() for part in found]
    answer = tree.tree_unflatten(found, layout)
    return answer if many else answer[0]


# The fronts that are answered here rather than in JAX.
NATIVE = {"hvp": hvp}


class SecondOrder:
    """A transform of JAX's face (`hessian`, `laplacian`) for functions of tensors, with tensors for answers.

    `asked` tells the function by its attribute `subject` and the same question of another by `same_for`.
    """

    def __init__(self, asked: Any):
        self.asked = asked
        self.translated: Any = None

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """The answer, detached."""
        transform, arrays = self._at(args, kwargs)
        return tensors_in(transform.call(*arrays), device_of(args))

    def plan(self, *args: Any, **kwargs: Any) -> Plan:
        """The plan for tensors of these shapes."""
        transform, arrays = self._at(args, kwargs)
        found: Plan = transform.plan(*arrays)
        return found

    def _at(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        """The transform of the translated function, kept for as long as that function stands."""
        if kwargs or self.translated is None or not self.translated[0].fresh():
            f = self.asked.subject
            g, _ = in_jax((lambda *given: f(*given, **kwargs)) if kwargs else f, args, self.asked.argnums)
            self.translated = g, self.asked.same_for(g)
        return self.translated[1], arrays_in(args)


class OfGradient:
    """`hessian` or `laplacian` of a function of tensors, differentiable; see `SecondOrder` for `asked`.

    What PyTorch cannot differentiate twice, or cannot read, and Laplacians of several outputs are translated to JAX.
    """

    def __init__(self, asked: Any):
        has_aux = asked.has_aux
        argnums = asked.argnums if asked.many else asked.argnums[0]
        self.several = asked.question.kind == "trace"
        self.native = TorchTransform(
            gradient(asked.subject, argnums, has_aux), asked.question, argnums, has_aux, asked.memory, asked.mode
        )
        self.translated = SecondOrder(asked)
        self.chosen: TorchTransform | SecondOrder = self.native

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """The answer, on the tape of the arguments; detached where it is translated."""
        return self._asked("call", args, kwargs)

    def plan(self, *args: Any, **kwargs: Any) -> Plan:
        """The plan for tensors of these shapes."""
        found: Plan = self._asked("plan", args, kwargs)
        return found

    def _asked(self, what: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self.chosen is self.native:
            try:
                return getattr(self.native, what)(*args, **kwargs)
            except NotOneNumber:
                if not self.several:
                    raise
            except (ModeError, TraceError, RuntimeError, NotImplementedError) as error:
                return self._instead(error, what, args, kwargs)
        self.chosen = self.translated
        return getattr(self.translated, what)(*args, **kwargs)

    def _instead(self, error: Exception, what: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The translation's answer where there is one; else PyTorch's error, which names f's own lines."""
        try:
            answer = getattr(self.translated, what)(*args, **kwargs)
        except (ModeError, TraceError):
            raise error from None
        self.chosen = self.translated
        return answer
