"""What is known of values when the graph is read: constants, and entries of other values that are always the same.

A fact is a tensor; NaN marks an entry that is not known. A value computed from constants alone has its number from the
recorded run. Known entries of other values (mask * weight, a masked score before a softmax) are worked out only when a
rule asks: the operation is run on NaN, which stays NaN in all operations of the tables below.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from .call import Call, Ref

LARGEST_FACT = 2**25  # entries; beyond it a value counts as unknown

_Recipe = tuple[Call, tuple[int, ...], tuple[int, ...], tuple[torch.dtype, ...]]


class Facts:
    """`roots[v]`: the outside tensors that a known value was computed from; `relied`: those that a rule relied on."""

    def __init__(self) -> None:
        self.found: dict[int, Tensor | None] = {}
        self.roots: dict[int, frozenset[int]] = {}
        self.recipes: dict[int, _Recipe] = {}
        self.partial: set[int] = set()
        self.relied: set[int] = set()

    def give(self, v: int, value: Tensor, roots: Iterable[int] = ()) -> None:
        self.found[v] = value
        self.roots[v] = frozenset(roots)

    def whole(self, v: int) -> bool:
        """Is every entry of v known, and found already?"""
        return v in self.found and v not in self.partial

    def keep(self, values: Iterable[int]) -> None:
        """The memory that these facts lie in is about to be written: take a copy."""
        for v in values:
            value = self.found.get(v)
            if value is not None:
                self.found[v] = value.clone()

    def derive(
        self, call: Call, inputs: tuple[int, ...], outputs: tuple[int, ...], dtypes: tuple[torch.dtype, ...]
    ) -> None:
        """Note how known entries of the outputs could be found, if they could."""
        if any(math.prod(s) > LARGEST_FACT for s in call.outputs) or not all(d.is_floating_point for d in dtypes):
            return
        number = any(not isinstance(p, Ref) and isinstance(p, (int, float)) and p == 0 for p in call.operation.args)
        has = call.name in ORIGINS and (number or any(v in self.found or v in self.recipes for v in inputs))
        has = has or call.name in ("add", "sub") and any(self._infinite(v) for v in inputs)
        if has or call.name in HONEST and any(v in self.partial for v in inputs):
            for v in outputs:
                self.recipes[v] = (call, inputs, outputs, dtypes)
                self.partial.add(v)

    def _infinite(self, v: int) -> bool:
        value = self.found.get(v)
        return value is not None and value.is_floating_point() and bool(value.isinf().any())

    def peek(self, v: int) -> Tensor | None:
        """The value of v with NaN where it is not known; None when nothing is."""
        stack = [v]
        while stack:
            top = stack[-1]
            if top in self.found or top not in self.recipes:
                stack.pop()
                continue
            call, inputs, outputs, dtypes = self.recipes[top]
            missing = [w for w in inputs if w not in self.found and w in self.recipes]
            if missing:
                stack.extend(missing)
                continue
            roots = frozenset().union(*(self.roots.get(w, frozenset()) for w in inputs))
            for w, result in zip(outputs, self._worked_out(call, inputs, outputs, dtypes), strict=True):
                self.found[w] = result
                self.roots[w] = roots
                self.recipes.pop(w, None)
            stack.pop()
        value = self.found.get(v)
        if value is not None:
            self.relied |= self.roots.get(v, frozenset())
        return value

    def _worked_out(
        self, call: Call, inputs: tuple[int, ...], outputs: tuple[int, ...], dtypes: tuple[torch.dtype, ...]
    ) -> list[Tensor | None]:
        nothing: list[Tensor | None] = [None] * len(outputs)
        raw = [self.found.get(w) for w in inputs]
        values = [
            torch.full(shape, math.nan, dtype=dtype) if value is None else value.detach()
            for value, shape, dtype in zip(raw, call.inputs, call.dtypes, strict=True)
            if value is not None or dtype.is_floating_point
        ]
        if len(values) < len(raw):  # an unknown index or condition is no NaN: nothing can be said
            return nothing
        with _disable_current_modes(), torch._C._DisableFuncTorch(), torch.no_grad():
            try:
                results = SPECIAL[call.name](call, values) if call.name in SPECIAL else call.operation(values)
            except (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError):
                return nothing  # a fact that cannot be worked out is only a fact less
        return [None if bool(r.isnan().all()) else r for r in results]


def _filled(call: Call, values: list[Tensor]) -> tuple[Tensor, Tensor]:
    def get(name: str) -> Tensor:
        given = call.params[name]
        return values[given.index] if isinstance(given, Ref) else torch.tensor(given, dtype=values[0].dtype)

    return torch.broadcast_tensors(get("self"), get("other"))


def _times(call: Call, values: list[Tensor]) -> list[Tensor]:
    # 0·u = 0 for an unknown u (taken to be finite: see the limitations page), but 0·∞ is not known.
    x, y = _filled(call, values)
    zero = (x == 0) & ~y.isinf() | (y == 0) & ~x.isinf()
    return [torch.where(zero, torch.zeros((), dtype=torch.result_type(x, y)), x * y)]


def _divided(call: Call, values: list[Tensor]) -> list[Tensor]:
    x, y = _filled(call, values)
    return [torch.where((x == 0) & (y != 0), torch.zeros((), dtype=torch.result_type(x, y)), x / y)]


def _plus(call: Call, values: list[Tensor]) -> list[Tensor]:
    # −∞ + u = −∞ for an unknown finite u: what a mask before a softmax relies on.
    x, y = _filled(call, values)
    y = y * call.params.get("alpha", 1) * (-1 if call.name == "sub" else 1)
    return [torch.where(x.isinf() & y.isnan(), x, torch.where(y.isinf() & x.isnan(), y, x + y))]


def _softmax(call: Call, values: list[Tensor]) -> list[Tensor]:
    # exp(−∞) = 0, as long as not all of a row is −∞.
    x = values[0]
    masked = x == -math.inf
    zero = masked & ~masked.all(call.params["dim"], keepdim=True)
    return [torch.where(zero, torch.zeros((), dtype=x.dtype), torch.full((), math.nan, dtype=x.dtype))]


SPECIAL: dict[str, Callable[[Call, list[Tensor]], list[Tensor]]] = {
    "mul": _times,
    "div": _divided,
    "add": _plus,
    "sub": _plus,
    "_softmax": _softmax,
    "_safe_softmax": _softmax,
}

# Operations whose result can hold known entries although an operand holds none.
ORIGINS = set(
    """
    mul div where masked_fill tril triu cat stack constant_pad_nd index_put slice_scatter select_scatter
    diagonal_scatter diag_embed scatter write index_fill scatter_add
    """.split()
)

# Operations that are right, or NaN, wherever an entry of an operand is NaN: comparisons, sorting, rounding are not.
HONEST = ORIGINS | set(
    """
    add sub neg abs exp expm1 sqrt tanh sin sinh asinh atan erf sigmoid square relu silu gelu pow
    sum mean clone _to_copy alias detach lift_fresh copy read
    view _unsafe_view _reshape_alias permute t transpose expand squeeze unsqueeze select slice diagonal unfold unbind
    split split_with_sizes unsafe_split unsafe_split_with_sizes roll flip repeat index index_select gather take
    _softmax _safe_softmax
    """.split()
)
