"""`make bench-torch`: functions of PyTorch tensors, and black boxes of NumPy arrays.

Written to benchmarks/out/torch.json as rows of case, figure, unit, floor, holds. (A file named torch.py would hide
PyTorch from whatever is imported here.)

    python benchmarks/torch_.py [--quick] [--only CASE] ...    (a partial run writes torch-part.json)
"""

from __future__ import annotations

import os
import sys

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import _differences
import _torch_flows
import _torch_memory
import _torch_speed
import _torch_tracing
import torch
from _table import Case, main

CASES: dict[str, Case] = {
    **_torch_tracing.CASES,
    **_torch_speed.CASES,
    **_torch_flows.CASES,
    **_torch_memory.CASES,
    "black boxes": lambda quick, tick: iter(_differences.rows(quick, tick)),
}

if __name__ == "__main__":
    torch.set_num_threads(2)
    sys.exit(main("torch", "functions of PyTorch tensors, and black boxes", CASES, "fewer rounds"))
