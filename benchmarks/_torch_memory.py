"""A Jacobian whose batched passes do not fit into memory, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

from _table import Case, Row, Tick

OUTPUTS, SIDE, CHANNELS = 2000, 96, 124
FEW = 40  # rows for which jacrev's batch of passes is measured; each further one needs as much


def _measure(memory: str) -> None:
    """Prints [peak, seconds, bytes of the answer, its error], or the peak of jacrev for FEW rows; peaks as growth."""
    import torch
    from torch import nn

    import jacmap as jm

    torch.set_num_threads(2)
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, CHANNELS, 3, padding=1), nn.Tanh(), nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), nn.Tanh(),
        nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), nn.Tanh(), nn.Conv2d(CHANNELS, 1, 3, padding=1), nn.Flatten(),
        nn.Linear(SIDE * SIDE, OUTPUTS),
    ).requires_grad_(False)  # fmt: skip
    x = torch.randn(1, 1, SIDE, SIDE)
    net(x)
    before = _peak()
    if memory == "jacrev":
        torch.func.jacrev(lambda x: net(x)[:, :FEW])(x)
        print(json.dumps([_peak() - before]))
        return
    start = perf_counter()
    found = jm.jacobian(net, memory=memory)(x).reshape(OUTPUTS, -1)
    taken = perf_counter() - start
    peak = _peak() - before
    z = x.clone().requires_grad_()
    y = net(z).reshape(-1)
    off = 0.0
    for i in (0, 777, OUTPUTS - 1):
        row = torch.autograd.grad(y[i], z, retain_graph=True)[0].reshape(-1)
        off = max(off, float((found[i] - row).abs().max() / row.abs().max()))
    print(json.dumps([peak, taken, found.numel() * found.element_size(), off]))


def _peak() -> int:
    """The most memory that this process has held, in bytes (Linux; `ru_maxrss` would count its parent's)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def _in_a_process(argument: str) -> list[float]:
    run = [sys.executable, str(Path(__file__)), argument]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    found: list[float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def bounded(quick: bool, tick: Tick) -> Iterator[Row]:
    tick("jacrev of a few rows of a wide convolution net")
    (few,) = _in_a_process("jacrev")
    tick("the whole of it under memory='2GB'")
    peak, seconds, size, off = _in_a_process("2GB")
    case = f"Jacobian of a wide conv net ({size / 1e6:.0f} MB): jacrev would need, from {FEW} of its {OUTPUTS} rows"
    yield Row(case, few * OUTPUTS / FEW / 2**30, "GiB", 38)
    yield Row("the same with memory='2GB': peak beside the process", peak / 1e9, "GB", 2.0, at_most=True)
    yield Row("the same: done in", seconds, "s")
    yield Row("the same: rows against autograd.grad", off, "relative", 1e-4, at_most=True)


CASES: dict[str, Case] = {"memory": bounded}

if __name__ == "__main__":
    _measure(sys.argv[1])
