"""Calls with bodies: custom derivative rules, branches, loops, implicit solves.

A body is analysed as a graph of its own, afresh at each call site, and summed up as one local pattern per output
and input. Custom rules are analysed, never the primal bodies: what AD returns is what the rule says.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from scipy.sparse import csr_array

from ....graph import Graph, Pattern, dependence, jacobian_pattern
from ....graph.pattern import stack
from .. import compat
from ..call import Call, Rule, is_inexact, neither_mode

Local = dict[tuple[int, int], Pattern]

# Exact per-step patterns of a scan are worth it up to this many steps; beyond, the closure over all steps stands
# in for the later ones.
MOST_EXACT_STEPS = 128
MOST_STORED = 2**24


def body_graph(
    jaxpr: Any,
    consts: Sequence[Any],
    active: Sequence[bool],
    given: Mapping[int, np.ndarray] | None = None,
    values: bool = False,
) -> Graph:
    from ..trace import graph_of  # the walk asks this table and this table asks the walk

    return graph_of(jaxpr, consts, active, given, values)


def summary(graph: Graph) -> Local:
    """(output, position among graph.inputs) → pattern, for a whole body."""
    whole = jacobian_pattern(graph)
    local = {}
    row = 0
    for k, out in enumerate(graph.outputs):
        size = graph.values[out].size
        rows = whole.take(np.arange(row, row + size, dtype=np.int32))
        row += size
        if not graph.values[out].active:
            continue
        col = 0
        for j, v in enumerate(graph.inputs):
            width = graph.values[v].size
            local[k, j] = rows.columns(col, col + width)
            col += width
    return local


def named_summary(call: Call, jaxpr: Any, consts: Sequence[Any], given: Mapping[int, np.ndarray]) -> Local:
    """`summary` of a body that takes the operation's own inputs in order."""
    found = summary(body_graph(jaxpr, consts, list(call.active), given, call.values))
    names = [i for i, a in enumerate(call.active) if a]
    return {(k, names[j]): pattern for (k, j), pattern in found.items()}


def knowledge(call: Call, positions: Sequence[int]) -> dict[int, np.ndarray]:
    """What is known of the inputs at `positions`, renumbered from 0."""
    found = {}
    for new, i in enumerate(positions):
        value = call.peek(i)
        if value is not None:
            found[new] = value
    return found


# -- custom derivative rules -------------------------------------------------------------------------------------


_MOST_REMEMBERED = 4096
_memory: OrderedDict[Any, tuple[Any, Any]] = OrderedDict()


def _remembered(what: str, owners: Sequence[Any], key: Any, make: Callable[[], Any]) -> Any:
    """`make()`, once for the same objects. Bodies nest, and each is asked for its work and modes at every level.

    The owners are held along with the result, so that their ids stay their own.
    """
    full = (what, tuple(id(owner) for owner in owners), key)
    held = _memory.get(full)
    if held is None:
        held = _memory[full] = (tuple(owners), make())
        if len(_memory) > _MOST_REMEMBERED:
            _memory.popitem(last=False)
    return held[1]


def _traced_rule(trace: Callable[[Any, tuple[int, ...]], Any], call: Call) -> Any:
    """The traced custom rule of a call. All parameters count: two rules can share one primal body."""
    avals = tuple((atom.aval.shape, atom.aval.dtype) for atom in call.eqn.invars)
    which = tuple(i for i, a in enumerate(call.active) if a)
    owners = list(call.params.values())
    return _remembered(trace.__name__, owners, (avals, which), lambda: trace(call.eqn, which))


def _jvp_rule(eqn: Any, which: tuple[int, ...]) -> Any:
    """(primals, tangents of the inputs `which`) → output tangents."""

    def pushforward(primals: list[Any], tangents: list[Any]) -> list[Any]:
        return jax.jvp(_moving(eqn, primals, which), [primals[i] for i in which], tangents)[1]

    avals = [_struct(atom.aval) for atom in eqn.invars]
    return jax.make_jaxpr(pushforward)(avals, [avals[i] for i in which])


