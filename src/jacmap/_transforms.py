"""The drop-in transforms: plan once per signature, then run compiled."""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import jax
import jax.numpy as jnp
import numpy as np

from ._arguments import check_inputs, check_outputs, positions, translated
from ._clock import times
from ._dense import as_tree, blocks_of, check_size, dense_matrix
from ._dispatch import Routed
from ._entry import Entry, Numbers, matrix, matrix_and_aux
from ._errors import ModeError, TraceError
from ._memory import parse_memory
from ._modes import Ways, comparable, fastest, fastest_mapped
from ._probe import probe
from ._truth import Truth
from .engine.backends.jax import compat
from .engine.backends.jax import function as backend
from .engine.backends.jax.batches import batch_bytes
from .engine.backends.jax.brief import brief
from .engine.backends.jax.folding import LARGEST, folded
from .engine.plan import store
from .engine.plan.execute import execute
from .engine.plan.plan import Plan
from .engine.plan.planner import Limits, Planned, make_plan
from .engine.plan.question import Question
from .engine.plan.recipe import Coloured, Constant, Plain, Recipe

LARGE = 2**24  # entries of a matrix that is not formed for a plan alone

_OPEN_ENDED = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS
_NOTHING = object()  # stands for a first argument that was not given by position


class PlannedFunction(Protocol):
    """What the public transforms return: a function that also tells its plan."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The answer at these arguments."""

    def plan(self, *args: Any, **kwargs: Any) -> Plan:
        """The plan for arguments of these shapes."""


class _Here(threading.local):
    """Was the call under way in this thread made outside all transformations? Then f can close over no tracers."""

    eager = False

    @contextlib.contextmanager
    def from_outside(self) -> Iterator[None]:
        before, (context, evaluation) = self.eager, compat.trace_state()
        self.eager = context.trace is evaluation
        try:
            yield
        finally:
            self.eager = before


