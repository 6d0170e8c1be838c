"""log|det J| of zuko's own transforms, found from the transform alone, against what zuko wrote by hand."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
import zuko
from _table import Case, Row, Tick
from _timing import medians
from torch.func import vmap

import jacmap as jm

SIZE, BATCH = 16, 256


def transforms() -> dict[str, Any]:
    """zuko's flows that are named after their transforms."""
    torch.manual_seed(0)
    net = {"transforms": 2, "hidden_features": (64, 64)}
    flows = {
        "MAF": zuko.flows.MAF(SIZE, **net),
        "RealNVP (coupling)": zuko.flows.MAF(SIZE, passes=2, **net),
        "NICE": zuko.flows.NICE(SIZE, **net),
        "NSF": zuko.flows.NSF(SIZE, **net),
        "NSF (coupling)": zuko.flows.NSF(SIZE, passes=2, **net),
        "NAF": zuko.flows.NAF(SIZE, **net),
        "BPF": zuko.flows.BPF(SIZE, **net),
        "GF": zuko.flows.GF(SIZE, transforms=2),
    }
    return {name: flow.double()().transform for name, flow in flows.items()}


def flows(quick: bool, tick: Tick) -> Iterator[Row]:
    x = torch.randn(BATCH, SIZE, dtype=torch.float64)
    ratios, worst = {}, 0.0
    for name, transform in transforms().items():
        tick(name)
        whole, single = jm.slogdet(transform.__call__), vmap(jm.slogdet(transform.__call__))
        with torch.no_grad():
            y = transform(x)
            true = transform.log_abs_det_jacobian(x, y)
            worst = max(worst, float((single(x).logabsdet - true).abs().max() / true.abs().max().clamp(min=1)))
            worst = max(worst, float((whole(x).logabsdet - true.sum()).abs() / true.abs().sum().clamp(min=1)))
            runs = {"whole": partial(whole, x), "single": partial(single, x),
                    "theirs": partial(transform.log_abs_det_jacobian, x, y)}  # fmt: skip
            times = medians(runs, 11 if quick else 31, 0.02)
        ratios[name] = times["whole"] / times["theirs"]
        yield Row(f"log|det J| of zuko's {name}, summed over a batch of {BATCH}", ratios[name], "× theirs", 1.3, True)
        yield Row("the same for each point, under torch.func.vmap", times["single"] / times["theirs"], "× theirs")
    yield Row(f"log|det J| of {len(ratios)} of zuko's transforms: difference", worst, "relative", 1e-8, at_most=True)


CASES: dict[str, Case] = {"flows": flows}
