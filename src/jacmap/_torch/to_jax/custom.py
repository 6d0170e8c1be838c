"""A torch.autograd.Function inside JAX: called back, with its own backward as the derivative."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import scipy.sparse
import torch

from ..._errors import ModeError, TraceError
from ...engine.graph import Node
from .row import array_of, jax_dtype, tensor_of

Tensor = torch.Tensor

LARGEST = 2**24  # entries up to which it is looked whether a custom function goes entry by entry


class CustomFunction:
    """The node of a custom function, computed by PyTorch.

    Where each output entry depends on its own input entry alone, and backward is linear, the derivative is a product
    that JAX knows in both modes; else reverse mode calls backward, and forward mode is impossible. Neither has a second
    derivative in JAX. `held`: the inputs that are always the same; PyTorch is given those very tensors, for a backward
    may know them by identity.
    """

    def __init__(self, node: Node, inputs: Sequence[Tensor], outputs: Sequence[Tensor], held: Sequence[Tensor | None]):
        self.operation, self.held = node.payload, held
        self.free = [k for k, tensor in enumerate(held) if tensor is None]
        inputs = [inputs[k] for k in self.free]
        self.dtypes = [t.dtype for t in inputs]
        self.shapes = [jax.ShapeDtypeStruct(tuple(t.shape), jax_dtype(t.dtype)) for t in outputs]
        self.inputs = [jax.ShapeDtypeStruct(tuple(t.shape), jax_dtype(t.dtype)) for t in inputs]
        self.carries = [t.dtype.is_floating_point for t in inputs]
        alone = len(outputs) == 1 and self._goes_by_entry(node, inputs, outputs[0])
        self._check_backward(node, inputs, outputs)
        self._function = self._by_entry() if alone else self._in_reverse()

    def __call__(self, values: Sequence[Any]) -> list[Any]:
        return list(self._function(*(values[k] for k in self.free)))

    def run(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The outputs at these tensors for the free inputs."""
        given = dict(zip(self.free, tensors, strict=True))
        return self.operation([given.get(k, tensor) for k, tensor in enumerate(self.held)])

    # -- by PyTorch ------------------------------------------------------------------------------------------------
    def _value(self, *values: Any) -> tuple[np.ndarray, ...]:
        with torch.no_grad():
            return tuple(array_of(t) for t in self.run(self._tensors(values)))

    def _pulled(self, *values: Any) -> tuple[np.ndarray, ...]:
        """The gradients of the inputs that can have one; `values`: the inputs, then a cotangent for each output."""
        count = len(self.inputs)
        with torch.enable_grad():
            tensors = self._tensors(values[:count])
            leaves = [t.requires_grad_() for t, carries in zip(tensors, self.carries, strict=True) if carries]
            outputs = self.run([t.clone() if c else t for t, c in zip(tensors, self.carries, strict=True)])
            pairs = [
                (t, tensor_of(u).to(t.dtype)) for t, u in zip(outputs, values[count:], strict=True) if t.requires_grad
            ]
            outs, cotangents = zip(*pairs, strict=True)
            found = torch.autograd.grad(outs, leaves, cotangents, allow_unused=True)
        return tuple(array_of(torch.zeros_like(x) if g is None else g) for x, g in zip(leaves, found, strict=True))

    def _tensors(self, values: Sequence[Any]) -> list[Tensor]:
        return [tensor_of(v).to(dtype) for v, dtype in zip(values, self.dtypes, strict=True)]

    def _check_backward(self, node: Node, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        """A backward that fails, fails now, and not inside JAX."""
        try:
            self._pulled(*(array_of(t) for t in inputs), *(np.ones_like(array_of(t)) for t in outputs))
        except RuntimeError as error:
            raise TraceError(
                f"{node.op}: its backward fails when called with other tensors of the same numbers ({error}); pass "
                "all that it reads as arguments of apply, and let it differentiate with respect to its own inputs"
            ) from error

    # -- in JAX ----------------------------------------------------------------------------------------------------
    def _called(self, *values: Any) -> tuple[Any, ...]:
        return tuple(jax.pure_callback(self._value, tuple(self.shapes), *values, vmap_method="sequential"))

    def _gradients(self, *values: Any) -> tuple[Any, ...]:
        shapes = tuple(s for s, carries in zip(self.inputs, self.carries, strict=True) if carries)
        gradients = jax.custom_jvp(
            lambda *given: tuple(jax.pure_callback(self._pulled, shapes, *given, vmap_method="sequential"))
        )

        @gradients.defjvp
        def further(given: Any, tangents: Any) -> Any:
            raise ModeError(
                f"{self.operation.name}: the derivative of a torch.autograd.Function is computed by PyTorch and has no "
                "derivative in JAX; write the function with plain operations, or use torch.func"
            )

        found: tuple[Any, ...] = gradients(*values)
        return found

    def _by_entry(self) -> Any:
        function = jax.custom_jvp(self._called)

        @function.defjvp
        def push(values: Any, tangents: Any) -> Any:
            slopes = self._gradients(*values, np.ones(self.shapes[0].shape, self.shapes[0].dtype))
            along = [t for t, carries in zip(tangents, self.carries, strict=True) if carries]
            return function(*values), (sum(s * t for s, t in zip(slopes, along, strict=True)),)

        return function

    def _in_reverse(self) -> Any:
        function = jax.custom_vjp(self._called)

        def pull(values: Any, cotangents: Any) -> Any:
            found = iter(self._gradients(*values, *cotangents))
            return tuple(
                next(found) if carries else np.zeros(s.shape, jax.dtypes.float0)
                for s, carries in zip(self.inputs, self.carries, strict=True)
            )

        function.defvjp(lambda *values: (function(*values), values), pull)
        return function

    def _goes_by_entry(self, node: Node, inputs: Sequence[Tensor], output: Tensor) -> bool:
        """Does entry k of the output read entry k of each input alone, and is backward linear in the cotangent?"""
        carried = [t for t, carries in zip(inputs, self.carries, strict=True) if carries]
        size = output.numel()
        if size > LARGEST or any(t.shape != output.shape for t in carried):
            return False
        one = scipy.sparse.eye_array(size, dtype=bool, format="csr")
        patterns = [pattern for (_, k), pattern in node.local.items() if k in self.free]
        if any((pattern.tocsr().astype(bool) > one).nnz for pattern in patterns):
            return False
        point = [array_of(t) for t in inputs]
        u = np.random.default_rng(0).standard_normal(output.shape).astype(self.shapes[0].dtype)
        slopes, pulled = self._pulled(*point, np.ones_like(u)), self._pulled(*point, u)
        return all(
            np.allclose(u * s, g, rtol=1e-4, atol=1e-6, equal_nan=True) for s, g in zip(slopes, pulled, strict=True)
        )