def _vjp_rule(eqn: Any, which: tuple[int, ...]) -> Any:
    """(primals, cotangents of the inexact outputs) → cotangents of the inputs `which`."""
    carried = _inexact_outputs(eqn)

    def pullback(primals: list[Any], cotangents: list[Any]) -> Any:
        primal = _moving(eqn, primals, which)
        _, pull = jax.vjp(lambda *moving: [primal(*moving)[k] for k in carried], *(primals[i] for i in which))
        return pull(cotangents)

    avals = [_struct(atom.aval) for atom in eqn.invars]
    return jax.make_jaxpr(pullback)(avals, [_struct(eqn.outvars[k].aval) for k in carried])


def _struct(aval: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype)


def _moving(eqn: Any, primals: Sequence[Any], which: Sequence[int]) -> Callable[..., list[Any]]:
    def primal(*moving: Any) -> list[Any]:
        full = list(primals)
        for i, value in zip(which, moving, strict=True):
            full[i] = value
        return compat.bind(eqn, full)

    return primal


def _inexact_outputs(eqn: Any) -> list[int]:
    return [k for k, var in enumerate(eqn.outvars) if _inexact(var.aval)]


def _rule_graph(call: Call, rule: Any) -> Graph:
    """The rule as a function of its tangents or cotangents; the primals are unknown but for what is known of them."""
    count = len(call.inputs)
    active = [False] * count + [True] * (len(rule.in_avals) - count)
    return body_graph(rule.jaxpr, rule.consts, active, knowledge(call, range(count)), values=True)


def _custom_jvp(call: Call) -> Local:
    """The pattern of the rule's output tangents with respect to its input tangents."""
    which = [i for i, a in enumerate(call.active) if a]
    found = summary(_rule_graph(call, _traced_rule(_jvp_rule, call)))
    return {(k, which[j]): pattern for (k, j), pattern in found.items()}


def _custom_vjp(call: Call) -> Local:
    """The transpose of the pattern of the rule's input cotangents with respect to its output cotangents."""
    which, carried = [i for i, a in enumerate(call.active) if a], _inexact_outputs(call.eqn)
    found = summary(_rule_graph(call, _traced_rule(_vjp_rule, call)))
    return {(carried[j], which[k]): pattern.T for (k, j), pattern in found.items()}


def _custom_jvp_modes(call: Call) -> tuple[bool, bool]:
    rule = _traced_rule(_jvp_rule, call)
    count = len(call.inputs)
    active = (*[False] * count, *[True] * (len(rule.in_avals) - count))
    return _modes(rule.jaxpr, rule.consts, active, values=True)


# -- branches ----------------------------------------------------------------------------------------------------


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
    found = [_modes(*compat.sub_jaxpr(branch), call.active[1:]) for branch in call.params["branches"]]
    return all(forward for forward, _ in found), all(reverse for _, reverse in found)


def _cond_work(call: Call) -> float:
    return max((_plain_work(*compat.sub_jaxpr(branch)) for branch in call.params["branches"]), default=0.0)


# -- loops -------------------------------------------------------------------------------------------------------


class _Body:
    """A loop body's pattern, cut into the blocks (carry, ys) × (consts, carry, xs)."""

    def __init__(self, graph: Graph, rows: tuple[np.ndarray, np.ndarray], widths: Sequence[int]):
        whole = jacobian_pattern(graph)
        carry, ys = whole.take(rows[0]), whole.take(rows[1])
        at = (0, *np.cumsum(widths).tolist())
        self.carry_consts, self.carry_carry, self.carry_xs = (carry.columns(at[k], at[k + 1]) for k in range(3))
        self.ys_consts, self.ys_carry, self.ys_xs = (ys.columns(at[k], at[k + 1]) for k in range(3))


