"""Run times against `torch.func.jacrev` and `jacfwd`, taken in turns in one process."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from _table import Case, Row, Tick
from _timing import medians
from _torch_functions import brusselator, small
from torch import nn
from torch.func import jacfwd, jacrev, vmap

import jacmap as jm


def small_functions(quick: bool, tick: Tick) -> Iterator[Row]:
    ratios = {}
    for name, (f, x) in small().items():
        tick(name)
        ours = jm.jacobian(f)
        runs = {"ours": partial(ours, x), "rev": partial(jacrev(f), x), "fwd": partial(jacfwd(f), x)}
        times = medians(runs, 11 if quick else 41, 0.01)
        ratios[name] = min(times["rev"], times["fwd"]) / times["ours"]
        yield Row(f"small: {name}", ratios[name], "× better of jacrev, jacfwd")
    worst = min(ratios, key=ratios.__getitem__)
    yield Row(f"10 small dense functions, the worst ({worst})", ratios[worst], "× better of jacrev, jacfwd", 0.95)


def batch(quick: bool, tick: Tick) -> Iterator[Row]:
    tick("a batch of 64 through an MLP")
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(256, 512), nn.Tanh(), nn.Linear(512, 64)).requires_grad_(False)
    x = torch.randn(64, 256)
    sparse, dense = jm.jacobian(net, form="sparse"), jm.jacobian(net)
    runs = {"sparse": lambda: sparse(x), "dense": lambda: dense(x), "rev": lambda: jacrev(net)(x),
            "by hand": lambda: vmap(jacrev(net))(x)}  # fmt: skip
    times = medians(runs, 3 if quick else 7)
    off = float((dense(x) - jacrev(net)(x)).abs().max())
    case = "batch of 64, MLP 256-512-64: sparse, against jacrev of the batch"
    yield Row(case, times["rev"] / times["sparse"], "×", 60)
    yield Row("the same as one dense array of 268 MB", times["rev"] / times["dense"], "×")
    yield Row("the same, time over that of vmap(jacrev)", times["sparse"] / times["by hand"], "×")
    yield Row("the same, difference from jacrev", off, "absolute", 1e-5, at_most=True)


def stencil(quick: bool, tick: Tick) -> Iterator[Row]:
    tick("Brusselator 64×64×2")
    torch.manual_seed(0)
    f, x = brusselator(64), torch.rand(8192)
    sparse = jm.jacobian(f, form="sparse")
    runs = {"ours": lambda: sparse(x), "rev": lambda: jacrev(f, chunk_size=1024)(x), "whole": lambda: jacrev(f)(x),
            "fwd": lambda: jacfwd(f)(x)}  # fmt: skip
    times = medians(runs, 2 if quick else 5, 0.1)
    best = min(times["whole"], times["fwd"])
    yield Row("Brusselator 64×64×2, against the better of jacfwd and jacrev", best / times["ours"], "×", 300)
    yield Row("the same, against jacrev in chunks of 1,024", times["rev"] / times["ours"], "×")
    off = float((sparse(x).to_dense() - jacrev(f, chunk_size=1024)(x)).abs().max())
    yield Row("the same, difference from jacrev", off, "absolute", 1e-5, at_most=True)


def autoencoder(quick: bool, tick: Tick) -> Iterator[Row]:
    tick("autoencoder, batch of 64")
    torch.manual_seed(0)
    widths = (784, 256, 32, 256, 784)
    layers = [part for a, b in zip(widths, widths[1:], strict=False) for part in (nn.Linear(a, b), nn.Tanh())]
    net, x = nn.Sequential(*layers[:-1]).requires_grad_(False), torch.randn(64, 784)
    ours, theirs = vmap(jm.jacobian(net)), vmap(jacrev(net))
    times = medians({"ours": lambda: ours(x), "theirs": lambda: theirs(x)}, 3 if quick else 7)
    case = "autoencoder 784-256-32-256-784, batch 64, against vmap(jacrev)"
    yield Row(case, times["theirs"] / times["ours"], "×", 6)
    yield Row("the same, difference", float((ours(x) - theirs(x)).abs().max()), "absolute", 1e-5, at_most=True)


CASES: dict[str, Case] = {
    "small": small_functions, "batch": batch, "stencil": stencil, "autoencoder": autoencoder
}  # fmt: skip
