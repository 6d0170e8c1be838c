"""The ways to run many passes at once, best first; where PyTorch lacks a rule for one, the next is tried.

Each takes (function, x, rows of seeds, chunk, differentiable) and gives one row per seed; `chunk` bounds the seeds that
are in flight together (0: all). Only the last ways, one pass after the other, run the function once per seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel

from . import compat

Tensor = torch.Tensor
Flat = Callable[[Tensor], Tensor]
Way = Callable[[Flat, Tensor, Tensor, int, bool], Tensor]

# What PyTorch raises where an operation has no rule for batching, for forward mode or for a second derivative.
LACKING = (RuntimeError, NotImplementedError)
FUSED = "fused attention"


def in_turn(
    ways: Sequence[Way],
    failed: dict[str, str],
    function: Flat,
    x: Tensor,
    seeds: Tensor,
    chunk: int,
    differentiable: bool,
) -> Tensor:
    """The answer of the first way that works. Those that do not are remembered in `failed` with the reason."""
    inside = compat.inside_functorch()
    possible = [way for way in ways if (way in FUNCTORCH) or not inside]
    reasons: dict[str, str] = {}
    first: Exception | None = None
    for way in possible:
        if way.__name__ in failed:
            continue
        try:
            with by_hand() if differentiable or FUSED in failed else nullcontext():
                found = way(function, x, seeds, chunk, differentiable)
        except LACKING as error:
            if FUSED not in failed and "scaled_dot_product" in str(error):
                failed[FUSED] = str(error).splitlines()[0]
                return in_turn(ways, failed, function, x, seeds, chunk, differentiable)
            first = first or error
            reasons[way.__name__] = str(error).splitlines()[0] if str(error) else type(error).__name__
            continue
        failed.update(reasons)
        return found if differentiable or inside else found.detach()
    assert first is not None
    raise first


def batched_reverse(function: Flat, x: Tensor, seeds: Tensor, chunk: int, differentiable: bool) -> Tensor:
    """`torch.autograd.grad` with `is_grads_batched`: one forward pass, one batched reverse pass per chunk."""
    y, z = _taped(function, x, differentiable)
    if not y.requires_grad:
        return _zeros(x, seeds)
    if len(seeds) == 1:
        seed = seeds[0].to(y.dtype)
        return torch.autograd.grad(y, z, seed, create_graph=differentiable, materialize_grads=True)[0][None]
    return _batched(y, z, seeds, chunk, differentiable)


def reverse_by_reverse(function: Flat, x: Tensor, seeds: Tensor, chunk: int, differentiable: bool) -> Tensor:
    """One forward pass, then one reverse pass per seed."""
    y, z = _taped(function, x, differentiable)
    if not y.requires_grad:
        return _zeros(x, seeds)
    rows = [
        torch.autograd.grad(
            y, z, seed.to(y.dtype), retain_graph=True, create_graph=differentiable, allow_unused=True,
            materialize_grads=True,
        )[0]
        for seed in seeds
    ]  # fmt: skip
    return torch.stack(rows) if rows else _zeros(x, seeds)


def functorch_reverse(function: Flat, x: Tensor, seeds: Tensor, chunk: int, differentiable: bool) -> Tensor:
    """`torch.func.vjp` under `vmap`: the one that composes with an outer `torch.func` transformation."""
    y, pullback = torch.func.vjp(function, x)  # type: ignore[misc]
    return torch.func.vmap(lambda seed: pullback(seed)[0], chunk_size=chunk or None)(seeds.to(y.dtype))


def batched_forward(function: Flat, x: Tensor, seeds: Tensor, chunk: int, differentiable: bool) -> Tensor:
    """`torch.func.jvp` under `vmap`. What is random in the function is drawn once for all tangents."""
    compat.load_forward_mode()
    x = x if differentiable or compat.inside_functorch() else x.detach()

    def one(tangent: Tensor) -> Tensor:
        return torch.func.jvp(function, (x,), (tangent,))[1]

    return torch.func.vmap(one, randomness="same", chunk_size=chunk or None)(seeds)


def forward_by_two_reverses(function: Flat, x: Tensor, seeds: Tensor, chunk: int, differentiable: bool) -> Tensor:
    """J v as the derivative of u ↦ Jᵀ u, which is linear: reverse mode alone, batched over v.

    Townsend, "A new trick for calculating Jacobian vector products" (2017).
    """
    y, z = _taped(function, x, differentiable)
    if not y.requires_grad:
        return torch.zeros((len(seeds), y.numel()), dtype=y.dtype, device=y.device)
    with torch.enable_grad():
        u = torch.zeros_like(y, requires_grad=True)
        pulled = torch.autograd.grad(y, z, u, create_graph=True, materialize_grads=True)[0]
    if not pulled.requires_grad:
        return torch.zeros((len(seeds), y.numel()), dtype=y.dtype, device=y.device)
    return _batched(pulled, u, seeds, chunk, differentiable)


def forward_by_forward(function: Flat, x: Tensor, seeds: Tensor, chunk: int, differentiable: bool) -> Tensor:
    """One evaluation with dual numbers per seed, all with the same random samples."""
    compat.load_forward_mode()
    state = torch.get_rng_state()
    rows = []
    for seed in seeds:
        torch.set_rng_state(state)
        with forward_ad.dual_level():
            out = function(forward_ad.make_dual(x if differentiable else x.detach(), seed))
            tangent = forward_ad.unpack_dual(out).tangent
            rows.append(torch.zeros_like(out) if tangent is None else tangent)
    return torch.stack(rows)


def by_hand() -> AbstractContextManager[None]:
    """Attention without fused kernels, which have neither forward mode nor a second derivative."""
    return sdpa_kernel(SDPBackend.MATH)


def _taped(function: Flat, x: Tensor, differentiable: bool) -> tuple[Tensor, Tensor]:
    """(f(z), z) with the graph between them; z is x itself where the answer shall be differentiated by x."""
    with torch.inference_mode(False), torch.enable_grad():
        x = x.clone() if x.is_inference() else x
        z = x.view_as(x) if differentiable and x.requires_grad else x.detach().requires_grad_()
        return function(z), z


def _batched(y: Tensor, z: Tensor, seeds: Tensor, chunk: int, differentiable: bool) -> Tensor:
    """The pullbacks of the seeds from y to z, a chunk of them at a time."""
    parts = [
        torch.autograd.grad(
            y, z, part.to(y.dtype), retain_graph=True, create_graph=differentiable, allow_unused=True,
            is_grads_batched=True, materialize_grads=True,
        )[0]
        for part in _chunks(seeds, chunk)
    ]  # fmt: skip
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def _zeros(x: Tensor, seeds: Tensor) -> Tensor:
    return torch.zeros((len(seeds), x.numel()), dtype=x.dtype, device=x.device)


def _chunks(seeds: Tensor, chunk: int) -> tuple[Tensor, ...]:
    return torch.split(seeds, chunk) if chunk and len(seeds) else (seeds,)


PULLS: tuple[Way, ...] = (batched_reverse, functorch_reverse, reverse_by_reverse)
PUSHES: tuple[Way, ...] = (batched_forward, forward_by_two_reverses, forward_by_forward)
FUNCTORCH = (functorch_reverse, batched_forward)  # usable inside `torch.func.vmap`, `grad`, …
