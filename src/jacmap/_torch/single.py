"""One tensor in, one out, no structure worth using: the batch of passes that `torch.func.jacrev` makes, and no more.

At this size a call costs what its Python costs; everything that the general way does beside the passes is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch

from ..engine.backends.torch.passes import FUSED, LACKING, by_hand

Tensor = torch.Tensor
Pass = Callable[[Tensor, bool], Tensor | None]


def plain_pass(f: Callable[..., Any], entry: Any) -> Pass | None:
    """(x, differentiable) ↦ J shaped out + in; None where the first way of batching failed for f.

    The pass itself gives None where nothing was taped, or where batching fails after all: then the general way answers.
    """
    traced, failed = entry.traced, entry.ways.failed
    out, inp = traced.outputs[0], traced.inputs[0]
    shape = (*out.shape, *inp.shape)
    forward = entry.plan.chosen.mode == "forward"
    if ("batched_forward" if forward else "batched_reverse") in failed or out.dtype != inp.dtype:
        return None
    count, seeded = (inp.size, inp) if forward else (out.size, out)
    with torch.inference_mode(False):
        seeds = torch.eye(count, dtype=seeded.dtype, device=inp.device).reshape(count, *seeded.shape)

    def reverse(x: Tensor, differentiable: bool) -> Tensor | None:
        with torch.enable_grad():
            z = x.view_as(x) if differentiable and x.requires_grad else x.detach().requires_grad_()
            y = f(z)
        if not y.requires_grad:
            return None
        found = torch.autograd.grad(
            y, z, seeds, create_graph=differentiable, is_grads_batched=True, materialize_grads=True
        )[0]
        return found.reshape(shape)

    def push(x: Tensor, differentiable: bool) -> Tensor | None:
        x = x if differentiable else x.detach()
        found = torch.func.vmap(lambda v: torch.func.jvp(f, (x,), (v,))[1], out_dims=-1, randomness="same")(seeds)
        return (found if differentiable else found.detach()).reshape(shape)

    def run(x: Tensor, differentiable: bool) -> Tensor | None:
        if x.is_inference():
            return None
        try:
            with by_hand() if differentiable or FUSED in failed else nullcontext():
                return push(x, differentiable) if forward else reverse(x, differentiable)
        except LACKING:
            return None

    return run