class Transform:
    """One question about the Jacobian of f, answered by a plan per signature; works under `jit`, `vmap` and `grad`."""

    def __init__(
        self,
        f: Callable[..., Any],
        question: Question,
        argnums: int | Sequence[int] = 0,
        has_aux: bool = False,
        holomorphic: bool = False,
        memory: str | float | None = None,
        plan: str = "model",
        stored: str | Path | None = None,
    ):
        self.f, self.question, self.has_aux, self.holomorphic = f, question, has_aux, holomorphic
        self.argnums, self.many = positions(argnums)
        self.memory, self.mode, self.stored = parse_memory(memory), plan, stored
        self.entries: dict[Any, Entry] = {}
        self._unprobed: list[Entry] = []
        self._busy: list[bool] = [True]  # empty once compiled code alone can answer
        self._jits: dict[Any, Callable[..., Any]] = {}
        self._direct: Any = jax.jit(functools.partial(self._run_arrays, False))
        self._mapped: Any = jax.jit(functools.partial(self._run_arrays, True))
        self._here = _Here()

    def briefly(self, calls: float) -> None:
        """For callers who know that the calls will be few, as `brief`; before `function` is asked for."""
        self._direct = brief(functools.partial(self._run_arrays, False), calls)

    # -- calling -------------------------------------------------------------------------------------------
    def function(self) -> PlannedFunction:
        """The transform as a plain function with a `plan` attribute.

        Small functions take microseconds, so the common call must do nothing but look whether anything is due: a
        closure costs 0.1 µs where a method on an object costs 0.6 (`busy` is empty once the slow path is done with).
        """
        routed = Routed(self)
        busy, direct, slow, finish = self._busy, self._direct, routed.call, self._finisher()
        context, evaluation = compat.trace_state()
        tracer = compat.Tracer

        def planned(x: Any = _NOTHING, /, *rest: Any, **kwargs: Any) -> Any:
            if not busy and context.trace is evaluation:
                try:
                    out = direct(x, *rest, **kwargs) if rest or kwargs else direct(x)
                except (TypeError, TraceError):
                    return slow(x, *rest, **kwargs)  # Python values among the arguments, or an error to be told well
                if not busy:
                    return out if finish is None else finish(out)
            return slow(x, *rest, **kwargs)

        def planned_alone(x: Any = _NOTHING, /) -> Any:
            # Without variables of an enclosing function f cannot read an outer transformation's tracers, and the look
            # at the state of JAX, half of what a call costs beside the compiled code, can be spared; so can the empty
            # tuple and dict of further arguments, of which f has none.
            if not busy and not isinstance(x, tracer):
                try:
                    out = direct(x)
                except (TypeError, TraceError):
                    return slow(x)
                if not busy:
                    return out
            return slow(x)

        chosen = planned_alone if finish is None and _stands_alone(self.f) else planned
        functools.update_wrapper(chosen, self.f, updated=())
        chosen.plan = routed.plan  # type: ignore[attr-defined]
        return cast(PlannedFunction, chosen)

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """The answer at these arguments, after whatever is due: planning, measuring, the probe."""
        args = args if args and args[0] is not _NOTHING else ()
        check_inputs(args, self.argnums, self.holomorphic)
        static = self._has_static(args, kwargs)
        with translated(self.f):  # a leaked value is noticed only when compiled code is left or entered
            self._time_modes(args, kwargs)
            if self._reads_tracers(args, kwargs):
                out = self._run_arrays(False, *args, **kwargs)  # compiled code would keep them for later calls
            else:
                with self._here.from_outside():
                    direct = self._mapped if self._is_mapped(args, kwargs) else self._direct
                    run = self._general if self.mode == "measure" or static else direct
                    out = run(*args, **kwargs)
        self._probe_now(args, kwargs, out)
        if not static and self.mode != "measure" and not self._unprobed:
            self._busy.clear()
        finish = self._finisher()
        return out if finish is None else finish(out)

    def _reads_tracers(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Does f, inside an outer transformation, now read values of it that are not among its arguments?"""
        context, evaluation = compat.trace_state()
        if context.trace is evaluation:
            return False
        sig = self._signature(args, kwargs)
        return self._trace(backend.on_leaves(self.f, sig, self.has_aux), sig).closes_over_tracers

    def _has_static(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Are there Python values (ints, strings, …) beside the differentiated arguments?"""
        fixed = [arg for k, arg in enumerate(args) if k not in self.argnums]
        return not all(backend.is_array(leaf) for leaf in jax.tree_util.tree_leaves((fixed, kwargs)))

    def _general(self, *args: Any, **kwargs: Any) -> Any:
        """Any pytrees and Python values: data is traced, the rest is part of the signature."""
        sig = self._signature(args, kwargs)
        if self.mode == "measure" and self._key(sig) not in self.entries:
            self._measure(sig, args, kwargs)
        leaves = jax.tree_util.tree_leaves((args, kwargs))
        key = self._key(sig)
        if key not in self._jits:
            self._jits[key] = jax.jit(lambda moving, others: self._run(sig, moving, others))
        return self._jits[key]([leaves[p] for p in sig.moving], [leaves[p] for p in sig.others])

    def _run_arrays(self, mapped: bool, /, *args: Any, **kwargs: Any) -> Any:
        sig = self._signature(args, kwargs)
        leaves = jax.tree_util.tree_leaves((args, kwargs))
        return self._run(sig, [leaves[p] for p in sig.moving], [leaves[p] for p in sig.others], mapped)

    def _run(self, sig: backend.Signature, moving: list[Any], others: list[Any], mapped: bool = False) -> Any:
        call = backend.on_leaves(self.f, sig, self.has_aux)
        entry, traced = self._entry(sig, call)
        chosen = entry.mapped if mapped and entry.mapped is not None else entry.plan.chosen
        if self.question.kind == "dense":
            check_size(entry.plan.shape, traced)
        with translated(self.f):
            out = self._answered(entry, chosen, traced, call, moving, others)
            return (out, call(moving, others)[2]) if self.has_aux else out

    def _answered(
        self, entry: Entry, recipe: Recipe, traced: backend.Traced, call: backend.Call, moving: Any, others: Any
    ) -> Any:
        """The recipe's answer in its public form."""
        dense = self.question.kind == "dense" and entry.constant is None
        if dense and isinstance(recipe, Plain) and not recipe.chunk and traced.uniform:
            blocks = backend.plain_blocks(call, traced, recipe.mode, self.holomorphic, moving, others)
            return as_tree(blocks, traced, self.many)
        if entry.constant is not None:
            numbers = jnp.asarray(entry.constant)
        else:
            numbers = _answer(entry.plan, recipe, self.question, call, traced, moving, others)
        return self._shaped(numbers, entry, traced)

    # -- planning ------------------------------------------------------------------------------------------
    def _signature(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> backend.Signature:
        check_inputs(args, self.argnums, self.holomorphic)
        return backend.signature(args, kwargs, self.argnums)

    @staticmethod
    def _key(sig: backend.Signature) -> Any:
        static = tuple((p, value if _hashable(value) else id(value)) for p, value in sig.static)
        return sig.treedef, sig.avals, sig.moving, static

    def _entry(self, sig: backend.Signature, call: backend.Call) -> tuple[Entry, backend.Traced]:
        """The plan for a signature, and the function as traced here and now."""
        key = self._key(sig)
        entry = self.entries.get(key)
        context, evaluation = compat.trace_state()
        if entry is not None and (context.trace is evaluation or self._here.eager):
            return entry, entry.traced
        traced = self._trace(call, sig)
        if traced.closes_over_tracers:
            key = (key, "tracers")  # what is known of a concrete closure (its zeros) does not hold for a traced one
            entry = self.entries.get(key)
        if entry is None:
            entry = self._make(sig, call, traced)
            self.entries[key] = entry
            if not traced.closes_over_tracers:  # there will be no concrete values to probe those with
                self._unprobed.append(entry)
                self._busy.append(True)
        return entry, traced

    def _trace(self, call: backend.Call, sig: backend.Signature) -> backend.Traced:
        with translated(self.f):
            traced = backend.trace(call, sig)
        check_outputs(traced.outputs, sig, self.holomorphic, self.f)
        return traced

    def _planned(self, sig: backend.Signature, traced: backend.Traced, limits: Limits) -> Planned:
        """The candidates for a function as traced."""
        known = None if self.stored is None else store.load(self.stored, traced.graph, self.question.kind)
        return make_plan(
            traced.graph,
            self.question,
            limits,
            constant=traced.constant,
            reverse_allowed=traced.reverse,
            known=known,
        )

    def _make(self, sig: backend.Signature, call: backend.Call, traced: backend.Traced) -> Entry:
        itemsize = max(a.dtype.itemsize for a in traced.inputs)
        folds = LARGEST if traced.one_dtype else 0
        limits = Limits(self.memory, itemsize, folds=folds, batch=batch_bytes(traced.graph), apart=True)
        planned = self._planned(sig, traced, limits)
        if not planned.candidates:
            reasons = "; ".join(f"{name}: {why}" for name, why in planned.rejected)
            raise ModeError(f"no AD mode can answer {self.question.kind!r} for this function ({reasons})")
        chosen = planned.candidates[0]
        if self.mode == "plain":
            chosen = next((c for c in planned.candidates if isinstance(c, Plain)), chosen)
        plan = Plan(planned, chosen, traced.graph.shape, traced.graph, run=self.call)
        entry = Entry(traced, plan)
        self._settle(entry, call)
        return entry

    def _settle(self, entry: Entry, call: backend.Call) -> None:
        """Work out J now when the chosen recipe is the constant one."""
        chosen = entry.plan.chosen
        if isinstance(chosen, Constant):
            with jax.ensure_compile_time_eval():
                point = [jnp.zeros(a.shape, a.dtype) for a in entry.traced.inputs]
                closed = jax.make_jaxpr(
                    lambda x: _answer(entry.plan, chosen.inner, self.question, call, entry.traced, x, [], False)
                )(point)
                # As arguments: constants XLA would multiply itself while compiling, a thousand times as slowly.
                run = jax.jit(lambda consts, x: jax.core.eval_jaxpr(closed.jaxpr, consts, *x))
                entry.constant = np.asarray(run(closed.consts, point)[0])

    def _measure(self, sig: backend.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Time the best few candidates at these arguments and keep the fastest."""
        call = backend.on_leaves(self.f, sig, self.has_aux)
        entry, traced = self._entry(sig, call)
        leaves = jax.tree_util.tree_leaves((args, kwargs))
        moving, others = [leaves[p] for p in sig.moving], [leaves[p] for p in sig.others]
        if entry.constant is not None or any(map(compat.is_tracer, (*moving, *others))):
            return
        timed: dict[str, float] = entry.plan.measured
        runs = {}
        for recipe in entry.plan.planned.candidates[:4]:
            run = jax.jit(functools.partial(_answer, entry.plan, recipe, self.question, call, traced))
            runs[recipe.name] = (recipe, run)
        timed.update(zip(runs, times([run for _, run in runs.values()], (moving, others)), strict=True))
        entry.plan.chosen = runs[min(timed, key=lambda name: timed[name])][0]

    def _time_modes(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Choose between the plain modes (and those with entrywise ends) of a small function by the clock, once."""
        leaves = jax.tree_util.tree_leaves((args, kwargs))
        if self.mode != "model" or self.question.kind != "dense" or any(map(compat.is_tracer, leaves)):
            return
        sig = self._signature(args, kwargs)
        if self._key(sig) in self.entries:
            return
        entry, _ = self._entry(sig, backend.on_leaves(self.f, sig, self.has_aux))
        ways = self._contenders(sig)
        if ways:
            entry.plan.chosen = fastest(ways, leaves)

    def _is_mapped(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Does `vmap` map over these arguments? Then the mode is chosen for a batch, by the clock, once."""
        leaves = jax.tree_util.tree_leaves((args, kwargs))
        if not any(map(compat.batch_size, leaves)) or self.mode != "model" or self.question.kind != "dense":
            return False
        sig = self._signature(args, kwargs)
        entry = self.entries.get(self._key(sig))  # f reads no tracers but these: nothing to trace again
        if entry is None:
            entry, _ = self._entry(sig, backend.on_leaves(self.f, sig, self.has_aux))
        if entry.mapped is None:
            # Values to probe a structured way with may never come: beside the plan's own only plain AD may be taken.
            ways = [way for way in self._contenders(sig)
                    if way[0].name == entry.plan.chosen.name or isinstance(way[0], Plain)]  # fmt: skip
            numeric = all(jnp.issubdtype(leaf.dtype, np.number) or leaf.dtype == bool for leaf in leaves)
            # What may loop for ever at made-up values has no reverse mode.
            timed = len(ways) > 1 and numeric and entry.traced.reverse
            entry.mapped = fastest_mapped(ways, leaves) if timed else entry.plan.chosen
        return True

    def _contenders(self, sig: backend.Signature) -> Ways:
        """The ways that the clock decides between; none where no clock can be asked."""
        call = backend.on_leaves(self.f, sig, self.has_aux)
        entry, traced = self._entry(sig, call)
        if traced.closes_over_tracers or not traced.uniform or sig.static:
            return []

        def answer(recipe: Recipe, *leaves: Any) -> Any:
            moving, others = [leaves[p] for p in sig.moving], [leaves[p] for p in sig.others]
            return jax.tree_util.tree_leaves(self._answered(entry, recipe, traced, call, moving, others))

        return [(recipe, functools.partial(answer, recipe)) for recipe in comparable(entry.plan)]

    def unprobed_plan(self, *args: Any) -> Plan:
        """The plan for arguments of these shapes as it stands, without running anything."""
        sig = self._signature(args, {})
        return self._entry(sig, backend.on_leaves(self.f, sig, self.has_aux))[0].plan

    def plan(self, *args: Any, **kwargs: Any) -> Plan:
        """The plan for arguments of these shapes; probed when they are concrete."""
        sig = self._signature(args, kwargs)
        if self.mode == "measure":
            self._measure(sig, args, kwargs)
        self._time_modes(args, kwargs)
        entry, _ = self._entry(sig, backend.on_leaves(self.f, sig, self.has_aux))
        leaves = jax.tree_util.tree_leaves((args, kwargs))
        large = self.question.kind == "dense" and math.prod(entry.plan.shape) > LARGE
        if entry in self._unprobed and not large and not any(map(compat.is_tracer, leaves)):
            self.call(*args, **kwargs)  # compiled once, for the probe and for the calls to come
        else:
            self._probe_now(args, kwargs, None)
        return entry.plan

    def _probe_now(self, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        """Check the plan against plain AD, if that is due and the values are concrete; `out`: its answer there."""
        if not self._unprobed:
            return
        leaves = jax.tree_util.tree_leaves((args, kwargs))
        # Inside `jit` all is staged, even what is worked out from concrete values that f closes over.
        if any(map(compat.is_tracer, leaves)) or compat.is_tracer(jnp.zeros(())):
            return
        sig = self._signature(args, kwargs)
        entry = self.entries.get(self._key(sig))
        if entry is None or entry not in self._unprobed or entry.traced.closes_over_tracers:
            return
        try:
            entry.plan.probed = self._compared(entry, sig, args, kwargs, out)
        except ArithmeticError:
            self._unprobed.remove(entry)
            self.entries.pop(self._key(sig), None)
            self._direct.clear_cache()
            self._jits.clear()
            self._busy.append(True)
            raise
        if entry.plan.probed is not None:
            self._unprobed.remove(entry)

    def _compared(
        self, entry: Entry, sig: backend.Signature, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any
    ) -> float | None:
        """The relative difference between the plan's answer and plain AD, or a StructureError; see `probe`."""
        leaves = jax.tree_util.tree_leaves((args, kwargs))
        call = backend.on_leaves(self.f, sig, self.has_aux)
        moving, others = [leaves[p] for p in sig.moving], [leaves[p] for p in sig.others]
        numbers, question = self._numbers(out, entry), self.question
        if numbers is None:
            if question.kind == "dense" and isinstance(entry.plan.chosen, Coloured):
                question = Question("sparse")  # the entries alone: the matrix may be too large to be formed for a check
            answer = functools.partial(_answer, entry.plan, entry.plan.chosen, question, call, entry.traced)
            with translated(self.f):
                numbers = jax.jit(answer)(moving, others)
        return probe(numbers, entry.plan, question, Truth(call, entry.traced, moving, others))

    def _numbers(self, out: Any, entry: Entry) -> Any:
        """The recipe's raw output, from the answer where that holds it; None where it must be run."""
        if entry.constant is not None:
            return entry.constant
        if out is None or self.question.kind == "trace":
            return None
        answer = out[0] if self.has_aux else out
        if self.question.kind == "dense":
            return dense_matrix(answer, entry.traced)
        if self.question.kind == "diagonal":
            return answer[entry.plan.planned.entries().rows]
        return answer.data if isinstance(answer, Numbers) else answer

    # -- the answer's form ---------------------------------------------------------------------------------
    def _shaped(self, numbers: Any, entry: Entry, traced: backend.Traced) -> Any:
        if self.question.kind == "dense":
            return blocks_of(numbers, traced, self.many)
        if self.question.kind == "trace":
            return numbers.sum()
        if self.question.kind == "diagonal":
            size, read = min(entry.plan.shape), entry.plan.planned.entries()
            return numbers if read.rows.size == size else jnp.zeros(size, numbers.dtype).at[read.rows].set(numbers)
        return Numbers(numbers, entry) if self.question.kind == "sparse" else numbers

    def _finisher(self) -> Callable[[Any], Any] | None:
        """What remains to be done outside the compiled part."""
        if self.question.kind != "sparse":
            return None
        return matrix_and_aux if self.has_aux else matrix


def _answer(
    plan: Plan,
    recipe: Recipe,
    question: Question,
    call: backend.Call,
    traced: backend.Traced,
    moving: Any,
    others: Any,
    foldable: bool = True,
) -> Any:
    def numbers(moving: Any, others: Any) -> Any:
        run = backend.runner(call, traced, moving, others)
        run.foldable = foldable
        return execute(recipe, question, plan.planned.read_for(recipe), run)

    return folded(numbers, moving, others) if foldable else numbers(moving, others)


def _stands_alone(f: Callable[..., Any]) -> bool:
    """Is f a plain function of one argument and of module globals?"""
    inner = inspect.unwrap(f)
    if not isinstance(inner, types.FunctionType) or inner.__closure__ is not None or inner.__defaults__:
        return False
    code = inner.__code__
    return code.co_argcount == 1 and not code.co_kwonlyargcount and not code.co_flags & _OPEN_ENDED


def _hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True
