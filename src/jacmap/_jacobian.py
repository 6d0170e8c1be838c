"""One object for looking: the Jacobian of f at a point, lazy; nothing is computed before it is asked for."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from . import _dispatch
from ._arguments import check_inputs, checked_index, positions
from ._dense import dense_matrix
from ._determinant import SlogDet
from ._determinant.plan import DeterminantPlan
from ._determinant.transforms import Determinant
from ._differences import Differences
from ._differences import linearize as black_box
from ._errors import ArgumentError, ModeError, NotFiniteWarning
from ._linear import QUESTIONS, Form, Inverse, Linear, LinearPlan, LocalInvertibility, Subject, is_affine
from ._memory import parse_memory
from ._questions import as_question
from ._transforms import Transform
from .engine.backends.jax import compat
from .engine.backends.jax import function as backend
from .engine.backends.jax.run import Runner
from .engine.graph import Pattern
from .engine.graph.cuts import boundaries, name_of, rank_bound, useful_chain
from .engine.graph.picture import braille, grid
from .engine.graph.structure import Structure
from .engine.plan.plan import Plan
from .engine.plan.question import Question


class Jacobian:
    """J = ∂f/∂x at a point: m×n, all outputs (flattened) × all differentiated inputs.

    Made by `linearize`. Products cost one pass each and form no matrix; the other questions are planned on first use,
    and the plans are shared with `at` other points of the same shapes.
    """

    def __init__(
        self,
        f: Callable[..., Any],
        args: tuple[Any, ...],
        argnums: int | Sequence[int] = 0,
        memory: str | float | None = None,
        name: str = "",
        transforms: dict[Question, Transform] | None = None,
        shared: dict[Any, Any] | None = None,
    ):
        self.f, self.args, self.argnums, self.memory = f, args, argnums, memory
        self.name = name or getattr(f, "__name__", "f")
        self._positions = positions(argnums)[0]
        check_inputs(args, self._positions, holomorphic=False)
        self._transforms = {} if transforms is None else transforms
        self._shared = {} if shared is None else shared  # with other points: forms by pattern, compiled products
        self._warn_of_point()

    # -- what it is ----------------------------------------------------------------------------------------
    @cached_property
    def value(self) -> Any:
        """f(x)."""
        return self.f(*self.args)

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n): the numbers of outputs and of differentiated inputs."""
        return self._traced.graph.shape

    @cached_property
    def pattern(self) -> Pattern:
        """Which entries can be nonzero, at any point; may over-estimate, never misses one."""
        return self._transform(Question("dense")).unprobed_plan(*self.args).planned.pattern

    @cached_property
    def structure(self) -> Structure:
        """The name of the pattern: "diagonal", "block-diagonal: 64 blocks of 10×784", ..."""
        return self._form.structure

    @cached_property
    def rank_bound(self) -> int:
        """rank J is at most this: the width of the narrowest cut of f's graph."""
        return rank_bound(self._traced.graph)

    @cached_property
    def chain(self) -> tuple[Jacobian, ...]:
        """J's factors along the cuts of f, first applied first: J = chain[-1] ⋯ chain[1] chain[0].

        Each is a Jacobian of its own with a name (the scope or the source line it comes from).
        """
        graph = self._traced.graph
        cuts = useful_chain(graph, boundaries(graph))
        parts = self._runner.parts
        assert parts is not None
        links = []
        for before, after in zip(cuts, cuts[1:], strict=False):
            function, point = parts.segment(before, after)
            links.append(Jacobian(function, (point,), name=name_of(graph, before, after)))
        return tuple(links)

    # -- products ------------------------------------------------------------------------------------------
    def __matmul__(self, v: Any) -> Any:
        """J v (n,) → (m,), or J V (n, k) → (m, k): one JVP per column. ModeError where forward mode is impossible."""
        self._need("forward", self._traced.graph.forward)
        v = self._operand(v, self.shape[1], "v")
        pushed = self._push(self._leaves, v if v.ndim == 2 else v[:, None])
        return pushed if v.ndim == 2 else pushed[:, 0]

    def _need(self, mode: str, possible: bool) -> None:
        if not possible:
            names = sorted({node.op for node in self._traced.graph.active_nodes if not getattr(node, mode)})
            reason = ", ".join(names) or "complex outputs of real inputs"
            raise ModeError(f"{self.name}: this product needs {mode} mode, which {reason} cannot run in")

    @property
    def T(self) -> Transposed:
        """Jᵀ: ``J.T @ u`` is one VJP."""
        return Transposed(self)

    def _operand(self, v: Any, size: int, name: str) -> Any:
        try:
            v = jnp.asarray(v)
        except TypeError as error:
            raise ArgumentError(f"{name}: got {type(v).__name__}, expected an array of shape ({size},)") from error
        if jnp.iscomplexobj(v) and not jnp.iscomplexobj(self._runner.x):
            raise ArgumentError(
                f"{name}: got complex numbers for real inputs, expected real ones; use the parts one by one"
            )
        if v.ndim not in (1, 2) or v.shape[0] != size:
            raise ArgumentError(f"{name}: got shape {v.shape}, expected ({size},) or ({size}, k)")
        return v

    # -- answers -------------------------------------------------------------------------------------------
    def dense(self) -> jax.Array:
        """J as an array (m, n)."""
        return self._checked(dense_matrix(self._ask(Question("dense")), self._traced), "J")

    def sparse(self) -> Any:
        """J as a `BCOO` matrix (m, n)."""
        return self._checked(self._ask(Question("sparse")), "J")

    def tree(self) -> Any:
        """J as a pytree of blocks ``out.shape + in.shape``, laid out as `jax.jacobian` does."""
        blocks = self._ask(Question("dense"))
        self._checked(dense_matrix(blocks, self._traced), "J")
        return blocks

    def row(self, i: int) -> jax.Array:
        """Row i, (n,): the gradient of output i (flattened)."""
        i = checked_index(i, self.shape[0], "i", "outputs")
        if self._traced.reverse:
            return self._checked(self.T @ jnp.zeros(self.shape[0]).at[i].set(1), f"row {i}")
        return self._line(Question("rows", rows=(i,)), 1, f"row {i}")

    def column(self, j: int) -> jax.Array:
        """Column j, (m,): everything that input j (flattened) does."""
        j = checked_index(j, self.shape[1], "j", "inputs")
        if self._traced.graph.forward:
            return self._checked(self @ jnp.zeros(self.shape[1]).at[j].set(1), f"column {j}")
        return self._line(Question("columns", columns=(j,)), 0, f"column {j}")

    def _line(self, question: Question, axis: int, what: str) -> jax.Array:
        """A row or a column, zeros included, by the passes of the other AD mode: the natural one is not supported."""
        numbers = self._ask(question)
        read = self._transform(question).plan(*self.args).planned.entries()
        at = (read.rows, read.cols)[axis]
        return self._checked(jnp.zeros(self.shape[axis], numbers.dtype).at[at].set(numbers), what)

    def entries(self, rows: Sequence[int], columns: Sequence[int]) -> jax.Array:
        """The entries J[rows[k], columns[k]], (k,), with the fewest passes that show them."""
        if len(rows) != len(columns):
            raise ArgumentError(f"rows, columns: got {len(rows)} and {len(columns)} indices, expected as many of each")
        pairs = [
            (checked_index(i, self.shape[0], "rows", "outputs"), checked_index(j, self.shape[1], "columns", "inputs"))
            for i, j in zip(rows, columns, strict=True)
        ]
        question = Question("entries", tuple(i for i, _ in pairs), tuple(j for _, j in pairs))
        numbers = self._ask(question)
        read = self._transform(question).plan(*self.args).planned.entries()
        where = {(int(i), int(j)): k for k, (i, j) in enumerate(zip(read.rows, read.cols, strict=True))}
        padded = jnp.concatenate([jnp.asarray(numbers), jnp.zeros(1, numbers.dtype)])
        at = np.array([where.get(pair, len(where)) for pair in pairs], dtype=int)
        return self._checked(padded[at], "the entries asked")

    def diagonal(self) -> jax.Array:
        """The diagonal, (min(m, n),)."""
        return self._checked(self._ask(Question("diagonal")), "the diagonal")

    def trace(self) -> jax.Array:
        """The sum of the diagonal: the divergence when f is a vector field."""
        return self._checked(self._ask(Question("trace")), "the trace")

    def slogdet(self) -> SlogDet:
        """(sign, log|det J|) of a square J, from the chain of its square cuts; ArgumentError when it is not square."""
        answer = self._determinant.call(*self.args)
        self._checked(answer.logabsdet, "log|det J|")
        return answer

    def det(self) -> jax.Array:
        """The determinant of a square J: the factor by which f stretches volumes, negative where it turns them over."""
        sign, log = self._determinant.call(*self.args)
        return sign * jnp.exp(log)

    def at(self, *args: Any) -> Jacobian:
        """The same function at another point, with the same plans: nothing is planned anew for the same shapes."""
        return Jacobian(self.f, args, self.argnums, self.memory, self.name, self._transforms, self._shared)

    # -- linear algebra ------------------------------------------------------------------------------------
    def solve(self, b: Any) -> jax.Array:
        """x of J x = b for a square J: b (n,) → (n,), or (n, k) → (n, k); by the structure of J.

        Raises SingularError, structurally or numerically; warns with IllConditionedWarning, which gives the condition
        number. A J that does not fit in `memory` is solved by its products (needs the extra ``jacmap[linalg]``). Works
        inside `jit`, `grad` and `vmap`, where nothing can be raised for what the numbers show.
        """
        return self._linear.solve(b)

    def lstsq(self, b: Any) -> jax.Array:
        """x of least norm among those that minimise ‖J x − b‖: b (m,) → (n,), or (m, k) → (n, k); any shape and rank.

        Singular values up to eps·max(m, n)·s_max count as zero, as in `numpy.linalg.lstsq`.
        """
        return self._linear.lstsq(b)

    def svd(self, k: int | None = None) -> tuple[jax.Array, jax.Array, jax.Array]:
        """(U, s, Vh) with J = U diag(s) Vh: shapes (m, r), (r,), (r, n); s descends, r = min(m, n), or the k largest.

        A few of a large J come from a Lanczos iteration, without a dense matrix.
        """
        return self._linear.svd(k)

    def norm(self, ord: Any = 2) -> jax.Array:
        """The norm of order 1, 2, inf, "fro" or "nuc", as `numpy.linalg.norm` defines them."""
        return self._linear.norm(ord)

    def rank(self) -> Any:
        """The number of singular values above eps·max(m, n)·s_max, as `numpy.linalg.matrix_rank`."""
        return self._linear.rank()

    def cond(self) -> jax.Array:
        """s_max / s_min, as `numpy.linalg.cond`; infinite where J is singular."""
        return self._linear.cond()

    def inverse(self) -> Inverse:
        """J⁻¹ as an operator (n, n): ``inverse @ b`` and ``inverse.T @ b`` solve, with factors made once."""
        self._linear.plan("solve")
        return Inverse(self._linear)

    def locally_invertible(self) -> LocalInvertibility:
        """Can f be undone near this point (inverse function theorem)? True or false, with the evidence to print."""
        return self._linear.locally_invertible()

    # -- plans ---------------------------------------------------------------------------------------------
    def plan(self, question: str = "dense") -> Plan:
        """The plan for a question at this point."""
        return self._transform(as_question(question)).plan(*self.args)

    def explain(self, question: str = "dense", **options: Any) -> Plan | LinearPlan | DeterminantPlan:
        """The plan for a question, to print: what was considered, what was chosen and why.

        `question` is one that `plan` knows, or one of linear algebra: "solve", "lstsq", "svd" (with ``k=``), "norm"
        (with ``ord=``), "rank", "cond"; or "slogdet" (also as "logdet", "det").
        """
        if question in QUESTIONS:
            return self._linear.plan(question, **options)
        if question in ("slogdet", "logdet", "det"):
            return self._determinant.determinant_plan(*self.args)
        asked = as_question(question, QUESTIONS)
        if options:
            raise ArgumentError(f"{next(iter(options))}: got an option that {question!r} does not have; leave it out")
        return self._transform(asked).plan(*self.args)

    def _transform(self, question: Question) -> Transform:
        if question not in self._transforms:
            self._transforms[question] = Transform(self.f, question, self.argnums, memory=self.memory)
        return self._transforms[question]

    @property
    def _determinant(self) -> Determinant:
        question = Question("slogdet")
        if question not in self._transforms:
            self._transforms[question] = Determinant(self.f, self.argnums, self.memory)
        found = self._transforms[question]
        assert isinstance(found, Determinant)
        return found

    def _ask(self, question: Question) -> Any:
        return self._transform(question).call(*self.args)

    # -- inside --------------------------------------------------------------------------------------------
    @property
    def _form(self) -> Form:
        """What the pattern tells the linear algebra, shared with other points."""
        pattern, graph = self.pattern, self._traced.graph
        if pattern not in self._shared:
            real = self._dtype.kind != "c"
            self._shared[pattern] = Form(
                pattern,
                self.rank_bound,
                affine=is_affine(graph),
                forward=graph.forward and real,
                reverse=self._traced.reverse and real,
                itemsize=8 if real else 16,
            )
        return self._shared[pattern]

    @property
    def _dtype(self) -> Any:
        """J's dtype: the widest of inputs and outputs."""
        return np.result_type(*(a.dtype for a in (*self._traced.inputs, *self._traced.outputs)))

    @cached_property
    def _linear(self) -> Linear:
        traced, form = self._traced, self._form
        question = Question("dense" if form.full else "sparse")

        def numbers() -> Any:
            context, evaluation = compat.trace_state()
            moving = traced.closes_over_tracers or any(map(compat.is_tracer, jax.tree_util.tree_leaves(self.args)))
            if context.trace is evaluation or moving:
                answer = self._ask(question)
            else:  # a concrete point where something else is traced: its numbers stay concrete
                with jax.ensure_compile_time_eval():
                    answer = self._ask(question)
            return dense_matrix(answer, traced) if form.full else answer.data

        return Linear(
            Subject(
                name=self.name,
                shape=self.shape,
                dtype=self._dtype,
                memory=parse_memory(self.memory),
                form=form,
                leaves=self._leaves,
                numbers=numbers,
                push=self._push,
                pull=lambda leaves, u: self._pull(leaves, u.T).T,
                symbolic=self._symbolic,
                entries=lambda: self._transform(question).unprobed_plan(*self.args).summary,
            )
        )

    def _symbolic(self, *arrays: Any) -> bool:
        """Are the point, these arrays, or the place where we are, inside a transformation of JAX?"""
        context, evaluation = compat.trace_state()
        inside = context.trace is not evaluation or self._traced.closes_over_tracers
        return inside or any(map(compat.is_tracer, jax.tree_util.tree_leaves((self.args, arrays))))

    @cached_property
    def _signature(self) -> backend.Signature:
        return backend.signature(self.args, {}, self._positions)

    @cached_property
    def _traced(self) -> backend.Traced:
        transform = self._transform(Question("dense"))
        return transform._entry(self._signature, backend.on_leaves(self.f, self._signature, False))[1]

    @cached_property
    def _leaves(self) -> tuple[list[Any], list[Any]]:
        leaves = jax.tree_util.tree_leaves((self.args, {}))
        return [leaves[p] for p in self._signature.moving], [leaves[p] for p in self._signature.others]

    @cached_property
    def _runner(self) -> Runner:
        return self._runner_at(self._leaves)

    def _runner_at(self, leaves: tuple[list[Any], list[Any]]) -> Runner:
        call = backend.on_leaves(self.f, self._signature, False)
        return backend.runner(call, self._traced, *leaves)

    @cached_property
    def _push(self) -> Callable[..., Any]:
        return self._compiled("push", lambda leaves, seeds: self._runner_at(leaves).push(seeds))

    @cached_property
    def _pull(self) -> Callable[..., Any]:
        return self._compiled("pull", lambda leaves, seeds: self._runner_at(leaves).pull(seeds))

    def _compiled(self, name: str, product: Callable[..., Any]) -> Callable[..., Any]:
        """The product, compiled once for all points of these shapes."""
        if self._traced.closes_over_tracers:
            return jax.jit(product)
        key = name, Transform._key(self._signature)
        return self._shared.setdefault(key, jax.jit(product))

    def _warn_of_point(self) -> None:
        for k in self._positions:
            for path, leaf in jax.tree_util.tree_leaves_with_path(self.args[k]):
                if not isinstance(leaf, jax.core.Tracer):
                    _warn_of(np.asarray(leaf), f"argument {k}{jax.tree_util.keystr(path)}")

    @staticmethod
    def _checked(answer: Any, what: str) -> Any:
        data = getattr(answer, "data", answer) if hasattr(answer, "indices") else answer
        if not isinstance(data, jax.core.Tracer):
            finite = np.isfinite(np.asarray(data))
            if not finite.all():
                at = tuple(int(k) for k in np.argwhere(~finite)[0])
                where = tuple(np.asarray(answer.indices)[at[0]].tolist()) if hasattr(answer, "indices") else at
                warnings.warn(
                    f"{what} is not finite: {int((~finite).sum())} NaN or infinite, the first at {where}",
                    NotFiniteWarning,
                    stacklevel=4,
                )
        return answer

    def __repr__(self) -> str:
        m, n = self.shape
        return f"Jacobian({self.name}, {m}×{n}, {self.structure})"

    def __str__(self) -> str:
        m, n = self.shape
        plan = self._transform(Question("dense")).unprobed_plan(*self.args)
        small = max(m, n) <= 8
        lines = [f"J of {self.name}: {m}×{n}, {self.structure}"]
        if small:
            lines.append(grid(np.asarray(self.dense())))
        elif self.pattern.nnz < m * n:  # a picture of a full matrix shows nothing
            lines.append(braille(self.pattern.tocsr()))
        return "\n".join([*lines, f"dense: {plan.summary}"])