def _over_time(body: _Body, length: int, reverse: bool) -> dict[tuple[str, int], Pattern]:
    """The blocks of all the steps together: (carry after the last step, ys stacked) × (consts, carry, xs stacked)."""
    step = body.carry_carry
    grown = Pattern.identity(step.shape[0]) | step
    blocks = {
        ("carry", 0): _power(grown, length - 1) @ body.carry_consts,
        ("carry", 1): _power(step, length),
    }
    if body.ys_xs.shape[0] == 0 and body.carry_xs.shape[1] == 0:
        return blocks
    powers = _powers(step, length)
    order = list(range(length))[::-1] if reverse else list(range(length))

    def after(lag: int) -> Pattern:
        return powers[min(lag, len(powers) - 1)]

    if body.carry_xs.shape[1]:
        reached = [after(length - 1 - order[s]) @ body.carry_xs for s in range(length)]
        blocks["carry", 2] = stack([p.T for p in reached]).T
    blocks["ys", 1] = stack([body.ys_carry @ after(order[t]) for t in range(length)])
    spread = [
        body.ys_consts | (body.ys_carry @ grown_power @ body.carry_consts) for grown_power in _growth(grown, length)
    ]
    blocks["ys", 0] = stack(
        [spread[min(order[t], len(spread) - 1)] if order[t] else body.ys_consts for t in range(length)]
    )
    if body.ys_xs.shape[1]:
        blocks["ys", 2] = _causal(body, after, length, len(powers), reverse)
    return blocks


def _causal(body: _Body, after: Any, length: int, settled: int, reverse: bool) -> Pattern:
    """ys × xs: block Toeplitz, one block per lag until the powers of the step have settled."""

    def lagged(first: int, last: int) -> csr_array:
        band = np.tril(np.ones((length, length), bool), -first) & ~np.tril(np.ones((length, length), bool), -last - 1)
        return csr_array(band.T if reverse else band)

    total = dependence.repeated(lagged(0, 0), body.ys_xs)
    for lag in range(1, min(settled, length - 1) + 1):
        last = length if lag == settled else lag
        total = total | dependence.repeated(lagged(lag, last), body.ys_carry @ after(lag - 1) @ body.carry_xs)
    return total


def _equal(a: Pattern, b: Pattern) -> bool:
    return a.nnz == b.nnz and (a | b).nnz == a.nnz


def _powers(step: Pattern, length: int) -> list[Pattern]:
    """step⁰, step¹, … until they stop changing; past the limits the closure stands in for all later ones."""
    powers = [Pattern.identity(step.shape[0])]
    stored = 0
    while len(powers) <= length:
        following = powers[-1] @ step
        if _equal(following, powers[-1]):
            break
        stored += following.stored
        if len(powers) > MOST_EXACT_STEPS or stored > MOST_STORED:
            return [powers[0], _power(powers[0] | step, length)]
        powers.append(following)
    return powers


def _growth(grown: Pattern, length: int) -> list[Pattern]:
    """For step t ≥ 1 what t−1 or fewer steps reach; entry 0 is a place holder for step 0."""
    sums = [Pattern.identity(grown.shape[0])] * 2
    stored = 0
    while len(sums) < length:
        following = sums[-1] @ grown
        stored += following.stored
        if following.nnz == sums[-1].nnz:
            break
        if len(sums) > MOST_EXACT_STEPS or stored > MOST_STORED:
            return [sums[0], _power(grown, length)]
        sums.append(following)
    return sums


def _power(base: Pattern, exponent: int) -> Pattern:
    """base^exponent by repeated squaring; full when it grows past what is worth storing."""
    result = Pattern.identity(base.shape[0])
    while exponent:
        if max(result.stored, base.stored) > MOST_STORED:
            return Pattern.full(base.shape)
        if exponent & 1:
            result = result @ base
        exponent >>= 1
        base = base @ base if exponent else base
    return result


def closure(base: Pattern) -> Pattern:
    """I ∪ base ∪ base² ∪ …: what any number of steps can reach."""
    reach = Pattern.identity(base.shape[0]) | base
    while True:
        further = reach @ reach
        if further.nnz == reach.nnz:
            return reach
        if further.stored > MOST_STORED:
            return dependence.connected(base.tocsr())
        reach = further


