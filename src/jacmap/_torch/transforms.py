"""The drop-in transforms for functions of tensors: plan once per signature, then run batched passes."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch.utils import _pytree as tree

from .._arguments import positions
from .._errors import ModeError
from .._memory import parse_memory
from .._probe import probe
from ..engine.backends.torch import compat
from ..engine.backends.torch import function as backend
from ..engine.backends.torch.run import Runner, Ways
from ..engine.plan.execute import execute
from ..engine.plan.plan import Plan
from ..engine.plan.planner import Limits, make_plan
from ..engine.plan.question import Question
from ..engine.plan.readout import Readout
from ..engine.plan.recipe import Bracketed, Coloured, Constant, Plain, Recipe
from .arguments import called_by_name, check_inputs, check_outputs
from .single import plain_pass
from .surroundings import Surroundings
from .truth import Truth, to_numpy

Tensor = torch.Tensor

# Candidates are timed when the plan is made, unless a run takes longer than this many seconds or is estimated to cost
# this many times the best: counted work says little where the cost of a call is that of its Python.
# Where the best is estimated to take seconds the model is trusted: many passes cost what they were counted.
LONG = 0.25
TRUSTED = 2e9
HOPELESS = 30.0
RUNS = 3
# Eager passes hold the cotangents before and after an operation, what the operation makes on its way, and what
# PyTorch's allocator keeps of the last one.
ALIVE = 6.0
HALF = (torch.float16, torch.bfloat16)
MOST_ENTRIES = 64


@dataclass(eq=False)
class Entry:
    """What is kept per signature. `constant`: J itself, where it is the same at every x.

    `kept`: the objects whose ids stand in the signature. `steering`: arguments that f branched on, as they were.
    """

    traced: backend.Traced
    plan: Plan
    kept: Any
    steering: dict[int, Tensor]
    ways: Ways = field(default_factory=Ways)
    reads: dict[int, Readout | None] = field(default_factory=dict)
    constant: Tensor | None = None
    alone: Any = None  # the answer to a single tensor by one plain batch of passes, where that is the plan
    programs: dict[bool, Any] = field(default_factory=dict)  # of a determinant, made ready to run; by: f's value, too?

    def holds(self, others: list[Tensor]) -> bool:
        """Is what the reading relied on as it was: tensors beside the arguments, and arguments that f branched on?"""
        same = all(torch.equal(others[k], value) for k, value in self.steering.items())
        return same and self.traced.reading.fresh()

    @functools.cached_property
    def entries(self) -> Readout:
        """Where the entries of a sparse answer stand in the matrix, row-major."""
        return self.plan.planned.entries()

    def read(self, recipe: Recipe) -> Readout | None:
        """Where the recipe's answer is read, worked out once."""
        if id(recipe) not in self.reads:
            self.reads[id(recipe)] = self.plan.planned.read_for(recipe)
        return self.reads[id(recipe)]


