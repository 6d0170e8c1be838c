"""`make bench-robots`: robots and images.

Written to benchmarks/out/robots.json as rows of case, figure, unit, floor, holds.

    python benchmarks/robots.py [--quick] [--only CASE] ...    (a partial run writes robots-part.json)
"""

from __future__ import annotations

import os
import sys

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import _robots_control
import _robots_kinematics
import _vision_align
import _vision_warps
from _table import Case, main

CASES: dict[str, Case] = {
    "kinematics": _robots_kinematics.rows,
    "control": _robots_control.rows,
    "warps": _vision_warps.rows,
    "align": _vision_align.rows,
}

if __name__ == "__main__":
    sys.exit(main("robots", "robots and images", CASES, "fewer configurations, texts and rounds"))
