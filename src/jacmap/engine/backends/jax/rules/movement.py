"""Movement of data: run the operation on row numbers and read off the map."""

from __future__ import annotations

import numpy as np

from ....graph import Pattern, dependence
from ...rule import Rule, always
from ..call import Call
from ..moves import MOVES, operands


def moved(call: Call) -> dict[tuple[int, int], Pattern]:
    """Local patterns of a movement whose index operands are known."""
    data, index = operands(call.name, len(call.inputs))
    numbers, offset, start = [], 0, {}
    for i in data:
        start[i] = offset
        numbers.append(dependence.row_numbers(call.inputs[i]) + np.int32(offset))
        offset += dependence.size_of(call.inputs[i])
    result = MOVES[call.name][1](call, *numbers, *(np.asarray(call.known(i)) for i in index))
    outputs = result if isinstance(result, list) else [result]
    local = {}
    for k, rows in enumerate(outputs):
        for i in data:
            if call.active[i]:
                size = dependence.size_of(call.inputs[i])
                mine = rows.ravel() - np.int32(start[i])
                if len(data) > 1 or mine.size and mine.min() < 0:
                    mine = np.where((mine >= 0) & (mine < size), mine, np.int32(-1))
                local[k, i] = dependence.gather(mine, size)
    return local


_PLAIN = ["reshape", "squeeze", "transpose", "rev", "slice", "broadcast_in_dim", "concatenate", "stack",
          "unstack", "tile", "split"]  # fmt: skip


def _free(call: Call) -> float:
    # Moving an entry costs about a tenth of computing one; never nothing, or chains of moves look free.
    return 0.1 * sum(dependence.size_of(shape) for shape in call.outputs)


RULES: dict[str, Rule] = {
    **{name: Rule("gather", moved, affine=always, work=_free) for name in _PLAIN},
    # JAX cannot transpose a pad whose fill alone carries a derivative.
    "pad": Rule("gather", moved, affine=always, work=_free, modes=lambda call: (True, call.active[0])),
}