class TorchTransform:
    """One question about the Jacobian of f, answered by a plan per signature."""

    def __init__(
        self,
        f: Callable[..., Any],
        question: Question,
        argnums: int | Sequence[int] = 0,
        has_aux: bool = False,
        memory: str | float | None = None,
        plan: str = "model",
    ):
        self.f, self.question, self.has_aux = called_by_name(f), question, has_aux
        self.argnums, self.many = positions(argnums)
        self.memory, self.mode = parse_memory(memory), plan
        self.entries: dict[Any, Entry] = {}
        self._surroundings: Surroundings | None = None
        self._signatures: dict[Any, backend.Signature] = {}

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """The answer at these arguments, after whatever is due: planning, timing, the probe."""
        here = self.at(args, kwargs)
        if here.entry.alone is not None and not compat.inside_functorch():
            out = here.entry.alone(args[0], here.differentiable)
            if out is not None:
                return out
        out = self.shaped(here.numbers(), here.entry)
        return (out, here.evaluated()[2]) if self.has_aux else out

    def plan(self, *args: Any, **kwargs: Any) -> Plan:
        """The plan for arguments of these shapes, probed."""
        return self.at(args, kwargs).entry.plan

    def at(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Here:
        """The function at a point, with its plan."""
        sig, leaves = self._signature(args, kwargs)
        call = backend.on_leaves(self.f, sig, self.has_aux)
        moving, others = [leaves[p] for p in sig.moving], [leaves[p] for p in sig.others]
        if self._surroundings is None:
            self._surroundings = Surroundings(self.f)
        key = sig, self._surroundings.state()
        entry = self.entries.get(key)
        if entry is None or not entry.holds(others):
            entry = self._make(sig, call, moving, others)
            self.entries[key] = entry
            if len(self.entries) > MOST_ENTRIES:  # whoever makes new masks or modules all the time needs no old plans
                del self.entries[next(iter(self.entries))]
        return Here(self, entry, call, moving, others)

    def _signature(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[backend.Signature, list[Any]]:
        """The signature of a call and its leaves; of a single tensor looked up, for that is the call that repeats."""
        alone = len(args) == 1 and not kwargs and isinstance(args[0], Tensor)
        key = (args[0].shape, args[0].dtype, args[0].device) if alone else None
        if alone and key in self._signatures:
            return self._signatures[key], [args[0]]
        check_inputs(args, self.argnums)
        sig = backend.signature(args, kwargs, self.argnums)
        if alone:
            self._signatures[key] = sig
        return sig, tree.tree_leaves((args, kwargs))

    def _make(self, sig: backend.Signature, call: backend.Call, moving: list[Tensor], others: list[Tensor]) -> Entry:
        assert self._surroundings is not None
        stand_ins = compat.inside_functorch()
        with torch.random.fork_rng(), compat.outside_functorch():
            if stand_ins:  # batched or dual tensors: read the function at ordinary ones of the same shapes
                drawn = [torch.rand(s.shape, device=s.device).to(s.dtype) for s in sig.specs]
                moving, others = drawn[: len(moving)], drawn[len(moving) :]
            traced = backend.trace(call, sig, moving, others)
            check_outputs(traced.outputs, self.f)
            steering = {k: others[k].detach().clone() for k in traced.reading.steering}
            entry = Entry(traced, self._planned(traced), self._surroundings.kept(), steering)
            self.ready(Here(self, entry, call, moving, others))
        return entry

    def ready(self, here: Here) -> None:
        """What is done once, when the plan is new: the choice by the clock, and the probe."""
        if self.mode != "plain":
            here.choose_by_clock()
        here.settle()
        here.probe()
        here.tell()
        here.entry.alone = plain_pass(self.f, here.entry) if here.is_single and not self.has_aux else None

    def _planned(self, traced: backend.Traced) -> Plan:
        itemsize = traced.dtype.itemsize
        planned = make_plan(
            traced.graph,
            self.question,
            Limits(self.memory, itemsize, ALIVE),
            constant=traced.constant,
            reverse_allowed=traced.reverse,
        )
        if not traced.reading.repeatable:
            planned = replace(planned, candidates=tuple(c for c in planned.candidates if not from_graph(c)))
        if traced.reading.samples:  # under `vmap` and `jvp` PyTorch draws otherwise than f does by itself
            plainly = tuple(c for c in planned.candidates if not c.forward)
            planned = replace(planned, candidates=plainly or planned.candidates)
        if not planned.candidates:
            reasons = "; ".join(f"{name}: {why}" for name, why in planned.rejected)
            raise ModeError(f"no AD mode can answer {self.question.kind!r} for this function ({reasons})")
        chosen = planned.candidates[0]
        if self.mode == "plain":
            chosen = next((c for c in planned.candidates if isinstance(c, Plain)), chosen)
        return Plan(planned, chosen, traced.graph.shape, traced.graph, run=self.call)

    # -- the answer's form ---------------------------------------------------------------------------------
    def shaped(self, numbers: Tensor, entry: Entry) -> Any:
        """The recipe's numbers in the form that was asked for."""
        kind, shape = self.question.kind, entry.plan.shape
        if kind == "dense":
            return self._blocks(numbers, entry.traced)
        if kind == "trace":
            return numbers.sum()
        if kind == "diagonal":
            size, read = min(shape), entry.entries
            if read.rows.size == size:
                return numbers
            return numbers.new_zeros(size).index_put((entry.ways.index(read.rows, numbers.device),), numbers)
        if kind == "sparse":
            where = [entry.ways.index(index, numbers.device) for index in (entry.entries.rows, entry.entries.cols)]
            at = entry.ways.pair(*where)
            return torch.sparse_coo_tensor(at, numbers, shape, is_coalesced=True, check_invariants=False)
        return numbers

    def _blocks(self, matrix: Tensor, traced: backend.Traced) -> Any:
        """The m×n matrix as a pytree of blocks out.shape + in.shape, laid out as torch.func.jacrev does."""
        rows = []
        for out, height in zip(traced.outputs, torch.split(matrix, [o.size for o in traced.outputs]), strict=True):
            blocks = torch.split(height, [i.size for i in traced.inputs], dim=1)
            row = [
                block.reshape((*out.shape, *inp.shape)).to(torch.promote_types(out.dtype, inp.dtype))
                for inp, block in zip(traced.inputs, blocks, strict=True)
            ]
            inner = tree.tree_unflatten(row, traced.in_tree)
            rows.append(inner if self.many else inner[0])
        return tree.tree_unflatten(rows, traced.out_tree)


@dataclass(eq=False)
class Here:
    """A planned function at one point."""

    transform: TorchTransform
    entry: Entry
    call: backend.Call
    moving: list[Tensor]
    others: list[Tensor]

    def __post_init__(self) -> None:
        self.start = torch.get_rng_state() if self.entry.traced.reading.samples else None

    @property
    def is_single(self) -> bool:
        """One tensor in, one tensor out, and dense plain passes chosen?"""
        entry, chosen = self.entry, self.entry.plan.chosen
        plain = isinstance(chosen, Plain) and not chosen.chunk and self.transform.question.kind == "dense"
        one = len(self.moving) == 1 and not self.others and len(entry.traced.outputs) == 1
        leaf = one and entry.traced.out_tree.is_leaf() and entry.traced.in_tree.num_leaves == 1
        reading = entry.traced.reading
        return plain and leaf and not self.transform.many and not reading.samples and not reading.written

    def runner(self, differentiable: bool) -> Runner:
        """The passes at this point. What is random in f is drawn alike in all of them."""
        entry = self.entry
        run = backend.runner(self.call, entry.traced, self.moving, self.others, entry.ways, self.start)
        run.differentiable = differentiable
        return run

    @property
    def differentiable(self) -> bool:
        """Will somebody want to differentiate the answer?"""
        read = (*self.moving, *self.others, *(tensor for tensor, _ in self.entry.traced.reading.externals))
        return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in read)

    def numbers(self) -> Tensor:
        """The recipe's answer at this point."""
        entry = self.entry
        if entry.constant is not None:
            return entry.constant
        differentiable = self.differentiable
        chosen = entry.plan.chosen
        run = self.runner(differentiable)
        if from_graph(chosen):
            # What is left out of the tangents would be missing from the derivative of the answer; and the graph may
            # no longer say what the function does (inside a transformation there are no numbers to tell).
            inside = compat.inside_functorch()
            drops = isinstance(chosen, Coloured) and chosen.dropped
            if (drops and (differentiable or inside)) or not (inside or self._agrees(run)):
                chosen = next(c for c in entry.plan.planned.candidates if not from_graph(c))
        with entry.traced.reading.unwritten():
            return execute(chosen, self.transform.question, entry.read(chosen), run)

    def _agrees(self, run: Runner) -> bool:
        """Does the graph still give what the function gives? One evaluation of each, beside many passes."""
        with torch.no_grad(), self.entry.traced.reading.unwritten():
            true = self.evaluated()[0]
        scale = 1e3 * self.entry.traced.eps
        return all(
            torch.allclose(
                ours.detach(), theirs, scale, scale * float(theirs.abs().max() if theirs.numel() else 0), equal_nan=True
            )
            for ours, theirs in zip(run.parts.value(), true, strict=True)
        )

    def evaluated(self) -> tuple[list[Tensor], Any, Any]:
        """(output leaves, their tree, aux) of the function here, with the same random samples as in the passes."""
        if self.start is not None:
            torch.set_rng_state(self.start)
        return self.call(self.moving, self.others)

    def tell(self) -> None:
        """Have the plan say what a reader of the answer should know."""
        told, dtype = self.entry.plan.told, self.entry.traced.dtype
        if dtype in HALF:
            digits = -math.log10(torch.finfo(dtype).eps)
            name = str(dtype).removeprefix("torch.")
            told.append(f"computed in {name}: about {digits:.0f} digits; pass x.float() for more")
        for way, why in self.entry.ways.failed.items():
            told.append(f"{way.replace('_', ' ')} is not possible here: {why}")

    def settle(self) -> None:
        """Work out J now when the chosen recipe is the constant one."""
        chosen, entry = self.entry.plan.chosen, self.entry
        if isinstance(chosen, Constant):
            entry.constant = execute(chosen.inner, self.transform.question, entry.read(chosen), self.runner(False))

    def choose_by_clock(self) -> None:
        """Keep the candidate that runs fastest here, of the few that could; leave out those that PyTorch cannot run."""
        plan = self.entry.plan
        least = plan.chosen.cost
        candidates = [c for c in plan.planned.candidates if c.cost <= HOPELESS * max(least, 1.0)][:4]
        if isinstance(plan.chosen, Constant) or len(candidates) < 2 or least > TRUSTED:
            return
        for recipe in candidates:
            run = self._timed(recipe)
            if run is None:
                self._reject(recipe)
                continue
            plan.measured[recipe.name] = run
            if run > LONG:
                break
        if plan.measured:
            best = min(plan.measured, key=plan.measured.__getitem__)
            plan.chosen = next(c for c in candidates if c.name == best)

    def _reject(self, recipe: Recipe) -> None:
        planned = self.entry.plan.planned
        left = tuple(c for c in planned.candidates if c is not recipe)
        if left:
            reason = (recipe.name, "PyTorch lacks a derivative, or a way to batch it, for an operation of f")
            self.entry.plan.planned = replace(planned, candidates=left, rejected=(*planned.rejected, reason))
            self.entry.plan.chosen = left[0]

    def _timed(self, recipe: Recipe) -> float | None:
        """Seconds of a run, the quickest of several; None where it fails."""
        question, read = self.transform.question, self.entry.read(recipe)
        least = math.inf
        for k in range(RUNS + 1):  # the first one may have to load a part of PyTorch, and does not count
            start = time.perf_counter()
            try:
                with self.entry.traced.reading.unwritten():
                    execute(recipe, question, read, self.runner(self.differentiable))
            except (RuntimeError, NotImplementedError):
                return None
            taken = time.perf_counter() - start
            least = min(least, taken) if k else math.inf
            if taken > (LONG if k else HOPELESS * LONG):
                return min(least, taken)
        return least

    def probe(self) -> None:
        """Compare the plan with plain AD at this point; see `_probe.probe`."""
        entry, question = self.entry, self.transform.question
        if isinstance(entry.plan.chosen, Coloured) and question.kind == "dense":
            question = Question("sparse")  # the entries alone: the matrix may be too large to be formed for a check
        chosen = entry.plan.chosen
        if isinstance(chosen, Plain) and question.kind == "dense":
            entry.plan.probed = 0.0  # it is plain AD
            return
        with entry.traced.reading.unwritten():
            truth = Truth(self.call, entry.traced, self.moving, self.others, self.start)
            numbers = entry.constant
            if numbers is None:
                numbers = execute(chosen, question, entry.read(chosen), self.runner(False))
            entry.plan.probed = probe(to_numpy(numbers), entry.plan, question, truth, both=from_graph(chosen))


def from_graph(recipe: Recipe) -> bool:
    """Does the recipe run parts of the graph that was read, rather than the function itself?"""
    return isinstance(recipe, Bracketed) or (isinstance(recipe, Coloured) and bool(recipe.dropped))

