"""NIST StRD nonlinear regressions (itl.nist.gov/div898/strd/nls): certified values; residuals from sif2jax."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from _cutest import load
from _table import Row, Tick, named
from jax.flatten_util import ravel_pytree

import jacmap as jm

# problem: (level of difficulty, certified residual sum of squares, certified parameters)
CERTIFIED: dict[str, tuple[str, float, tuple[float, ...]]] = {
    "MISRA1A": ("lower", 1.2455138894e-01, (2.3894212918e02, 5.5015643181e-04)),
    "MISRA1B": ("lower", 7.5464681533e-02, (3.3799746163e02, 3.9039091287e-04)),
    "GAUSS1": ("lower", 1.3158222432e03, (9.8778210871e01, 1.0497276517e-02, 1.0048990633e02, 6.7481111276e01,
                                          2.3129773360e01, 7.1994503004e01, 1.7899805021e02, 1.8389389025e01)),
    "GAUSS2": ("lower", 1.2475282092e03, (9.9018328406e01, 1.0994945399e-02, 1.0188022528e02, 1.0703095519e02,
                                          2.3578584029e01, 7.2045589471e01, 1.5327010194e02, 1.9525972636e01)),
    "DANIWOOD": ("lower", 4.3173084083e-03, (7.6886226176e-01, 3.8604055871e00)),
    "LANCZOS3": ("lower", 1.6117193594e-08, (8.6816414977e-02, 9.5498101505e-01, 8.4400777463e-01, 2.9515951832e00,
                                             1.5825685901e00, 4.9863565084e00)),
    "MISRA1C": ("average", 4.0966836971e-02, (6.3642725809e02, 2.0813627256e-04)),
    "MISRA1D": ("average", 5.6419295283e-02, (4.3736970754e02, 3.0227324449e-04)),
    "KIRBY2": ("average", 3.9050739624e00, (1.6745063063e00, -1.3927397867e-01, 2.5961181191e-03, -1.7241811870e-03,
                                            2.1664802578e-05)),
    "NELSON": ("average", 3.7976833176e00, (2.5906836021e00, 5.6177717026e-09, -5.7701013174e-02)),
    "MGH17": ("average", 5.4648946975e-05, (3.7541005211e-01, 1.9358469127e00, -1.4646871366e00, 1.2867534640e-02,
                                            2.2122699662e-02)),
    "LANCZOS1": ("average", 1.4307867721e-25, (9.5100000027e-02, 1.0000000001e00, 8.6070000013e-01, 3.0000000002e00,
                                               1.5575999998e00, 5.0000000001e00)),
    "LANCZOS2": ("average", 2.2299428125e-11, (9.6251029939e-02, 1.0057332849e00, 8.6424689056e-01, 3.0078283915e00,
                                               1.5529016879e00, 5.0028798100e00)),
    "GAUSS3": ("average", 1.2444846360e03, (9.8940368970e01, 1.0945879335e-02, 1.0069553078e02, 1.1163619459e02,
                                            2.3300500029e01, 7.3705031418e01, 1.4776164251e02, 1.9668221230e01)),
    "ENSO": ("average", 7.8853978668e02, (1.0510749193e01, 3.0762128085e00, 5.3280138227e-01, 4.4311088700e01,
                                          -1.6231428586e00, 5.2554493756e-01, 2.6887614440e01, 2.1232288488e-01,
                                          1.4966870418e00)),
    "MGH09": ("higher", 3.0750560385e-04, (1.9280693458e-01, 1.9128232873e-01, 1.2305650693e-01, 1.3606233068e-01)),
    "BOXBOD": ("higher", 1.1680088766e03, (2.1380940889e02, 5.4723748542e-01)),
    "RAT42": ("higher", 8.0565229338e00, (7.2462237576e01, 2.6180768402e00, 6.7359200066e-02)),
    "RAT43": ("higher", 8.7864049080e03, (6.9964151270e02, 5.2771253025e00, 7.5962938329e-01, 1.2792483859e00)),
    "MGH10": ("higher", 8.7945855171e01, (5.6096364710e-03, 6.1813463463e03, 3.4522363462e02)),
    "ECKERLE4": ("higher", 1.4635887487e-03, (1.5543827178e00, 4.0888321754e00, 4.5154121844e02)),
    "BENNETT5": ("higher", 5.2404744073e-04, (-2.5235058043e03, 4.6736564644e01, 9.3218483193e-01)),
}  # fmt: skip

# NIST's second starting points where sif2jax has the first alone.
SECOND: dict[str, tuple[float, ...]] = {
    "BOXBOD": (100, 0.75),
    "DANIWOOD": (0.7, 4),
    "ENSO": (10, 3, 0.5, 44, -1.5, 0.5, 26, -0.1, 1.5),
    "GAUSS1": (94, 0.0105, 99, 63, 25, 71, 180, 20),
    "GAUSS2": (98, 0.0105, 103, 105, 20, 73, 150, 20),
    "GAUSS3": (96, 0.0096, 80, 110, 25, 74, 139, 25),
}


def rows(quick: bool, tick: Tick) -> Iterator[Row]:
    """Six digits of every certified parameter, from both starting points, with tolerances at rounding."""
    with jax.enable_x64(True):
        problems = {p.name: p for p in load().nonlinear_equations_problems if p.name in CERTIFIED}
        digits: dict[str, list[tuple[float, str]]] = {}
        for name, (level, _, certified) in CERTIFIED.items():
            for start in range(2):
                tick(f"NIST {name}, start {start + 1}")
                reached = _digits(problems[name], start, np.array(certified))
                digits.setdefault(level, []).append((reached, f"{name} start {start + 1}: {reached:.1f}"))
        for level, found in digits.items():
            short = [text for reached, text in found if reached < 6]
            floor = None if level == "higher" else 1.0
            share = 1 - len(short) / len(found)
            yield Row(f"NIST {level}, both starts: six digits of all parameters{named(short)}", share, "of fits", floor)


def _digits(problem: Any, start: int, certified: np.ndarray) -> float:
    """The fewest digits of any parameter."""
    instance = type(problem)(y0_iD=0 if problem.name in SECOND else start)
    x0, unravel = ravel_pytree(instance.y0)
    if start and problem.name in SECOND:
        x0 = np.array(SECOND[problem.name])

    def residuals(x: jax.Array) -> jax.Array:
        return ravel_pytree(instance.constraint(unravel(x))[0])[0]

    found = jm.least_squares(residuals, np.asarray(x0, float), ftol=1e-15, xtol=1e-12, gtol=1e-15, max_nfev=5000)
    off = np.abs(found.x - certified) / np.abs(certified)
    return float(-np.log10(max(off.max(), 1e-11)))
