"""Branches: the union of their patterns."""

from __future__ import annotations

import numpy as np

from ...rule import Rule
from .. import compat
from ..call import Call
from .bodies import Local, body_graph, knowledge, modes_of, plain_work, summary


def _cond(call: Call) -> Local:
    """The union of the branches; the one taken when the index is known."""
    branches = call.params["branches"]
    index = call.known(0)
    if index is not None:
        branches = [branches[int(np.clip(int(index), 0, len(branches) - 1))]]
    positions = range(1, len(call.inputs))
    active = list(call.active[1:])
    names = [i for i in positions if call.active[i]]
    local: Local = {}
    for branch in branches:
        jaxpr, consts = compat.sub_jaxpr(branch)
        graph = body_graph(jaxpr, consts, active, knowledge(call, positions), call.values)
        for (k, j), pattern in summary(graph).items():
            key = (k, names[j])
            local[key] = local[key] | pattern if key in local else pattern
    return local


def _cond_modes(call: Call) -> tuple[bool, bool]:
    found = [modes_of(*compat.sub_jaxpr(branch), call.active[1:]) for branch in call.params["branches"]]
    return all(forward for forward, _ in found), all(reverse for _, reverse in found)


def _cond_work(call: Call) -> float:
    return max((plain_work(*compat.sub_jaxpr(branch)) for branch in call.params["branches"]), default=0.0)


RULES: dict[str, Rule] = {
    "cond": Rule("branch", _cond, modes=_cond_modes, work=_cond_work),
}
