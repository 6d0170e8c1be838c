"""Operations of `jax.experimental.sparse`: each is read through the plain JAX code that JAX itself defines it by."""

from __future__ import annotations

from typing import Any

import jax

from ....graph import Pattern
from ...rule import Rule, every_pair, one_varying
from .. import compat
from ..call import Call
from .bodies import knowledge, named_summary


def _through_definition(call: Call) -> dict[tuple[int, int], Pattern]:
    definition = compat.sparse_definition(call.name)
    if definition is None:
        return every_pair(call)

    def run(*args: Any) -> Any:
        return definition(*args, **call.params)

    body = jax.make_jaxpr(run)(*(jax.ShapeDtypeStruct(a.aval.shape, a.aval.dtype) for a in call.eqn.invars))
    return named_summary(call, body.jaxpr, body.consts, knowledge(call, range(len(call.inputs))))


_NAMES = """
bcoo_dot_general bcoo_dot_general_sampled bcoo_fromdense bcoo_sort_indices bcoo_sum_duplicates bcoo_todense
bcoo_transpose bcsr_dot_general bcsr_extract bcsr_fromdense bcsr_todense
""".split()

RULES: dict[str, Rule] = {
    **{name: Rule("contraction", _through_definition, affine=one_varying, exact=False) for name in _NAMES},
    "bcoo_spdot_general": Rule(
        "contraction", _through_definition, affine=one_varying, exact=False, modes=lambda call: (True, False)
    ),
    "bcoo_extract": Rule(
        "gather",
        _through_definition,
        affine=one_varying,
        exact=False,
        modes=lambda call: (True, bool(call.params["assume_unique"])),
    ),
}