def _scan(call: Call) -> Local:
    p = call.params
    jaxpr, consts = compat.sub_jaxpr(p["jaxpr"])
    length, n_consts, n_carry = p["length"], p["num_consts"], p["num_carry"]
    if length == 0:
        return {(k, n_consts + k): dependence.elementwise(s, s) for k, s in enumerate(call.outputs[:n_carry])}
    if length * max(len(jaxpr.eqns), 1) <= MOST_UNROLLED:
        return _unrolled(call, jaxpr, consts)
    active = [
        call.active[i] or (n_consts <= i < n_consts + n_carry and (call.values or _inexact(jaxpr.invars[i].aval)))
        for i in range(len(call.inputs))
    ]
    given = knowledge(call, range(n_consts)) | step_knowledge(call, n_consts + n_carry)
    graph = body_graph(jaxpr, consts, active, given, call.values)
    layout = _Layout(call, jaxpr, active, n_consts, n_carry)
    body = _Body(graph, layout.rows, layout.widths)
    return layout.split(_over_time(body, length, bool(p["reverse"])))


MOST_UNROLLED = 256  # equations: a loop this short is read step by step, with its counters known


def _unrolled(call: Call, jaxpr: Any, consts: Sequence[Any]) -> Local:
    p = call.params
    n_consts, n_carry, length = p["num_consts"], p["num_carry"], p["length"]

    def run(*args: Any) -> list[Any]:
        fixed, carry, xs = (
            args[:n_consts],
            list(args[n_consts : n_consts + n_carry]),
            args[n_consts + n_carry :],
        )
        collected: list[list[Any]] = []
        for t in reversed(range(length)) if p["reverse"] else range(length):
            results = jax.core.eval_jaxpr(jaxpr, consts, *fixed, *carry, *(x[t] for x in xs))
            carry, ys = results[:n_carry], results[n_carry:]
            collected.append(ys)
        if p["reverse"]:
            collected.reverse()
        return [*carry, *(jax.numpy.stack(column) for column in zip(*collected, strict=True))]

    flat = jax.make_jaxpr(run)(*(jax.ShapeDtypeStruct(a.aval.shape, a.aval.dtype) for a in call.eqn.invars))
    return named_summary(call, flat.jaxpr, flat.consts, knowledge(call, range(len(call.inputs))))


def _inexact(aval: Any) -> bool:
    return is_inexact(aval.dtype)


def step_knowledge(call: Call, first: int) -> dict[int, np.ndarray]:
    """What is the same in every step of the scanned inputs; the rest is NaN, not known."""
    found = {}
    for i in range(first, len(call.inputs)):
        value = call.peek(i)
        if value is None or not isinstance(value.dtype, np.dtype) or not len(value):
            continue
        same = (value == value[0]).all(axis=0)
        if value.dtype.kind == "f":
            found[i] = np.where(same, value[0], np.nan)
        elif same.all():
            found[i] = value[0]
    return found


