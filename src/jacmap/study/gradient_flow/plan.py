"""What a study of the gradient flow will cost, decided before anything is computed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from ..._errors import ArgumentError
from .estimate import STEPS
from .network import PROBES, Network

MEMORY = 2.0**30  # bytes, where nothing else is said
EXACT_WORK = 2e9  # operations that the singular values of all matrices may take: about a second
SVD_WORK = 10.0  # operations of the singular values of an r×s matrix, r ≥ s: about this times r s²
FEWEST = 4  # examples, or all of a smaller batch, that must be within reach for exact figures
SAMPLED = 8  # examples at which singular values are estimated

Method = Literal["exact", "estimate"]


@dataclass(frozen=True)
class FlowPlan:
    """`method`: "exact" (matrices and their singular values) or "estimate" (products only). `spectra`: the number of
    examples at which singular values are found; all else is of the whole batch. `passes`: forward or backward passes of
    one example through all of f. `work`: counted operations of the singular values. `bytes`: the most held at once."""

    method: Method
    segments: int
    examples: int
    spectra: int
    passes: int
    work: float
    bytes: float

    def __str__(self) -> str:
        where = f"at {'all ' if self.spectra == self.examples else ''}{self.spectra}"
        where += "" if self.spectra == self.examples else f" of {self.examples}"
        how = {
            "exact": f"exact singular values {where} example{'s' * (self.examples > 1)}",
            "estimate": f"singular values estimated by {STEPS} Lanczos steps {where} "
            f"example{'s' * (self.examples > 1)}",
        }[self.method]
        return (
            f"{self.segments} segments, {how}; {self.passes:,} passes through f, about {self.bytes / 2**20:,.0f} MiB"
        )

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "words": str(self)}


def plan_for(network: Network, method: str, memory: float | None) -> FlowPlan:
    """Exact where the matrices' singular values are within reach, at as many examples as they are, else estimates.

    Raises `ArgumentError` where the memory does not hold even one example.
    """
    limit = MEMORY if memory is None else memory
    shapes = np.array([segment.shape for segment in network.chain], dtype=float)
    item, batch = network.input.dtype.itemsize, network.size
    widths = shapes[0, 1] + shapes[:, 0].sum()
    states = batch * (widths * item + 2 * (PROBES + 2) * shapes.max() * item + 2 * widths * item)
    if states > limit:
        raise ArgumentError(
            f"memory: the values of {batch} examples at all cuts take {states / 1e6:.0f} MB, more than the "
            f"{limit / 1e6:.0f} MB given; pass memory= or fewer examples"
        )
    low, high = shapes.min(axis=1), shapes.max(axis=1)
    ends = shapes[-1, 0], shapes[0, 1]
    work = SVD_WORK * (high * low**2).sum()
    for end in ends:  # the products have the size of a cut and of one end
        small, large = np.minimum(shapes.max(axis=1), end), np.maximum(shapes.max(axis=1), end)
        work += SVD_WORK * (large * small**2).sum()
    held = 3 * 8 * (shapes[:, 0] * shapes[:, 1]).sum()  # matrices, in double precision, and a copy at work
    reach = int(min(batch, EXACT_WORK / work, (limit - states) / held))
    base = 3 + 2 * (PROBES + 2)
    if method == "exact" or (method == "auto" and reach >= min(FEWEST, batch)):
        room = int(min(batch, (limit - states) / held))
        if room < 1:
            raise ArgumentError(
                f"memory: the matrices of one example take {held / 1e6:.0f} MB, more than is left of the "
                f"{limit / 1e6:.0f} MB given; pass memory= or method='estimate'"
            )
        spectra = max(1, min(room, reach)) if method == "auto" else room
        passes = batch * base + spectra * int(np.minimum(shapes[:, 0], shapes[:, 1]).mean())
        return FlowPlan("exact", len(shapes), batch, spectra, passes, spectra * work, states + spectra * held)
    each = 2 * STEPS * 8 * high.max()
    spectra = max(1, min(batch, SAMPLED, int((limit - states) / each)))
    passes = batch * base + spectra * 2 * STEPS
    small = SVD_WORK * STEPS**3 * len(shapes) * spectra
    return FlowPlan("estimate", len(shapes), batch, spectra, passes, small, states + spectra * each)
