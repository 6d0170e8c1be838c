"""Real functions: is each read, is its pattern sound, is its Jacobian that of a plain loop?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from _table import Case, Row, Tick, named
from _torch_functions import REFUSED, draw, functions
from torch.utils import _pytree as tree

import jacmap as jm


def by_rows(f: Any, x: torch.Tensor) -> np.ndarray:
    """J by one `torch.autograd.grad` per output; what f writes into its own buffers is put back."""
    kept = [(b, b.clone()) for b in f.buffers()] if isinstance(f, torch.nn.Module) else []
    z = x.clone().requires_grad_()
    y = torch.cat([leaf.reshape(-1) for leaf in tree.tree_leaves(f(z))])
    rows = [torch.autograd.grad(entry, z, retain_graph=True, materialize_grads=True)[0].reshape(-1) for entry in y]
    with torch.no_grad():
        for buffer, before in kept:
            buffer.copy_(before)
    return torch.stack(rows).numpy()


def tracing(quick: bool, tick: Tick) -> Iterator[Row]:
    read, sound, equal = [], [], []
    cases = functions()
    worst = 0.0
    for name, case in cases.items():
        tick(name)
        torch.manual_seed(0)
        true = by_rows(case.f, case.x)
        try:
            torch.manual_seed(0)
            J = jm.linearize(case.f, case.x)
            ours = J.dense().detach().numpy()
        except jm.JacmapError:
            continue
        read.append(name)
        if not (true != 0)[~J.pattern.todense()].any():
            sound.append(name)
        off = float(np.abs(ours - true).max() / np.abs(true).max())
        worst = max(worst, off)
        if off <= 1e-10:
            equal.append(name)
    count = len(cases)
    yield Row(f"real functions read{named([n for n in cases if n not in read])}", len(read), f"of {count}", count)
    yield Row("the same, with a sound pattern", len(sound), f"of {count}", count)
    yield Row("the same, Jacobian equal to a loop of autograd.grad", len(equal), f"of {count}", count)
    yield Row("the same, largest relative difference", worst, "relative", 1e-10, at_most=True)
    refused = 0
    for f in REFUSED.values():
        try:
            jm.jacobian(f)(draw(0, 5))
        except jm.TraceError:
            refused += 1
    yield Row("branches on the input refused with a clear error", refused, f"of {len(REFUSED)}", len(REFUSED))


CASES: dict[str, Case] = {"tracing": tracing}