class _Layout:
    """Sizes of a loop body's blocks, and how a block's pattern falls apart into operands again."""

    def __init__(self, call: Call, jaxpr: Any, active: Sequence[bool], n_consts: int, n_carry: int, skip: int = 0):
        self.call, self.n_carry, self.skip = call, n_carry, skip
        size = [math.prod(v.aval.shape) for v in jaxpr.invars]
        out = [math.prod(v.aval.shape) for v in jaxpr.outvars]
        bounds = (range(n_consts), range(n_consts, n_consts + n_carry), range(n_consts + n_carry, len(size)))
        self.groups = [[i for i in group if active[i]] for group in bounds]
        self.widths = tuple(sum(size[i] for i in group) for group in self.groups)
        # Only carries through which a derivative can flow are rows of the carry block, so that it is square.
        self.carried = [i - n_consts for i in self.groups[1]]
        start = np.concatenate([[0], np.cumsum(out)])
        rows = [np.arange(start[k], start[k + 1], dtype=np.int32) for k in range(len(out))]
        none = [np.zeros(0, np.int32)]
        self.rows = (
            np.concatenate(none + [rows[k] for k in self.carried]),
            np.concatenate(none + rows[n_carry:]),
        )

    def split(self, blocks: Mapping[tuple[str, int], Pattern]) -> Local:
        local: Local = {}
        for kind, ks in (("carry", self.carried), ("ys", range(self.n_carry, len(self.call.outputs)))):
            for group, names in enumerate(self.groups):
                block = blocks.get((kind, group))
                if block is None:
                    continue
                for k, index in self._row_index(kind, ks):
                    rows = block.take(index)
                    for i, columns in self._col_index(group, names):
                        if self.call.active[i]:
                            local[k, i] = rows.T.take(columns).T
        return local

    def _col_index(self, group: int, names: Sequence[int]) -> list[tuple[int, np.ndarray]]:
        sizes = [dependence.size_of(self.call.inputs[i + self.skip]) for i in names]
        steps = self.call.params["length"] if group == 2 else 1
        return [(i + self.skip, index) for i, index in zip(names, _interleaved(sizes, steps), strict=True)]

    def _row_index(self, kind: str, ks: Sequence[int]) -> list[tuple[int, np.ndarray]]:
        sizes = [dependence.size_of(self.call.outputs[k]) for k in ks]
        steps = 1 if kind == "carry" else self.call.params["length"]
        return list(zip(ks, _interleaved(sizes, steps), strict=True))


