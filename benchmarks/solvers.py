"""`make bench-solvers`: solvers, implicit layers, robustness.

Written to benchmarks/out/solvers.json as rows of case, figure, unit, floor, holds.

    python benchmarks/solvers.py [--quick] [--only CASE] ...    (a partial run writes solvers-part.json)
"""

from __future__ import annotations

import os
import sys

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import _solvers_bundles
import _solvers_degenerate
import _solvers_equations
import _solvers_implicit
import _solvers_nist
import _solvers_ode
import _solvers_robustness
from _table import Case, main

CASES: dict[str, Case] = {
    "nist": _solvers_nist.rows,
    "degenerate": _solvers_degenerate.rows,
    "balbianello": _solvers_bundles.bundles,
    "equations": _solvers_equations.rows,
    "ode": _solvers_ode.rows,
    "kitti": _solvers_bundles.kitti,
    "implicit": _solvers_implicit.rows,
    "robustness": _solvers_robustness.rows,
}

if __name__ == "__main__":
    sys.exit(main("solvers", "solvers, implicit layers, robustness", CASES, "fewer starts and problems"))
