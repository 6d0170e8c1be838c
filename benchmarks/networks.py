"""`make bench-networks`: networks laid open: layers, gradient flow, backpropagation, memory.

Written to benchmarks/out/networks.json as rows of case, figure, unit, floor, holds.

    python benchmarks/networks.py [--quick] [--only CASE] ...    (a partial run writes networks-part.json)
"""

from __future__ import annotations

import os
import sys

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import _networks_flow
import _networks_gallery
import _networks_memory
from _table import Case, main

CASES: dict[str, Case] = {
    **_networks_gallery.CASES,
    **_networks_flow.CASES,
    **_networks_memory.CASES,
}

if __name__ == "__main__":
    sys.exit(main("networks", "networks laid open", CASES, "fewer seeds and rounds"))
