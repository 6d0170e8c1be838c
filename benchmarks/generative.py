"""`make bench-generative`: densities, integrals and latent spaces.

Written to benchmarks/out/generative.json as rows of case, figure, unit, floor, holds.

    python benchmarks/generative.py [--quick] [--only CASE] ...    (a partial run writes generative-part.json)
"""

from __future__ import annotations

import os
import sys

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import _generative_flows
import _generative_integrals
import _generative_latent
from _table import Case, main

CASES: dict[str, Case] = {
    "flows": _generative_flows.rows,
    "integrals": _generative_integrals.rows,
    "latent": _generative_latent.rows,
}

if __name__ == "__main__":
    sys.exit(main("generative", "densities, integrals and latent spaces", CASES, "fewer steps and seeds"))