def _interleaved(sizes: Sequence[int], steps: int) -> list[np.ndarray]:
    """Where each array's entries stand when arrays stacked over `steps` are laid side by side step by step."""
    per_step = [size // steps for size in sizes]
    total, found, offset = sum(per_step), [], 0
    for width in per_step:
        at = np.arange(steps, dtype=np.int32)[:, None] * total + np.arange(offset, offset + width, dtype=np.int32)
        found.append(at.ravel())
        offset += width
    return found


def _while(call: Call) -> Local:
    p = call.params
    skip, n_consts = p["cond_nconsts"], p["body_nconsts"]
    jaxpr, consts = compat.sub_jaxpr(p["body_jaxpr"])
    inner = range(skip, len(call.inputs))
    active = [call.active[i] or (i >= skip + n_consts and _inexact(jaxpr.invars[i - skip].aval)) for i in inner]
    graph = body_graph(jaxpr, consts, active, knowledge(call, range(skip, skip + n_consts)))
    layout = _Layout(call, jaxpr, active, n_consts, len(call.outputs), skip)
    body = _Body(graph, layout.rows, layout.widths)
    reach = closure(body.carry_carry)
    return layout.split({("carry", 0): reach @ body.carry_consts, ("carry", 1): reach})


def _while_modes(call: Call) -> tuple[bool, bool]:
    jaxpr, consts = compat.sub_jaxpr(call.params["body_jaxpr"])
    return _all_modes(jaxpr, consts)[0], False


def _scan_modes(call: Call) -> tuple[bool, bool]:
    jaxpr, consts = compat.sub_jaxpr(call.params["jaxpr"])
    return _all_modes(jaxpr, consts)


def _all_modes(jaxpr: Any, consts: Sequence[Any]) -> tuple[bool, bool]:
    return _modes(jaxpr, consts, tuple(_inexact(v.aval) for v in jaxpr.invars))


def _modes(jaxpr: Any, consts: Sequence[Any], active: tuple[bool, ...], values: bool = False) -> tuple[bool, bool]:
    def find() -> tuple[bool, bool]:
        graph = body_graph(jaxpr, consts, active, values=values)
        return graph.forward, graph.reverse

    return _remembered("modes", [jaxpr], (active, values), find)


def _body_work(name: str, times: Any) -> Any:
    def work(call: Call) -> float:
        jaxpr, consts = compat.sub_jaxpr(call.params[name])
        return float(times(call)) * _plain_work(jaxpr, consts)

    return work


def _plain_work(jaxpr: Any, consts: Sequence[Any]) -> float:
    none = [False] * len(jaxpr.invars)
    return _remembered("work", [jaxpr], None, lambda: body_graph(jaxpr, consts, none).work)


# -- implicit solves ---------------------------------------------------------------------------------------------


def _linear_solve(call: Call) -> Local:
    """x = A⁻¹ b with A given by its product: dx = A⁻¹ (db − dA x), and A⁻¹ couples A's connected components."""
    lengths, jaxprs = call.params["const_lengths"], call.params["jaxprs"]
    n_consts = lengths.matvec
    first_b = sum(lengths)
    jaxpr, consts = compat.sub_jaxpr(jaxprs.matvec)
    active = [*call.active[:n_consts], *(_inexact(v.aval) for v in jaxpr.invars[n_consts:])]
    graph = body_graph(jaxpr, consts, active, knowledge(call, range(n_consts)))
    whole = jacobian_pattern(graph)
    names = [i for i in range(n_consts) if call.active[i]]
    widths = [dependence.size_of(call.inputs[i]) for i in names]
    at = [0, *np.cumsum(widths).tolist()]
    inverse = dependence.connected(whole.columns(at[-1], whole.shape[1]).tocsr())
    blocks = {i: inverse @ whole.columns(at[j], at[j + 1]) for j, i in enumerate(names)}
    col = 0
    for i in range(first_b, len(call.inputs)):
        width = dependence.size_of(call.inputs[i])
        if call.active[i]:
            blocks[i] = inverse.columns(col, col + width)
        col += width
    local: Local = {}
    row = 0
    for k, shape in enumerate(call.outputs):
        height = dependence.size_of(shape)
        rows = np.arange(row, row + height, dtype=np.int32)
        row += height
        local.update({(k, i): block.take(rows) for i, block in blocks.items()})
    return local


def _linear_solve_modes(call: Call) -> tuple[bool, bool]:
    return True, call.params["jaxprs"].transpose_solve is not None


def _linear_solve_is_affine(call: Call) -> bool:
    return not any(call.varying[: call.params["const_lengths"].matvec])


# -- calls that are only wrapped ---------------------------------------------------------------------------------


def wrapped(name: str) -> Any:
    def local(call: Call) -> Local:
        jaxpr, consts = compat.sub_jaxpr(call.params[name])
        return named_summary(call, jaxpr, consts, knowledge(call, range(len(call.inputs))))

    return local


RULES: dict[str, Rule] = {
    "custom_jvp_call": Rule(
        "custom rule", _custom_jvp, modes=_custom_jvp_modes, work=_body_work("call_jaxpr", lambda call: 1)
    ),
    "custom_vjp_call": Rule(
        "custom rule",
        _custom_vjp,
        modes=lambda call: (False, True),
        work=_body_work("call_jaxpr", lambda call: 1),
    ),
    "custom_vmap_call": Rule(
        "call", wrapped("call"), modes=lambda call: (True, False), work=_body_work("call", lambda call: 1)
    ),
    "composite": Rule("call", wrapped("jaxpr"), modes=neither_mode, work=_body_work("jaxpr", lambda call: 1)),
    "cond": Rule("branch", _cond, modes=_cond_modes, work=_cond_work),
    "scan": Rule("loop", _scan, modes=_scan_modes, work=_body_work("jaxpr", lambda call: call.params["length"])),
    # How often a while loop runs is not known: ten times is a guess that only ranks candidates.
    "while": Rule("loop", _while, modes=_while_modes, work=_body_work("body_jaxpr", lambda call: 10), exact=False),
    "custom_linear_solve": Rule(
        "implicit solve",
        _linear_solve,
        affine=_linear_solve_is_affine,
        modes=_linear_solve_modes,
        exact=False,
    ),
}