class Transposed:
    """Jᵀ as an operator."""

    def __init__(self, jacobian: Jacobian):
        self.T = jacobian

    @property
    def shape(self) -> tuple[int, int]:
        """(n, m)."""
        return self.T.shape[::-1]

    def __matmul__(self, u: Any) -> Any:
        """Jᵀ u (m,) → (n,), or Jᵀ U (m, k) → (n, k): one VJP per column. ModeError where reverse mode is impossible."""
        jacobian = self.T
        jacobian._need("reverse", jacobian._traced.reverse)
        u = jacobian._operand(u, jacobian.shape[0], "u")
        pulled = jacobian._pull(jacobian._leaves, (u if u.ndim == 2 else u[:, None]).T).T
        return pulled if u.ndim == 2 else pulled[:, 0]


def _warn_of(array: np.ndarray, what: str) -> None:
    finite = np.isfinite(array)
    if not finite.all():
        at = tuple(int(k) for k in np.argwhere(~finite)[0])
        warnings.warn(
            f"{what}: got {array[at]} at index {at}, expected finite numbers; the Jacobian there may be meaningless",
            NotFiniteWarning,
            stacklevel=5,
        )


def linearize(
    f: Callable[..., Any],
    *args: Any,
    argnums: int | Sequence[int] = 0,
    memory: str | float | None = None,
    differences: Differences | None = None,
) -> Jacobian:
    """The Jacobian of f at a point, as an object to question: `J.dense()`, `J @ v`, `J.explain()`, ...

    ``linearize(f, x)`` or, for several arguments, ``linearize(f, *args, argnums=...)``. Where f is a function of NumPy
    arrays that JAX cannot read, the object answers the same by differences; `differences` as in `jacobian`.
    """
    if not callable(f):
        raise ArgumentError(f"f: got {type(f).__name__}, expected a function of arrays")
    if not args:
        raise ArgumentError("linearize: got no point, expected the arguments of f after f itself")
    face = _dispatch.before(args)
    if face is not None or differences is not None:
        open_door = face.module.linearize if face else black_box
        return cast(Jacobian, open_door(f, args, argnums, memory, differences))
    found = Jacobian(f, args, argnums, memory)
    if all(isinstance(leaf, (np.ndarray, np.generic, float, int)) for leaf in jax.tree_util.tree_leaves(args)):
        try:  # the only way to know whether JAX can read it is to let it
            found._traced  # noqa: B018
        except Exception as error:
            face = _dispatch.instead(error, f, args, {})
            if face is not None:
                return cast(Jacobian, face.module.linearize(f, args, argnums, memory))
    return found
